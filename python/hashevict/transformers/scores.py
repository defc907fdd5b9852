# SPDX-License-Identifier: Apache-2.0
"""Scores of keys while a model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from hashevict.errors import InvalidArgument, Unsupported
from hashevict.transformers.attention import plain_attention
from hashevict.transformers.models import ModelShape, use_attention

NAME = "hashevict_scores"
OUTPUT_PROJECTIONS = ("o_proj", "out_proj", "dense")
HIDDEN = "_hashevict_hidden_norms"


@dataclass(frozen=True)
class Scored:
    """Of the keys asked for, in the layers with full attention."""

    scores: NDArray[np.float32]
    """``[layers, num_kv_heads, keys]``."""
    keys: NDArray[np.float32]
    """``[layers, num_kv_heads, keys, head_dim]``, as a cache would get them."""
    hidden: NDArray[np.float32] | None
    """``[layers, keys, hidden_size]``: the hidden states that attention is given, if they were asked for."""


class HeadScores:
    """Lets a model read, with an attention function that scores keys. A context: it leaves the model as it was.

    Args:
        model: in evaluation mode
        shape: of the model
        hidden: whether hidden states are kept, too
    """

    _present: HeadScores | None = None

    def __init__(self, model: Any, shape: ModelShape, *, hidden: bool = False) -> None:
        self._model = model
        self._before = model.config._attn_implementation
        self._layers = shape.bounded
        self._model_type = shape.model_type
        self._norms = _output_norms(model, shape)
        self._hooks: list[Any] = []
        self._wants_hidden = hidden
        self._hidden: dict[int, Any] = {}
        self._keys: range = range(0)
        self._first_query = 0
        self._found: dict[int, tuple[Any, Any]] = {}

    def __enter__(self) -> HeadScores:
        AttentionInterface.register(NAME, _attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        use_attention(self._model, NAME)
        for name, module in attention_modules(self._model):
            parent = self._model.get_submodule(name.rpartition(".")[0])
            hook = _hidden_norms_hook(module)
            self._hooks.append(parent.register_forward_pre_hook(hook, with_kwargs=True))
            if self._wants_hidden:
                self._hooks.append(module.register_forward_pre_hook(self._keep_hidden, with_kwargs=True))
        HeadScores._present = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        HeadScores._present = None
        for hook in self._hooks:
            hook.remove()
        self._model.set_attn_implementation(self._before)

    def read(self, ids: Sequence[int], keys: range, first_query: int) -> Scored:
        """Reads ``ids`` and scores the keys of positions ``keys`` by the queries from ``first_query`` on."""
        vocabulary = self._model.get_input_embeddings().weight.shape[0]
        if max(ids) >= vocabulary:
            raise InvalidArgument(f"tokenizer: token {max(ids)}: expected below {vocabulary}, those of the model")
        self._keys, self._first_query = keys, first_query
        self._found, self._hidden = {}, {}
        self._model(input_ids=torch.tensor([list(ids)], device=self._model.device), use_cache=False, logits_to_keep=1)
        missing = [layer for layer in self._layers if layer not in self._found]
        if missing:
            raise Unsupported(
                f"model_type {self._model_type!r}: layer {missing[0]} did not call its attention function"
            )
        found = [self._found[layer] for layer in self._layers]
        return Scored(
            np.stack([scores.float().cpu().numpy() for scores, _ in found]),
            np.stack([states.float().cpu().numpy() for _, states in found]),
            self._kept_hidden() if self._wants_hidden else None,
        )

    def _keep_hidden(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module.layer_idx in self._layers:
            self._hidden[module.layer_idx] = hidden_states(args, kwargs)[0, self._keys.start : self._keys.stop]

    def _kept_hidden(self) -> NDArray[np.float32]:
        return np.stack([self._hidden[layer].float().cpu().numpy() for layer in self._layers])

    def score(self, module: Any, query: Any, key: Any, value: Any, scaling: Any, softcap: Any) -> None:
        """Scores the keys of a layer."""
        layer = module.layer_idx
        if layer not in self._layers:
            return
        rows = slice(self._keys.start, self._keys.stop)
        group = query.shape[1] // key.shape[1]
        hidden = getattr(module, HIDDEN)[0, self._first_query :].float()  # [queries]
        queries = query[0, :, self._first_query :].float()
        tokens = key.shape[2]
        seen = (
            torch.arange(tokens, device=key.device)
            <= torch.arange(self._first_query, tokens, device=key.device)[:, None]
        )
        per_head = []
        for head in range(query.shape[1]):  # one at a time: a head's logits are queries x tokens
            logits = queries[head] @ key[0, head // group].float().T * (scaling or key.shape[3] ** -0.5)
            if softcap:
                logits = softcap * torch.tanh(logits / softcap)
            weights = logits.masked_fill(~seen, -torch.inf).softmax(-1)[:, rows]
            largest = (weights / hidden[:, None]).amax(0)
            per_head.append(largest * self._norms[layer](head, value[0, head // group, rows].float()))
        scores = torch.stack(per_head).view(key.shape[1], group, -1).amax(1)
        self._found[layer] = (scores, key[0, :, rows])


def _attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: Any = None,
    **rest: Any,
) -> tuple[Any, Any]:
    present = HeadScores._present
    if present is not None:
        present.score(module, query, key, value, scaling, rest.get("softcap"))
    return plain_attention(module, query, key, value, attention_mask, dropout, scaling, rest)


def attention_modules(model: Any) -> list[tuple[str, Any]]:
    """The attention modules, by name: those that have a layer's number and an output projection."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if hasattr(module, "layer_idx") and any(hasattr(module, projection) for projection in OUTPUT_PROJECTIONS)
    ]


def hidden_states(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a module is given, ``[batch, tokens, hidden_size]``."""
    return args[0] if args else kwargs["hidden_states"]


def _hidden_norms_hook(module: Any) -> Any:
    """Keeps the norms of the hidden states that a decoder's layer is given, for its attention module."""

    def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        setattr(module, HIDDEN, hidden_states(args, kwargs).float().norm(dim=-1))

    return hook


def _output_norms(model: Any, shape: ModelShape) -> dict[int, Any]:
    """For each layer, a function of (query head, values ``[keys, head_dim]``): the norms of the head's output."""
    norms = {}
    for _, module in attention_modules(model):
        projection = next(getattr(module, name) for name in OUTPUT_PROJECTIONS if hasattr(module, name))
        if not isinstance(projection, torch.nn.Linear):
            continue

        def norm(head: int, values: Any, projection: Any = projection) -> Any:
            size = values.shape[1]
            weight = projection.weight[:, head * size : (head + 1) * size].float()
            return (values @ weight.T).norm(dim=-1)

        norms[module.layer_idx] = norm
    missing = [layer for layer in shape.bounded if layer not in norms]
    if missing:
        raise Unsupported(
            f"model_type {shape.model_type!r}: layer {missing[0]} has no output projection by the name of "
            f"{', '.join(OUTPUT_PROJECTIONS)}, so its keys cannot be scored"
        )
    return norms
