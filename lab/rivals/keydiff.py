# SPDX-License-Identifier: Apache-2.0
"""KeyDiff."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rivals.rule import Floats, Ints, LayerShape, Rule
from rivals.stream import Stream

BLOCK = 128


class KeyDiff(Rule):
    """KeyDiff (Park et al. 2025, arXiv 2504.15364, section 3): the key with the largest cosine to the mean of the
    cached keys goes, each key at length 1. No code of the authors is public; kvpress (``keydiff_press.py``) computes
    the same. The paper protects nothing, and has a recent window as an option. It lets a prompt in by blocks, after
    each of which the cache is cut to its budget; so does this rule, with ``BLOCK`` tokens (the default of kvpress'
    ``BlockPress``), or a quarter of the capacity if that is less, and the budget and one block together are the
    capacity.

    Args:
        recent: the share of each capacity that is recent and stays; then a block is one token, as in the paper's
        decoding
    """

    def __init__(self, shape: LayerShape, recent: float | None = None) -> None:
        super().__init__(shape)
        self._recent = recent

    def window(self) -> Ints:
        return ((self._recent or 0.0) * self.shape.capacities).astype(np.int32)

    def block(self) -> Ints:
        if self._recent is not None:
            return super().block()
        return np.maximum(1, np.minimum(BLOCK, self.shape.capacities // 4))

    def allocate(self, slots: int) -> dict[str, Floats]:
        return {"unit_keys": np.zeros((self.shape.num_kv_heads, slots, self.shape.head_dim), np.float32)}

    def stored(self, stream: Stream, t: int, slots: NDArray[np.intp]) -> None:
        keys = stream.keys[:, t]
        norms = np.maximum(np.linalg.norm(keys, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        self.by_slot["unit_keys"][np.arange(len(slots)), slots] = keys / norms

    def scores(self, stream: Stream, t: int, full: NDArray[np.bool_]) -> Floats:
        unit_keys = self.by_slot["unit_keys"]
        mean = unit_keys.sum(1, dtype=np.float64).astype(unit_keys.dtype)  # times the number of keys; empty slots are 0
        cosines: Floats = (unit_keys @ mean[:, :, None])[:, :, 0]
        return cosines
