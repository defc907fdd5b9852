# SPDX-License-Identifier: Apache-2.0
"""Ways to generate with a bounded cache."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from models import forward, generate, prompts, tiny

from hashevict import HashEvictCache, Profile, Rule


@pytest.fixture
def model() -> Any:
    return tiny("llama")


def cache_of(model: Any, budget: float = 128, **options: Any) -> HashEvictCache:
    return HashEvictCache(model, budget, num_threads=1, **options)


def test_sampling_draws_the_same_tokens(model: Any) -> None:
    ids, mask = prompts(2, 10, [3, 0])
    options = {"do_sample": True, "temperature": 1.5, "num_return_sequences": 3}
    torch.manual_seed(7)
    expected = generate(model, ids, mask, **options)
    torch.manual_seed(7)
    assert torch.equal(generate(model, ids, mask, cache_of(model), **options), expected)


def test_beams_are_forked(model: Any) -> None:
    ids, mask = prompts(2, 10, [3, 0])
    options = {"num_beams": 4, "num_return_sequences": 2, "max_new_tokens": 24}
    expected = generate(model, ids, mask, **options)
    cache = cache_of(model)
    assert torch.equal(generate(model, ids, mask, cache, **options), expected)
    assert cache.native.config.num_sequences == 8  # no spare rows


def test_several_turns_go_on_in_one_cache(model: Any) -> None:
    from transformers import DynamicCache

    ids, _ = prompts(1, 9)
    ours, theirs = cache_of(model), DynamicCache(config=model.config)
    for _ in range(3):
        expected = generate(model, ids, None, theirs, max_new_tokens=6)
        assert torch.equal(generate(model, ids, None, ours, max_new_tokens=6), expected)
        ids = torch.cat([expected, prompts(1, 5)[0]], 1)


def test_padding_within_a_row_of_a_later_turn_stays_out(model: Any) -> None:
    from transformers import DynamicCache

    ids, mask = prompts(2, 9, [2, 0])
    ours, theirs = cache_of(model), DynamicCache(config=model.config)
    first = generate(model, ids, mask, theirs, max_new_tokens=6)
    assert torch.equal(generate(model, ids, mask, ours, max_new_tokens=6), first)
    more, padding = prompts(2, 5, [0, 3])
    ids = torch.cat([first, more], 1)
    mask = torch.cat([mask, torch.ones(2, 6, dtype=mask.dtype), padding], 1)
    assert torch.equal(generate(model, ids, mask, ours), generate(model, ids, mask, theirs))


def test_padding_on_the_right_stays_out(model: Any) -> None:
    ids, _ = prompts(2, 9)
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    position_ids = torch.arange(9).expand(2, -1)
    plain = model(input_ids=ids, attention_mask=mask, position_ids=position_ids, use_cache=False).logits
    cache = cache_of(model)
    logits = forward(model, ids, cache, attention_mask=mask, position_ids=position_ids)
    torch.testing.assert_close(logits[0, :5], plain[0, :5])
    assert cache.native.statistics(sequence=0).tokens_seen == 2 * 2 * 5


@pytest.mark.parametrize("chunk", [1, 4, 7])
def test_chunked_prefill_gives_the_same_tokens(model: Any, chunk: int) -> None:
    from transformers import DynamicCache

    ids, mask = prompts(2, 20, [6, 0])
    expected = generate(model, ids, mask, DynamicCache(config=model.config), prefill_chunk_size=chunk)
    assert torch.equal(generate(model, ids, mask, cache_of(model), prefill_chunk_size=chunk), expected)


def test_a_padded_batch_of_small_capacity_equals_each_row_alone(model: Any) -> None:
    ids, mask = prompts(3, 30, [11, 0, 29])
    together = generate(model, ids, mask, cache_of(model, 20))
    for row, count in enumerate((11, 0, 29)):
        alone = generate(model, ids[row : row + 1, count:], None, cache_of(model, 20))
        assert torch.equal(alone[0, 30 - count :], together[row, 30:])


def test_memory_is_bounded_and_positions_stay_logical(model: Any) -> None:
    ids, _ = prompts(1, 50)
    cache = cache_of(model, 24)
    generate(model, ids, None, cache, max_new_tokens=100)
    counted = cache.statistics()
    assert (counted.slots_used, counted.slots_total) == (2 * 2 * 24, 2 * 2 * 24)
    assert cache.get_seq_length() == 149
    newest = np.asarray(cache.native.view(0, 0).positions).max()
    assert newest == 148
    assert np.asarray(cache.native.view(0, 0).keys).nbytes == 24 * 16 * 4


@pytest.mark.parametrize("prompt", [1, 9, 60])
def test_after_evictions_tokens_attend_from_their_own_positions(model: Any, prompt: int) -> None:
    ids, _ = prompts(1, 60)
    cache = cache_of(model, 16, rule=Rule("paper", policy="window"), prompt_attention="streamed")
    parts = [slice(0, prompt), *(slice(i, i + 1) for i in range(prompt, 60))]
    logits = torch.cat([forward(model, ids[:, part], cache) for part in parts], 1)
    t, s = torch.arange(60)[:, None], torch.arange(60)
    held = (s <= t) & ((s < 4) | (s > t - 12))  # sinks, and the latest tokens in the other slots
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=held[None, None], use_cache=False).logits
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)


def test_an_evicted_token_is_forgotten(model: Any) -> None:
    ids, _ = prompts(1, 60)
    other = ids.clone()
    other[0, 5:20] = (other[0, 5:20] - 3 + 17) % 90 + 3
    tail, _ = prompts(1, 30)
    options = {"rule": Rule("paper", policy="window")}
    ours = [cache_of(model, 16, **options) for _ in range(2)]
    for text, cache in zip((ids, other), ours, strict=True):
        forward(model, text[:, :5], cache)
        forward(model, text[:, 5:], cache)
        forward(model, tail, cache)
    assert not np.intersect1d(np.asarray(ours[0].native.view(0, 0).positions), range(5, 20)).size


def test_deepcopy_goes_on_by_itself(model: Any) -> None:
    ids, mask = prompts(2, 20, [4, 0])
    cache = cache_of(model, 16)
    forward(model, ids, cache, attention_mask=mask)
    twin = copy.deepcopy(cache)
    token = torch.tensor([[5], [9]])
    longer = torch.cat([mask, torch.ones(2, 1, dtype=mask.dtype)], 1)
    torch.testing.assert_close(
        forward(model, token, cache, attention_mask=longer), forward(model, token, twin, attention_mask=longer)
    )
    before = twin.native.save(0)
    forward(model, token, cache, attention_mask=torch.cat([longer, longer[:, :1]], 1))
    assert twin.native.save(0) == before
    assert twin.get_seq_length() == 21


def test_reset_begins_anew_with_another_batch(model: Any) -> None:
    cache = cache_of(model)
    generate(model, *prompts(2, 8), cache)
    cache.reset()
    ids, mask = prompts(3, 8)
    expected = generate(model, ids, mask)
    assert torch.equal(generate(model, ids, mask, cache), expected)


def test_profile_divides_the_budget_among_heads(model: Any) -> None:
    quantiles = np.sort(np.random.default_rng(3).random((2, 2, 33), np.float32) * [[[1], [9]], [[4], [2]]], axis=2)
    profile = Profile(quantiles.astype(np.float32))
    cache = cache_of(model, 0.5, max_length=80, profile=profile, floor=20)
    ids, _ = prompts(1, 60)
    generate(model, ids, None, cache, max_new_tokens=20)
    np.testing.assert_array_equal(cache.capacities, profile.capacities(40, 80, 20))
    for layer in range(2):
        for head in range(2):
            lengths = np.asarray(cache.native.view(layer, head).lengths)
            assert lengths[0] == min(79, cache.capacities[layer, head])


def test_slots_can_be_given_head_by_head(model: Any) -> None:
    slots = np.array([[20, 40], [60, 30]], np.int32)
    ids, _ = prompts(1, 70)
    profile = Profile(np.zeros((2, 2, 4), np.float32), np.ones((2, 2, 16), np.float32), np.zeros((2, 2), np.float32))
    for options in ({}, {"profile": profile, "rule": Rule(policy="importance")}):
        cache = HashEvictCache(model, slots, num_threads=1, **options)
        generate(model, ids, None, cache, max_new_tokens=4)
        np.testing.assert_array_equal(cache.capacities, slots)
        held = [np.asarray(cache.native.view(layer, head).positions).shape[1] for layer in (0, 1) for head in (0, 1)]
        assert held == [20, 40, 60, 30]


def test_half_precision_models_are_stored_as_they_are(model: Any) -> None:
    half = model.to(torch.bfloat16)
    cache = cache_of(half)
    generate(half, *prompts(1, 8), cache)
    assert cache.native.config.dtype == "bfloat16"


@pytest.mark.parametrize("prompt", ["replay", "window", "recent"])
def test_long_prompts_attend_in_full_and_are_then_reduced(model: Any, prompt: Any) -> None:
    ids, mask = prompts(2, 60, [20, 0])
    plain = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, -1]
    cache = cache_of(model, 24, prompt=prompt)
    logits = forward(model, ids, cache, attention_mask=mask)[:, -1]
    torch.testing.assert_close(logits[1], plain[1])
    assert cache.statistics().slots_used == 2 * 2 * 2 * 24


def test_a_streamed_prompt_is_one_that_was_decoded(model: Any) -> None:
    ids, mask = prompts(2, 40, [9, 0])
    streamed = cache_of(model, 20, prompt_attention="streamed")
    position_ids = (mask.cumsum(1) - 1).clamp(min=0)
    logits = forward(model, ids, streamed, attention_mask=mask, position_ids=position_ids)
    for row, count in enumerate((9, 0)):
        stepped = cache_of(model, 20)
        for position in range(count, 40):
            step = forward(model, ids[row : row + 1, position : position + 1], stepped)
            torch.testing.assert_close(logits[row, position], step[0, 0], rtol=1e-3, atol=1e-3)
        for layer in range(2):
            for head in range(2):
                ours, theirs = (np.asarray(c.native.view(layer, head).positions) for c in (streamed, stepped))
                np.testing.assert_array_equal(ours[row], theirs[0])


def test_later_turns_longer_than_the_workspace_are_cut(model: Any) -> None:
    from transformers import DynamicCache

    ours, theirs = cache_of(model, 256), DynamicCache(config=model.config)
    ids, _ = prompts(1, 3)
    more, _ = prompts(1, 150)
    for text in (ids, more):
        torch.testing.assert_close(forward(model, text, ours), forward(model, text, theirs), rtol=1e-3, atol=1e-3)


def test_other_caches_see_the_same_model(model: Any) -> None:
    from transformers import DynamicCache

    ids, mask = prompts(2, 10, [3, 0])
    expected = generate(model, ids, mask)
    cache_of(model)
    assert model.config._attn_implementation == "hashevict"
    assert torch.equal(generate(model, ids, mask, DynamicCache(config=model.config)), expected)
