# SPDX-License-Identifier: Apache-2.0
"""Batches of examples as tensors, and the exact-match accuracy of their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np
import torch
from torch import Tensor

from tasks import BOS, MIN_LENGTH, TASKS, Turn, cut_filler, make_example, make_mixture

TEXT_WEIGHT = 0.3
# Kinds of training sequences; the rest are mixtures of tasks.
SHARE_TEXT, SHARE_SINGLE, SHARE_ECHO = 0.1, 0.25, 0.15
NUMBER_SHARE = 0.4
ECHO_SEPARATORS = (" ", "=", " is ", " likes ", "_port = ", "_id ")
ECHO_MARKERS = ("", "Q: ")


@dataclass(frozen=True)
class Row:
    """One sequence. `task` names its task if it holds one alone, so that the answers count for that task."""

    tokens: list[int]
    answers: list[tuple[int, int]]
    task: str | None = None


def encode(turns: Sequence[Turn], task: str | None = None) -> Row:
    """Tokens of an example and the ranges its answers occupy."""
    tokens, answers = [BOS], []
    for turn in turns:
        tokens += turn.prompt
        answers.append((len(tokens), len(tokens) + len(turn.answer)))
        tokens += turn.answer
    return Row(tokens, answers, task)


def available_tasks(length: int) -> list[str]:
    """Tasks that fit into `length` bytes."""
    return [task for task in TASKS if MIN_LENGTH[task] <= length]


def draw_echo(rng: np.random.Generator, text: bytes, words: Sequence[str], length: int) -> Row:
    """Lines of random words and numbers, asked again in another order: much to recall, so that recall forms early.

    The separator after the first word and the marker before a repeated line change from row to row, so that the model
    learns the first word as a key in every place.
    """
    per_line = int(rng.integers(2, 6))
    separator, marker = str(rng.choice(ECHO_SEPARATORS)), str(rng.choice(ECHO_MARKERS))
    lines: list[tuple[str, str]] = []
    room = length - 8
    while (size := len("".join(line := _random_line(rng, words, per_line, separator)))) * 2 + len(marker) <= room:
        lines.append(line)
        room -= 2 * size + len(marker)
    body = "".join(key + rest for key, rest in lines).encode()
    tokens = [BOS, *cut_filler(rng, text, length - 2 * len(body) - len(marker) * len(lines)), *body]
    answers = []
    for index in rng.permutation(len(lines)):
        key, rest = lines[index]
        tokens += f"{marker}{key}".encode()
        answers.append((len(tokens), len(tokens) + len(rest)))
        tokens += rest.encode()
    return Row(tokens, answers)


def _random_line(rng: np.random.Generator, words: Sequence[str], count: int, separator: str) -> tuple[str, str]:
    items = [words[rng.integers(len(words))]] + [
        str(rng.integers(10, 10000)) if rng.random() < NUMBER_SHARE else words[rng.integers(len(words))]
        for _ in range(count - 1)
    ]
    return items[0] + separator, " ".join(items[1:]) + "\n"


def draw_row(rng: np.random.Generator, text: bytes, words: Sequence[str], length: int) -> Row:
    """One training sequence: running text, one task, an echo, or a mixture of tasks."""
    kind = rng.random()
    if kind < SHARE_TEXT:
        return Row([BOS, *cut_filler(rng, text, length)], [])
    if kind < SHARE_TEXT + SHARE_SINGLE:
        task = str(rng.choice(available_tasks(length)))
        return encode(make_example(rng, task, text, words, length), task)
    if kind < SHARE_TEXT + SHARE_SINGLE + SHARE_ECHO:
        return draw_echo(rng, text, words, length)
    return encode(make_mixture(rng, text, words, length))


def stack(rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and loss weights, each `[rows, length]`."""
    tokens = torch.tensor([row.tokens for row in rows])
    weights = torch.full(tokens.shape, TEXT_WEIGHT)
    for i, row in enumerate(rows):
        for begin, end in row.answers:
            weights[i, begin:end] = 1.0
    return tokens[:, :-1], tokens[:, 1:], weights[:, 1:]


def answers_right(rows: Sequence[Row], hits: Tensor) -> list[list[bool]]:
    """For every row and answer: whether all its bytes were predicted. `hits` is `[rows, length]`, as targets are."""
    return [[bool(hits[i, begin - 1 : end - 1].all()) for begin, end in row.answers] for i, row in enumerate(rows)]
