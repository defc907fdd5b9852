# SPDX-License-Identifier: Apache-2.0
"""``python -m hashevict.evaluation.report FOLDER``: tables.md and a figure for each mode and length."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hashevict import command
from hashevict.evaluation.pages import fill_file
from hashevict.evaluation.policies import CALIBRATED, FULL, LAYERED, UNIFORM
from hashevict.evaluation.results import read_results
from hashevict.evaluation.tables import Section, mean_of, right, sections, tables_text, text_excess

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = {UNIFORM: "--", CALIBRATED: "-", LAYERED: ":"}


def figure_of(section: Section) -> Figure:
    """Recall and running text over the budget; dashed: uniform slots, solid: calibrated ones. Bars: 95 % intervals."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6), layout="constrained")
    recall, text = figure.subplots(1, 2)
    names = list(dict.fromkeys(row[0] for row in section.rows if row[0] != FULL))
    colours = {name: colormaps["tab10"](i % 10) for i, name in enumerate(names)}
    markers = {name: "osD^vP*X"[i // 10 % 8] for i, name in enumerate(names)}
    for row in section.rows:
        if row[0] == FULL:
            continue
        for axes, of in ((recall, "recall"), (text, "text")):
            points = []
            for budget in section.budgets:
                cell = section.cell(row, budget)
                found = text_excess(section, cell) if of == "text" else mean_of(section.recall(cell), right)
                if found is not None:
                    points.append((100 * budget, found.value, found.value - found.low, found.high - found.value))
            if points:
                x, y, below, above = zip(*points, strict=True)
                style = {"color": colours[row[0]], "linestyle": LINES[row[1]], "marker": markers[row[0]]}
                axes.errorbar(
                    x, y, (below, above), label=" ".join(row), linewidth=1.3, elinewidth=0.7, markersize=4, **style
                )
    full = [right(result) for result in section.recall((FULL, UNIFORM, 1.0)).values()]
    if full:
        recall.axhline(sum(full) / len(full), color="black", linewidth=1, label=FULL)
    text.axhline(0.0, color="black", linewidth=1)
    recall.set_ylabel("recall, %")
    text.set_ylabel("nats per token of text, % over full")
    for axes in (recall, text):
        axes.set_xlabel("budget: % of the full cache's bytes")
        axes.set_xticks([100 * budget for budget in section.budgets])
        axes.invert_xaxis()
        axes.grid(color="#e2e3e0")
    figure.suptitle(f"{section.mode}, {section.length} tokens")
    figure.legend(*recall.get_legend_handles_labels(), loc="outside lower center", ncol=4, fontsize=8, frameon=False)
    return figure


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hashevict.evaluation.report",
        description="Makes tables.md and figures of a results.jsonl. Needs Matplotlib.",
    )
    parser.add_argument("folder", help="with results.jsonl")
    parser.add_argument("--out", metavar="FOLDER", help="of tables.md and the figures (default: the same)")
    parser.add_argument(
        "--pages", nargs="+", default=[], metavar="FILE", help="whose tables are replaced (hashevict.evaluation.pages)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns 2 and prints one line for bad input."""
    return command.run(_parser(), _run, arguments)


def _run(options: argparse.Namespace) -> None:
    settings, results = read_results(Path(options.folder) / "results.jsonl")
    out = Path(options.out or options.folder)
    out.mkdir(parents=True, exist_ok=True)
    (out / "tables.md").write_text(tables_text(settings, results), encoding="utf-8")
    found = sections(results)
    for section in found:
        name = f"{section.mode}-{section.length}.png"
        figure_of(section).savefig(out / name, dpi=90, metadata={"Software": None})
    print(f"{out}/tables.md: {len(results)} results")
    for page in options.pages:
        count = fill_file(Path(page), str(settings.get("model", "")), found)
        print(f"{page}: {count} tables")


if __name__ == "__main__":
    sys.exit(main())
