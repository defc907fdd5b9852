# SPDX-License-Identifier: Apache-2.0
"""The evaluation: every row of the table on the same examples, round by round."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from tqdm import tqdm

import hashevict
from hashevict.errors import InvalidArgument
from hashevict.evaluation.budgets import STORAGE, Budgets
from hashevict.evaluation.examples import Drawn, Given
from hashevict.evaluation.measure import Reader
from hashevict.evaluation.policies import (
    ALLOCATIONS,
    CALIBRATED,
    FULL,
    UNIFORM,
    Mode,
    Policy,
    PolicyContext,
    policies_of,
)
from hashevict.evaluation.results import Result, ResultFile
from hashevict.evaluation.tasks import MAIN_TASKS, TEXT, Example
from hashevict.evaluation.texts import own_texts
from hashevict.profile import Profile
from hashevict.transformers.models import shape_of

POLICIES = (FULL, "window", "random", "paper", "superseded", "mean")


@dataclass(frozen=True)
class Row:
    """One row of the table at one budget."""

    policy: Policy
    allocation: str
    budget: float


def evaluate(
    model: Any,
    tokenizer: Any,
    out: str | os.PathLike[str],
    *,
    policies: Sequence[str] = POLICIES,
    profile: Profile | None = None,
    allocations: Sequence[str] | None = None,
    floor: int | None = None,
    budgets: Sequence[float] = (0.3, 0.2, 0.1),
    tasks: Sequence[str] = (*MAIN_TASKS, TEXT),
    texts: Mapping[str, str] | None = None,
    examples: str | os.PathLike[str] | None = None,
    rounds: int = 10,
    length: int = 1024,
    modes: Sequence[Mode] = ("streamed",),
    plugins: Sequence[str] = (),
    seed: int = 0,
    name: str | None = None,
    progress: bool = True,
) -> list[Result]:
    """Measures how much of a model's recall and likelihood of text is left when its cache is bounded.

    Every example is one forward pass over context, questions and answers, with the true tokens. Rows meet the same
    examples, in rounds, so that a run that is stopped is still fair; it goes on with the same ``out``.

    Args:
        model: a causal language model of transformers, in evaluation mode
        tokenizer: its tokenizer
        out: folder of ``results.jsonl``
        policies: see :func:`hashevict.evaluation.policies.policies_of`
        profile: of the model
        allocations: ``uniform``, ``calibrated``, ``layered``, or ``NAME@ALLOCATION`` in ``policies``; default: uniform,
            and calibrated with a profile
        floor: the fewest slots of a head where a profile divides; None: a third of the mean, at least 16
        budgets: shares of the full cache's bytes
        tasks: see :mod:`hashevict.evaluation.tasks`; ``text`` is running text
        texts: by domain, filler and running text; default: documentation and code that come with Python
        examples: a folder of others' examples instead of tasks and texts
        rounds: one example of each task in each domain a round
        length: tokens of a sequence
        modes: ``streamed``: the question is unknown while the context streams; ``known``: compressed once, with
            the first
        plugins: modules with further policies
        seed: of examples, draws and projections
        name: of the model, in the results
        progress: whether a bar is shown on standard error

    Returns:
        All results of ``out``

    Raises:
        InvalidArgument, Unsupported, OSError
    """
    _check(budgets, allocations, rounds, length, modes, profile)
    shape = shape_of(model.config)
    if examples is None:
        source: Drawn | Given = Drawn(tokenizer, tasks, texts or own_texts(), length, rounds, seed)
    else:
        source = Given(tokenizer, examples, length, rounds, seed)
    settings = {
        "hashevict": hashevict.__version__,
        "model": name or str(getattr(model.config, "_name_or_path", "")),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
        "counted_as": STORAGE,
        "profile": None if profile is None else _name_of(profile),
        "floor": "mean / 3" if floor is None else floor,
        "examples": source.fingerprint,
        "seed": seed,
    }
    allocations = allocations or ((UNIFORM,) if profile is None else (UNIFORM, CALIBRATED))
    rows = _rows(policies, plugins, allocations, budgets)
    attention = model.config._attn_implementation
    run = _Run(
        Reader(model, tokenizer), rows, Budgets(shape, profile, floor), profile, length, seed, ResultFile(out, settings)
    )
    try:
        for index in tqdm(range(source.rounds), disable=not progress, desc="evaluating", unit="round"):
            for example, mode in itertools.product(source.round(index), modes):
                if mode == "streamed" or example.task != TEXT:
                    run.measure(example, mode)
    finally:
        model.set_attn_implementation(attention)
    return run.file.results


@dataclass(frozen=True)
class _Run:
    """All that one example is measured with."""

    reader: Reader
    rows: Sequence[Row]
    budgets: Budgets
    profile: Profile | None
    length: int
    seed: int
    file: ResultFile

    def measure(self, example: Example, mode: Mode) -> None:
        """Measures one example under all rows that the file does not have."""
        where = (mode, example.task, example.domain, self.length)
        if mode == "known":
            example = dataclasses.replace(example, turns=example.turns[:1])
        num_turns = max(1, len(example.turns))
        wanted = [
            row
            for row in self.rows
            if any(
                (*where, row.policy.name, row.allocation, row.budget, example.index, turn) not in self.file
                for turn in range(num_turns)
            )
        ]
        if not wanted:
            return
        ids, spans = self.reader.ids(example)
        drawn = hashlib.sha256(f"{where}/{example.index}/{self.seed}".encode()).digest()
        seed = int.from_bytes(drawn[:4], "little") >> 1  # of 31 bits, which every generator takes
        for row in wanted:
            cache, size = self._cache(row, ids.shape[1], seed, mode)
            start = time.perf_counter()
            found = self.reader.measure(ids, spans, cache, mode)
            seconds = time.perf_counter() - start
            self.file.add(
                [
                    Result(
                        *where,
                        policy=row.policy.name,
                        allocation=row.allocation,
                        budget=row.budget,
                        index=example.index,
                        correct=None if example.task == TEXT else each.num_right == each.tokens,
                        nats=round(each.nats, 5),
                        tokens=each.tokens,
                        bytes=size,
                        seconds=round(seconds, 3),
                        turn=turn,
                    )
                    for turn, each in enumerate(found)
                ]
            )

    def _cache(self, row: Row, num_tokens: int, seed: int, mode: Mode) -> tuple[Any, int]:
        """The cache of a row and its bytes."""
        if row.policy.make is None:
            return None, self.budgets.full_bytes(num_tokens)
        share = self.budgets.share(row.policy, row.allocation, row.budget, num_tokens)
        context = PolicyContext(num_tokens, share.capacities, self.profile, seed, mode)
        return row.policy.make(self.reader.model, context), share.bytes


def _rows(
    names: Sequence[str], plugins: Sequence[str], allocations: Sequence[str], budgets: Sequence[float]
) -> list[Row]:
    rows = []
    for name in names:
        base, _, own = name.partition("@")
        policy = policies_of([base], plugins)[0]
        if own and own not in ALLOCATIONS:
            raise InvalidArgument(f"policy {name!r}: expected one of {', '.join(ALLOCATIONS)} behind the @")
        if policy.make is None:
            rows.append(Row(policy, UNIFORM, 1.0))
            continue
        rows += [Row(policy, each, budget) for each in ([own] if own else allocations) for budget in budgets]
    return rows


def _check(
    budgets: Sequence[float],
    allocations: Sequence[str] | None,
    rounds: int,
    length: int,
    modes: Sequence[Mode],
    profile: Profile | None,
) -> None:
    for budget in budgets:
        if not 0.0 < budget <= 1.0:
            raise InvalidArgument(f"budget = {budget}: expected above 0 and at most 1")
    for allocation in allocations or []:
        if allocation not in ALLOCATIONS:
            raise InvalidArgument(f"allocation {allocation!r}: expected one of {', '.join(ALLOCATIONS)}")
        if allocation != UNIFORM and profile is None:
            raise InvalidArgument(f"allocation {allocation!r}: needs a profile")
    for mode in modes:
        if mode not in get_args(Mode):
            raise InvalidArgument(f"mode {mode!r}: expected one of {', '.join(get_args(Mode))}")
    for name, value, least in (("rounds", rounds, 1), ("length", length, 64)):
        if value < least:
            raise InvalidArgument(f"{name} = {value}: expected at least {least}")


def _name_of(profile: Profile) -> str:
    digest = hashlib.sha256(profile.quantiles.tobytes())
    learned = ("importance_weight", "importance_bias", "hidden_weight", "hidden_bias", "projection", "center")
    for part in (getattr(profile, name) for name in learned):
        digest.update(b"" if part is None else part.tobytes())
    return digest.hexdigest()[:16]
