# SPDX-License-Identifier: Apache-2.0
"""Tables of a run's results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hashevict.evaluation import statistics
from hashevict.evaluation.policies import FULL, UNIFORM
from hashevict.evaluation.results import Result
from hashevict.evaluation.statistics import Interval
from hashevict.evaluation.tasks import MAIN_TASKS, SPOT_TASKS, TEXT

LEAST_OF_FULL = 0.5
"""What the full cache must score in a task that counts in means."""

Row = tuple[str, str]
"""Policy and allocation."""
Cell = tuple[str, str, float]
"""A row at one budget."""
AnswerKey = tuple[str, str, int, int]
"""Task, domain, index and turn."""


class Section:
    """The results of one mode and length."""

    def __init__(self, mode: str, length: int, results: Iterable[Result]) -> None:
        self.mode, self.length = mode, length
        self.cells: dict[Cell, dict[AnswerKey, Result]] = defaultdict(dict)
        for result in results:
            cell = (result.policy, result.allocation, result.budget)
            self.cells[cell][(result.task, result.domain, result.index, result.turn)] = result
        self.rows: list[Row] = list(dict.fromkeys(cell[:2] for cell in self.cells))
        self.budgets = sorted({cell[2] for cell in self.cells if cell[0] != FULL}, reverse=True)
        full = self.cells.get((FULL, UNIFORM, 1.0), {})
        scores = defaultdict(list)
        for result in full.values():
            if result.correct is not None:
                scores[result.task].append(result.correct)
        self.full_scores = {task: sum(right) / len(right) for task, right in scores.items()}
        self.tasks = sorted(
            {
                key[0]
                for found in self.cells.values()
                for key in found
                if key[0] != TEXT and self.full_scores.get(key[0], 1.0) >= LEAST_OF_FULL
            }
        )
        self.left_out = {task: score for task, score in self.full_scores.items() if score < LEAST_OF_FULL}
        # Beside the main tasks, spot checks of fewer examples stand in the tables by task alone.
        has_main = any(task in MAIN_TASKS for task in self.tasks)
        self.spot_checks = [task for task in self.tasks if has_main and task in SPOT_TASKS]
        self.tasks = [task for task in self.tasks if task not in self.spot_checks]

    def cell(self, row: Row, budget: float) -> Cell:
        return (*row, 1.0 if row[0] == FULL else budget)

    def recall(self, cell: Cell, tasks: Sequence[str] | None = None) -> dict[AnswerKey, Result]:
        """The answers of the tasks that count, or of these."""
        wanted = self.tasks if tasks is None else tasks
        return {key: result for key, result in self.cells.get(cell, {}).items() if key[0] in wanted}

    def text(self, cell: Cell) -> dict[AnswerKey, Result]:
        return {key: result for key, result in self.cells.get(cell, {}).items() if key[0] == TEXT}

    def best_uniform(
        self, cell: Cell, found: Callable[[Cell], dict[AnswerKey, Result]], value: Callable[[Result], float]
    ) -> Cell | None:
        """The other row with equal slots whose value exceeds the cell's most, on the answers that both have."""
        best: tuple[float, Cell] | None = None
        for row in self.rows:
            other = self.cell(row, cell[2])
            if row[1] == UNIFORM and row[0] != FULL and other != cell:
                others, mine, _ = paired(found(other), found(cell), value)
                gain = (sum(others) - sum(mine)) / len(mine) if mine else 0.0
                if mine and (best is None or gain > best[0]):
                    best = (gain, other)
        return None if best is None else best[1]


def sections(results: Iterable[Result]) -> list[Section]:
    """The results by mode and length, in the order in which they were measured."""
    groups: dict[tuple[str, int], list[Result]] = defaultdict(list)
    for result in results:
        groups[result.mode, result.length].append(result)
    return [Section(*key, group) for key, group in groups.items()]


def example_of(key: AnswerKey) -> tuple[str, str, int]:
    """Names the example of an answer: its context."""
    return key[:3]


def paired(
    a: Mapping[AnswerKey, Result], b: Mapping[AnswerKey, Result], value: Callable[[Result], float]
) -> tuple[list[float], list[float], list[Any]]:
    """Values of the answers that both have, and the example of each."""
    keys = [key for key in a if key in b]
    return [value(a[key]) for key in keys], [value(b[key]) for key in keys], [example_of(key) for key in keys]


def mean_of(found: Mapping[AnswerKey, Result], value: Callable[[Result], float]) -> Interval | None:
    """The mean over answers; examples are drawn whole."""
    if not found:
        return None
    return statistics.mean([value(result) for result in found.values()], [example_of(key) for key in found])


def right(result: Result) -> float:
    return 100.0 * bool(result.correct)


def bytes_used(section: Section) -> tuple[float, float] | None:
    """The least and the largest share of its budget's bytes that a cache takes, in percent."""
    full = section.cells.get((FULL, UNIFORM, 1.0), {})
    shares = [
        100 * result.bytes / (cell[2] * full[key].bytes)
        for cell, found in section.cells.items()
        for key, result in found.items()
        if key in full and cell[0] != FULL
    ]
    return (min(shares), max(shares)) if shares else None


def nats_per_token(result: Result) -> float:
    return result.nats / result.tokens


def text_excess(section: Section, cell: Cell) -> Interval | None:
    """Nats per token over the full cache's, in percent."""
    return _excess(section, cell, (FULL, UNIFORM, 1.0))


def _excess(section: Section, cell: Cell, other: Cell) -> Interval | None:
    mine, others, examples = paired(section.text(cell), section.text(other), nats_per_token)
    if not mine:
        return None
    found = statistics.excess(mine, others, examples)
    return Interval(100 * found.value, 100 * found.low, 100 * found.high)


