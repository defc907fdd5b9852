# SPDX-License-Identifier: Apache-2.0
"""One bounded layer of a :class:`HashEvictCache`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import CacheLayerMixin

from hashevict.errors import InvalidArgument, InvalidState, Unsupported
from hashevict.transformers import ops
from hashevict.transformers.attention import MARK, NAME, plain_attention

if TYPE_CHECKING:
    from hashevict.transformers.batches import Batch
    from hashevict.transformers.cache import HashEvictCache


class BoundedLayer(CacheLayerMixin):
    """Counts the tokens that transformers has seen, padding included, and hands keys to the attention function, which
    alone has the queries. Holds no keys itself.
    """

    is_sliding = False
    is_compileable = False
    is_croppable = False
    supports_early_init = False

    def __init__(self, owner: HashEvictCache, model_layer: int, index: int) -> None:
        super().__init__()
        self.owner = owner
        self.model_layer = model_layer
        self.index = index
        """Of the layer in the library's cache."""
        self.seen = 0
        """Tokens so far, padding included."""
        self.has_prompt = False
        self.pending = False
        """Whether keys were handed out whose attention has not come yet."""
        self.batch_size = -1
        self.hidden: Any = None
        """The hidden states of the present tokens, ``[batch, tokens, hidden_size]``, if the rule goes by them."""

    def lazy_initialization(self, key_states: Any, value_states: Any = None) -> None:
        self.is_initialized = True
        self.batch_size = key_states.shape[0]

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Returns the new keys and values alone, marked for the attention function."""
        if self.pending:
            raise InvalidState(
                f"{self._name()}: keys came twice without attention between: the model's attention implementation is "
                f"not {NAME!r}, or shares keys among layers"
            )
        if key_states.shape != value_states.shape:
            raise Unsupported(
                f"{self._name()}: keys {list(key_states.shape)} and values {list(value_states.shape)} differ in size"
            )
        if not self.is_initialized:
            self.lazy_initialization(key_states)
        if key_states.shape[0] != self.batch_size:
            raise InvalidArgument(
                f"{self._name()}: a batch of {key_states.shape[0]} rows: expected {self.batch_size}, as the cache "
                "began with; reset() it, or make another"
            )
        self.pending = True
        keys = key_states.view_as(key_states)
        setattr(keys, MARK, self)
        return keys, value_states

    def attend(
        self, module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: Any, rest: dict[str, Any]
    ) -> Any:
        """Takes the new tokens in and attends: over a first prompt in full, then over what the cache holds. In a
        compiled model the library's part is an operation of the graph (:mod:`hashevict.transformers.ops`).

        Returns:
            ``[batch, tokens, num_qo_heads, head_dim]``
        """
        if not self.pending:
            raise Unsupported(f"model_type {self.owner.shape.model_type!r}: it attends twice with the same keys")
        if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad):
            raise Unsupported("gradients: a bounded cache has none; call the model under torch.no_grad()")
        if rest.get("position_bias") is not None:
            raise Unsupported("position_bias: the cache adds no bias to logits")
        self.pending = False
        is_prompt = not self.has_prompt
        is_graph = torch.compiler.is_compiling()
        states = (query, key, value, self._handed_hidden(), mask)
        if is_prompt and self.owner.prompt_attention == "full":
            out, _ = plain_attention(module, query, key, value, mask, 0.0, scaling, rest)
            if is_graph:
                ops.prefill(self.owner.counter, self.index, *states)
            else:
                self.prefill(*states)
        else:
            settings = (rest.get("s_aux"), scaling or 0.0, rest.get("softcap") or 0.0)
            if is_graph:
                out = ops.decode(self.owner.counter, self.index, is_prompt, *states, *settings)
            else:
                out = self.decode(is_prompt, *states, *settings)
        self.has_prompt = True
        return out

    def _handed_hidden(self) -> Any:
        """The hidden states of the present tokens, once; None if the rule does not go by them."""
        hidden, self.hidden = self.hidden, None
        if hidden is None and self.owner.hidden_importance is not None:
            raise Unsupported(
                f"{self._name()}: its attention module was not called with the cache, so its hidden states are unknown"
            )
        return hidden

    def _importances(self, hidden: Any) -> Any:
        """Float32 ``[batch, tokens, num_kv_heads]``, or None: the rule takes none."""
        of = self.owner.hidden_importance
        return None if of is None else of(self.index, hidden)

    def prefill(self, query: Any, key: Any, value: Any, hidden: Any, mask: Any) -> None:
        """Takes a prompt in, whose attention has been computed. ``[batch, heads, tokens, head_dim]``, and
        ``[batch, tokens, hidden_size]`` or None.
        """
        tokens = query.shape[2]
        self.owner.prepare(query, key)
        batch = self.owner.batch(mask, 0, tokens)
        q, k, v = (_rows(states, batch) for states in (query, key, value))
        self.owner.native.prefill(
            self.index,
            q,
            k,
            v,
            mode=self.owner.prompt,
            importance=_tokens(self._importances(hidden), batch),
            row_to_sequence=batch.row_to_sequence,
            cu_seqlens=batch.cu_seqlens,
        )
        self._count(tokens)

    def decode(
        self,
        is_prompt: bool,
        query: Any,
        key: Any,
        value: Any,
        hidden: Any,
        mask: Any,
        sinks: Any,
        scaling: float,
        softcap: float,
    ) -> Any:
        """Takes tokens in and attends after each one's own step: a streamed prompt at once, later tokens in pieces that
        fit the workspace.

        Returns:
            ``[batch, tokens, num_qo_heads, head_dim]``
        """
        tokens = query.shape[2]
        self.owner.prepare(query, key)
        columns = tokens if is_prompt else max(1, self.owner.max_batch_tokens // query.shape[0])
        importance = self._importances(hidden)
        pieces = []
        for start in range(0, tokens, columns):
            end = min(start + columns, tokens)
            states = (query, key, value)
            if end - start < tokens:
                states = tuple(x[:, :, start:end] for x in states)
            batch = self.owner.batch(mask, start, end)
            part = None if importance is None else importance[:, start:end]
            pieces.append(self._take(is_prompt, *states, part, batch, sinks, scaling, softcap))
        self._count(tokens)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)

    def _take(
        self,
        is_prompt: bool,
        query: Any,
        key: Any,
        value: Any,
        importance: Any,
        batch: Batch,
        sinks: Any,
        scaling: float,
        softcap: float,
    ) -> Any:
        q, k, v = (_rows(states, batch) for states in (query, key, value))
        rows, heads, tokens, size = query.shape
        make = torch.zeros if batch.has_padding else torch.empty
        whole = make((rows, tokens, heads, size), dtype=query.dtype, device=query.device)
        flat = whole.view(rows * tokens, heads, size)
        out = flat if batch.packed is None else torch.empty_like(q, memory_format=torch.contiguous_format)
        lse = None
        if sinks is not None:
            lse = torch.zeros(out.shape[:2], dtype=torch.float32, device=query.device)
        call = self.owner.native.prefill if is_prompt else self.owner.native.decode
        call(
            self.index,
            q,
            k,
            v,
            out=out,
            lse=lse,
            scale=scaling,
            logit_soft_cap=softcap,
            importance=_tokens(importance, batch),
            row_to_sequence=batch.row_to_sequence,
            cu_seqlens=batch.cu_seqlens,
        )
        if sinks is not None and lse is not None:  # a sink is one more logit, without a value
            out.mul_(torch.sigmoid(lse - sinks.float())[..., None])
        if batch.packed is not None:
            flat.index_copy_(0, batch.packed, out)
        return whole

    def _count(self, tokens: int) -> None:
        self.seen += tokens
        if self.index == 0:  # transformers asks before the layers run
            self.owner.counter.numpy()[1] = self.seen  # torch's indexing takes microseconds

    def _name(self) -> str:
        return f"layer {self.model_layer} of {self.owner.shape.model_type!r}"

    def get_mask_sizes(self, query_length: Any, *args: Any) -> tuple[int, Any]:
        """The mask covers the new tokens alone."""
        tokens = query_length if isinstance(query_length, int) else query_length.shape[0]
        return tokens, self.get_seq_length()

    def get_seq_length(self, *args: Any) -> Any:
        """Tokens so far, padding included. A compiled model gets a tensor, so that its graph holds for every length."""
        return ops.seen(self.owner.counter) if torch.compiler.is_compiling() else self.seen

    def get_max_length(self) -> int:
        return -1

    get_max_cache_shape = get_max_length

    def reset(self) -> None:
        self.seen = 0
        self.has_prompt = False
        self.pending = False
        self.hidden = None

    def _refuse(self, what: str) -> Any:
        raise Unsupported(f"{what}: a bounded cache cannot do it exactly")

    def crop(self, *args: Any) -> None:
        self._refuse("crop (assisted generation, prompt lookup)")

    def activate_past_recording(self) -> None:
        self._refuse("activate_past_recording (assisted generation, prompt lookup)")

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._refuse("batch_repeat_interleave (contrastive search)")

    def batch_select_indices(self, indices: Any) -> None:
        self._refuse("batch_select_indices (contrastive search)")

    def offload(self) -> None:
        self._refuse("offload")

    prefetch = offload


def _rows(states: Any, batch: Batch) -> Any:
    """``[batch, heads, tokens, size]`` as the library's ``[batch * tokens, heads, size]``; the real ones
    where padding does not lead its row.
    """
    return _tokens(states.transpose(1, 2), batch)


def _tokens(states: Any, batch: Batch) -> Any:
    """The same of ``[batch, tokens, ...]``, or None."""
    if states is None:
        return None
    flat = states.flatten(0, 1)
    return flat if batch.packed is None else flat.index_select(0, batch.packed)
