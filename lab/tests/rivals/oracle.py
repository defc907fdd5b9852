# SPDX-License-Identifier: Apache-2.0
"""The published algorithms as plain loops over one layer that really is bounded: it holds keys and values of what is
left, and nothing else. Shares no code with the rivals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NEVER = 2**31 - 1


@dataclass
class Token:
    position: int
    key: Any
    value: Any
    importance: float
    attention: dict[int, float] = field(default_factory=dict)
    """Mean weight over the group, by the query's position."""
    score: float | None = None


def softmax(x: list[float]) -> list[float]:
    largest = max(x)
    e = [math.exp(v - largest) for v in x]
    return [v / sum(e) for v in e]


def max_pool(x: list[float]) -> list[float]:
    return [max(x[max(0, i - 3) : i + 4]) for i in range(len(x))]


def cosine(a: Any, b: Any) -> float:
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


class Layer:
    """One layer under the rule of that name."""

    def __init__(self, rule: str, capacities: list[int], scaling: float) -> None:
        self.rule, self.half = rule.removesuffix("_half"), rule.endswith("_half")
        self.capacities, self.scaling = capacities, scaling
        self.held: list[list[Token]] = [[] for _ in capacities]
        self.deaths: list[dict[int, int]] = [{} for _ in capacities]
        self.queries: list[Any] = []  # of every token, [heads, group, head_dim]
        self.rescore_at = [0 for _ in capacities]

    def death(self, head: int, position: int) -> int:
        return self.deaths[head].get(position, NEVER)

    def step(self, q: Any, k: Any, v: Any, importance: Any = None, evict: bool = True) -> Any:
        """Takes one token in: q ``[heads, group, head_dim]``, k and v ``[heads, head_dim]``. Returns its attention."""
        t = len(self.queries)
        if evict:
            self.make_room(t)
        for head, tokens in enumerate(self.held):
            given = 0.0 if importance is None else float(importance[head])
            tokens.append(Token(t, k[head], v[head], given))
        self.queries.append(q)
        out = np.zeros_like(q)
        for head, tokens in enumerate(self.held):
            for g in range(q.shape[1]):
                weights = softmax([float(q[head, g] @ token.key) * self.scaling for token in tokens])
                for token, weight in zip(tokens, weights, strict=True):
                    out[head, g] += weight * token.value
                    token.attention[t] = token.attention.get(t, 0.0) + weight / q.shape[1]
        return out

    def make_room(self, t: int) -> None:
        if self.rule == "ada_kv":
            held = sum(len(tokens) for tokens in self.held)
            self.drop_shared(t, held + len(self.held) - sum(self.capacities))
            return
        victims: list[tuple[int, list[Token]]] = []
        for head, tokens in enumerate(self.held):  # all choose before any drops
            if len(tokens) == self.capacities[head]:
                count = max(1, min(128, len(tokens) // 4)) if self.rule == "keydiff" and not self.half else 1
                victims.append((head, self.worst(head, t, count)))
        for head, tokens in victims:
            self.drop(t, head, tokens)

    def compress(self) -> None:
        t = len(self.queries)
        if self.rule == "ada_kv":
            self.drop_shared(t, sum(len(tokens) for tokens in self.held) - sum(self.capacities))
            return
        chosen = [self.worst(h, t, max(0, len(x) - self.capacities[h])) for h, x in enumerate(self.held)]
        for head, tokens in enumerate(chosen):
            self.drop(t, head, tokens)

    def drop(self, t: int, head: int, tokens: list[Token]) -> None:
        for token in tokens:
            self.held[head].remove(token)
            self.deaths[head][token.position] = t

    def worst(self, head: int, t: int, count: int) -> list[Token]:
        """The first to go, the oldest among equals."""
        if count == 0:
            return []
        candidates = self.evictable(head, t)
        values = self.badness(head, t, candidates)
        order = sorted(range(len(candidates)), key=lambda i: (-values[i], candidates[i].position))
        return [candidates[i] for i in order[:count]]

    def drop_shared(self, t: int, count: int) -> None:
        even = sum(self.capacities) // len(self.capacities)
        floor = int(0.2 * (even - min(32, even // 2)))
        entries = []
        for head in range(len(self.held)):
            candidates = self.evictable(head, t)
            for token, value in zip(candidates, self.badness(head, t, candidates), strict=True):
                entries.append((-value, token.position, head, token))
        entries.sort(key=lambda entry: entry[:3])
        left = [len(self.evictable(head, t)) for head in range(len(self.held))]
        for _, _, head, token in entries:
            if count > 0 and left[head] > floor:
                self.drop(t, head, [token])
                left[head] -= 1
                count -= 1

    def window(self, head: int) -> int:
        capacity = self.capacities[head]
        if self.rule == "ada_kv":
            capacity = sum(self.capacities) // len(self.capacities)
        if self.half or self.rule in ("h2o", "kvzip"):
            return capacity // 2
        return {
            "snapkv": min(32, capacity // 2),
            "ada_kv": min(32, capacity // 2),
            "r_kv": min(8, capacity // 2),
            "kvzap_linear": min(128, capacity // 2),
        }.get(self.rule, 0)

    def evictable(self, head: int, t: int) -> list[Token]:
        sinks = 4 if self.rule in ("streaming_llm", "kvzap_linear", "kvzip") else 0
        return [x for x in self.held[head] if sinks <= x.position < t - self.window(head)]

    def badness(self, head: int, t: int, tokens: list[Token]) -> list[float]:
        """High goes first."""
        if self.rule == "streaming_llm":
            return [-x.position for x in tokens]
        if self.rule == "h2o":
            return [-sum(x.attention.values()) for x in tokens]
        if self.rule == "tova":
            return [-self.mean_of_layer(x.position, t - 1) for x in tokens]
        if self.rule in ("snapkv", "ada_kv"):
            voters = range(t - 32, t)
            return [-v for v in max_pool([sum(x.attention.get(i, 0.0) for i in voters) for x in tokens])]
        if self.rule == "keydiff":
            every = [x.key / math.sqrt(x.key @ x.key) for x in self.held[head]]
            mean = sum(every) / len(every)
            return [cosine(x.key, mean) for x in tokens]
        if self.rule == "r_kv":
            return self.r_kv(head, t, tokens)
        assert self.rule in ("kvzap_linear", "kvzip")
        return [-x.importance for x in tokens]

    def mean_of_layer(self, position: int, query: int) -> float:
        found = [x.attention[query] for tokens in self.held for x in tokens if x.position == position]
        return sum(found) / len(found)

    def r_kv(self, head: int, t: int, tokens: list[Token]) -> list[float]:
        if t >= self.rescore_at[head]:
            self.rescore_at[head] = t + max(1, min(128, self.capacities[head] // 4))
            for token in self.held[head]:
                token.score = None
            self.score_r_kv(head, t, tokens)
        return [-1e30 if x.score is None else x.score for x in tokens]

    def score_r_kv(self, head: int, t: int, tokens: list[Token]) -> None:
        important = [0.0] * len(tokens)
        recent = self.queries[max(0, t - 8) : t]
        for q in recent:
            logits = [max(float(row @ x.key) for row in q[head]) * self.scaling for x in tokens]
            for i, weight in enumerate(max_pool(softmax(logits))):
                important[i] += weight / len(recent)
        redundant = [0.0] * len(tokens)
        for a in tokens:
            spared = False
            for i in reversed(range(len(tokens))):
                if tokens[i] is a:
                    continue
                similarity = cosine(a.key, tokens[i].key)
                if similarity > 0.5 and not spared:
                    spared = True
                else:
                    redundant[i] += similarity / len(tokens)
        for token, i, r in zip(tokens, important, softmax(redundant), strict=True):
            token.score = 0.9 * r - 0.1 * i
