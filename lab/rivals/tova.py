# SPDX-License-Identifier: Apache-2.0
"""TOVA."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rivals.rule import Floats, Ints, LayerShape, Rule
from rivals.stream import Stream


class Tova(Rule):
    """TOVA (Oren et al. 2024, arXiv 2401.06104, section 4 and algorithm 1): the smallest attention of the last query
    goes, averaged over all heads of the layer, which evict the same token. The authors' code (``src/tova_cache.py``)
    takes ``mean(attn_weights[:, :, -1, :], dim=1)`` over the query heads and keeps the largest; nothing is protected,
    so the newest token may go too.

    Where heads differ in capacity they cannot evict alike: the mean is then over the heads that hold the token, and
    each head evicts the smallest mean of what it holds.

    Args:
        recent: the share of each capacity that is recent and stays; the paper's is 0
    """

    needs_weights = True

    def __init__(self, shape: LayerShape, recent: float = 0.0) -> None:
        super().__init__(shape)
        self._recent = recent

    def window(self) -> Ints:
        return (self._recent * self.shape.capacities).astype(np.int32)

    def allocate(self, slots: int) -> dict[str, Floats]:
        return {"last": np.zeros((self.shape.num_kv_heads, slots), np.float64)}

    def attended(self, stream: Stream, t: int, weights: Floats) -> None:
        self.by_slot["last"][:] = weights

    def scores(self, stream: Stream, t: int, full: NDArray[np.bool_]) -> Floats:
        # By position. Empty slots, -1, add to the last entry, which no held token has.
        sums, holders = np.zeros(t + 1), np.zeros(t + 1)
        for positions, last in zip(stream.positions, self.by_slot["last"], strict=True):
            sums[positions] += last
            holders[positions] += 1.0
        return -(sums / np.maximum(holders, 1.0))[stream.positions]
