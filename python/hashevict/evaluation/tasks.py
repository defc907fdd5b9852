# SPDX-License-Identifier: Apache-2.0
"""Recall tasks after RULER (arXiv 2404.06654) and NIAH: facts hidden in ordinary text, and questions at the end.

An example is deterministic by task, domain, length, index, seed and tokenizer. A question is written so that the answer
continues it; an answer is a few tokens, and its end is not asked for. Where a context hides four facts, four questions
ask for them in turn, as in a conversation: the context streams once, and nobody knows the next question.

==============  =======================================================================================
``needle``      one number by a word
``one_of_four`` four such numbers in four places; four questions
``passphrase``  four people's pass-phrases of two words; four questions
``settings``    four lines ``key = value``; four questions for a value
``facts``       four people's birthplace, trade or house in ordinary sentences; four questions
``values``      two numbers by one word in two places; both are asked
``tracking``    a value that is handed from variable to variable; the last one's value is asked
``decoys``      a number by a word, among numbers by the same word with a digit added; it is asked
``copy``        a list of eight words, to be repeated
==============  =======================================================================================
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hashevict.errors import InvalidArgument
from hashevict.evaluation import words
from hashevict.evaluation.texts import Filler

TEXT = "text"
"""Running text as a task: every token of it counts."""
MAIN_TASKS = ("needle", "one_of_four", "passphrase", "settings", "facts")
SPOT_TASKS = ("values", "tracking", "decoys", "copy")


@dataclass(frozen=True)
class Turn:
    """A question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Example:
    """One sequence for a model: a context, then each question with its answer."""

    task: str
    domain: str
    index: int
    context: str
    turns: tuple[Turn, ...] = ()
    """None: running text."""


@dataclass(frozen=True)
class _Recall:
    facts: list[str]
    turns: tuple[Turn, ...]
    inline: bool = False
    """Facts stand between sentences, else on lines of their own."""


def make_example(tokenizer: Any, task: str, filler: Filler, length: int, index: int, seed: int) -> Example:
    """An example whose tokens are ``length``, or a few less.

    Raises:
        InvalidArgument: an unknown task, a length too small for it, or a text that is too short
    """
    key = f"{task}/{filler.domain}/{length}/{index}/{seed}"
    rng = np.random.default_rng(list(hashlib.sha256(key.encode()).digest()))
    if task == TEXT:
        piece = filler.piece(index, length, seed)
        return _fitted(tokenizer, length, lambda text: Example(task, filler.domain, index, text), piece)
    if task not in _TASKS:
        raise InvalidArgument(f"task {task!r}: expected one of {', '.join([*_TASKS, TEXT])}")
    recall = _TASKS[task](rng)
    depths = np.sort(rng.random(len(recall.facts)))

    def build(text: str) -> Example:
        context = _hidden(text, recall, depths)
        return Example(task, filler.domain, index, context, recall.turns)

    return _fitted(tokenizer, length, build, filler.draw(rng, length))


Span = tuple[int, int]
"""Tokens from the first to the one behind the last."""


def token_ids(tokenizer: Any, example: Example) -> tuple[list[int], list[Span]]:
    """All tokens of an example, and those that count: each answer's, or of running text all but the first.

    Raises:
        InvalidArgument: an answer without a token of its own, or one whose tokens depend on what follows
    """

    def ids_of(text: str) -> list[int]:
        return list(tokenizer(text, verbose=False)["input_ids"])

    text = example.context
    ids: list[int] = []
    spans: list[Span] = []
    for turn in example.turns:
        text += turn.question
        prompt, before = ids_of(text), ids
        text += turn.answer
        ids = ids_of(text)
        first = _num_same(prompt, ids)
        if not 0 < first < len(ids) or _num_same(before, ids) < len(before):
            raise InvalidArgument(
                f"task {example.task!r}, example {example.index}: expected tokens before each answer, and of each"
            )
        spans.append((first, len(ids)))
    if not example.turns:
        ids = ids_of(text)
        spans = [(1, len(ids))]
    return ids, spans


