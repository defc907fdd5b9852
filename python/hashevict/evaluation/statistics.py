# SPDX-License-Identifier: Apache-2.0
"""Means with paired bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]
RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and the limits of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0.0 or self.high < 0.0


def interval(columns: ArrayLike, statistic: Callable[[Doubles], Any]) -> Interval:
    """A function of the means of paired columns, with its interval.

    Args:
        columns: ``[examples, k]``: a row holds what was measured on one example, so rows are drawn whole
        statistic: from means ``[k, ...]`` to ``[...]``

    The percentile bootstrap (Efron, 1979) with 4000 resamples, drawn the same way each time.
    """
    values = np.asarray(columns, np.float64)
    count = len(values)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES) @ values / count  # [resamples, k]
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(statistic(drawn.T), [tail, 100 - tail])
    return Interval(float(statistic(values.mean(0))), float(low), float(high))


def mean(values: ArrayLike) -> Interval:
    """The mean of ``[examples]``."""
    return interval(np.asarray(values, np.float64)[:, None], lambda means: means[0])


def difference(a: ArrayLike, b: ArrayLike) -> Interval:
    """The mean of ``a - b``, example by example."""
    return interval(np.stack([np.asarray(a, np.float64), np.asarray(b, np.float64)], 1), lambda m: m[0] - m[1])


def excess(a: ArrayLike, b: ArrayLike) -> Interval:
    """The mean of ``a`` over that of ``b``, less 1."""
    return interval(np.stack([np.asarray(a, np.float64), np.asarray(b, np.float64)], 1), lambda m: m[0] / m[1] - 1)
