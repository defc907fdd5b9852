# SPDX-License-Identifier: Apache-2.0
"""A bounded cache for transformers' ``generate``."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, get_args

import numpy as np
from transformers import Cache as TransformersCache

from hashevict.cache import Cache
from hashevict.config import Config, PrefillAttention, PrefillMode, Preset, Rule
from hashevict.errors import InvalidArgument
from hashevict.inspection import Statistics
from hashevict.profile import Profile
from hashevict.transformers import ops
from hashevict.transformers.attention import NAME, register
from hashevict.transformers.batches import Batch, batch_of
from hashevict.transformers.hidden import HiddenImportance, give_hidden_states
from hashevict.transformers.layer import BoundedLayer
from hashevict.transformers.models import ModelShape, refuse_continuous_batching, shape_of, use_attention


class HashEvictCache(TransformersCache):
    """Keys and values of a model in bounded memory, for ``generate`` and for bare forward passes.

    Layers with full attention are bounded; sliding, chunked and linear ones keep transformers' own caches. The first
    prompt attends in full and is then reduced to the budget; every later token evicts one. Positions stay logical. Sets
    the model's attention implementation to ``hashevict``, which treats other caches as ``sdpa`` does.

    Args:
        model: a causal language model of transformers
        budget: slots of a KV head, on average; or, below or at 1.0 and a float, a fraction of ``max_length``; or the
            slots of each, integers ``[layers with full attention, num_kv_heads]``
        max_length: tokens of the longest sequence, prompt and generated; needed for fractions and profiles
        profile: of the model (:func:`hashevict.calibrate`): divides the budget among the heads by importance, unless
            it is divided already; also holds what rules ``importance`` and ``votes`` have learned. With hidden weights
            the model's attention modules get a hook, which does nothing for other caches
        floor: the fewest slots of a head, with a profile; None: a third of the mean, at least 16
        rule: decides which token goes. Policy ``importance`` takes source ``given`` with a profile that has hidden
            weights, source ``key`` with one that has importance weights. None: source ``given`` with half of each head
            recent if the profile has hidden weights; else preset ``recall`` if it has learned its codes; else
            ``superseded``
        prompt: how a prompt longer than the budget is reduced, see :meth:`hashevict.Cache.prefill`
        prompt_attention: ``full``: the first prompt attends over all of itself; ``streamed``: as if it had been decoded
            token by token, with prompt ``replay`` alone. Later turns are always decoded
        num_threads: CPU: 0: all that this process may use

    Raises:
        Unsupported: a model that the cache cannot hold exactly, by name
        InvalidArgument

    Example:
        >>> cache = HashEvictCache(model, 0.3, max_length=2048, profile=Profile.read("model.profile"))
        >>> model.generate(**inputs, past_key_values=cache, max_new_tokens=256)
    """

    def __init__(
        self,
        model: Any,
        budget: int | float | np.ndarray[Any, Any],
        *,
        max_length: int | None = None,
        profile: Profile | None = None,
        floor: int | None = None,
        rule: Rule | Preset | None = None,
        prompt: PrefillMode = "replay",
        prompt_attention: PrefillAttention = "full",
        num_threads: int = 0,
    ) -> None:
        self.shape: ModelShape = shape_of(model.config)
        self.prompt: PrefillMode = prompt
        self.prompt_attention: PrefillAttention = prompt_attention
        _check_prompt(prompt, prompt_attention)
        self._profile = profile
        divided = self._divided(budget, profile, max_length, floor)
        self._config = Config(
            num_layers=len(self.shape.bounded),
            num_qo_heads=self.shape.num_qo_heads,
            num_kv_heads=self.shape.num_kv_heads,
            head_dim=self.shape.head_dim,
            capacity=_slots_of(budget, max_length) if divided is None else None,
            capacities=divided,
            rule=_taught(rule, profile),
            num_threads=num_threads,
            backend="cpu",
        )
        Cache.required_bytes(self._config)  # refuses a bad config now, not at the first token
        self.hidden_importance = None if profile is None else self._importances(model, profile)
        """Computes importances from hidden states, or None: the rule takes none."""
        register()
        use_attention(model, NAME)
        if self.hidden_importance is not None:
            give_hidden_states(model, self.shape, HashEvictCache)
        refuse_continuous_batching(model, NAME)
        self._native: Cache | None = None
        self._sequences: list[int] = []  # of each row of the batch
        self._batches: dict[tuple[int, int], Batch] = {}  # of the present mask
        self._device: Any = None
        self._shared_mask: Any = None
        self.counter: Any = ops.counter_of(self)
        """int64 ``[2]``: this cache's number and the tokens seen, padding included, for a compiled model."""
        self.max_batch_tokens = 0
        """Of one call of the library, known at the first token."""
        layers = [
            BoundedLayer(self, i, self.shape.bounded.index(i)) if i in self.shape.bounded else layer
            for i, layer in enumerate(self.shape.layers)
        ]
        super().__init__(layers=layers)

    @property
    def bounded(self) -> list[BoundedLayer]:
        """The bounded layers, as the library's cache numbers them."""
        return [layer for layer in self.layers if isinstance(layer, BoundedLayer)]

    @property
    def native(self) -> Cache:
        """The library's cache of the bounded layers, made at the first token.

        Raises:
            InvalidArgument: no token has come yet
        """
        if self._native is None:
            raise InvalidArgument("HashEvictCache: it has no memory before the first token")
        return self._native

    @property
    def capacities(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Slots of each head of the bounded layers, ``[layers, num_kv_heads]``."""
        if self._config.capacities is not None:
            return np.asarray(self._config.capacities, np.int32)
        return np.full((len(self.shape.bounded), self.shape.num_kv_heads), self._config.capacity, np.int32)

    def statistics(self) -> Statistics:
        """Counters over all bounded layers, heads and rows."""
        return self.native.statistics()

    def reset(self) -> None:
        """Empties the cache; the next prompt may have another batch size."""
        super().reset()
        self._native = None
        self.counter[1] = 0
        for layer in self.bounded:
            layer.is_initialized = False

    def reorder_cache(self, beam_idx: Any) -> None:
        """Gives each row the state of row ``beam_idx[row]``: beams that go on keep their sequence, and only a second
        copy of one is forked, over a sequence that no beam needs.
        """
        wanted = [self._sequences[row] for row in beam_idx.tolist()]
        dead = sorted(set(self._sequences) - set(wanted))
        taken: set[int] = set()
        sequences = []
        for source in wanted:
            sequence = source
            if source in taken:
                sequence = dead.pop()
                self.native.fork(source, sequence)
            taken.add(source)
            sequences.append(sequence)
        self._sequences = sequences
        self._batches.clear()
        for layer in self.layers:
            if not isinstance(layer, BoundedLayer):
                layer.reorder_cache(beam_idx)

    def __deepcopy__(self, memo: dict[int, Any]) -> HashEvictCache:
        """A cache that goes on as this one would, by the library's save and load."""
        other = copy.copy(self)
        memo[id(self)] = other
        other._batches = {}
        other._shared_mask = None
        other.counter = ops.counter_of(other)
        other.counter[1] = self.counter[1]
        other.layers = []
        for layer in self.layers:
            bounded = isinstance(layer, BoundedLayer)
            twin = copy.copy(layer) if bounded else copy.deepcopy(layer, memo)
            if bounded:
                twin.owner = other
            other.layers.append(twin)
        if self._native is not None:
            other._native = other._make(self._native.config)
            for sequence in range(len(self._sequences)):
                other._native.load(sequence, self._native.save(sequence))
        return other

    # For the layers and hooks

    def take_hidden(self, model_layer: int, hidden: Any) -> None:
        """Takes the hidden states that a layer's attention is about to be given, ``[batch, tokens, hidden_size]``."""
        layer = self.layers[model_layer]
        if self.hidden_importance is not None and isinstance(layer, BoundedLayer):
            layer.hidden = hidden

    def prepare(self, query: Any, key: Any) -> None:
        """Makes the library's cache for the batch of the first tokens."""
        if self._native is not None:
            return
        rows, heads, tokens, size = query.shape
        self._sequences = list(range(rows))
        self._batches = {}
        self._device = key.device
        self.max_batch_tokens = max(rows * tokens, 64 * rows)
        self._native = self._make(
            dataclasses.replace(
                self._config,
                num_sequences=rows,
                num_qo_heads=heads,
                num_kv_heads=key.shape[1],
                head_dim=size,
                dtype=str(key.dtype).removeprefix("torch."),  # type: ignore[arg-type]
                backend="cuda" if key.is_cuda else "cpu",
                device=key.device.index if key.is_cuda else None,
                max_batch_tokens=self.max_batch_tokens,
            )
        )

    def batch(self, mask: Any, start: int, end: int) -> Batch:
        """The new tokens ``start`` to ``end`` of the present forward pass, computed once for all layers."""
        known = self._batches.get((start, end))
        if known is not None and known.mask is mask:
            return known
        part = mask if mask is None else mask[..., start:end, start:end]
        batch = batch_of(part, (len(self._sequences), end - start), self._sequences, self._device)
        batch = dataclasses.replace(batch, mask=mask)
        self._batches[(start, end)] = batch
        return batch

    def shared_mask(self, index: int, mask: Any) -> Any:
        """The mask of the present forward pass as its first bounded layer gave it. A compiled model gives each layer
        another object, and :meth:`batch` knows a mask by its identity.
        """
        if index == 0:
            self._shared_mask = mask
        return self._shared_mask

    def _make(self, config: Config) -> Cache:
        native = Cache(config)
        profile, rule = self._profile, self._config.rule
        if profile is None or not isinstance(rule, Rule):
            return native
        for layer in range(len(self.shape.bounded)):
            if rule.importance_source == "key":
                assert profile.importance_weight is not None and profile.importance_bias is not None
                native.set_importance_weights(layer, profile.importance_weight[layer], profile.importance_bias[layer])
            if rule.projection_kind == "learned" and profile.projection is not None:
                native.set_projection(layer, profile.projection[layer])
                for sequence in range(config.num_sequences or 1):
                    if profile.center is not None:
                        no_query = np.zeros((config.num_qo_heads, config.head_dim), np.float32)
                        native.set_center(layer, sequence, profile.center[layer], no_query)
        return native

    def _importances(self, model: Any, profile: Profile) -> HiddenImportance | None:
        rule = self._config.rule
        goes_by_hidden = isinstance(rule, Rule) and rule.importance_source == "given" and rule.policy == "importance"
        return HiddenImportance(model, self.shape, profile) if goes_by_hidden else None

    def _divided(self, budget: Any, profile: Profile | None, max_length: int | None, floor: int | None) -> Any:
        """Slots of each head, or None: the same in all."""
        expected = (len(self.shape.bounded), self.shape.num_kv_heads)
        if profile is not None and (profile.num_layers, profile.num_kv_heads) != expected:
            raise InvalidArgument(
                f"profile: of {profile.num_layers} layers and {profile.num_kv_heads} KV heads: expected "
                f"{expected[0]} and {expected[1]}, those of the model"
            )
        if isinstance(budget, np.ndarray):
            return budget
        if profile is None:
            return None
        if max_length is None:
            raise InvalidArgument("max_length: needed with a profile, as the most slots of a head")
        slots = _slots_of(budget, max_length)
        return profile.capacities(slots, max_length, None if floor is None else min(floor, slots))


def _check_prompt(prompt: str, attention: str) -> None:
    for name, value, names in (("prompt", prompt, PrefillMode), ("prompt_attention", attention, PrefillAttention)):
        if value not in get_args(names):
            raise InvalidArgument(f"{name} = {value!r}: expected one of {', '.join(get_args(names))}")
    if attention == "streamed" and prompt != "replay":
        raise InvalidArgument(f"prompt = {prompt!r}: expected 'replay' with prompt_attention 'streamed'")


def _slots_of(budget: Any, max_length: int | None) -> int:
    if isinstance(budget, int) and not isinstance(budget, bool):
        return budget
    if not isinstance(budget, float) or not 0.0 < budget <= 1.0:
        raise InvalidArgument(f"budget = {budget!r}: expected slots as an int, or a fraction above 0.0 up to 1.0")
    if max_length is None:
        raise InvalidArgument(f"max_length: needed with budget = {budget}, a fraction of it")
    return int(budget * max_length)


def _taught(rule: Rule | Preset | None, profile: Profile | None) -> Rule | Preset:
    """The rule, with what it must say of a profile's learned tensors."""
    if rule is None and profile is not None and profile.hidden_weight is not None:
        rule = Rule(policy="importance", importance_source="given", recent_fraction=0.5)
    elif rule is None:
        rule = "superseded" if profile is None or profile.projection is None else "recall"
    if not isinstance(rule, Rule):
        rule = Rule(rule)
    if rule.policy == "importance" and rule.importance_source != "given":
        if profile is None or profile.importance_weight is None:
            raise InvalidArgument("rule: policy 'importance' needs a profile with importance weights")
        return dataclasses.replace(rule, importance_source="key")
    if rule.policy == "importance":
        if profile is None or profile.hidden_weight is None:
            raise InvalidArgument("rule: importance_source 'given' needs a profile with hidden weights")
        if rule.importance_slopes:
            raise InvalidArgument("rule: importance_slopes: expected none with importance_source 'given'")
    if rule.policy == "votes" or rule.preset == "recall":
        if profile is None or profile.projection is None:
            raise InvalidArgument("rule: policy 'votes' needs a profile with projections")
        return dataclasses.replace(
            rule,
            projection_kind="learned",
            hash_bits=int(profile.projection.shape[-2]),
            projection_per_head=profile.projection.ndim == 4,
            centering="none" if profile.center is None else "fixed",
        )
    return rule
