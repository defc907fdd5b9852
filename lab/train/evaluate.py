# SPDX-License-Identifier: Apache-2.0
"""Exact-match accuracy of a stored model on every task and length, and its loss on held-out text.

The seeds are disjoint from training (a key no training step uses), and so is the filler. With `--window` every layer
sees only that many latest tokens: a check that the tasks do need what lies far back.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from batches import Row, answers_right, available_tasks, encode, stack
from checkpoint import load_model
from corpus import read_words
from model import Llama
from tasks import BOS, TASKS, make_example

# A training seed key is (seed, step); a key of another length never coincides with it.
EVALUATION_KEY = (2026, 5, 1)
TOKENS_PER_PASS = 8192
TEXT_LENGTH = 1024


def sliding_window(length: int, window: int | None) -> Tensor | None:
    """A mask by which a query sees the latest `window` positions, its own included."""
    if window is None:
        return None
    age = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    return (age >= 0) & (age < window)


@torch.no_grad()
def accuracy(model: Llama, rows: Sequence[Row], window: int | None) -> float:
    """Share of answers whose every byte the model ranks first."""
    right: list[bool] = []
    length = len(rows[0].tokens) - 1
    mask = sliding_window(length, window)
    for begin in range(0, len(rows), max(1, TOKENS_PER_PASS // length)):
        part = rows[begin : begin + max(1, TOKENS_PER_PASS // length)]
        inputs, targets, _ = stack(part)
        hits = model(inputs, mask).argmax(-1) == targets
        right += [answer for answers in answers_right(part, hits) for answer in answers]
    return float(np.mean(right))


@torch.no_grad()
def text_loss(model: Llama, text: bytes, window: int | None) -> float:
    """Nats per byte over the whole text, in independent pieces of 1024 bytes."""
    total = 0.0
    for begin in range(0, len(text), TEXT_LENGTH):
        tokens = torch.tensor([[BOS, *text[begin : begin + TEXT_LENGTH]]])
        logits = model(tokens[:, :-1], sliding_window(tokens.shape[1] - 1, window))
        total += F.cross_entropy(logits[0], tokens[0, 1:], reduction="sum").item()
    return total / len(text)


def draw_rows(task: str, length: int, count: int, text: bytes, words: Sequence[str]) -> list[Row]:
    """The examples of one cell of the table; they depend on the task, the length and their number in the row only."""
    rngs = (np.random.default_rng([*EVALUATION_KEY, TASKS.index(task), length, i]) for i in range(count))
    return [encode(make_example(rng, task, text, words, length)) for rng in rngs]


def evaluate(model: Llama, args: argparse.Namespace) -> dict[str, object]:
    """All cells, each with its standard error."""
    text, words = args.text.read_bytes(), read_words(args.words)
    result: dict[str, object] = {"samples": args.count, "window": args.window}
    for length in args.lengths:
        cells = {}
        for task in available_tasks(length):
            rate = accuracy(model, draw_rows(task, length, args.count, text, words), args.window)
            cells[task] = {"accuracy": round(rate, 4), "error": round((rate * (1 - rate) / args.count) ** 0.5, 4)}
        result[str(length)] = cells
        print(json.dumps({length: cells}), flush=True)
    result["text_nats_per_byte"] = round(text_loss(model, text, args.window), 4)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("assets/tiny-llama"))
    parser.add_argument("--text", type=Path, default=Path("assets/text/sample.txt"))
    parser.add_argument("--words", type=Path, default=Path("assets/text/words.txt"))
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--count", type=int, default=200, help="examples per task and length")
    parser.add_argument("--window", type=int, help="see only this many latest tokens in every layer")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(json.dumps(evaluate(load_model(args.model), args)))


if __name__ == "__main__":
    main()
