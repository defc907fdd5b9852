# SPDX-License-Identifier: Apache-2.0
"""The models that a bounded cache fits, and the refusals of the others by name."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from typing import Any

from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from hashevict.errors import Unsupported

REFUSED = {
    "bloom": "its attention adds a bias by position (ALiBi) and ignores attention implementations",
    "falcon": "its attention ignores attention implementations",
    "mpt": "its attention adds a bias by position (ALiBi) and ignores attention implementations",
    "deepseek_v2": "its keys and values differ in size",
    "deepseek_v3": "its keys and values differ in size",
    "gemma3n": "its layers share keys and values",
    "gemma3n_text": "its layers share keys and values",
    "diffllama": "it attends twice with the same keys",
    "doge": "its attention computes a mask of its own",
}

STATEFUL = ("conv", "linear_attention", "mamba", "hybrid")
"""Types of layers that keep a state instead of keys."""


@dataclass(frozen=True)
class ModelShape:
    """What a cache needs to know of a model."""

    model_type: str
    num_qo_heads: int
    num_kv_heads: int
    head_dim: int
    layers: tuple[Any, ...]
    """Transformers' own cache layers, one for each layer of the model."""
    bounded: tuple[int, ...]
    """Indices of the layers with full attention, which the cache bounds."""


def shape_of(config: Any) -> ModelShape:
    """Reads a model's config.

    Raises:
        Unsupported: a model that the cache cannot hold exactly; the message names it and the reason
    """
    text = config.get_text_config(decoder=True)
    kind = text.model_type
    reason = REFUSED.get(kind) or REFUSED.get(config.model_type)
    if reason is None and getattr(config, "is_encoder_decoder", False):
        reason = "it has an encoder, whose keys nothing evicts"
    if reason is None and getattr(text, "num_kv_shared_layers", None):
        reason = "its layers share keys and values"
    if reason is not None:
        raise Unsupported(f"model_type {kind!r}: {reason}")
    layers = list(DynamicCache(config=text).layers)
    if not layers:
        layers = [DynamicLayer() for _ in range(text.num_hidden_layers)]
    kinds = getattr(text, "layer_types", None) or ["full_attention"] * len(layers)
    if any(name in STATEFUL and isinstance(layer, DynamicLayer) for name, layer in zip(kinds, layers, strict=False)):
        raise Unsupported(
            f"model_type {kind!r}: this version of transformers keeps its linear layers in a cache of the model's own"
        )
    bounded = tuple(i for i, layer in enumerate(layers) if type(layer) is DynamicLayer)
    if not bounded:
        raise Unsupported(f"model_type {kind!r}: none of its layers has full attention, so there is nothing to bound")
    num_qo_heads = text.num_attention_heads
    num_kv_heads = getattr(text, "num_key_value_heads", None) or num_qo_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // num_qo_heads
    return ModelShape(kind, num_qo_heads, num_kv_heads, head_dim, tuple(layers), bounded)


def use_attention(model: Any, name: str) -> None:
    """Sets the attention implementation of a model.

    Raises:
        Unsupported: the model's attention ignores implementations
    """
    file = sys.modules.get(type(model).__module__)
    if not getattr(model, "_supports_attention_backend", False) and not hasattr(file, "ALL_ATTENTION_FUNCTIONS"):
        raise Unsupported(f"model_type {model.config.model_type!r}: its attention ignores attention implementations")
    if model.config._attn_implementation != name:
        model.set_attn_implementation(name)


def refuse_continuous_batching(model: Any, name: str) -> None:
    """Makes a model refuse continuous batching (``generate_batch`` and its like) while its attention implementation is
    ``name``: there transformers makes a paged cache of its own, and would ignore a bounded one without a word.
    """

    def init_continuous_batching(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.config._attn_implementation == name:
            raise Unsupported(
                "continuous batching: transformers pages a cache of its own there, which nothing bounds; call "
                "generate(), or first model.set_attn_implementation('sdpa')"
            )
        return type(self).init_continuous_batching(self, *args, **kwargs)

    if hasattr(type(model), "init_continuous_batching"):
        model.init_continuous_batching = types.MethodType(init_continuous_batching, model)
