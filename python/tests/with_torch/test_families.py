# SPDX-License-Identifier: Apache-2.0
"""At full budget every family generates the tokens of transformers' own cache, in a padded batch."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from models import FAMILIES, MIXED_FAMILIES, forward, generate, hidden_profile, prompts, tiny
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hashevict import HashEvictCache, Unsupported
from hashevict.transformers.layer import BoundedLayer
from hashevict.transformers.models import shape_of

LATE = ("gptj", "nemotron")
"""Families whose attention takes implementations in later versions of transformers 5 alone."""
LINEAR = ("lfm2", "qwen3_next")


def takes_attention(model: object) -> bool:
    return hasattr(sys.modules[type(model).__module__], "ALL_ATTENTION_FUNCTIONS")


def keeps_linear_layers() -> bool:
    return hasattr(transformers.cache_utils, "LinearAttentionLayer")


def expect_the_models_own_logits(model: Any) -> None:
    """Tokens alone would not show a wrong scale, cap or sink."""
    ids, _ = prompts(2, 14)
    cache = HashEvictCache(model, 64, num_threads=1)
    forward(model, ids[:, :12], cache)
    logits = [forward(model, ids[:, i : i + 1], cache)[:, 0] for i in (12, 13)]
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(torch.stack(logits, 1), expected[:, 12:], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_full_budget_gives_the_tokens_of_the_models_own_cache(family: str) -> None:
    model = tiny(family)
    if family in LATE and not takes_attention(model):  # in this version of transformers
        with pytest.raises(Unsupported, match=f"'{family}': its attention ignores"):
            HashEvictCache(model, 64)
        return
    ids, mask = prompts(2, 12, [5, 0])
    expected = generate(model, ids, mask)
    cache = HashEvictCache(model, 64, num_threads=1)
    assert torch.equal(generate(model, ids, mask, cache), expected)
    expect_the_models_own_logits(model)
    heads = cache.native.config.num_kv_heads
    assert cache.statistics().tokens_seen == 2 * heads * (2 * (12 + 15) - 5)  # padding is not among them


@pytest.mark.parametrize("family", MIXED_FAMILIES)
def test_layers_without_full_attention_stay_transformers_own(family: str) -> None:
    model = tiny(family, **MIXED_FAMILIES[family])
    if family in LINEAR and not keeps_linear_layers():
        with pytest.raises(Unsupported, match=f"'{family}': this version of transformers keeps its linear layers"):
            HashEvictCache(model, 64)
        return
    if family == "gemma2":
        model.set_attn_implementation("eager")  # older versions' sdpa leaves the cap out
    ids, mask = prompts(2, 12, [5, 0])
    expected = generate(model, ids, mask)
    cache = HashEvictCache(model, 64, num_threads=1)
    assert torch.equal(generate(model, ids, mask, cache), expected)
    expect_the_models_own_logits(model)
    assert [isinstance(layer, BoundedLayer) for layer in cache.layers] == [False, True]


@pytest.mark.parametrize("family", sorted({*FAMILIES, *MIXED_FAMILIES} - {"gpt2"}))
def test_attention_hands_its_hidden_states_over(family: str) -> None:
    model = tiny(family, **MIXED_FAMILIES.get(family, {}))
    if (family in LATE and not takes_attention(model)) or (family in LINEAR and not keeps_linear_layers()):
        return
    shape = shape_of(model.config)
    heads = len(shape.bounded), shape.num_kv_heads
    cache = HashEvictCache(model, np.full(heads, 20, np.int32), profile=hidden_profile(*heads), num_threads=1)
    generate(model, *prompts(2, 24, [3, 0]), cache, max_new_tokens=4)
    assert cache.statistics().evictions == heads[0] * heads[1] * (27 - 20 + 24 - 20)


REFUSED = {
    "bloom": ({}, "ignores attention implementations"),
    "falcon": ({}, "ignores attention implementations"),
    "mpt": ({"d_model": 64, "n_heads": 4, "n_layers": 2}, "ignores attention implementations"),
    "deepseek_v2": ({}, "keys and values differ in size"),
    "deepseek_v3": ({}, "keys and values differ in size"),
    "gemma3n_text": ({}, "layers share keys and values"),
    "diffllama": ({}, "attends twice with the same keys"),
    "doge": ({}, "computes a mask of its own"),
    "t5": ({}, "has an encoder"),
    "gemma3_text": ({"layer_types": ["sliding_attention"] * 2}, "none of its layers has full attention"),
}


class _Model:
    def __init__(self, config: object) -> None:
        self.config = config


@pytest.mark.parametrize("family", REFUSED)
def test_other_families_are_refused_by_name(family: str) -> None:
    changes, reason = REFUSED[family]
    config = CONFIG_MAPPING[family](num_hidden_layers=2, **changes)
    with pytest.raises(Unsupported, match=f"model_type '{family}'.*{reason}"):
        HashEvictCache(_Model(config), 64)


def test_a_model_that_attends_twice_is_refused_when_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from hashevict.transformers import models as known

    monkeypatch.setattr(known, "REFUSED", {})
    model = tiny("diffllama")
    if not takes_attention(model):
        with pytest.raises(Unsupported, match="ignores attention implementations"):
            HashEvictCache(model, 64)
        return
    cache = HashEvictCache(model, 64)
    with pytest.raises(Unsupported, match="attends twice"):
        generate(model, *prompts(1, 8), cache)
