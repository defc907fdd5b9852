# SPDX-License-Identifier: Apache-2.0
"""Learned votes: rows whose set bits, counted, rank the keys of a head by their scores. Needs torch.

Policy ``votes`` evicts the key whose code has the fewest bits set. So the code of a key is a small network: one hidden
layer of sign units, whose outputs count alike. It starts as a thermometer of the best linear score, one bit for each of
its quantiles; gradient descent then turns the rows until the count follows the rank of the score as closely as it can.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SAMPLES = 128
"""Keys of a piece that are kept, the same positions in every head."""
STEPS, BATCH, RATE = 400, 512, 0.02
STEEPNESS = (2.0, 8.0)
"""Of the sigmoid that stands for a sign while rows are learned: at the first step and at the last one."""
RIDGE = 1e-3
DISTANCE = 100.0
"""Of the centre from the keys, in units of how far they lie in its direction."""


class VoteSamples:
    """Keys and scores of all heads; the pieces that are held out apart."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._keys: list[Floats] = []  # [layers, heads, samples, size]
        self._scores: list[Floats] = []  # [layers, heads, samples]

    def add(self, keys: Floats, scores: Floats) -> None:
        """Keeps some keys of a piece.

        Args:
            keys: ``[layers, heads, keys, size]``
            scores: ``[layers, heads, keys]``
        """
        count = scores.shape[2]
        draw = np.random.default_rng([self._seed, len(self._keys)])
        chosen = np.sort(draw.choice(count, size=min(count, SAMPLES), replace=False))
        self._keys.append(np.ascontiguousarray(keys[:, :, chosen]))
        self._scores.append(np.ascontiguousarray(scores[:, :, chosen]))

    def state(self) -> dict[str, Any]:
        """Arrays from which :meth:`restore` goes on."""
        if not self._keys:
            return {}
        return {"votes_keys": np.stack(self._keys), "votes_scores": np.stack(self._scores)}

    def restore(self, state: dict[str, Any]) -> None:
        self._keys = list(state.get("votes_keys", []))
        self._scores = list(state.get("votes_scores", []))

    def learn(self, bits: int, held_out: NDArray[np.bool_]) -> tuple[Floats, Floats, NDArray[np.float64]]:
        """Learns the rows of all heads.

        Args:
            bits: of a code
            held_out: ``[pieces]``: those that measure alone

        Returns:
            projections ``[layers, heads, bits, size]``, centres ``[layers, heads, size]``, and Spearman's rank
            correlation of count and score on the pieces held out, ``[layers][heads]``
        """
        layers, heads, _, size = self._keys[0].shape
        parts = []
        for which in (~held_out, held_out):
            pieces = np.flatnonzero(which)
            keys = np.concatenate([self._keys[i] for i in pieces], axis=2).reshape(layers * heads, -1, size)
            scores = np.concatenate([self._scores[i] for i in pieces], axis=2).reshape(layers * heads, -1)
            parts.append((torch.from_numpy(keys), scores))
        (train, train_scores), (test, test_scores) = parts
        target = torch.from_numpy(ranks(train_scores) / train_scores.shape[1]).float()
        rows, offsets, apart = _learn(train, target, bits, self._seed)
        projection, center = _as_code(rows, offsets, apart, train)
        counts = votes(projection, center, test)
        return (
            projection.numpy().reshape(layers, heads, bits, size),
            center.numpy().reshape(layers, heads, size),
            rank_correlation(counts, test_scores).reshape(layers, heads),
        )


def ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks along the last axis, from 0; equal values share the mean of theirs."""
    out = np.empty(values.shape, np.float64)
    for row, result in zip(values, out, strict=True):
        _, inverse, counts = np.unique(row, return_inverse=True, return_counts=True)
        result[:] = (np.cumsum(counts) - (counts + 1) / 2)[inverse]
    return out


def rank_correlation(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Spearman's, along the last axis; 0 where all values of a row are equal."""
    x, y = (ranks(values) - (values.shape[-1] - 1) / 2 for values in (a, b))
    norms = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    product: NDArray[np.float64] = (x * y).sum(-1)
    result: NDArray[np.float64] = np.zeros_like(norms)
    np.divide(product, norms, out=result, where=norms > 0)
    return result


