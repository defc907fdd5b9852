# SPDX-License-Identifier: Apache-2.0
"""Rules whose importance of a token comes from outside, once, when it is stored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rivals.rule import Floats, Ints, LayerShape, Rule
from rivals.stream import Stream


class GivenImportance(Rule):
    """The smallest given importance goes.

    Args:
        sinks: the first tokens that stay
        window: the last tokens that stay, at most half of a head's capacity
        recent: the share of each capacity that is recent and stays, instead of a window
    """

    def __init__(self, shape: LayerShape, sinks: int = 0, window: int = 0, recent: float | None = None) -> None:
        super().__init__(shape)
        self._sinks, self._last, self._recent = sinks, window, recent

    def sinks(self) -> Ints:
        return np.full(self.shape.num_kv_heads, self._sinks, np.int32)

    def window(self) -> Ints:
        if self._recent is not None:
            return (self._recent * self.shape.capacities).astype(np.int32)
        return np.minimum(self._last, self.shape.capacities // 2)

    def allocate(self, slots: int) -> dict[str, Floats]:
        return {"importance": np.zeros((self.shape.num_kv_heads, slots), np.float32)}

    def stored(self, stream: Stream, t: int, slots: NDArray[np.intp]) -> None:
        assert stream.importance is not None
        self.by_slot["importance"][np.arange(len(slots)), slots] = stream.importance[:, t]

    def scores(self, stream: Stream, t: int, full: NDArray[np.bool_]) -> Floats:
        return -self.by_slot["importance"]
