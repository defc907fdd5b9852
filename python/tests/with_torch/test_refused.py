# SPDX-License-Identifier: Apache-2.0
"""What a bounded cache cannot do exactly is refused by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from models import cache_name, forward, generate, hidden_profile, prompts, tiny

from hashevict import Error, HashEvictCache, InvalidArgument, InvalidState, Profile, Rule, Unsupported


@pytest.fixture
def model() -> Any:
    return tiny("llama")


def _custom_mask(model: Any, dtype: torch.dtype) -> None:
    mask = torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    mask[0, 0, 4, 1] = False
    if dtype != torch.bool:
        mask = torch.where(mask, 0.0, torch.finfo(dtype).min)
    forward(model, prompts(1, 6)[0], HashEvictCache(model, 64), attention_mask=mask)


def _gradients(model: Any) -> None:
    model(input_ids=prompts(1, 6)[0], **{cache_name(): HashEvictCache(model, 64)})


def _other_attention(model: Any) -> None:
    cache = HashEvictCache(model, 64)
    model.set_attn_implementation("sdpa")
    forward(model, prompts(1, 6)[0], cache)
    forward(model, prompts(1, 1)[0], cache)


def _other_batch(model: Any) -> None:
    cache = HashEvictCache(model, 64)
    forward(model, prompts(1, 6)[0], cache)
    forward(model, prompts(2, 1)[0], cache)


def _training(model: Any) -> None:
    model.config.attention_dropout = 0.5
    model = tiny("llama", attention_dropout=0.5).train()
    forward(model, prompts(1, 6)[0], HashEvictCache(model, 64))


def _profile_of_another_model(model: Any) -> None:
    HashEvictCache(model, 64, max_length=128, profile=Profile(np.zeros((3, 2, 4), np.float32)))


GIVEN = Rule(policy="importance", importance_source="given")


def _with_slopes() -> Rule:
    return dataclasses.replace(GIVEN, importance_slopes=True)


def _without_hooks(model: Any) -> None:
    cache = HashEvictCache(model, 64, max_length=128, profile=hidden_profile())
    for layer in model.model.layers:
        layer.self_attn._forward_pre_hooks.clear()
    forward(model, prompts(1, 6)[0], cache)


REFUSED: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "a mask of one's own": (lambda m: _custom_mask(m, torch.bool), Unsupported, "attention_mask: expected causal"),
    "an additive mask": (lambda m: _custom_mask(m, torch.float32), Unsupported, "attention_mask: float32"),
    "gradients": (_gradients, Unsupported, "gradients"),
    "another attention implementation": (_other_attention, InvalidState, "attention implementation is not 'hashevict'"),
    "another batch": (_other_batch, InvalidArgument, "a batch of 2 rows: expected 1"),
    "training": (_training, Unsupported, "attention dropout of 0.5"),
    "a budget of nothing": (lambda m: HashEvictCache(m, 0), InvalidArgument, "capacity = 0"),
    "a fraction above one": (lambda m: HashEvictCache(m, 1.5, max_length=9), InvalidArgument, "budget = 1.5"),
    "a fraction of nothing": (
        lambda m: HashEvictCache(m, 0.5),
        InvalidArgument,
        "max_length: needed with budget = 0.5",
    ),
    "a profile without a length": (
        lambda m: HashEvictCache(m, 64, profile=Profile(np.zeros((2, 2, 4), np.float32))),
        InvalidArgument,
        "max_length: needed with a profile",
    ),
    "slots of another model's heads": (
        lambda m: HashEvictCache(m, np.full((3, 2), 40, np.int32)),
        InvalidArgument,
        r"config.shape.capacities: int32 of shape \[3, 2\]: expected integers \[num_layers, num_kv_heads\] = \[2, 2\]",
    ),
    "another model's profile": (_profile_of_another_model, InvalidArgument, "profile: of 3 layers and 2 KV heads"),
    "importances that nobody brings": (
        lambda m: HashEvictCache(m, 64, rule=Rule(policy="importance")),
        InvalidArgument,
        "policy 'importance' needs a profile with importance weights",
    ),
    "importances of hidden states that nobody learned": (
        lambda m: HashEvictCache(m, 64, rule=GIVEN),
        InvalidArgument,
        "importance_source 'given' needs a profile with hidden weights",
    ),
    "slopes of hidden states": (
        lambda m: HashEvictCache(m, 64, max_length=128, profile=hidden_profile(), rule=_with_slopes()),
        InvalidArgument,
        "importance_slopes: expected none",
    ),
    "hidden weights of another size": (
        lambda m: HashEvictCache(m, 64, max_length=128, profile=hidden_profile(size=48)),
        InvalidArgument,
        "profile.hidden_weight: for hidden states of size 48: expected 64, that of the model",
    ),
    "attention modules of another kind": (
        lambda m: HashEvictCache(tiny("gpt2"), 64, max_length=128, profile=hidden_profile(heads=4)),
        Unsupported,
        "model_type 'gpt2': layer 0 has no attention module with a layer_idx and an output projection by the name of",
    ),
    "hidden states that are not handed over": (
        _without_hooks,
        Unsupported,
        "layer 0 of 'llama': its attention module was not called with the cache",
    ),
    "votes that nobody learned": (lambda m: HashEvictCache(m, 64, rule="recall"), InvalidArgument, "needs a profile"),
    "a prompt streamed and reduced by its queries": (
        lambda m: HashEvictCache(m, 64, prompt="window", prompt_attention="streamed"),
        InvalidArgument,
        "prompt = 'window': expected 'replay'",
    ),
    "a prompt misspelt": (lambda m: HashEvictCache(m, 64, prompt="all"), InvalidArgument, "expected one of replay"),  # type: ignore[arg-type]
    "cropping": (lambda m: HashEvictCache(m, 64).crop(-1), Unsupported, "crop"),
    "offloading": (lambda m: HashEvictCache(m, 64).layers[0].offload(), Unsupported, "offload"),
    "attention weights": (
        lambda m: forward(m, prompts(1, 6)[0], HashEvictCache(m, 64), output_attentions=True),
        Unsupported,
        "output_attentions",
    ),
    "contrastive search": (
        lambda m: HashEvictCache(m, 64).batch_repeat_interleave(2),
        Unsupported,
        "batch_repeat_interleave",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_use_gives_one_clear_line(name: str, model: Any) -> None:
    call, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message) as caught:
        call(model)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, Error)


@pytest.mark.parametrize("options", [{"prompt_lookup_num_tokens": 3}, {"assistant_model": tiny("llama")}])
def test_assisted_generation_is_refused(options: dict[str, Any], model: Any) -> None:
    with pytest.raises((Unsupported, ValueError), match=r"crop|past_recording|rollback|assist|cache"):
        generate(model, *prompts(1, 12), HashEvictCache(model, 64), **options)


CONTINUOUS: dict[str, Callable[[Any], Any]] = {
    "generate_batch": lambda m: m.generate_batch([[5, 6, 7]]),
    "init_continuous_batching": lambda m: m.init_continuous_batching(),
    "continuous_batching_context_manager": lambda m: m.continuous_batching_context_manager().__enter__(),
}


@pytest.mark.parametrize("entry", CONTINUOUS)
def test_continuous_batching_is_refused(entry: str, model: Any) -> None:
    HashEvictCache(model, 64)
    with pytest.raises(Unsupported, match="continuous batching: transformers pages a cache of its own") as caught:
        CONTINUOUS[entry](model)
    assert "\n" not in str(caught.value)
    model.set_attn_implementation("sdpa")
    assert type(model.init_continuous_batching()).__name__ == "ContinuousBatchingManager"


def test_a_cache_beside_cache_implementation_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="cache_implementation"):
        generate(model, *prompts(1, 8), HashEvictCache(model, 64), cache_implementation="static")
