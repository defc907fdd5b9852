# SPDX-License-Identifier: Apache-2.0
"""Linear fits of many heads at once, from sums that do not grow with the data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

RIDGE = 1e-4
"""Added to the diagonal, as a fraction of its mean."""


class LinearFits:
    """Fits ``y = <weight, x> + bias`` for each head, and measures R2 on samples that were held out."""

    def __init__(self) -> None:
        # Of rows (x, 1, y): [2, layers, heads, n, n], training and held out
        self._sums: Doubles | None = None

    def add(self, x: NDArray[np.float32], y: Doubles, held_out: bool) -> None:
        """Adds samples.

        Args:
            x: ``[layers, heads, samples, size]``
            y: ``[layers, heads, samples]``
        """
        rows = np.concatenate([x.astype(np.float64), np.ones((*y.shape, 1)), y[..., None]], axis=3)
        products = np.swapaxes(rows, 2, 3) @ rows
        if self._sums is None:
            self._sums = np.zeros((2, *products.shape))
        self._sums[int(held_out)] += products

    def solve(self) -> tuple[NDArray[np.float32], NDArray[np.float32], Doubles]:
        """Returns weights ``[layers, heads, size]``, biases and R2 ``[layers, heads]``."""
        assert self._sums is not None
        train, test = self._sums
        n = train.shape[-1] - 1
        diagonal = np.einsum("...ii->...i", train[..., : n - 1, : n - 1]).mean(-1)
        ridge = np.eye(n) * (RIDGE * diagonal)[..., None, None]
        ridge[..., n - 1, n - 1] = 0.0  # the bias is free
        solution = np.linalg.solve(train[..., :n, :n] + ridge, train[..., :n, n:])
        parameters = np.concatenate([solution[..., 0], -np.ones((*solution.shape[:-2], 1))], axis=-1)
        residual = np.einsum("...i,...ij,...j->...", parameters, test, parameters)
        count, total, squares = test[..., n - 1, n - 1], test[..., n - 1, n], test[..., n, n]
        r2 = 1.0 - residual / (squares - total**2 / count)
        return solution[..., :-1, 0].astype(np.float32), solution[..., -1, 0].astype(np.float32), r2

    def state(self) -> dict[str, Any]:
        """Arrays from which :meth:`restore` goes on."""
        return {} if self._sums is None else {"fit_sums": self._sums}

    def restore(self, state: dict[str, Any]) -> None:
        self._sums = state.get("fit_sums")
