# SPDX-License-Identifier: Apache-2.0
"""The rules as plain loops over Python integers, and attention in double precision. Takes codes as given."""

from __future__ import annotations

from typing import Any

import numpy as np


def distance(a: Any, b: Any) -> int:
    """Hamming distance of two packed codes."""
    return sum(int(x ^ y).bit_count() for x, y in zip(a.tolist(), b.tolist(), strict=True))


class Head:
    """One KV head under the paper's rule: the slot whose code is farthest from the queries' codes goes, the oldest of
    equals; sinks and recent tokens stay."""

    def __init__(self, capacity: int, sinks: int = 4, recent: int = 10) -> None:
        self.capacity, self.sinks, self.recent = capacity, sinks, recent
        self.slots: list[tuple[int, Any, Any, Any]] = []  # position, code, key, value

    def step(self, position: int, code: Any, query_codes: Any, key: Any, value: Any) -> tuple[int, int]:
        """Places a token. Returns its slot and the position that it evicted, or -1."""
        entry = (position, code, key, value)
        if len(self.slots) < self.capacity:
            self.slots.append(entry)
            return len(self.slots) - 1, -1
        best, best_slot = (-1, 0), -1
        for slot, (held, held_code, _, _) in enumerate(self.slots):
            if held < self.sinks or held >= position - self.recent:
                continue
            score = (sum(distance(query, held_code) for query in query_codes), -held)
            if best_slot < 0 or score > best:
                best, best_slot = score, slot
        victim = self.slots[best_slot][0]
        self.slots[best_slot] = entry
        return best_slot, victim

    def attend(self, query: Any) -> Any:
        keys = np.stack([slot[2] for slot in self.slots]).astype(np.float64)
        values = np.stack([slot[3] for slot in self.slots]).astype(np.float64)
        logits = keys @ query.astype(np.float64) / np.sqrt(query.size)
        weights = np.exp(logits - logits.max())
        return (weights / weights.sum()) @ values