def votes(projection: Any, center: Any, keys: Any) -> NDArray[np.int64]:
    """Set bits of the codes of ``keys`` ``[heads, keys, size]``, as the library sets them."""
    counted: NDArray[np.int64] = (((keys - center[:, None]) @ projection.mT) >= 0).sum(-1).numpy()
    return counted


def _learn(keys: Any, target: Any, bits: int, seed: int) -> tuple[Any, Any, Any]:
    """Learns rows and offsets, for keys as they are: bit i is set iff ``<rows[i], key> + offsets[i] >= 0``.

    Returns:
        rows ``[heads, bits, size]``, offsets ``[heads, bits]``, and the direction ``[heads, size]`` in which keys vary
        least, to which all rows are orthogonal
    """
    mean = keys.mean(1, keepdim=True)
    centered = keys - mean
    covariance = (centered.mT @ centered / keys.shape[1]).double()
    apart = torch.linalg.eigh(covariance).eigenvectors[..., 0].float()
    flat = centered - (centered @ apart[..., None]) * apart[:, None]
    scale = flat.std(1, keepdim=True).clamp(min=1e-6 * float(flat.std()) + 1e-30)
    x = flat / scale
    rows, offsets = _thermometer(x, target, bits)
    _descend(x, target, rows, offsets, seed)
    rows = rows / scale
    rows -= (rows @ apart[..., None]) * apart[:, None]
    return rows, offsets - (rows @ mean.mT)[..., 0], apart


def _thermometer(x: Any, target: Any, bits: int) -> tuple[Any, Any]:
    """The best linear score, and one threshold on it for each bit. The score's spread over the keys is 1."""
    gram = x.mT @ x + RIDGE * x.shape[1] * torch.eye(x.shape[2])
    weight = torch.linalg.solve(gram, x.mT @ (target - target.mean(1, keepdim=True))[..., None])
    score = (x @ weight)[..., 0]
    spread = score.std(1, keepdim=True).clamp(min=1e-12)
    levels = (torch.arange(bits) + 0.5) / bits
    thresholds = torch.quantile(score / spread, levels, dim=1).mT
    return (weight.mT / spread[..., None]).repeat(1, bits, 1), -thresholds.contiguous()


def _descend(x: Any, target: Any, rows: Any, offsets: Any, seed: int) -> None:
    """Turns rows and offsets, in place, until the share of set bits follows ``target``."""
    draw = torch.Generator().manual_seed(seed)
    rows.add_(0.05 * torch.randn(rows.shape, generator=draw))  # so that rows can part
    rows.requires_grad_(True)
    offsets.requires_grad_(True)
    optimizer = torch.optim.Adam([rows, offsets], lr=RATE)
    with torch.enable_grad():
        for step in range(STEPS):
            progress = step / STEPS
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1.0 - progress)
            steepness = STEEPNESS[0] * (STEEPNESS[1] / STEEPNESS[0]) ** progress
            chosen = torch.randint(x.shape[1], (min(BATCH, x.shape[1]),), generator=draw)
            logits = torch.baddbmm(offsets[:, None], x[:, chosen], rows.mT)
            share = torch.sigmoid(steepness * logits).mean(-1)
            loss = (share - target[:, chosen]).square().mean(1).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    rows.requires_grad_(False)
    offsets.requires_grad_(False)


def _as_code(rows: Any, offsets: Any, apart: Any, keys: Any) -> tuple[Any, Any]:
    """Rows without offsets, and a centre. A code has no thresholds: so the centre lies far from all keys in the
    direction ``apart``, where a small weight is nearly a constant.
    """
    along = keys @ apart[..., None]  # [heads, keys, 1]
    distance = DISTANCE * along.abs().amax(1).clamp(min=1e-6)  # [heads, 1]
    weight = offsets / (distance + along.mean(1))
    return rows + weight[..., None] * apart[:, None], -distance * apart
