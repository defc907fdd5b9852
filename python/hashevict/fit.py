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
    """Fits ``y = <weight, x> + bias`` for each head, and measures R2 on samples that were held out.

    Args:
        name: of the arrays of :meth:`state`
    """

    def __init__(self, name: str = "fit") -> None:
        self._name = name
        # Of rows (x, 1, y of each head that shares x): [2, layers, groups, n, n], training and held out
        self._sums: Doubles | None = None
        self._size = 0  # of x

    def add(self, x: NDArray[np.float32], y: Doubles, held_out: bool) -> None:
        """Adds samples.

        Args:
            x: ``[layers, heads, samples, size]``; or ``[layers, 1, samples, size]``, which the heads of a layer share
            y: ``[layers, heads, samples]``
        """
        layers, groups, samples, self._size = x.shape
        targets = y.reshape(layers, groups, -1, samples).swapaxes(2, 3)
        if self._sums is None:
            n = self._size + 1 + targets.shape[3]
            self._sums = np.zeros((2, layers, groups, n, n))
        ones = np.ones((groups, samples, 1))
        for layer in range(layers):  # one at a time: its rows take double precision
            rows = np.concatenate([x[layer].astype(np.float64), ones, targets[layer]], axis=2)
            self._sums[int(held_out), layer] += np.swapaxes(rows, 1, 2) @ rows

    def solve(self) -> tuple[NDArray[np.float32], NDArray[np.float32], Doubles]:
        """Returns weights ``[layers, heads, size]``, biases and R2 ``[layers, heads]``."""
        assert self._sums is not None
        found = [self._solve(*sums) for sums in self._sums.swapaxes(0, 1)]
        parameters = np.stack([of for of, _ in found]).reshape(len(found), -1, self._size + 1)
        r2 = np.stack([of for _, of in found]).reshape(len(found), -1)
        return parameters[..., :-1].astype(np.float32), parameters[..., -1].astype(np.float32), r2

    def _solve(self, train: Doubles, test: Doubles) -> tuple[Doubles, Doubles]:
        """Parameters ``[groups, heads of a group, size + 1]`` and R2 of a layer."""
        n = self._size + 1
        diagonal = np.einsum("gii->gi", train[:, : n - 1, : n - 1]).mean(1)
        ridge = np.eye(n) * (RIDGE * diagonal)[:, None, None]
        ridge[:, n - 1, n - 1] = 0.0  # the bias is free
        solution = np.linalg.solve(train[:, :n, :n] + ridge, train[:, :n, n:]).swapaxes(1, 2)
        targets = solution.shape[1]
        errors = np.concatenate(
            [solution, np.broadcast_to(-np.eye(targets), (len(solution), targets, targets))], axis=2
        )
        residual = ((errors @ test) * errors).sum(2)
        count, total = test[:, n - 1, n - 1], test[:, n - 1, n:]
        squares = np.einsum("gii->gi", test[:, n:, n:])
        return solution, 1.0 - residual / (squares - total**2 / count[:, None])

    def state(self) -> dict[str, Any]:
        """Arrays from which :meth:`restore` goes on."""
        return {} if self._sums is None else {f"{self._name}_sums": self._sums, f"{self._name}_size": self._size}

    def restore(self, state: dict[str, Any]) -> None:
        self._sums = state.get(f"{self._name}_sums")
        self._size = int(state.get(f"{self._name}_size", 0))
