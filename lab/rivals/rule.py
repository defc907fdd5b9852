# SPDX-License-Identifier: Apache-2.0
"""What a rival says of the slots of one layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rivals.stream import Stream

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class LayerShape:
    """One layer, as a rule gets to know it."""

    layer: int
    """Among the layers that are bounded."""
    group_size: int
    """Query heads of a KV head."""
    head_dim: int
    capacities: Ints
    """``[num_kv_heads]``."""
    scaling: float
    """Of logits."""
    seed: int

    @property
    def num_kv_heads(self) -> int:
        return len(self.capacities)


class Rule(ABC):
    """Scores the slots of all KV heads of one layer: of each full head, the evictable slot with the largest score goes,
    the oldest among equals, before the next token is stored; or as many as :meth:`block` says. A token is evictable if
    it is neither one of the first :meth:`sinks` nor one of the last :meth:`window` before the new one.

    State by slot lies in ``by_slot``, arrays ``[num_kv_heads, slots, ...]``. The stream sets the state of an evicted
    token to 0, and moves that of the others with them.
    """

    needs_weights = False
    """Whether :meth:`attended` is called."""
    shares_slots = False
    """Whether the heads of a layer share the sum of their capacities; then :meth:`floors` says how few each may have.
    """

    def __init__(self, shape: LayerShape) -> None:
        self.shape = shape
        self.by_slot: dict[str, Floats] = {}

    def sinks(self) -> Ints:
        """The first tokens of each head that stay, ``[num_kv_heads]``."""
        return np.zeros(self.shape.num_kv_heads, np.int32)

    def window(self) -> Ints:
        """The last tokens of each head that stay, besides the new one, ``[num_kv_heads]``."""
        return np.zeros(self.shape.num_kv_heads, np.int32)

    def block(self) -> Ints:
        """How many tokens of each full head go at once, ``[num_kv_heads]``."""
        return np.ones(self.shape.num_kv_heads, np.int32)

    def allocate(self, slots: int) -> dict[str, Floats]:
        """The state by slot, for this many slots a head, all 0."""
        return {}

    def floors(self) -> Ints:
        """The fewest evictable tokens of each head, ``[num_kv_heads]``."""
        raise NotImplementedError

    def stored(self, stream: Stream, t: int, slots: NDArray[np.intp]) -> None:
        """Called when token ``t`` lies in slot ``slots[head]`` of each head."""
        return

    def attended(self, stream: Stream, t: int, weights: Floats) -> None:
        """Called with the attention of token ``t`` over what each head holds, itself included: ``[num_kv_heads,
        slots]``, the mean over the group's query heads, 0 in empty slots.
        """
        return

    @abstractmethod
    def scores(self, stream: Stream, t: int, full: NDArray[np.bool_]) -> Floats:
        """Scores every slot for the arrival of token ``t``, of which only the number is known, ``[num_kv_heads,
        slots]``.

        Args:
            stream: holds the tokens before ``t``
            full: ``[num_kv_heads]``: the heads whose scores are used
        """


MakeRule = Callable[[LayerShape], Rule]