def tables_text(settings: Mapping[str, Any], results: Sequence[Result]) -> str:
    """All tables, as Markdown."""
    text = "# Tables\n\nWritten by `python -m hashevict.evaluation.report`. "
    text += ", ".join(f"{name}: {value}" for name, value in settings.items()) + ".\n\n"
    text += (
        "Means with 95 % paired bootstrap intervals in brackets; contexts are drawn whole. Recall: percent of "
        "answers whose every token is the most likely one. Budgets are bytes, as a share of the "
        "full cache's. *Uniform*: the same slots in every head; *calibrated*: divided by the profile. Bold "
        "differences: the interval excludes 0.\n"
    )
    for section in sections(results):
        text += _section_text(section)
    return text


def _section_text(section: Section) -> str:
    text = f"\n## {section.mode}, {section.length} tokens\n"
    used = bytes_used(section)
    if used:
        text += f"\nThe caches take {used[0]:.1f} to {used[1]:.1f} % of their budgets' bytes.\n"
    if section.tasks:
        text += f"\n### Recall: {', '.join(section.tasks)}\n\n"
        if section.left_out:
            listed = ", ".join(f"{task} ({100 * score:.0f} %)" for task, score in section.left_out.items())
            text += f"Not in the means, since the full cache scores below {100 * LEAST_OF_FULL:.0f} %: {listed}.\n\n"
        if section.spot_checks:
            text += f"Spot checks, not in the means: {', '.join(section.spot_checks)}.\n\n"
        text += _grid(section, lambda cell: _shown(mean_of(section.recall(cell), right)), counted=True)
        text += "\n### Nats of an answer\n\n"
        text += _grid(section, lambda cell: _shown(mean_of(section.recall(cell), lambda result: result.nats), digits=2))
        text += "\n### Recall less the full cache's, in points\n\n"
        text += _grid(section, lambda cell: _less(section, cell, (FULL, UNIFORM, 1.0)), without=FULL)
        text += "\n### Recall less that of the best other row with uniform slots, in points\n\n"
        text += _grid(
            section,
            lambda cell: _less(section, cell, section.best_uniform(cell, section.recall, right)),
            without=FULL,
        )
        for budget in section.budgets:
            text += f"\n### Recall by task at {100 * budget:.0f} %\n\n" + _by_task(section, budget)
    if any(section.text(cell) for cell in section.cells):
        text += "\n### Running text: nats per token over the full cache's, in percent\n\n"
        full = mean_of(section.text((FULL, UNIFORM, 1.0)), nats_per_token)
        if full:
            text += f"Full cache: {full.value:.3f} nats per token.\n\n"
        text += _grid(section, lambda cell: _shown(text_excess(section, cell), digits=2, sign="+"), without=FULL)
        text += "\n### Running text: nats per token over those of the best other row with uniform slots, in percent\n\n"
        text += _grid(section, lambda cell: _text_over(section, cell), without=FULL)
    return text


def _shown(found: Interval | None, digits: int = 1, sign: str = "") -> str:
    if found is None:
        return ""
    return f"{found.value:{sign}.{digits}f} [{found.low:{sign}.{digits}f}, {found.high:{sign}.{digits}f}]"


def _less(section: Section, cell: Cell, other: Cell | None) -> str:
    if other is None:
        return ""
    mine, others, examples = paired(section.recall(cell), section.recall(other), right)
    if not mine:
        return ""
    found = statistics.difference(mine, others, examples)
    text = _shown(found, sign="+")
    text = f"**{text}**" if found.excludes_zero else text
    return text if other[0] == FULL else f"{text} {other[0]}"


def _text_over(section: Section, cell: Cell) -> str:
    other = section.best_uniform(cell, section.text, lambda result: -nats_per_token(result))
    found = None if other is None else _excess(section, cell, other)
    if other is None or found is None:
        return ""
    text = _shown(found, digits=2, sign="+")
    return f"**{text}** {other[0]}" if found.excludes_zero else f"{text} {other[0]}"


def _grid(section: Section, text: Callable[[Cell], str], without: str = "", counted: bool = False) -> str:
    lines = []
    for row in section.rows:
        if row[0] == without:
            continue
        budgets = [1.0] if row[0] == FULL else section.budgets
        cells = [text(section.cell(row, budget)) for budget in budgets]
        cells += [""] * (len(section.budgets) - len(cells))
        if any(cells):
            found = section.recall(section.cell(row, budgets[0]))
            counts = [str(len(found)), str(len({example_of(key) for key in found}))] if counted else []
            lines.append([row[0], "" if row[0] == FULL else row[1], *counts, *cells])
    heads = [
        "policy",
        "slots",
        *(["answers", "contexts"] if counted else []),
        *(f"{100 * budget:.0f} %" for budget in section.budgets),
    ]
    return _table(heads, lines)


def _by_task(section: Section, budget: float) -> str:
    tasks = [*section.tasks, *section.spot_checks, *section.left_out]
    lines = []
    for row in section.rows:
        cells = []
        for task in tasks:
            found = mean_of(section.recall(section.cell(row, budget), [task]), right)
            cells.append("" if found is None else f"{found.value:.0f}")
        if any(cells):
            lines.append([row[0], "" if row[0] == FULL else row[1], *cells])
    return _table(["policy", "slots", *tasks], lines)


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", "---", *("---:" for _ in heads[2:])]
    return "".join(f"| {' | '.join(line)} |\n" for line in [heads, rule, *lines])
