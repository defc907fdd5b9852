# SPDX-License-Identifier: Apache-2.0
"""A bounded cache of one layer, token by token, without its attention: it says how long each key lives."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rivals.rule import Floats, Ints, Rule

ALIVE = np.iinfo(np.int32).max
"""The death of a key that is still held."""
EMPTY = -1
ROWS = 128
"""Queries whose logits are computed at once."""


class Stream:
    """The slots of all KV heads of one layer. A step evicts, stores the new token, then attends, so that no step sees
    more than the capacity. Costs O(capacity) a step and head where the rule does.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        shape = rule.shape
        self.capacities: Ints = shape.capacities.astype(np.int32)
        heads, group, size = shape.num_kv_heads, shape.group_size, shape.head_dim
        self.deaths: Ints = np.zeros((heads, 0), np.int32)
        """``[num_kv_heads, tokens]``: the first step that no longer sees the key, or ``ALIVE``."""
        self.queries: Floats = np.zeros((heads, group, 0, size), np.float32)
        """Of all tokens so far, ``[num_kv_heads, group_size, tokens, head_dim]``."""
        self.keys: Floats = np.zeros((heads, 0, size), np.float32)
        """Of all tokens so far, ``[num_kv_heads, tokens, head_dim]``."""
        self.importance: Floats | None = None
        """Of all tokens so far, ``[num_kv_heads, tokens]``, where one is given."""
        self._heads = np.arange(heads)
        self._block = rule.block()
        self._sinks, self._window = rule.sinks()[:, None], rule.window()[:, None]
        self._allocate(0)

    @property
    def num_tokens(self) -> int:
        return int(self.keys.shape[1])

    def take(self, queries: Floats, keys: Floats, importance: Floats | None = None, bounded: bool = True) -> None:
        """Takes tokens in.

        Args:
            queries: ``[num_kv_heads, group_size, tokens, head_dim]``
            keys: ``[num_kv_heads, tokens, head_dim]``
            importance: ``[num_kv_heads, tokens]``, for rules that are given one
            bounded: False: nothing is evicted, until :meth:`compress`
        """
        start, end = self.num_tokens, self.num_tokens + keys.shape[1]
        self.queries = np.concatenate([self.queries, queries], axis=2, dtype=queries.dtype)
        self.keys = np.concatenate([self.keys, keys], axis=1, dtype=keys.dtype)
        if importance is not None:
            before = importance[:, :0] if self.importance is None else self.importance
            self.importance = np.concatenate([before, importance], axis=1)
        self.deaths = np.pad(self.deaths, ((0, 0), (0, end - start)), constant_values=ALIVE)
        held = int(self.capacities.sum()) if self.rule.shares_slots else int(self.capacities.max())
        self._reserve(min(held, end) if bounded else end)
        for first in range(start, end, ROWS):
            last = min(first + ROWS, end)
            if self.rule.needs_weights:
                self._multiply(first, last)
            for t in range(first, last):
                if bounded:
                    self._make_room(t)
                self._store(t)
                if self.rule.needs_weights:
                    self.rule.attended(self, t, self._weights(t - first))

    def compress(self) -> None:
        """Drops the largest scores at once, as if for the next token, until every head fits its capacity; of equal
        ones, the oldest.
        """
        t = self.num_tokens
        lengths = self.lengths()
        excess = lengths.sum() - self.capacities.sum() if self.rule.shares_slots else lengths - self.capacities
        if (excess <= 0).all():
            return
        scores = self._evictable_scores(t, (excess > 0) & (lengths > 0))
        if self.rule.shares_slots:
            self._evict_shared(t, scores, int(excess))
        else:
            for head in self._heads[excess > 0]:
                self._evict_largest(t, int(head), scores[head], int(excess[head]))

    def lengths(self) -> NDArray[np.intp]:
        """Tokens that each head holds."""
        counts: NDArray[np.intp] = (self.positions != EMPTY).sum(1)
        return counts

    def _allocate(self, slots: int) -> None:
        heads, group = self.rule.shape.num_kv_heads, self.rule.shape.group_size
        self.positions: Ints = np.full((heads, slots), EMPTY, np.int32)
        """``[num_kv_heads, slots]``, ``EMPTY`` where a slot is."""
        self._bias = np.full((heads, 1, slots), -np.inf, np.float32)
        self._index = np.zeros((heads, group, slots), np.intp)
        self.rule.by_slot = self.rule.allocate(slots)

    def _reserve(self, slots: int) -> None:
        """Makes room for this many slots a head, and puts what is held first."""
        if slots == self.positions.shape[1]:
            return
        order = np.argsort(self.positions == EMPTY, axis=1, kind="stable")
        kept = int(self.lengths().max(initial=0))
        slots = max(slots, kept)
        before, state = self.positions, self.rule.by_slot
        self._allocate(slots)
        rows = self._heads[:, None]
        self.positions[:, :kept] = before[rows, order[:, :kept]]
        self._bias[:, 0] = np.where(self.positions == EMPTY, -np.inf, 0.0)
        for name, array in state.items():
            self.rule.by_slot[name] = self.rule.by_slot[name].astype(array.dtype)
            self.rule.by_slot[name][:, :kept] = array[rows, order[:, :kept]]

    def _evictable_scores(self, t: int, full: NDArray[np.bool_]) -> Floats:
        """The scores of token ``t``; -inf for what must stay."""
        held = self.positions != EMPTY
        evictable = held & (self.positions >= self._sinks) & (self.positions < t - self._window)
        scores: Floats = np.where(evictable, self.rule.scores(self, t, full), -np.inf)
        return scores

    def _make_room(self, t: int) -> None:
        lengths = self.lengths()
        if self.rule.shares_slots:
            excess = int(lengths.sum()) + len(lengths) - int(self.capacities.sum())
            if excess > 0:
                self._evict_shared(t, self._evictable_scores(t, lengths > 0), excess)
            return
        full = lengths >= self.capacities
        if not full.any():
            return
        scores = self._evictable_scores(t, full)
        largest = scores.max(1)
        oldest = np.where(scores == largest[:, None], self.positions, ALIVE).argmin(1)
        for head in self._heads[full]:
            if self._block[head] == 1:
                self._evict(t, int(head), int(oldest[head]))
            else:
                self._evict_largest(t, int(head), scores[head], int(self._block[head]))

    def _evict_largest(self, t: int, head: int, scores: Floats, count: int) -> None:
        """Evicts the largest scores ``[slots]`` of one head."""
        for slot in np.lexsort((self.positions[head], -scores))[: min(count, int(np.isfinite(scores).sum()))]:
            self._evict(t, head, int(slot))

    def _evict_shared(self, t: int, scores: Floats, count: int) -> None:
        """Evicts the largest scores of all heads, of heads that have more than their floor."""
        spare = np.isfinite(scores).sum(1) - self.rule.floors()
        for _ in range(count):
            open_scores = np.where((spare > 0)[:, None], scores, -np.inf)
            largest = open_scores.max()
            head, slot = divmod(
                int(np.where(open_scores == largest, self.positions, ALIVE).argmin()), self.positions.shape[1]
            )
            self._evict(t, head, slot)
            scores[head, slot] = -np.inf
            spare[head] -= 1

    def _evict(self, t: int, head: int, slot: int) -> None:
        self.deaths[head, self.positions[head, slot]] = t
        self.positions[head, slot] = EMPTY
        self._bias[head, 0, slot] = -np.inf
        for array in self.rule.by_slot.values():
            array[head, slot] = 0.0

    def _store(self, t: int) -> None:
        slots = self.positions.argmin(1)  # the first that is empty
        self.positions[self._heads, slots] = t
        self._bias[self._heads, 0, slots] = 0.0
        if self.rule.needs_weights:
            self._index[self._heads, :, slots] = self._rows + t
        self.rule.stored(self, t, slots)

    def _multiply(self, first: int, last: int) -> None:
        """Computes the logits of a block of queries over all keys up to the last of them."""
        shape = self.rule.shape
        heads, group = shape.num_kv_heads, shape.group_size
        block = self.queries[:, :, first:last].reshape(heads, -1, shape.head_dim)
        self._logits = product(block, self.keys[:, :last].transpose(0, 2, 1)).ravel()
        self._logits *= shape.scaling
        rows = np.arange(heads * group) * ((last - first) * last)
        self._rows = rows.reshape(heads, group).astype(np.intp)
        self._width = last
        self._index[:] = self._rows[:, :, None] + np.maximum(self.positions, 0)[:, None]

    def _weights(self, row: int) -> Floats:
        """Softmax of a row of the block over what each head holds, averaged over the group."""
        logits = self._logits[row * self._width :].take(self._index)
        logits += self._bias
        logits -= logits.max(2, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(2, keepdims=True)
        mean: Floats = logits.mean(1)
        return mean


def product(a: Floats, b: Floats) -> Floats:
    """The matrix product, by torch: NumPy's own library would spin on threads beside torch's."""
    out: Floats = torch.matmul(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    return out
