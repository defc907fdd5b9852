# SPDX-License-Identifier: Apache-2.0
"""A cache for transformers that simulates a rival exactly, in one forward pass.

The attention function gets all queries and keys of a layer, computes for each key the step at which a cache of the
given capacity, streamed token by token, would have evicted it, and attends with the mask ``birth <= t < death``. What a
rule reads of attention is computed over what the bounded cache holds at each step, so that the result is that of
streaming.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Cache

from hashevict.errors import InvalidArgument, Unsupported
from hashevict.transformers.attention import NAME, plain_attention, register
from hashevict.transformers.batches import batch_of
from hashevict.transformers.layer import BoundedLayer
from hashevict.transformers.models import ModelShape, shape_of, use_attention
from rivals.rule import Floats, Ints, LayerShape, MakeRule
from rivals.stream import Stream

Mode = Literal["streamed", "known"]

GiveImportance = Callable[["SimulatedCache", int, int, int], Floats]
"""From the cache, a bounded layer's index and the range of new tokens: their importance ``[num_kv_heads, tokens]``."""


class Context(Protocol):
    """What the evaluation tells a policy of one example (``hashevict.evaluation.policies.PolicyContext``)."""

    @property
    def capacities(self) -> NDArray[np.int32]: ...
    @property
    def seed(self) -> int: ...
    @property
    def mode(self) -> Mode: ...


class SimulatedCache(Cache):  # type: ignore[misc]
    """One sequence, in one forward pass or in several.

    Args:
        model: a causal language model of transformers
        name: the rival's, for messages
        make_rule: makes the rule of a layer
        context: ``mode`` ``known``: the first pass is a prompt, which attends in full and is then compressed at once;
            later tokens are streamed. ``streamed``: all are
        importance: gives each token's, for rules that take one
        wants_hidden: whether the layers keep the hidden states that their attention is given

    Raises:
        InvalidArgument: capacities that do not fit the model or the rule
        Unsupported: a model that no bounded cache fits
    """

    def __init__(
        self,
        model: Any,
        name: str,
        make_rule: MakeRule,
        context: Context,
        *,
        importance: GiveImportance | None = None,
        wants_hidden: bool = False,
    ) -> None:
        self.shape: ModelShape = shape_of(model.config)
        self.name = name
        self.mode: Mode = context.mode
        self.importance = importance
        self.wants_hidden = wants_hidden
        self.token_ids: list[int] = []
        """Of all tokens so far, where a hook of the model gives them."""
        self._make_rule = make_rule
        self._seed = context.seed
        self._capacities = self._checked(context.capacities)
        if self.mode not in ("streamed", "known"):
            raise InvalidArgument(f"{name}: mode = {self.mode!r}: expected 'streamed' or 'known'")
        for index in range(len(self.shape.bounded)):
            self._check_capacities(index)
        register()
        use_attention(model, NAME)
        layers = [
            SimulatedLayer(self, i, self.shape.bounded.index(i)) if i in self.shape.bounded else layer
            for i, layer in enumerate(self.shape.layers)
        ]
        super().__init__(layers=layers)

    def stream(self, index: int, scaling: float) -> Stream:
        """An empty stream of a layer."""
        shape = self.shape
        group = shape.num_qo_heads // shape.num_kv_heads
        return Stream(
            self._make_rule(LayerShape(index, group, shape.head_dim, self._capacities[index], scaling, self._seed))
        )

    def reset(self) -> None:
        """Empties the cache."""
        super().reset()
        self.token_ids.clear()

    def _checked(self, capacities: Any) -> Ints:
        array = np.asarray(capacities)
        expected = (len(self.shape.bounded), self.shape.num_kv_heads)
        if array.shape != expected or array.dtype.kind not in "iu":
            raise InvalidArgument(
                f"{self.name}: capacities: {array.dtype} {list(array.shape)}: expected integers "
                f"{list(expected)}, those of the model's layers and KV heads"
            )
        return array.astype(np.int32)

    def _check_capacities(self, index: int) -> None:
        rule = self.stream(index, 1.0).rule
        least = rule.sinks() + rule.window() + 1
        for head in np.flatnonzero(self._capacities[index] < least):
            if rule.shares_slots and self._capacities[index].sum() >= least.sum():
                return
            raise InvalidArgument(
                f"{self.name}: {self._capacities[index, head]} slots in layer {self.shape.bounded[index]}, KV head "
                f"{head}: expected at least {least[head]}"
            )


