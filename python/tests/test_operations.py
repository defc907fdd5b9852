# SPDX-License-Identifier: Apache-2.0
"""Operations against plain loops, and against each other, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from caches import config, states
from oracle import Head

from hashevict import Cache, InvalidState, Rule


def poisoned(*shape: int, dtype: Any = np.int32) -> Any:
    return np.full(shape, 77, dtype)


def test_decode_takes_the_slots_victims_and_values_of_plain_loops(rng: np.random.Generator) -> None:
    cache = Cache(config(num_layers=1))
    heads = [Head(24), Head(24)]
    for position in range(80):
        q, k, v = states(rng, 1, 4), states(rng, 1, 2), states(rng, 1, 2)
        query_codes, key_codes = poisoned(1, 4, 2, dtype=np.uint8), poisoned(1, 2, 2, dtype=np.uint8)
        cache.encode(0, 0, "queries", q, query_codes)
        cache.encode(0, 0, "keys", k, key_codes)
        slots, victims, lse = poisoned(1, 2), poisoned(1, 2), poisoned(1, 4, dtype=np.float32)
        out = cache.decode(0, q, k, v, slots=slots, victims=victims, lse=lse)
        for h, head in enumerate(heads):
            expected = head.step(position, key_codes[0, h], query_codes[0, 2 * h : 2 * h + 2], k[0, h], v[0, h])
            assert (slots[0, h], victims[0, h]) == expected
            for query in (2 * h, 2 * h + 1):
                np.testing.assert_allclose(out[0, query], head.attend(q[0, query]), rtol=1e-4, atol=1e-5)
    assert np.isfinite(lse).all()


def test_codes_are_the_signs_of_products_with_the_projection(rng: np.random.Generator) -> None:
    cache = Cache(config(rule=Rule(hash_bits=64)))
    x = states(rng, 5, 2)
    codes = poisoned(5, 2, 8, dtype=np.uint8)
    cache.encode(1, 0, "keys", x, codes)
    products = x.astype(np.float64) @ cache.projection(1).astype(np.float64).T
    bits = np.unpackbits(codes, axis=2, bitorder="little")
    sure = np.abs(products) > 1e-4
    assert (bits[sure] == (products[sure] >= 0)).all()


def test_prefill_in_chunks_leaves_the_state_of_one_decode_step_a_token(rng: np.random.Generator) -> None:
    q, k, v = states(rng, 60, 4), states(rng, 60, 2), states(rng, 60, 2)
    stepped, chunked = Cache(config()), Cache(config())
    for layer in range(2):
        for t in range(60):
            stepped.append(layer, q[t : t + 1], k[t : t + 1], v[t : t + 1])
        for first, last in ((0, 17), (17, 18), (18, 60)):
            chunked.prefill(
                layer, q[first:last], k[first:last], v[first:last], cu_seqlens=np.array([0, last - first], np.int32)
            )
    for layer in range(2):
        for head in range(2):
            for name in ("keys", "values", "codes", "positions", "lengths"):
                ours, theirs = (np.asarray(getattr(c.view(layer, head), name)) for c in (stepped, chunked))
                np.testing.assert_array_equal(ours, theirs)


def test_append_and_attend_are_decode(rng: np.random.Generator, cache: Cache) -> None:
    other = Cache(config())
    for _ in range(40):
        q, k, v = states(rng, 1, 4), states(rng, 1, 2), states(rng, 1, 2)
        out = cache.decode(0, q, k, v)
        other.append(0, q, k, v)
        np.testing.assert_array_equal(out, other.attend(0, q))


def test_evict_chooses_what_append_chooses(rng: np.random.Generator, cache: Cache) -> None:
    other = Cache(config())
    for _ in range(40):
        q, k, v = states(rng, 1, 4), states(rng, 1, 2), states(rng, 1, 2)
        ours, theirs = poisoned(1, 2), poisoned(1, 2)
        cache.append(0, q, k, v, slots=ours)
        other.evict(0, q, k, slots=theirs)
        np.testing.assert_array_equal(ours, theirs)
        for head in range(2):  # the engine's own store
            np.asarray(other.view(0, head).keys)[0, theirs[0, head]] = k[0, head]
            np.asarray(other.view(0, head).values)[0, theirs[0, head]] = v[0, head]
    q = states(rng, 1, 4)
    np.testing.assert_array_equal(cache.attend(0, q), other.attend(0, q))


def test_decode_reads_strided_tensors_in_place(rng: np.random.Generator) -> None:
    dense, strided = Cache(config()), Cache(config())
    for _ in range(30):
        fused = states(rng, 1, 8)  # q, k and v of one projection
        q, k, v = fused[:, :4], fused[:, 4:6], fused[:, 6:]
        holder = poisoned(1, 4, 32, dtype=np.float32)
        out = strided.decode(0, q, k, v, out=holder[:, :, :16])
        assert out.base is holder
        np.testing.assert_array_equal(out, dense.decode(0, q.copy(), k.copy(), v.copy()))
        assert (holder[:, :, 16:] == 77).all()


def test_decode_takes_float16(rng: np.random.Generator) -> None:
    cache = Cache(config(dtype="float16"))
    q, k, v = (states(rng, 1, heads).astype(np.float16) for heads in (4, 2, 2))
    out = cache.decode(0, q, k, v)
    assert out.dtype == np.float16
    np.testing.assert_allclose(out[0, 0], v[0, 0], rtol=1e-2)


def test_ragged_batch_equals_each_row_alone(rng: np.random.Generator) -> None:
    lengths = [5, 0, 33]
    offsets = np.array([0, 5, 5, 38], np.int32)
    q, k, v = states(rng, 38, 4), states(rng, 38, 2), states(rng, 38, 2)
    batch = Cache(config(num_sequences=4))
    batch.prefill(0, q, k, v, row_to_sequence=np.array([3, 1, 0], np.int32), cu_seqlens=offsets)
    for row, sequence in ((0, 3), (2, 0)):
        part = slice(offsets[row], offsets[row + 1])
        alone = Cache(config())
        alone.prefill(0, q[part], k[part], v[part], cu_seqlens=np.array([0, lengths[row]], np.int32))
        for head in range(2):
            np.testing.assert_array_equal(
                np.asarray(batch.view(0, head).positions)[sequence], np.asarray(alone.view(0, head).positions)[0]
            )


def test_skipped_rows_stay_as_they_are(rng: np.random.Generator) -> None:
    cache = Cache(config(num_sequences=2))
    out = poisoned(2, 4, 16, dtype=np.float32)
    rows = np.array([-1, 1], np.int32)
    cache.decode(0, states(rng, 2, 4), states(rng, 2, 2), states(rng, 2, 2), out=out, row_to_sequence=rows)
    assert (out[0] == 77).all() and (out[1] != 77).all()
    assert cache.statistics(sequence=0).tokens_seen == 0 and cache.statistics(sequence=1).tokens_seen == 2


def test_out_may_be_q(rng: np.random.Generator, cache: Cache) -> None:
    q, k, v = states(rng, 1, 4), states(rng, 1, 2), states(rng, 1, 2)
    expected = Cache(config()).decode(0, q, k, v)
    assert cache.decode(0, q, k, v, out=q) is q
    np.testing.assert_array_equal(q, expected)


def test_importances_of_the_engine_decide(rng: np.random.Generator) -> None:
    cache = Cache(config(rule=Rule(policy="importance", num_sink_tokens=0, recent_window=0), capacity=8))
    importance = rng.permutation(20).astype(np.float32)
    for t in range(20):
        cache.append(
            0, None, states(rng, 1, 2), states(rng, 1, 2), importance=np.full((1, 2), importance[t], np.float32)
        )
    kept = np.asarray(cache.view(0, 0).positions)[0]
    expected: list[int] = []
    for t in range(20):
        if len(expected) == 8:
            expected.remove(min(expected, key=lambda held: importance[held]))
        expected.append(t)
    assert sorted(kept.tolist()) == expected


def test_importance_weights_are_needed_and_decide(rng: np.random.Generator) -> None:
    rule = Rule(policy="importance", importance_source="key", num_sink_tokens=0, recent_window=0)
    cache = Cache(config(rule=rule, capacity=4, num_layers=1))
    k, v = states(rng, 9, 2), states(rng, 9, 2)
    one_row = np.array([0, 9], np.int32)
    with pytest.raises(InvalidState, match="importance"):
        cache.prefill(0, None, k, v, cu_seqlens=one_row)
    weight = rng.standard_normal((2, 16), np.float32)
    cache.set_importance_weights(0, weight, np.zeros(2, np.float32))
    victims = poisoned(9, 2)
    cache.prefill(0, None, k, v, victims=victims, cu_seqlens=one_row)
    for head in range(2):
        importances = k[:, head].astype(np.float64) @ weight[head]
        assert victims[4, head] == np.argmin(importances[:4])


def test_a_streamed_prompts_attention_is_that_of_decode(rng: np.random.Generator) -> None:
    stepped, streamed = Cache(config()), Cache(config())
    q, k, v = states(rng, 60, 4), states(rng, 60, 2), states(rng, 60, 2)
    out, lse = poisoned(60, 4, 16, dtype=np.float32), poisoned(60, 4, dtype=np.float32)
    streamed.prefill(0, q, k, v, out=out, lse=lse, scale=0.5, cu_seqlens=np.array([0, 60], np.int32))
    for t in range(60):
        step_lse = poisoned(1, 4, dtype=np.float32)
        step = stepped.decode(0, q[t : t + 1], k[t : t + 1], v[t : t + 1], lse=step_lse, scale=0.5)
        np.testing.assert_allclose(out[t], step[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(lse[t], step_lse[0], rtol=1e-4, atol=1e-5)


def test_a_full_prompts_attention_sees_all_of_it(rng: np.random.Generator) -> None:
    bounded, roomy = Cache(config()), Cache(config(capacity=100))
    q, k, v = states(rng, 60, 4), states(rng, 60, 2), states(rng, 60, 2)
    row = np.array([0, 60], np.int32)
    outs = [poisoned(60, 4, 16, dtype=np.float32) for _ in range(2)]
    for cache, out in zip((bounded, roomy), outs, strict=True):
        cache.prefill(0, q, k, v, out=out, attention="full", cu_seqlens=row)
    np.testing.assert_allclose(outs[0], outs[1], rtol=1e-4, atol=1e-5)


def test_queries_after_see_every_slot(rng: np.random.Generator, cache: Cache) -> None:
    for _ in range(40):
        cache.append(0, states(rng, 1, 4), states(rng, 1, 2), states(rng, 1, 2))
    q = states(rng, 3, 4)
    out = cache.attend(0, q, queries="after", cu_seqlens=np.array([0, 3], np.int32))
    for t in range(3):
        np.testing.assert_array_equal(out[t], cache.attend(0, q[t : t + 1])[0])
