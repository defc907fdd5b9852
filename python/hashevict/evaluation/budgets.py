# SPDX-License-Identifier: Apache-2.0
"""Equal bytes: how many slots a policy gets, and how the heads share them.

A budget is a share of the bytes that a full cache of the example's tokens takes, keys and values as bfloat16, whatever
the model computes in. What a rule keeps beside them counts: the library says it for its own rules, plugins for theirs.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hashevict.cache import Cache
from hashevict.config import Config, DType, Rule
from hashevict.errors import InvalidArgument
from hashevict.evaluation.policies import LAYERED, UNIFORM, Policy
from hashevict.profile import Profile

if TYPE_CHECKING:
    from hashevict.transformers.models import ModelShape

STORAGE: DType = "bfloat16"
STORAGE_BYTES = 2


@dataclass(frozen=True)
class Share:
    """Slots of one policy for one example."""

    capacities: NDArray[np.int32]
    """``[num_layers, num_kv_heads]``."""
    bytes: int
    """All that the cache of one sequence takes."""


class Budgets:
    """Slots for policies, by the profile of one model.

    Args:
        shape: of the model
        profile: for allocations other than ``uniform``
        floor: the fewest slots of a head, if a profile divides; None: a third of the mean, at least 16
    """

    def __init__(self, shape: ModelShape, profile: Profile | None, floor: int | None = None) -> None:
        self._shape = shape
        self._profile = profile
        self._floor = floor
        self.share = functools.lru_cache(maxsize=None)(self._share)
        """The slots of (policy, allocation, budget, tokens of the example)."""

    def full_bytes(self, num_tokens: int) -> int:
        """What a cache that keeps all tokens takes."""
        heads = len(self._shape.bounded) * self._shape.num_kv_heads
        return num_tokens * heads * 2 * self._shape.head_dim * STORAGE_BYTES

    def _share(self, policy: Policy, allocation: str, budget: float, num_tokens: int) -> Share:
        """The most slots whose bytes are at most the budget.

        Raises:
            InvalidArgument: a budget without a slot, or an allocation without a profile
        """
        room = int(budget * self.full_bytes(num_tokens))
        low, high = 0, num_tokens + 1  # mean slots of a head: low fits, high does not or is too many
        while high - low > 1:
            middle = (low + high) // 2
            fits = self._fits(policy, self.capacities(allocation, middle, num_tokens), room)
            low, high = (middle, high) if fits else (low, middle)
        if low == 0:
            raise InvalidArgument(f"budget {budget} of {num_tokens} tokens: policy {policy.name!r} gets no slot")
        capacities = self.capacities(allocation, low, num_tokens)
        return Share(capacities, self.bytes(policy, capacities))

    def _fits(self, policy: Policy, capacities: NDArray[np.int32], room: int) -> bool:
        try:
            return self.bytes(policy, capacities) <= room
        except InvalidArgument:  # fewer slots than the rule must have: if no more fit, that is the caller's error
            return True

    def capacities(self, allocation: str, mean: int, num_tokens: int) -> NDArray[np.int32]:
        """Slots of each head, ``mean`` on average."""
        layers, heads = len(self._shape.bounded), self._shape.num_kv_heads
        if allocation == UNIFORM:
            return np.full((layers, heads), mean, np.int32)
        if self._profile is None:
            raise InvalidArgument(f"allocation {allocation!r}: needs a profile")
        profile = self._profile
        if allocation == LAYERED:
            merged = np.repeat(profile.quantiles.mean(axis=1, keepdims=True), heads, axis=1)
            profile = Profile(merged.astype(np.float32))
        return profile.capacities(mean, num_tokens, None if self._floor is None else min(self._floor, mean))

    def bytes(self, policy: Policy, capacities: NDArray[np.int32]) -> int:
        """What a cache of these capacities takes: keys, values, and all that the policy keeps of one sequence."""
        if policy.rule is None:
            return int(capacities.sum()) * (2 * self._shape.head_dim * STORAGE_BYTES + policy.slot_bytes)
        return self._required(policy.rule, capacities, 2) - self._required(policy.rule, capacities, 1)

    def _required(self, rule: Rule, capacities: NDArray[np.int32], num_sequences: int) -> int:
        """With one sequence more the difference is what a sequence takes; projections belong to the model."""
        shape = self._shape
        config = Config(
            num_layers=len(shape.bounded),
            num_qo_heads=shape.num_qo_heads,
            num_kv_heads=shape.num_kv_heads,
            head_dim=shape.head_dim,
            capacities=capacities,
            num_sequences=num_sequences,
            rule=rule,
            dtype=STORAGE,
            backend="cpu",
        )
        needed = Cache.required_bytes(config)
        return needed.keys + needed.values + needed.state
