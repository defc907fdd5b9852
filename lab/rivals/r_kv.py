# SPDX-License-Identifier: Apache-2.0
"""R-KV."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rivals.rule import Floats, Ints, LayerShape, Rule
from rivals.snapkv import pooled
from rivals.stream import EMPTY, Stream, product

WINDOW = 8
LAMBDA = 0.1
SIMILAR = 0.5
PERIOD = 128
UNSCORED = -1e30


class RKv(Rule):
    """R-KV (Cai et al. 2025, arXiv 2505.24133, equations 2 to 7): the last 8 tokens stay, and of the others the largest
    ``LAMBDA * importance - (1 - LAMBDA) * redundancy``. Importance is the attention of the last 8 queries over the
    others, the softmax of the largest logit of the group, the largest of 7 neighbours, averaged over the queries.
    Redundancy is the softmax of a key's mean cosine to the others, not counting, for each key, the most recent of those
    that it resembles. ``SIMILAR``, which one is spared, and the 7 are those of the authors' code
    (``rkv/compression/r1_kv.py``, ``rkv/utils.py``); it takes ``mix_lambda`` 0.07 and pools after averaging, the paper
    has 0.1 and pools each query.

    Scores are taken every 128 tokens, as in the paper, or every quarter of the capacity if that is less. What they give
    up is overwritten token by token, where the paper drops it at once, so that the cache is always full. The window is
    at most half of a head's capacity.

    Args:
        recent: the share of each capacity that is recent and stays, if not the window alone
    """

    def __init__(self, shape: LayerShape, recent: float | None = None) -> None:
        super().__init__(shape)
        self._recent = recent
        self._next = np.zeros(shape.num_kv_heads, np.int64)

    def window(self) -> Ints:
        if self._recent is not None:
            return (self._recent * self.shape.capacities).astype(np.int32)
        return np.minimum(WINDOW, self.shape.capacities // 2)

    def allocate(self, slots: int) -> dict[str, Floats]:
        return {"scores": np.zeros((self.shape.num_kv_heads, slots), np.float64)}

    def stored(self, stream: Stream, t: int, slots: NDArray[np.intp]) -> None:
        self.by_slot["scores"][np.arange(len(slots)), slots] = UNSCORED

    def scores(self, stream: Stream, t: int, full: NDArray[np.bool_]) -> Floats:
        for head in np.flatnonzero(full & (t >= self._next)):
            self._next[head] = t + max(1, min(PERIOD, int(self.shape.capacities[head]) // 4))
            self._rescore(stream, t, int(head))
        return self.by_slot["scores"]

    def _rescore(self, stream: Stream, t: int, head: int) -> None:
        positions = stream.positions[head]
        slots = np.flatnonzero((positions != EMPTY) & (positions < t - self.window()[head]))
        slots = slots[positions[slots].argsort()]
        scores = self.by_slot["scores"][head]
        scores[:] = UNSCORED
        if len(slots) == 0:
            return
        keys = stream.keys[head, positions[slots]]
        queries = stream.queries[head, :, max(0, t - WINDOW) : t]  # [group, queries, head_dim]
        important = importance(queries, keys, self.shape.scaling)
        scores[slots] = (1.0 - LAMBDA) * softmax(mean_cosines(keys)) - LAMBDA * important


def importance(queries: Floats, keys: Floats, scaling: float) -> Floats:
    """Equations 2 to 4. Keys ``[keys, head_dim]`` are in order of position; queries ``[group, queries, head_dim]``."""
    weights = softmax((product(queries, keys.T) * scaling).max(0))
    order = np.broadcast_to(np.arange(len(keys), dtype=np.int32), weights.shape)
    mean: Floats = pooled(weights, order).mean(0)
    return mean


def mean_cosines(keys: Floats) -> Floats:
    """Equations 5 and 6 before the softmax: the mean cosine of each key to the others, in order of position; of those
    that resemble a key, the most recent one is left out.
    """
    unit = keys / np.maximum(np.linalg.norm(keys, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    cosines = product(unit, unit.T)
    np.fill_diagonal(cosines, 0.0)
    similar = cosines > SIMILAR
    latest = len(keys) - 1 - similar[:, ::-1].argmax(1)
    rows = np.flatnonzero(similar.any(1))
    cosines[rows, latest[rows]] = 0.0
    mean: Floats = cosines.mean(0)
    return mean


def softmax(x: Floats) -> Floats:
    """Of the last dimension."""
    e = np.exp(x - x.max(-1, keepdims=True))
    out: Floats = e / e.sum(-1, keepdims=True)
    return out
