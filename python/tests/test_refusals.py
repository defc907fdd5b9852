# SPDX-License-Identifier: Apache-2.0
"""Wrong uses: one clear line each, which names the argument, and no change of state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from caches import config, states

from hashevict import Cache, Error, InvalidArgument, Memory, Rule, Unsupported, divide_slots


def _read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


def decode(**changes: Any) -> Callable[[np.random.Generator, Cache], Any]:
    def call(rng: np.random.Generator, cache: Cache) -> Any:
        arguments = {"q": states(rng, 1, 4), "k": states(rng, 1, 2), "v": states(rng, 1, 2), "layer": 0}
        return cache.decode(**{**arguments, **changes})  # type: ignore[arg-type]

    return call


REFUSED: dict[str, tuple[Callable[[np.random.Generator, Cache], Any], type[Error], str]] = {
    "a list for a tensor": (decode(k=[1.0]), InvalidArgument, r"k: list is no tensor: expected one that speaks DLPack"),
    "float64": (decode(v=np.zeros((1, 2, 16))), InvalidArgument, r"v: dtype float64: expected float32"),
    "int64 rows": (
        decode(row_to_sequence=np.array([0])),
        InvalidArgument,
        r"row_to_sequence: dtype int64: expected float32, float16, bfloat16, int32",
    ),
    "bool": (decode(k=np.zeros((1, 2, 16), bool)), InvalidArgument, r"k: dtype bool"),
    "another head size": (decode(k=np.zeros((1, 2, 8), np.float32)), InvalidArgument, r"k\.shape\[2\] = 8"),
    "six dimensions": (
        decode(q=np.zeros((1,) * 6, np.float32)),
        InvalidArgument,
        r"q: 6 dimensions: expected at most 5",
    ),
    "read-only out": (
        decode(out=_read_only(np.zeros((1, 4, 16), np.float32))),
        InvalidArgument,
        r"out: its memory is read-only, and the call writes it",
    ),
    "a layer too many": (decode(layer=2), InvalidArgument, r"layer = 2"),
    "a sequence too many": (decode(row_to_sequence=np.array([1], np.int32)), InvalidArgument, r"row_to_sequence"),
    "NaN importance": (decode(importance=np.ones((1, 2), np.float32)), InvalidArgument, r"importance"),
    "no out of a foreign type": (decode(q=memoryview(b"")), InvalidArgument, r"out: needed"),
    "an unknown mode": (
        lambda rng, cache: cache.prefill(0, None, states(rng, 1, 2), states(rng, 1, 2), mode="all"),  # type: ignore[arg-type]
        InvalidArgument,
        r"mode = 'all': expected one of replay, window, recent",
    ),
    "an unknown backend": (
        lambda rng, cache: Cache(config(backend="gpu")),
        InvalidArgument,
        r"config\.placement\.backend = 'gpu': expected one of auto, cpu, cuda",
    ),
    "a backend that is not built": (
        lambda rng, cache: Cache(config(backend="cuda")),
        Unsupported,
        r"since this build has no other",
    ),
    "a budget of nothing": (
        lambda rng, cache: Cache(config(capacity=3)),
        InvalidArgument,
        r"config\.shape\.capacity = 3",
    ),
    "a text for a number": (
        lambda rng, cache: Cache(config(capacity="many")),
        InvalidArgument,
        r"config\.shape\.capacity = 'many': expected an integer",
    ),
    "a number too large": (
        lambda rng, cache: Cache(config(capacity=2**40)),
        InvalidArgument,
        r"config\.shape\.capacity = 1099511627776: expected an integer from",
    ),
    "a preset misspelt": (
        lambda rng, cache: Cache(config(rule="paperr")),
        InvalidArgument,
        r"config\.rule\.preset = 'paperr': expected one of paper, authors, superseded, recall",
    ),
    "bits that do not exist": (
        lambda rng, cache: Cache(config(rule=Rule(hash_bits=12))),
        InvalidArgument,
        r"config\.rule\.hash_bits = 12",
    ),
    "capacities the wrong way round": (
        lambda rng, cache: Cache(config(num_kv_heads=1, capacities=[[24, 24]])),
        InvalidArgument,
        r"capacities: int64 of shape \[1, 2\]: expected integers \[num_layers, num_kv_heads\] = \[2, 1\]",
    ),
    "an int64 block table": (
        lambda rng, cache: Cache(
            config(layout="paged"),
            Memory(
                keys=[np.zeros(9, np.float32)] * 2,
                values=[np.zeros(9, np.float32)] * 2,
                num_pages=1,
                block_table=np.zeros((1, 2), np.int64),
            ),
        ),
        InvalidArgument,
        r"memory\.block_table: dtype int64",
    ),
    "a block table of too few rows": (
        lambda rng, cache: Cache(
            config(layout="paged", num_sequences=2),
            Memory(
                keys=[np.zeros(9, np.float32)] * 2,
                values=[np.zeros(9, np.float32)] * 2,
                num_pages=1,
                block_table=np.zeros((1, 2), np.int32),
            ),
        ),
        InvalidArgument,
        r"memory\.block_table: rows \[1\]: expected \[2\]",
    ),
    "quantiles that fall": (
        lambda rng, cache: divide_slots(np.array([[[1.0, 0.0]]], np.float32), 10, 20, 1),
        InvalidArgument,
        r"quantiles\[0\]\[0\]\[1\] = 0",
    ),
    "a state that is none": (lambda rng, cache: cache.load(0, b"nonsense"), Error, r"."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_use_gives_one_clear_line(name: str, rng: np.random.Generator, cache: Cache) -> None:
    call, kind, message = REFUSED[name]
    before = cache.save(0)
    with pytest.raises(kind, match=message) as caught:
        call(rng, cache)
    assert "\n" not in str(caught.value) and str(caught.value)
    assert cache.save(0) == before


def test_errors_are_what_python_calls_them() -> None:
    with pytest.raises(ValueError, match="capacity"):
        Cache(config(capacity=0))
    with pytest.raises(NotImplementedError):
        Cache(config(backend="cuda"))
