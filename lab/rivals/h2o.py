# SPDX-License-Identifier: Apache-2.0
"""H2O."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rivals.rule import Floats, Ints, Rule
from rivals.stream import Stream


class H2o(Rule):
    """H2O (Zhang et al. 2023, arXiv 2306.14048, algorithm 1): the smallest attention summed over all steps goes; half
    of the budget is recent. The authors' code (``h2o_hf/utils_real_drop/modify_llama.py``, ``H2OKVCache_LayerWise``)
    adds each step's weights to the kept sums, protects ``recent_size`` tokens and keeps the ``hh_size`` largest sums of
    the others; its experiments take equal sizes. It has no grouped queries; heads that share a key are averaged here.
    """

    needs_weights = True

    def window(self) -> Ints:
        return self.shape.capacities // 2

    def allocate(self, slots: int) -> dict[str, Floats]:
        return {"sums": np.zeros((self.shape.num_kv_heads, slots), np.float64)}

    def attended(self, stream: Stream, t: int, weights: Floats) -> None:
        self.by_slot["sums"] += weights

    def scores(self, stream: Stream, t: int, full: NDArray[np.bool_]) -> Floats:
        return -self.by_slot["sums"]
