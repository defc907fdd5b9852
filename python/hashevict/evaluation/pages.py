# SPDX-License-Identifier: Apache-2.0
"""Tables of results within pages: each between ``<!-- evaluation: MODEL MODE LENGTH KIND -->`` and
``<!-- end of evaluation -->``.

A kind is ``recall`` (percent right), ``text`` (percent over the full cache's nats per token), both with 95 % intervals,
or ``summary``: recall and text without them. ``KIND:POLICY,POLICY`` shows these policies alone, in this order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from hashevict.errors import InvalidArgument
from hashevict.evaluation.policies import CALIBRATED, FULL, UNIFORM
from hashevict.evaluation.statistics import Interval
from hashevict.evaluation.tables import Section, mean_of, right, text_excess

NAMES = {UNIFORM: "equal slots", CALIBRATED: "calibrated"}
Find = Callable[[Section, str, str, float], Interval | None]
"""Of a section's policy, allocation and budget."""
Column = tuple[str, Find, str]
"""Title of the group, what it shows, and its allocation."""

_BLOCK = re.compile(r"(<!-- evaluation: (\S+) (\S+) (\d+) (\S+) -->\n).*?(<!-- end of evaluation -->)", re.DOTALL)


def fill_page(page: str, model: str, sections: Sequence[Section]) -> tuple[str, int]:
    """Replaces the page's tables of a model.

    Returns:
        The new text, and how many tables it has

    Raises:
        InvalidArgument: a table of results that are not there, or of an unknown kind
    """
    found = {(section.mode, str(section.length)): section for section in sections}
    count = 0

    def table(match: re.Match[str]) -> str:
        nonlocal count
        begin, of, mode, length, kind, end = match.groups()
        if of != model:
            return match[0]
        kind, _, names = kind.partition(":")
        if (mode, length) not in found or kind not in KINDS:
            raise InvalidArgument(f"page: {begin.strip()}: expected results of this mode and length, and {list(KINDS)}")
        section = found[mode, length]
        policies = list(dict.fromkeys(row[0] for row in section.rows))
        chosen = names.split(",") if names else policies
        unknown = [name for name in chosen if name not in policies]
        if unknown:
            raise InvalidArgument(f"page: {begin.strip()}: no results of {', '.join(unknown)}")
        count += 1
        return begin + KINDS[kind](section, chosen) + end

    return _BLOCK.sub(table, page), count


def fill_file(path: Path, model: str, sections: Sequence[Section]) -> int:
    """Replaces the tables of a file. Returns how many it has."""
    text, count = fill_page(path.read_text(encoding="utf-8"), model, sections)
    path.write_text(text, encoding="utf-8")
    return count


def _recall(section: Section, policy: str, allocation: str, budget: float) -> Interval | None:
    return mean_of(section.recall((policy, allocation, budget)), right)


def _text(section: Section, policy: str, allocation: str, budget: float) -> Interval | None:
    return None if policy == FULL else text_excess(section, (policy, allocation, budget))


def _table(
    section: Section, policies: Sequence[str], columns: Sequence[Column], show: Callable[[Find, Interval], str]
) -> str:
    """A line for each policy, a column for each of the groups at each budget. The full cache stands in the first."""
    heads = [
        f"{title}: {100 * budget:.0f} %" if i == 0 else f"{100 * budget:.0f} %"
        for title, _, _ in columns
        for i, budget in enumerate(section.budgets)
    ]
    lines = [["", *heads], ["---", *("---:" for _ in heads)]]
    for policy in policies:
        cells = []
        for _, find, allocation in columns:
            for i, budget in enumerate(section.budgets):
                whole = policy == FULL and i == 0 and allocation == UNIFORM
                value = find(section, policy, allocation, 1.0 if whole else budget)
                cells.append("" if value is None else show(find, value))
        if any(cells):
            lines.append(["full cache" if policy == FULL else f"`{policy}`", *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _with_interval(find: Find, value: Interval) -> str:
    if find is _text:
        return f"{value.value:+.1f} [{value.low:+.1f}, {value.high:+.1f}]"
    return f"{value.value:.0f} [{value.low:.0f}, {value.high:.0f}]"


def _alone(find: Find, value: Interval) -> str:
    return f"{value.value:+.1f}" if find is _text else f"{value.value:.0f}"


def _recall_table(section: Section, policies: Sequence[str]) -> str:
    return _table(section, policies, [(NAMES[each], _recall, each) for each in (UNIFORM, CALIBRATED)], _with_interval)


def _text_table(section: Section, policies: Sequence[str]) -> str:
    return _table(section, policies, [(NAMES[each], _text, each) for each in (UNIFORM, CALIBRATED)], _with_interval)


def _summary_table(section: Section, policies: Sequence[str]) -> str:
    columns: list[Column] = [(f"recall, {NAMES[each]}", _recall, each) for each in (UNIFORM, CALIBRATED)]
    return _table(section, policies, [*columns, ("text, calibrated", _text, CALIBRATED)], _alone)


KINDS: dict[str, Callable[[Section, Sequence[str]], str]] = {
    "recall": _recall_table,
    "text": _text_table,
    "summary": _summary_table,
}