def _num_same(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning."""
    shorter = min(len(a), len(b))
    return next((i for i in range(shorter) if a[i] != b[i]), shorter)


def _fitted(tokenizer: Any, length: int, build: Callable[[str], Example], longest: str) -> Example:
    """The example with as much of the text as fits."""
    low, high = 0, len(longest) + 1
    if len(token_ids(tokenizer, build(""))[0]) > length // 2:
        raise InvalidArgument(f"length = {length}: too small for task {build('').task!r}")
    while high - low > 1:
        middle = (low + high) // 2
        fits = len(token_ids(tokenizer, build(longest[:middle]))[0]) <= length
        low, high = (middle, high) if fits else (low, middle)
    return build(longest[:low])


def _hidden(text: str, recall: _Recall, depths: Any) -> str:
    """The filler's whole words with the facts at these depths, moved on to the next place where they may stand."""
    text = text[: max(text.rfind(" "), text.rfind("\n")) + 1]
    ends = [match.end() for match in re.finditer(r"[.!?]\s+" if recall.inline else r"\n+", text)]
    places = [next((end for end in ends if end >= depth * len(text)), len(text)) for depth in depths]
    parts, last = [], 0
    for place, fact in zip(places, recall.facts, strict=True):
        before = text[last:place]
        if not recall.inline and before and not before.endswith("\n"):
            before += "\n"
        parts += [before, fact, " " if recall.inline else "\n"]
        last = place
    return "".join([*parts, text[last:]])


def _draw(rng: np.random.Generator, choices: list[str], count: int) -> list[str]:
    return [choices[i] for i in rng.choice(len(choices), count, replace=False)]


def _numbers(rng: np.random.Generator, count: int) -> list[str]:
    return [str(number) for number in rng.choice(90000, count, replace=False) + 10000]


def _magic(rng: np.random.Generator, count: int) -> _Recall:
    keys, numbers = _draw(rng, words.NOUNS, count), _numbers(rng, count)
    facts = [f"The special magic number for {k} is {n}." for k, n in zip(keys, numbers, strict=True)]
    stem = "The special magic number for {} is"
    asked = [(keys[i], numbers[i]) for i in rng.permutation(count)]
    return _Recall(facts, _asked("What is the special magic number for {}?", stem, asked))


def _passphrase(rng: np.random.Generator) -> _Recall:
    names, nouns = _draw(rng, words.NAMES, 4), _draw(rng, words.NOUNS, 8)
    phrases = [f"{nouns[i]} {nouns[i + 4]}" for i in range(4)]
    facts = [f"The secret pass-phrase of {n} is {p}." for n, p in zip(names, phrases, strict=True)]
    asked = list(zip(names, phrases, strict=True))
    turns = _asked("What is the secret pass-phrase of {}?", "The secret pass-phrase of {} is", asked)
    return _Recall(_shuffled(rng, facts), turns)


def _settings(rng: np.random.Generator) -> _Recall:
    sections, parts, numbers = _draw(rng, words.SECTIONS, 4), _draw(rng, words.PARTS, 4), _numbers(rng, 4)
    keys = [f"{s}_{p}" for s, p in zip(sections, parts, strict=True)]
    facts = [f"{k} = {n}" for k, n in zip(keys, numbers, strict=True)]
    turns = tuple(
        Turn(f"\n\nThe setting of {k} above was:\n{k} =", f" {n}") for k, n in zip(keys, numbers, strict=True)
    )
    return _Recall(_shuffled(rng, facts), turns)


def _facts(rng: np.random.Generator) -> _Recall:
    names, cities = _draw(rng, words.NAMES, 4), _draw(rng, words.CITIES, 4)
    trades, colours = _draw(rng, words.TRADES, 4), _draw(rng, words.COLOURS, 4)
    kinds = [
        ("{0} was born in {1}.", "Where was {0} born?", "{0} was born in", cities),
        ("{0} works as a {1}.", "What does {0} work as?", "{0} works as a", trades),
        ("The house of {0} is {1}.", "Which colour is the house of {0}?", "The house of {0} is", colours),
    ]
    fact, question, stem, answers = kinds[int(rng.integers(len(kinds)))]
    facts = [fact.format(name, answer) for name, answer in zip(names, answers, strict=True)]
    turns = _asked(question, stem, list(zip(names, answers, strict=True)))
    return _Recall(_shuffled(rng, facts), turns, inline=True)


def _values(rng: np.random.Generator) -> _Recall:
    key, numbers = _draw(rng, words.NOUNS, 1)[0], _numbers(rng, 2)
    facts = [f"One of the special magic numbers for {key} is {number}." for number in numbers]
    stem = "The special magic numbers for {} are"
    asked = [(key, f"{numbers[0]} and {numbers[1]}")]
    return _Recall(facts, _asked("What are the two special magic numbers for {}?", stem, asked))


def _tracking(rng: np.random.Generator) -> _Recall:
    keys, number = _draw(rng, words.SECTIONS, 3), _numbers(rng, 1)[0]
    facts = [f"VAR {keys[0]} = {number}", f"VAR {keys[1]} = {keys[0]}", f"VAR {keys[2]} = {keys[1]}"]
    return _Recall(facts, _asked("Which number does VAR {} hold in the end?", "VAR {} holds", [(keys[2], number)]))


def _decoys(rng: np.random.Generator) -> _Recall:
    key, numbers = _draw(rng, words.NOUNS, 1)[0], _numbers(rng, 4)
    keys = [key, *(f"{key}{digit}" for digit in rng.choice(9, 3, replace=False) + 1)]
    facts = [f"The special magic number for {k} is {n}." for k, n in zip(keys, numbers, strict=True)]
    stem = "The special magic number for {} is"
    turns = _asked("What is the special magic number for {}?", stem, [(key, numbers[0])])
    return _Recall(_shuffled(rng, facts), turns)


def _copy(rng: np.random.Generator) -> _Recall:
    listed = _draw(rng, words.NOUNS, 8)
    return _Recall(
        [f"Shopping list: {', '.join(listed)}."],
        (Turn(f"\n\nShopping list: {listed[0]},", f" {', '.join(listed[1:])}"),),
    )


def _asked(question: str, stem: str, pairs: Sequence[tuple[str, str]]) -> tuple[Turn, ...]:
    """A question for each (key, answer), whose stem the answer continues."""
    return tuple(
        Turn(f"\n\nQuestion: {question.format(key)}\nAnswer: {stem.format(key)}", f" {answer}") for key, answer in pairs
    )


def _shuffled(rng: np.random.Generator, facts: list[str]) -> list[str]:
    return [facts[i] for i in rng.permutation(len(facts))]


_TASKS: dict[str, Callable[[np.random.Generator], _Recall]] = {
    "needle": lambda rng: _magic(rng, 1),
    "one_of_four": lambda rng: _magic(rng, 4),
    "passphrase": _passphrase,
    "settings": _settings,
    "facts": _facts,
    "values": _values,
    "tracking": _tracking,
    "decoys": _decoys,
    "copy": _copy,
}
