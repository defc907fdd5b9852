# SPDX-License-Identifier: Apache-2.0
"""The package against the command ``hashevict replay``, a C++ program: the same slots, victims, codes and bits."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caches import config, states
from safetensors.numpy import load_file, save_file

from hashevict import Cache, Rule

COMMAND = os.environ.get("HASHEVICT_COMMAND", "")
pytestmark = pytest.mark.skipif(not COMMAND, reason="HASHEVICT_COMMAND names no command")

TOKENS = 70
RULES: dict[str, tuple[Rule, list[str]]] = {
    "paper": (Rule(), []),
    "superseded": (Rule("superseded"), ["--preset", "superseded"]),
    "random": (Rule(policy="random"), ["--policy", "random"]),
    "mean": (Rule(policy="mean", hash_bits=32), ["--policy", "mean", "--bits", "32"]),
}


@pytest.mark.parametrize("name", RULES)
def test_a_trace_gives_the_commands_results_to_the_bit(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    rule, options = RULES[name]
    trace = {
        f"layers.{i}.{x}": states(rng, TOKENS, heads) for i in range(2) for x, heads in (("q", 4), ("k", 2), ("v", 2))
    }
    save_file(trace, tmp_path / "trace")
    command = [COMMAND, "replay", "--trace", tmp_path / "trace", "--out", tmp_path / "out", "--budget", "24"]
    subprocess.run([*command, *options], check=True, capture_output=True)
    expected = load_file(tmp_path / "out")
    cache = Cache(config(rule=rule))
    found: dict[str, list[Any]] = {}
    for i in range(2):
        for t in range(TOKENS):
            q, k, v = (trace[f"layers.{i}.{x}"][t : t + 1] for x in "qkv")
            slots, victims = np.full((1, 2), 77, np.int32), np.full((1, 2), 77, np.int32)
            out = cache.decode(i, q, k, v, slots=slots, victims=victims)
            for part, array in (("slots", slots), ("victims", victims), ("out", out)):
                found.setdefault(f"layers.{i}.{part}", []).append(array)
        view = [cache.view(i, head) for head in range(2)]
        found[f"layers.{i}.positions"] = [np.stack([np.asarray(head.positions)[0] for head in view])]
        found[f"layers.{i}.codes"] = [np.stack([np.asarray(head.codes)[0] for head in view])]
    assert set(found) == set(expected)
    for tensor, steps in found.items():
        np.testing.assert_array_equal(np.concatenate(steps), expected[tensor], err_msg=tensor)
