# SPDX-License-Identifier: Apache-2.0
"""Tiny random models of many families, their hidden weights, and generation in every version of transformers 5."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from hashevict import Profile

VOCABULARY = 97
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
_EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_GPT = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "rotary_dim": 16, "num_key_value_heads": 4}

FAMILIES: dict[str, dict[str, Any]] = {
    "apertus": {},
    "arcee": {},
    "ernie4_5": {},
    "gemma": {},
    "glm4": {"partial_rotary_factor": 0.5},
    "gpt2": _GPT,
    "gpt_neox": {"num_key_value_heads": 4},
    "gptj": _GPT,
    "granite": {},
    "granitemoe": _EXPERTS,
    "helium": {},
    "hunyuan_v1_dense": {},
    "llama": {},
    "minimax_m2": {**_EXPERTS, "rotary_dim": 8},
    "mistral": {"sliding_window": None},
    "mixtral": {**_EXPERTS, "sliding_window": None},
    "nemotron": {},
    "olmo2": {},
    "olmoe": _EXPERTS,
    "opt": {"ffn_dim": 96, "word_embed_proj_dim": 64, "num_key_value_heads": 4},
    "phi": {},
    "phi3": {"sliding_window": None},
    "qwen2": {"use_sliding_window": False},
    "qwen3": {"use_sliding_window": False},
    "qwen3_moe": {**_EXPERTS, "use_sliding_window": False},
    "seed_oss": {},
    "smollm3": {"use_sliding_window": False},
    "stablelm": {},
    "starcoder2": {"sliding_window": None},
}
"""Families whose every layer has full attention, with what they need besides the sizes."""

_MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8}
_LINEAR = {f"linear_{part}": size for part, size in (("key_head_dim", 16), ("value_head_dim", 16))}

MIXED_FAMILIES: dict[str, dict[str, Any]] = {
    "cohere2": _MIXED,
    "exaone4": _MIXED,
    "gemma2": {**_MIXED, "attn_logit_softcapping": 0.5},
    "gemma3_text": _MIXED,
    "gpt_oss": {**_MIXED, **_EXPERTS},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "llama4_text": {
        **_EXPERTS,
        "layer_types": ["chunked_attention", "full_attention"],
        "attention_chunk_size": 8,
        "intermediate_size_mlp": 96,
    },
    "olmo3": _MIXED,
    "qwen2": {**_MIXED, "use_sliding_window": True},
    "qwen3_next": {
        **_EXPERTS,
        **_LINEAR,
        "layer_types": ["linear_attention", "full_attention"],
        "shared_expert_intermediate_size": 32,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
    },
}
"""Families of which one layer slides, is chunked or linear, and stays transformers' own."""


def tiny(family: str, **changes: Any) -> Any:
    """A random model of two small layers, in evaluation mode."""
    torch.manual_seed(sum(map(ord, family)))
    config = AutoConfig.for_model(family, **{**_SIZES, **FAMILIES.get(family, {}), **changes})
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = 0
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():  # larger than the initial weights, so that attention decides tokens
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embed" not in name:
                parameter.mul_(4.0)
    return model


def cache_name() -> str:
    """The argument of ``generate`` and ``forward`` that takes a cache; 5.24 renamed it."""
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    return "cache" if version >= (5, 24) else "past_key_values"


def generate(model: Any, ids: Any, mask: Any = None, cache: Any = None, **options: Any) -> Any:
    """Tokens of ``generate``, greedy unless ``options`` say otherwise."""
    given = {} if cache is None else {cache_name(): cache}
    settings = {"max_new_tokens": 16, "do_sample": False, "pad_token_id": 0, "eos_token_id": None, **options}
    mask = torch.ones_like(ids) if mask is None else mask
    return model.generate(ids, attention_mask=mask, **given, **settings)


def prompts(rows: int, tokens: int, padding: list[int] | None = None) -> tuple[Any, Any]:
    """Random prompts with padding on the left: ids and mask ``[rows, tokens]``."""
    ids = torch.randint(3, VOCABULARY, (rows, tokens))
    mask = torch.ones_like(ids)
    for row, count in enumerate(padding or []):
        ids[row, :count] = 0
        mask[row, :count] = 0
    return ids, mask


def forward(model: Any, ids: Any, cache: Any, **options: Any) -> Any:
    """Logits of a bare forward pass."""
    assert cache_name() in inspect.signature(model.forward).parameters
    with torch.no_grad():
        return model(input_ids=ids, **{cache_name(): cache}, **options).logits


def hidden_profile(layers: int = 2, heads: int = 2, size: int = 64) -> Profile:
    """Weights of two powers of two a head, so that a sum is rounded once, in whatever order it is taken."""
    draw = np.random.default_rng(int(torch.randint(1 << 30, ())))
    weight = np.zeros((layers, heads, size), np.float32)
    for row in weight.reshape(-1, size):
        row[draw.choice(size, 2, replace=False)] = draw.choice([-2.0, -0.5, 1.0, 4.0], 2)
    bias = draw.standard_normal((layers, heads)).astype(np.float32)
    return Profile(np.zeros((layers, heads, 3), np.float32), hidden_weight=weight, hidden_bias=bias)
