# SPDX-License-Identifier: Apache-2.0
"""StreamingLLM, and random eviction with both ends protected."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rivals.rule import Floats, Ints, LayerShape, Rule
from rivals.stream import Stream


class StreamingLlm(Rule):
    """StreamingLLM (Xiao et al. 2023, arXiv 2309.17453, section 3.2): the first 4 tokens and the most recent ones. The
    authors' code (``streaming_llm/kv_cache.py``) has ``start_size`` 4 and gives the rest to the recent tokens. There,
    positions are those within the cache; here they stay those in the text, as for all rivals.
    """

    def sinks(self) -> Ints:
        return np.full(self.shape.num_kv_heads, 4, np.int32)

    def scores(self, stream: Stream, t: int, full: NDArray[np.bool_]) -> Floats:
        return -stream.positions.astype(np.float32)


class RandomPinned(Rule):
    """A victim at random, evenly among the evictable, at each step; a tenth of the capacity is pinned at the start of
    the text, a tenth is recent: the policy ``Random`` under the structural protection of arXiv 2605.18053, which
    reserves 10 % of the cache at each boundary.
    """

    def __init__(self, shape: LayerShape) -> None:
        super().__init__(shape)
        self._random = np.random.default_rng([shape.seed, shape.layer])

    def sinks(self) -> Ints:
        return self.shape.capacities // 10

    def window(self) -> Ints:
        return self.shape.capacities // 10

    def scores(self, stream: Stream, t: int, full: NDArray[np.bool_]) -> Floats:
        return self._random.random(stream.positions.shape, np.float32)
