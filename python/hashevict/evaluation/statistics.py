# SPDX-License-Identifier: Apache-2.0
"""Means with paired bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
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


Groups = Sequence[Hashable]


def interval(columns: ArrayLike, statistic: Callable[[Doubles], Any], groups: Groups | None = None) -> Interval:
    """A function of the means of paired columns, with its interval.

    Args:
        columns: ``[answers, k]``: a row holds what was measured on one answer, so rows are drawn whole
        statistic: from means ``[k, ...]`` to ``[...]``
        groups: ``[answers]``: the example of each answer. Examples are drawn whole, since answers about one context
            are not independent; None: each row is an example

    The percentile bootstrap (Efron, 1979) with 4000 resamples, drawn the same way each time.
    """
    values = np.asarray(columns, np.float64)
    numbers: dict[Hashable, int] = {}
    group = [numbers.setdefault(name, len(numbers)) for name in (range(len(values)) if groups is None else groups)]
    count = len(numbers)
    sums = np.zeros((count, values.shape[1] + 1))  # of an example's answers; the last column counts them
    np.add.at(sums, group, np.concatenate([values, np.ones((len(values), 1))], 1))
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES) @ sums  # [resamples, k + 1]
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(statistic((drawn[:, :-1] / drawn[:, -1:]).T), [tail, 100 - tail])
    return Interval(float(statistic(values.mean(0))), float(low), float(high))


def mean(values: ArrayLike, groups: Groups | None = None) -> Interval:
    """The mean of ``[answers]``."""
    return interval(np.asarray(values, np.float64)[:, None], lambda means: means[0], groups)


def difference(a: ArrayLike, b: ArrayLike, groups: Groups | None = None) -> Interval:
    """The mean of ``a - b``, answer by answer."""
    return interval(_columns(a, b), lambda means: means[0] - means[1], groups)


def excess(a: ArrayLike, b: ArrayLike, groups: Groups | None = None) -> Interval:
    """The mean of ``a`` over that of ``b``, less 1."""
    return interval(_columns(a, b), lambda means: means[0] / means[1] - 1, groups)


def _columns(a: ArrayLike, b: ArrayLike) -> Doubles:
    return np.stack([np.asarray(a, np.float64), np.asarray(b, np.float64)], 1)
