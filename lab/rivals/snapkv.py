# SPDX-License-Identifier: Apache-2.0
"""SnapKV, and SnapKV with Ada-KV's division of slots among the heads of a layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rivals.rule import Floats, Ints, LayerShape, Rule
from rivals.stream import ALIVE, EMPTY, Stream

WINDOW = 32
"""Of queries, and of tokens that stay."""


class SnapKv(Rule):
    """SnapKV (Li et al. 2024, arXiv 2404.14469, section 4): the last 32 tokens stay, and of the others those to which
    the last 32 queries attended most in sum, the largest of 7 neighbours. Window and pooling are those of the authors'
    LongBench settings (``ablation_c*_w32_k7_maxpool.json``); the default of their ``snapkv_utils.py`` is the mean of 5.
    For grouped queries, votes are averaged over the group before pooling, as in Ada-KV's code (``gqa_func`` mean);
    SnapKV's own repeats the keys. Streamed: the votes are those of the last 32 steps, each over what the head held
    then, and neighbours are those that are left.

    The window is at most half of a head's capacity.

    Args:
        recent: the share of each capacity that is recent and stays, if not the window alone
    """

    needs_weights = True

    def __init__(self, shape: LayerShape, recent: float | None = None) -> None:
        super().__init__(shape)
        self._recent = recent

    def window(self) -> Ints:
        if self._recent is not None:
            return (self._recent * self.shape.capacities).astype(np.int32)
        return np.minimum(WINDOW, self.shape.capacities // 2)

    def allocate(self, slots: int) -> dict[str, Floats]:
        heads = self.shape.num_kv_heads
        return {
            "votes": np.zeros((heads, slots), np.float64),  # the sum over `rows`, exact enough to add and subtract
            "rows": np.zeros((heads, slots, WINDOW), np.float32),
        }

    def attended(self, stream: Stream, t: int, weights: Floats) -> None:
        row = self.by_slot["rows"][:, :, t % WINDOW]
        self.by_slot["votes"] += weights.astype(np.float32)
        self.by_slot["votes"] -= row
        row[:] = weights

    def scores(self, stream: Stream, t: int, full: NDArray[np.bool_]) -> Floats:
        voted = (stream.positions != EMPTY) & (stream.positions < (t - self.window())[:, None])
        return -pooled(self.by_slot["votes"], np.where(voted, stream.positions, ALIVE))


class AdaKv(SnapKv):
    """Ada-KV with SnapKV's votes (Feng et al. 2024, arXiv 2407.11550, algorithms 1 and 2): the heads of a layer share
    its slots. Those with the largest votes of all heads stay, so that a head gets more slots where its attention is
    more spread, and each head keeps at least ``FLOOR`` of an even share. The authors' code (``AdaptiveSnapKVCluster``)
    takes votes and window as SnapKV above, its floor of 0.2 is the one it suggests for grouped queries. Streamed: the
    division is taken anew at each step, from the votes at that step; a whole prompt is divided once, when it is
    compressed.
    """

    FLOOR = 0.2
    shares_slots = True

    def window(self) -> Ints:
        even = int(self.shape.capacities.sum()) // self.shape.num_kv_heads
        return np.full(self.shape.num_kv_heads, min(WINDOW, even // 2), np.int32)

    def floors(self) -> Ints:
        even = int(self.shape.capacities.sum()) // self.shape.num_kv_heads
        return (self.FLOOR * (even - self.window())).astype(np.int32)


def pooled(values: Floats, positions: Ints) -> Floats:
    """Replaces each value by the largest of itself and three neighbours on each side, in order of position, among the
    slots with a position below ``ALIVE``.

    Args:
        values: ``[heads, slots]``
        positions: likewise

    Returns:
        ``[heads, slots]``, -inf in slots that take no part
    """
    heads, slots = values.shape
    order = np.argsort(positions, axis=1) + (np.arange(heads) * slots)[:, None]
    padded = np.full((heads, slots + 6), -np.inf, values.dtype)
    padded[:, 3:-3] = np.where(positions.take(order) == ALIVE, -np.inf, values.take(order))
    two = np.maximum(padded[:, :-1], padded[:, 1:])
    four = np.maximum(two[:, :-2], two[:, 2:])
    out = np.empty(heads * slots, values.dtype)
    out[order] = np.maximum(four[:, :-3], four[:, 3:])
    return np.where(positions == ALIVE, -np.inf, out.reshape(heads, slots))