class SimulatedLayer(BoundedLayer):
    """One layer with full attention."""

    def __init__(self, owner: SimulatedCache, model_layer: int, index: int) -> None:
        super().__init__(owner, model_layer, index)
        self.cache = owner
        self.hidden: Any = None
        """``[tokens, hidden_size]``: of the present pass, if the cache wants them."""
        self.simulation: Stream | None = None
        self._keys: Any = None
        self._values: Any = None

    def attend(
        self, module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: Any, rest: dict[str, Any]
    ) -> Any:
        """Attends as streaming would. Returns ``[1, tokens, num_qo_heads, head_dim]``."""
        self._refuse_what_does_not_fit(query, key, mask, rest)
        self.pending = False
        tokens, start = query.shape[2], self.seen
        end = start + tokens
        self.seen = end
        if self.simulation is None:
            self.simulation = self.cache.stream(self.index, float(scaling or 1.0 / math.sqrt(query.shape[3])))
            self._keys, self._values = key[:, :, :0], value[:, :, :0]
        self._keys, self._values = torch.cat([self._keys, key], 2), torch.cat([self._values, value], 2)
        is_prompt = self.cache.mode == "known" and start == 0
        give = self.cache.importance
        self.simulation.take(
            _array(query[0]).reshape(key.shape[1], -1, tokens, query.shape[3]),
            _array(key[0]),
            None if give is None else give(self.cache, self.index, start, end),
            bounded=not is_prompt,
        )
        deaths = torch.from_numpy(self.simulation.deaths)
        if is_prompt:
            self.simulation.compress()
        if start == 0 and bool((deaths >= end).all()):
            out, _ = plain_attention(module, query, key, value, mask, 0.0, scaling, rest)
            return out
        return self._masked(query, deaths.to(query.device), start, scaling)

    def _masked(self, query: Any, deaths: Any, start: int, scaling: Any) -> Any:
        heads, end = self._keys.shape[1], self._keys.shape[2]
        group = query.shape[1] // heads
        steps = torch.arange(start, end, device=query.device)[:, None]
        born = torch.arange(end, device=query.device) <= steps  # [tokens, keys]
        pieces = []
        for head in range(heads):
            shape = (1, group, end, query.shape[3])
            pieces.append(
                torch.nn.functional.scaled_dot_product_attention(
                    query[:, head * group : (head + 1) * group],
                    self._keys[:, head : head + 1].expand(shape),
                    self._values[:, head : head + 1].expand(shape),
                    attn_mask=born & (steps < deaths[head]),
                    scale=scaling,
                )
            )
        return torch.cat(pieces, 1).transpose(1, 2).contiguous()

    def _refuse_what_does_not_fit(self, query: Any, key: Any, mask: Any, rest: dict[str, Any]) -> None:
        where = f"{self.cache.name}: layer {self.model_layer} of {self.cache.shape.model_type!r}"
        if not self.pending:
            raise Unsupported(f"{where}: it attends twice with the same keys")
        if query.shape[0] != 1:
            raise Unsupported(f"{where}: a batch of {query.shape[0]} rows: a simulation is of one sequence")
        for name in ("softcap", "s_aux", "position_bias"):
            if rest.get(name) is not None:
                raise Unsupported(f"{where}: {name}: a simulation computes plain attention only")
        if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad):
            raise Unsupported(f"{where}: gradients: call the model under torch.no_grad()")
        if batch_of(mask, (1, query.shape[2]), [0], query.device).has_padding:
            raise Unsupported(f"{where}: padding: a simulation is of one sequence")

    def reset(self) -> None:
        super().reset()
        self.simulation, self.hidden = None, None


def _array(states: Any) -> Floats:
    """In fp32, or in fp64 if it is."""
    if states.dtype != torch.float64:
        states = states.float()
    array: Floats = states.detach().cpu().numpy()
    return array
