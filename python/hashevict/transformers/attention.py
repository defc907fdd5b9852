# SPDX-License-Identifier: Apache-2.0
"""The attention function ``hashevict`` of transformers."""

from __future__ import annotations

import sys
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from hashevict.errors import Unsupported

NAME = "hashevict"

MARK = "_hashevict_layer"
"""The attribute by which keys that a bounded layer returned name it: attention functions are not given the cache."""


def attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: Any = None,
    **rest: Any,
) -> tuple[Any, Any]:
    """Attention over the keys of a bounded layer, or transformers' own for all other keys.

    Args:
        query: ``[batch, num_qo_heads, tokens, head_dim]``
        key: ``[batch, num_kv_heads, tokens, head_dim]``, as the cache's ``update`` returned it
        value: likewise
        attention_mask: bool ``[batch, 1, tokens, tokens]`` or None

    Returns:
        ``[batch, tokens, num_qo_heads, head_dim]``, and None for the weights
    """
    layer = getattr(key, MARK, None)
    if layer is None:
        return plain_attention(module, query, key, value, attention_mask, dropout, scaling, rest)
    if dropout:
        raise Unsupported(f"attention dropout of {dropout}: the cache is for inference; call model.eval()")
    if rest.get("output_attentions"):
        raise Unsupported("output_attentions: a bounded cache computes no weights")
    return layer.attend(module, query, key, value, attention_mask, scaling, rest), None


def plain_attention(
    module: Any, query: Any, key: Any, value: Any, mask: Any, dropout: float, scaling: Any, rest: dict[str, Any]
) -> tuple[Any, Any]:
    """Attention over the given keys alone: torch's, or the model's own where it caps logits or has sinks."""
    if rest.get("softcap") is None and rest.get("s_aux") is None:
        out: tuple[Any, Any] = ALL_ATTENTION_FUNCTIONS["sdpa"](
            module, query, key, value, mask, dropout=dropout, scaling=scaling, **rest
        )
        return out
    eager = sys.modules[type(module).__module__].eager_attention_forward
    out = eager(module, query, key, value, additive(mask, query, key), dropout=dropout, scaling=scaling, **rest)
    return out[0], None


def additive(mask: Any, query: Any, key: Any) -> Any:
    """The mask that eager attention adds to logits."""
    tokens, keys = query.shape[2], key.shape[2]
    if mask is None:
        mask = torch.ones(tokens, keys, dtype=torch.bool, device=query.device).tril(keys - tokens)[None, None]
    zero = torch.zeros((), dtype=query.dtype, device=query.device)
    return torch.where(mask, zero, torch.finfo(query.dtype).min)


def new_tokens_mask(**arguments: Any) -> Any:
    """The mask that transformers makes for ``sdpa``. Where a compiled model counts tokens by a tensor, it takes the
    columns of the new tokens from the padding mask itself, since transformers would branch on the count.
    """
    offset, padding = arguments["kv_offset"], arguments.get("attention_mask")
    if padding is None or not isinstance(offset, torch.Tensor):
        return sdpa_mask(**arguments)
    mask = sdpa_mask(**{**arguments, "attention_mask": None})
    columns = torch.arange(arguments["kv_length"], device=padding.device) + offset.to(padding.device)
    return mask & padding[:, None, None, columns]


def register() -> None:
    """Makes the attention function known to transformers as ``hashevict``. Without a mask function of that name,
    transformers would drop padding masks.
    """
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, new_tokens_mask)
