#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of scripts/bench.sh: every figure is a ratio of one run, beside its limit and its peer.

Usage: table.py collect OUT PART...   joins the parts of a run into OUT, with machine and date, and prints the table
       table.py print FILE
       table.py compare OLD NEW       prints the rows that moved beyond noise; status 1 if one got worse
       table.py pages [ROOT]          rewrites the tables of ROOT's pages from ROOT/bench/results/*.json; --check writes
                                      nothing and gives status 1 if they differ

A part is JSON: {"rows": [...]}, and what else belongs to the machine. A row has `section`, `name`, and either
`skipped`, which says why, or `value` with the quartiles `low` and `high` of the run's rounds, and where there is one
`limit` (">= 0.85") and `peer`. A row moved if the quartiles of both runs are apart, each widened by their distance and
by at least 3 % of the value.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import sys

PAGES = {"README.md": "summary", "docs/performance.md": "all"}
BEGIN, END = "<!-- figures: {} -->", "<!-- end of figures -->"


class BadFile(Exception):
    """A file that is no part of a run; its text names the file and the fault."""


def load(path):
    try:
        run = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFile(f"{path}: {error}") from error
    rows = run.get("rows") if isinstance(run, dict) else None
    if not isinstance(rows, list):
        raise BadFile(f"{path}: expected an object with a list of rows")
    for row in rows:
        wanted = {"section", "name"} | (set() if "skipped" in row else {"value", "low", "high"})
        if not wanted <= set(row):
            raise BadFile(f"{path}: row {row.get('name')!r} lacks {', '.join(sorted(wanted - set(row)))}")
    return run


def cpu_name():
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def collect(parts):
    """Joins parts: rows follow each other, of all other fields the first one counts."""
    run = {"machine": cpu_name(), "processors": os.cpu_count(), "date": datetime.date.today().isoformat()}
    rows = []
    for part in parts:
        loaded = load(part)
        rows += loaded.pop("rows")
        run = loaded | run
    return run | {"rows": rows}


def met(row):
    """Whether a row meets its limit; None without a limit or a value."""
    if not row.get("limit") or "value" not in row:
        return None
    sense, bound = row["limit"].split()
    return row["value"] <= float(bound) if sense == "<=" else row["value"] >= float(bound)


def number(value):
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def verdict(row):
    return {None: "", True: "met", False: "NOT met"}[met(row)]


def sections(rows):
    names = dict.fromkeys(row["section"] for row in rows)
    return {name: [row for row in rows if row["section"] == name] for name in names}


def describe(run):
    parts = [run.get("machine", "?"), f"{run.get('processors', '?')} processors", run.get("instruction_set", "")]
    return ", ".join(part for part in [*parts, run.get("timing", ""), run.get("date", "")] if part)


def text_table(run):
    lines = [describe(run)]
    for section, rows in sections(run["rows"]).items():
        lines += ["", section]
        for row in rows:
            if "skipped" in row:
                lines.append(f"  {row['name']:52} skipped: {row['skipped']}")
                continue
            spread = f"{number(row['low'])} .. {number(row['high'])}"
            beside = f"over {row['peer']}" if row.get("peer") else ""
            line = f"  {row['name']:52} {number(row['value']):>8} {spread:>18}  {row.get('limit', ''):8}"
            lines.append(f"{line} {verdict(row):8}{beside}".rstrip())
    return "\n".join(lines)


def noise(row):
    """Where the value may lie in another run of the same code."""
    width = max(row["high"] - row["low"], 0.03 * abs(row["value"]))
    return row["low"] - width, row["high"] + width


def compare(old, new):
    """(text, whether a row got worse) of the rows that moved beyond the noise of both runs."""
    before = {(row["section"], row["name"]): row for row in old["rows"] if "value" in row}
    lines, worse = [], False
    for row in new["rows"]:
        past = before.pop((row["section"], row["name"]), None) if "value" in row else None
        if past is None:
            continue
        (low, high), (past_low, past_high) = noise(row), noise(past)
        if low <= past_high and high >= past_low:
            continue
        wants_less = row.get("limit", "").startswith("<=")
        way = "moved"
        if row.get("limit") or row.get("better"):
            wants_less = wants_less or row.get("better") == "less"
            way = "better" if (row["value"] < past["value"]) == wants_less else "WORSE"
        worse = worse or way == "WORSE"
        lines.append(f"{way:6}  {row['section']}, {row['name']}: {number(past['value'])} -> {number(row['value'])}")
    lines += [f"gone    {section}, {name}" for section, name in before]
    return "\n".join(lines) or "nothing moved beyond noise", worse


