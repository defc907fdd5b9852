#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks a real model for facts far back in a text, with the full cache and with bounded ones: scripts/demo.sh --real.

Needs torch, transformers and hashevict. The text streams through the cache, which does not know what will be asked.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache
from transformers.utils import logging

from hashevict import Profile
from hashevict.command import add_model, load_model
from hashevict.evaluation.budgets import Budgets
from hashevict.evaluation.measure import cache_argument
from hashevict.evaluation.policies import CALIBRATED, UNIFORM, PolicyContext, policies_of
from hashevict.transformers.models import shape_of, use_attention

FACTS = (
    ("The pass-phrase of the archive is violet harbour.", "The pass-phrase of the archive is", "violet harbour"),
    ("The museum of clocks opens at twenty past nine.", "The museum of clocks opens at", "twenty past nine"),
    ("The ferry to the island costs 37 coins.", "The ferry to the island costs", "37"),
    ("The cat of the library is called Biscuit.", "The cat of the library is called", "Biscuit"),
    (
        "The night train to the coast leaves from platform 14.",
        "The night train to the coast leaves from",
        "platform 14",
    ),
    ("The old bridge was painted orange in spring.", "The old bridge was painted", "orange"),
    ("The spare key lies under the third flower pot.", "The spare key lies under", "the third flower pot"),
    ("The choir meets on Thursday in the bakery.", "The choir meets on Thursday in", "the bakery"),
)
"""Sentence, how the question begins its answer, and the answer."""
QUESTION = "\n\nQuestion: What does the text say?\nAnswer:"
MOST_TOKENS = 10
"""Of an answer."""
ROWS = [
    ("full", UNIFORM),
    *((name, slots) for name in ("window", "paper", "recall") for slots in (UNIFORM, CALIBRATED)),
]
SHOWN = [("full", UNIFORM), ("recall", UNIFORM), ("recall", CALIBRATED)]
"""Rows whose answers are printed in words."""
SLOTS = {UNIFORM: "equal", CALIBRATED: "calibrated"}
COLUMN = 26


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model(parser)
    parser.add_argument("--profile", required=True, help="of the model")
    parser.add_argument("--filler", required=True, help="ordinary text that hides the facts")
    parser.add_argument("--length", type=int, default=1024, help="tokens that stream before the questions")
    parser.add_argument("--budget", type=float, default=0.3, help="of the full cache's bytes")
    options = parser.parse_args(arguments)
    logging.disable_progress_bar()
    model, tokenizer = load_model(options)
    profile = Profile.read(options.profile)
    context = hidden(tokenizer, Path(options.filler).read_text(encoding="utf-8"), options.length)
    budgets = Budgets(shape_of(model.config), profile)
    print(
        f"{context.shape[1]} tokens with {len(FACTS)} facts stream through each cache; then it is asked for every fact."
    )
    print(f"A bounded cache takes {100 * options.budget:.0f} % of the full cache's bytes. + marks a right answer.\n")
    answers, lines = {}, []
    for name, allocation in ROWS:
        cache, size = cache_of(model, profile, budgets, name, allocation, options.budget, context.shape[1])
        found = answers_of(model, tokenizer, cache, context)
        answers[name, allocation] = found
        right = sum(is_right(text, fact) for text, fact in zip(found, FACTS, strict=True))
        slots = "" if name == "full" else SLOTS[allocation]
        lines.append(f"{name:<10}{slots:<12}{size / 2**20:>9.1f} MiB{right:>7} of {len(FACTS)}")
    print_words(answers)
    print(f"\n{'cache':<10}{'slots':<12}{'bytes':>13}{'answers':>12}")
    print("\n".join(lines))
    return 0


def cache_of(
    model: Any, profile: Profile, budgets: Budgets, name: str, allocation: str, budget: float, num_tokens: int
) -> tuple[Any, int]:
    """A cache and its bytes, keys and values counted as bfloat16."""
    if name == "full":
        use_attention(model, "sdpa")
        return DynamicCache(config=model.config), budgets.full_bytes(num_tokens)
    policy = policies_of([name])[0]
    share = budgets.share(policy, allocation, budget, num_tokens)
    assert policy.make is not None
    return policy.make(model, PolicyContext(num_tokens, share.capacities, profile, seed=0)), share.bytes


def hidden(tokenizer: Any, filler: str, length: int) -> Any:
    """Tokens ``[1, about length]`` of the filler's paragraphs with the facts between them, at even distances."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in filler.split("\n\n")]
    parts: list[str] = []
    for paragraph in paragraphs:
        if len(tokenizer("\n".join([*parts, paragraph, *(fact for fact, _, _ in FACTS)]))["input_ids"]) > length:
            break
        parts.append(paragraph)
    step = len(parts) / len(FACTS)
    for i in reversed(range(len(FACTS))):
        parts.insert(int(i * step), FACTS[i][0])
    return torch.tensor([tokenizer("\n".join(parts))["input_ids"]])


def answers_of(model: Any, tokenizer: Any, cache: Any, context: Any) -> list[str]:
    """The model's answer to each question, every one asked of the same cache behind the context."""
    argument, answers = cache_argument(model), []
    with torch.no_grad():
        model(input_ids=context, logits_to_keep=1, **{argument: cache})
        for _, stem, _ in FACTS:
            twin = copy.deepcopy(cache)
            ids = tokenizer(f"{QUESTION} {stem}")["input_ids"]
            answer: list[int] = []
            while len(answer) < MOST_TOKENS:
                logits = model(input_ids=torch.tensor([ids]), logits_to_keep=1, **{argument: twin}).logits
                ids = [int(logits[0, -1].argmax())]
                answer += ids
                if any(mark in tokenizer.decode(ids) for mark in ".\n"):
                    break
            answers.append(tokenizer.decode(answer).split("\n")[0].strip(" ."))
    return answers


def is_right(text: str, fact: tuple[str, str, str]) -> bool:
    """Whether an answer begins with the fact's."""
    return text.lower().startswith(fact[2].lower())


def print_words(answers: dict[tuple[str, str], list[str]]) -> None:
    """The answers of the full cache and of two bounded ones, side by side."""
    titles = ["full cache", *(f"{name}, {SLOTS[slots]} slots" for name, slots in SHOWN[1:])]
    print("".join(title.ljust(COLUMN) for title in ["question", *titles]))
    for i, fact in enumerate(FACTS):
        cells = [f"{'+' if is_right(answers[row][i], fact) else '-'} {answers[row][i]}" for row in SHOWN]
        print(f"{fact[1]} ...")
        print("".join(cell[: COLUMN - 1].ljust(COLUMN) for cell in ["", *cells]).rstrip())


if __name__ == "__main__":
    sys.exit(main())
