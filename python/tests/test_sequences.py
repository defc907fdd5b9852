# SPDX-License-Identifier: Apache-2.0
"""Whole sequences, state and its inspection."""

from __future__ import annotations

import gc
import subprocess
import sys

import numpy as np
import pytest
from caches import config, states

import hashevict
from hashevict import Cache, Config, InvalidData, InvalidState, Memory, Rule


def filled(rng: np.random.Generator, tokens: int = 40, **changes: object) -> Cache:
    cache = Cache(config(**changes))
    for layer in range(2):
        cache.prefill(
            layer,
            states(rng, tokens, 4),
            states(rng, tokens, 2),
            states(rng, tokens, 2),
            cu_seqlens=np.array([0, tokens], np.int32),
        )
    return cache


def test_load_goes_on_as_the_saved_sequence(rng: np.random.Generator) -> None:
    cache = filled(rng)
    other = Cache(config(num_sequences=3))
    other.load(2, cache.save(0))
    for _ in range(20):
        q, k, v = states(rng, 1, 4), states(rng, 1, 2), states(rng, 1, 2)
        row = np.array([2], np.int32)
        np.testing.assert_array_equal(cache.decode(1, q, k, v), other.decode(1, q, k, v, row_to_sequence=row))


def test_load_of_damaged_bytes_is_refused(rng: np.random.Generator) -> None:
    cache = filled(rng)
    data = bytearray(cache.save(0))
    data[len(data) // 2] ^= 1
    before = cache.save(0)
    with pytest.raises(InvalidData):
        cache.load(0, bytes(data))
    assert cache.save(0) == before


def test_fork_copies_a_sequence(rng: np.random.Generator) -> None:
    cache = filled(rng, num_sequences=2)
    cache.fork(0, 1)
    assert cache.save(0) == cache.save(1)


def test_reset_empties_one_sequence_or_all(rng: np.random.Generator) -> None:
    cache = filled(rng, num_sequences=2)
    cache.fork(0, 1)
    cache.reset(0)
    assert cache.statistics(sequence=0).tokens_seen == 0
    assert cache.statistics(sequence=1).tokens_seen == 160
    cache.reset()
    assert cache.statistics().tokens_seen == 0


def test_statistics_count(rng: np.random.Generator) -> None:
    counted = filled(rng).statistics()
    assert (counted.tokens_seen, counted.slots_used, counted.evictions) == (160, 96, 64)
    assert counted.kv_bytes == 96 * 2 * 16 * 4
    assert counted.kv_bytes_full == 160 * 2 * 16 * 4


def test_view_outlives_the_cache_object(rng: np.random.Generator) -> None:
    cache = filled(rng)
    positions = np.asarray(cache.view(0, 0).positions)
    expected = positions.copy()
    del cache
    gc.collect()
    np.testing.assert_array_equal(positions, expected)


def test_state_of_a_view_is_read_only(rng: np.random.Generator) -> None:
    view = filled(rng).view(0, 0)
    for name in ("codes", "positions", "lengths", "tokens_seen"):
        assert not np.asarray(getattr(view, name)).flags.writeable
    assert np.asarray(view.keys).flags.writeable


def test_projection_set_is_projection_read(rng: np.random.Generator) -> None:
    cache = Cache(config(rule=Rule(projection_kind="learned", projection_per_head=True, hash_bits=8)))
    with pytest.raises(InvalidState):
        cache.append(0, states(rng, 1, 4), states(rng, 1, 2), states(rng, 1, 2))
    rows = rng.standard_normal((2, 8, 16), np.float32)
    cache.set_projection(0, rows)
    np.testing.assert_array_equal(cache.projection(0), rows)


def test_center_is_subtracted(rng: np.random.Generator) -> None:
    cache = Cache(config(rule=Rule(centering="fixed")))
    x = states(rng, 1, 2)
    cache.set_center(0, 0, x[0], np.zeros((4, 16), np.float32))
    codes = np.zeros((1, 2, 2), np.uint8)
    cache.encode(0, 0, "keys", x, codes)
    assert (codes == 255).all()  # every product is 0


def test_config_comes_back_with_every_field() -> None:
    given = config(capacities=[[24, 30], [16, 40]], capacity=None, layer_rules=["superseded", Rule(hash_bits=32)])
    back = Cache(given).config
    assert back.capacities == ((24, 30), (16, 40))
    assert back.layer_rules is not None and back.layer_rules[0].policy == "superseded"  # type: ignore[union-attr]
    assert back.layer_rules[1].hash_bits == 32  # type: ignore[union-attr]
    assert Cache(back).config == back


def test_names_are_those_of_the_library() -> None:
    from typing import get_args

    from hashevict import _native
    from hashevict import config as typed

    for name, values in _native.names().items():
        alias = {"dtype": "DType"}.get(name, "".join(part.title() for part in name.split("_")))
        assert set(get_args(getattr(typed, alias))) == set(values)


def test_required_bytes_are_the_sum_of_their_parts() -> None:
    bytes_ = Cache.required_bytes(config(capacity=100))
    assert bytes_.keys == 2 * 2 * 100 * 16 * 4
    assert bytes_.total == bytes_.keys + bytes_.values + bytes_.state + bytes_.workspace


def test_capabilities_name_the_build() -> None:
    found = Cache.capabilities("cpu")
    assert found.version == hashevict.__version__
    assert "superseded" in found.policies and 128 in found.hash_bits


def test_lent_memory_holds_keys_and_values(rng: np.random.Generator) -> None:
    keys = [np.zeros((1, 2, 24, 16), np.float32) for _ in range(2)]
    values = [np.zeros((1, 2, 24, 16), np.float32) for _ in range(2)]
    cache = Cache(config(), Memory(keys=keys, values=values))
    k = states(rng, 1, 2)
    cache.append(1, states(rng, 1, 4), k, k)
    np.testing.assert_array_equal(keys[1][0, :, 0], k[0])
    assert (keys[0] == 0).all()


def test_paged_memory_follows_the_block_table(rng: np.random.Generator) -> None:
    pages = [np.zeros((5, 2, 8, 16), np.float32) for _ in range(4)]
    table = np.array([[4, 0, 2]], np.int32)
    memory = Memory(keys=pages[:2], values=pages[2:], num_pages=5, block_table=table)
    paged = Cache(config(layout="paged", page_size=8), memory)
    dense = Cache(config())
    for _ in range(40):
        q, k, v = states(rng, 1, 4), states(rng, 1, 2), states(rng, 1, 2)
        np.testing.assert_array_equal(paged.decode(0, q, k, v), dense.decode(0, q, k, v))
    assert (pages[0][1] == 0).all() and (pages[0][4] != 0).any()


def test_each_head_has_pages_of_its_own_in_one_pool(rng: np.random.Generator) -> None:
    capacities = [[24, 16], [20, 24]]
    keys, values = (np.zeros((12, 8, 16), np.float32) for _ in range(2))
    table = rng.permutation(12).astype(np.int32).reshape(2, 1, 2, 3)
    memory = Memory(keys=[keys] * 2, values=[values] * 2, num_pages=12, block_table=table)
    paged = Cache(config(capacities=capacities, layout="paged_per_head", page_size=8), memory)
    dense = Cache(config(capacities=capacities))
    for _ in range(40):
        for layer in range(2):
            q, k, v = states(rng, 1, 4), states(rng, 1, 2), states(rng, 1, 2)
            np.testing.assert_array_equal(paged.decode(layer, q, k, v), dense.decode(layer, q, k, v))


def test_presets_are_the_librarys() -> None:
    shape = dict(num_layers=1, num_qo_heads=1, num_kv_heads=1, head_dim=8, capacity=64, backend="cpu")
    rule = Cache(Config(**shape, rule="superseded")).config.rule  # type: ignore[arg-type]
    assert isinstance(rule, Rule)
    assert (rule.policy, rule.hash_bits, rule.recent_fraction) == ("superseded", 64, 0.5)


def test_memory_of_the_process_grows_by_what_is_required_and_no_more(rng: np.random.Generator) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    program = """
import sys, numpy as np, hashevict
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
config = hashevict.Config(num_layers=4, num_qo_heads=4, num_kv_heads=4, head_dim=64, capacity=4096, dtype="float32",
                          backend="cpu", num_threads=1, rule="superseded", max_batch_tokens=64)
needed = hashevict.Cache.required_bytes(config).total
tokens = np.random.default_rng(0).standard_normal((64, 4, 64), dtype=np.float32)
row = np.array([0, 64], np.int32)
before = resident()
cache = hashevict.Cache(config)
for i in range(66):
    for layer in range(4):
        cache.prefill(layer, tokens, tokens, tokens, cu_seqlens=row, mode="recent")
print(needed, resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    needed, grown = map(int, done.stdout.split())
    assert needed > 30 << 20
    assert 0.9 * needed < grown < 1.1 * needed