def cell(row):
    if row is None:
        return "not measured"
    if "skipped" in row:
        return "skipped"
    return number(row["value"]) + (", **not met**" if met(row) is False else "")


def header(runs, first, *others):
    """The machines, and the head of a table with a column for each."""
    lines = [f"{i + 1}. {describe(run)}" for i, run in enumerate(runs)]
    titles = [first, *others, *(str(i + 1) for i in range(len(runs)))]
    return [*lines, "", f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]


def page_table(runs):
    """Markdown: a row for each figure, a column for each machine."""
    indexed = [{(row["section"], row["name"]): row for row in run["rows"]} for run in runs]
    everything = {key: row for index in reversed(indexed) for key, row in index.items()}
    lines = header(runs, "figure", "limit")
    for section in sections(everything.values()):
        for key, row in everything.items():
            if key[0] == section:
                cells = " | ".join(cell(index.get(key)) for index in indexed)
                lines.append(f"| {section}: {key[1]} | {row.get('limit', '')} | {cells} |")
    return "\n".join(lines)


def span(rows):
    """The figures of several rows in one cell."""
    if not rows:
        return "not measured"
    values = sorted(row["value"] for row in rows)
    failed = sum(met(row) is False for row in rows)
    shown = number(values[0]) if len(values) == 1 else f"{number(values[0])} to {number(values[-1])}"
    return shown + (f", **{failed} of {len(rows)} not met**" if failed else "")


def page_summary(runs):
    """Markdown: a row for each section and limit, from its smallest to its largest figure."""
    limited = [[row for row in run["rows"] if met(row) is not None] for run in runs]
    lines = header(runs, "figure", "beside", "limit")
    for section, limit in dict.fromkeys((row["section"], row["limit"]) for rows in limited for row in rows):
        of_machines = [[r for r in rows if (r["section"], r["limit"]) == (section, limit)] for rows in limited]
        peer = next(row.get("peer", "") for rows in of_machines for row in rows)
        lines.append(f"| {section} | {peer} | {limit} | {' | '.join(span(rows) for rows in of_machines)} |")
    return "\n".join(lines)


def with_figures(text, runs, kind, page):
    """The page with its block of figures made anew."""
    begin = BEGIN.format(kind)
    if text.count(begin) != 1 or END not in text.split(begin)[1]:
        raise BadFile(f"{page}: expected one block from '{begin}' to '{END}'")
    head, rest = text.split(begin)
    tail = rest.split(END, 1)[1]
    made = page_summary(runs) if kind == "summary" else page_table(runs)
    return f"{head}{begin}\n{made}\n{END}{tail}"


def pages(root, check):
    """Rewrites the pages; returns those that differed."""
    runs = [load(path) for path in sorted((root / "bench/results").glob("*.json"))]
    changed = []
    for page, kind in PAGES.items():
        path = root / page
        text = path.read_text(encoding="utf-8")
        made = with_figures(text, runs, kind, page)
        if made != text:
            changed.append(page)
            if not check:
                path.write_text(made, encoding="utf-8")
    return changed


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    joined = commands.add_parser("collect")
    joined.add_argument("out")
    joined.add_argument("parts", nargs="+")
    commands.add_parser("print").add_argument("file")
    compared = commands.add_parser("compare")
    compared.add_argument("old")
    compared.add_argument("new")
    paged = commands.add_parser("pages")
    paged.add_argument("root", nargs="?", default=pathlib.Path(__file__).resolve().parent.parent, type=pathlib.Path)
    paged.add_argument("--check", action="store_true")
    return parser.parse_args(arguments)


def run(options):
    if options.command == "collect":
        joined = collect(options.parts)
        pathlib.Path(options.out).write_text(json.dumps(joined, indent=1) + "\n", encoding="utf-8")
        print(text_table(joined))
    elif options.command == "print":
        print(text_table(load(options.file)))
    elif options.command == "compare":
        text, worse = compare(load(options.old), load(options.new))
        print(text)
        return 1 if worse else 0
    else:
        changed = pages(options.root, options.check)
        if options.check and changed:
            print(f"made anew, these differ: {', '.join(changed)}; run bench/table.py pages")
            return 1
    return 0


def main():
    try:
        sys.exit(run(parse(sys.argv[1:])))
    except BadFile as fault:
        sys.exit(str(fault))


if __name__ == "__main__":
    main()
