# SPDX-License-Identifier: Apache-2.0
"""The streams of all rules against plain loops over a layer that really is bounded."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import oracle
import pytest
from rivals.given import GivenImportance
from rivals.h2o import H2o
from rivals.keydiff import KeyDiff
from rivals.positional import RandomPinned, StreamingLlm
from rivals.r_kv import RKv, mean_cosines
from rivals.rule import LayerShape
from rivals.snapkv import AdaKv, SnapKv, pooled
from rivals.stream import ALIVE, Stream
from rivals.tova import Tova

RULES: dict[str, Any] = {
    "streaming_llm": StreamingLlm,
    "h2o": H2o,
    "tova": Tova,
    "tova_half": partial(Tova, recent=0.5),
    "snapkv": SnapKv,
    "snapkv_half": partial(SnapKv, recent=0.5),
    "ada_kv": AdaKv,
    "r_kv": RKv,
    "r_kv_half": partial(RKv, recent=0.5),
    "keydiff": KeyDiff,
    "keydiff_half": partial(KeyDiff, recent=0.5),
    "kvzap_linear": partial(GivenImportance, sinks=4, window=128),
    "kvzip": partial(GivenImportance, sinks=4, recent=0.5),
}
SIZE, GROUP = 8, 2
SCALING = 0.4


def shape(capacities: list[int], seed: int = 0) -> LayerShape:
    return LayerShape(0, GROUP, SIZE, np.array(capacities, np.int32), SCALING, seed)


def tensors(rng: np.random.Generator, heads: int, tokens: int) -> tuple[Any, Any, Any]:
    """Queries, keys that resemble their neighbours, and importances."""
    queries = rng.standard_normal((heads, GROUP, tokens, SIZE)) * 1.5
    keys = rng.standard_normal((heads, tokens, SIZE)) + rng.standard_normal((heads, 1, SIZE))
    keys[:, 1::3] = keys[:, ::3][:, : keys[:, 1::3].shape[1]] + 0.3 * rng.standard_normal(keys[:, 1::3].shape)
    return queries, keys, rng.standard_normal((heads, tokens))


def plain(rule: str, capacities: list[int], queries: Any, keys: Any, given: Any, prompt: int = 0) -> Any:
    """The deaths of the oracle, ``[heads, tokens]``."""
    layer = oracle.Layer(rule, capacities, SCALING)
    tokens = keys.shape[1]
    for t in range(tokens):
        if t == prompt > 0:
            layer.compress()
        layer.step(queries[:, :, t], keys[:, t], keys[:, t], given[:, t], evict=t >= prompt)
    return np.array([[layer.death(head, t) for t in range(tokens)] for head in range(len(capacities))])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("capacities", "tokens"),
    [([20, 20], 70), ([12, 33, 20], 80), ([80, 80], 170), ([100, 40], 150), ([9, 10], 30), ([1, 3], 12)],
)
def test_every_key_dies_when_the_published_algorithm_evicts_it(
    rng: np.random.Generator, rule: str, capacities: list[int], tokens: int
) -> None:
    queries, keys, given = tensors(rng, len(capacities), tokens)
    stream = Stream(RULES[rule](shape(capacities)))
    if (capacities <= stream.rule.sinks() + stream.rule.window()).any():
        pytest.skip("the cache refuses these capacities")
    stream.take(queries, keys, given)
    np.testing.assert_array_equal(stream.deaths, plain(rule, capacities, queries, keys, given))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("capacities", [[20, 20], [70, 24, 40]])
def test_a_prompt_is_compressed_at_once_and_streaming_goes_on(
    rng: np.random.Generator, rule: str, capacities: list[int]
) -> None:
    prompt, tokens = 60, 90
    queries, keys, given = tensors(rng, len(capacities), tokens)
    stream = Stream(RULES[rule](shape(capacities)))
    stream.take(queries[:, :, :prompt], keys[:, :prompt], given[:, :prompt], bounded=False)
    stream.compress()
    stream.take(queries[:, :, prompt:], keys[:, prompt:], given[:, prompt:])
    np.testing.assert_array_equal(stream.deaths, plain(rule, capacities, queries, keys, given, prompt))


@pytest.mark.parametrize("rule", RULES)
def test_the_number_of_calls_changes_nothing(rng: np.random.Generator, rule: str) -> None:
    queries, keys, given = tensors(rng, 2, 90)
    whole, parts = Stream(RULES[rule](shape([30, 20]))), Stream(RULES[rule](shape([30, 20])))
    whole.take(queries, keys, given)
    for a, b in ((0, 7), (7, 33), (33, 34), (34, 90)):
        parts.take(queries[:, :, a:b], keys[:, a:b], given[:, a:b])
    np.testing.assert_array_equal(parts.deaths, whole.deaths)


@pytest.mark.parametrize("rule", [*RULES, "random_pinned"])
def test_no_step_sees_more_than_the_capacity(rng: np.random.Generator, rule: str) -> None:
    capacities = [25, 13]
    queries, keys, given = tensors(rng, 2, 80)
    stream = Stream({**RULES, "random_pinned": RandomPinned}[rule](shape(capacities)))
    stream.take(queries, keys, given)
    births = np.arange(80)
    seen = np.array([((births <= t) & (t < stream.deaths)).sum(1) for t in range(80)])
    if rule == "ada_kv":
        assert (seen.sum(1) <= sum(capacities)).all()
        assert (seen[-1] > 0.2 * (19 - 9)).all(), "each head keeps its floor"
    else:
        assert (seen <= capacities).all()
    full = seen.sum(1)[60:]
    assert full.min() > 0.7 * sum(capacities) if rule == "keydiff" else (full == sum(capacities)).all()


def test_random_pinned_keeps_both_ends_and_follows_its_seed(rng: np.random.Generator) -> None:
    queries, keys, _ = tensors(rng, 2, 400)
    deaths = []
    for seed in (1, 1, 2):
        stream = Stream(RandomPinned(shape([50, 20], seed)))
        stream.take(queries, keys)
        deaths.append(stream.deaths)
    np.testing.assert_array_equal(deaths[0], deaths[1])
    assert (deaths[0] != deaths[2]).any()
    assert (deaths[0] != deaths[0][:1]).any(), "heads draw for themselves"
    assert (deaths[0][0, :5] == ALIVE).all() and (deaths[0][1, :2] == ALIVE).all()
    lives = deaths[0][0, 5:300] - np.arange(5, 300)
    assert lives.min() > 5
    # Each of the 40 others goes with the same chance: after the 5 of the window, 40 steps on average.
    assert 30 < np.minimum(lives, 4000)[lives < 4000].mean() < 60


def test_pooling_takes_the_largest_of_three_neighbours_on_each_side() -> None:
    values = np.array([[5.0, 1.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 2.0]])
    positions = np.array([[8, 0, 1, 2, ALIVE, 3, 4, 5, 6]], np.int32)  # 5 is the last of the row
    np.testing.assert_array_equal(pooled(values, positions), [[5.0, 1.0, 1.0, 1.0, -np.inf, 2.0, 5.0, 5.0, 5.0]])


def test_of_the_keys_that_resemble_one_the_most_recent_is_spared() -> None:
    copies = np.tile([1.0, 0.0], (5, 1))
    np.testing.assert_allclose(mean_cosines(copies), [0.8, 0.8, 0.8, 0.6, 0.0])


def test_tova_evicts_alike_in_all_heads_of_equal_capacity(rng: np.random.Generator) -> None:
    queries, keys, _ = tensors(rng, 3, 60)
    stream = Stream(Tova(shape([20, 20, 20])))
    stream.take(queries, keys)
    assert (stream.deaths == stream.deaths[0]).all()


def test_ada_kv_gives_more_slots_to_the_head_whose_attention_is_spread(rng: np.random.Generator) -> None:
    queries, keys, _ = tensors(rng, 2, 200)
    keys[0], queries[0] = 0.01 * keys[0], queries[0]  # even attention
    keys[1, :] = 0.0
    keys[1, 3], queries[1] = 40.0, np.abs(queries[1])  # all of it on one key
    stream = Stream(AdaKv(shape([100, 100])))
    stream.take(queries, keys)
    kept = (stream.deaths == ALIVE).sum(1)
    assert kept[0] > 140 and kept[1] < 60
    assert stream.deaths[1, 3] == ALIVE
