#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tables and figures of an evaluation.

    python3 lab/report.py RESULTS OUT

RESULTS is the results.jsonl of hashevict_eval: OUT/tables.md and the figures are written. Or it is such a tables.md:
its figures are drawn again.
"""

import argparse
import collections
import itertools
import json
import pathlib
import re

import matplotlib
import numpy as np

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402  after the backend is chosen

TEXT = "text"
SECTIONS = {
    "streamed": "Recall, the context streamed and the questions asked after it",
    "known": "Recall, the question known when the prompt is compressed",
    TEXT: "Running text: nats per byte over the full cache's",
}
GROUPS = {"library": "rules of the library", "attention": "attention-based", "exact": "exact keys"}
COMPARED = "recall"  # that the others are compared with
TASK_BUDGET = 0.3  # that every task is told of
IN_ALL_PANELS = ("random",)
COLORS = {"full": "#1c1f24", "paper": "#c94229", "superseded": "#0e6bb8", "recall": "#be3282", "window": "#7c5cb0",
          "random": "#1a835e"}


def estimate(strata):
    """Mean of the strata's means and its standard error: that of independent samples within each stratum, so that what
    lies between strata (tasks are not equally hard) is no error. None of no samples."""
    strata = [np.asarray(samples, float) for samples in strata if len(samples) > 0]
    if not strata:
        return None
    variances = [samples.var(ddof=1) / len(samples) if len(samples) > 1 else 0.0 for samples in strata]
    return np.mean([samples.mean() for samples in strata]), np.sqrt(np.sum(variances)) / len(strata)


class Results:
    """Samples of results.jsonl by section, policy and budget, each of a task, seed and index."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.settings = json.loads(file.readline())
            lines = [json.loads(line) for line in file]
        self.samples = collections.defaultdict(dict)
        self.groups, self.descriptions, self.machines = {}, {}, []
        for line in lines:
            if line["mode"] == "machine":
                self.machines.append(f"hashevict {line['what']} on the CPU target {line['policy']}")
            elif line["mode"] == "policy":
                self.groups[line["policy"]] = line["what"]
                self.descriptions[line["policy"]] = line["description"]
            else:
                section = TEXT if line["what"] == TEXT else line["mode"]
                example = (line["what"], line["seed"], line["index"])
                self.samples[section, line["policy"], line["budget"]][example] = line

    def sections(self):
        return [section for section in SECTIONS if any(key[0] == section for key in self.samples)]

    def budgets(self, section):
        return sorted({budget for of, _, budget in self.samples if of == section}, reverse=True)

    def policies(self, section):
        return [policy for policy in self.groups if any(key[:2] == (section, policy) for key in self.samples)]

    def value(self, section, policy, budget, less=None):
        """Estimate of the score, every task counting the same; less that of another (policy, budget), example by
        example."""
        samples = self.samples.get((section, policy, budget), {})
        others = samples if less is None else self.samples.get((section, *less), {})
        by_task = collections.defaultdict(list)
        for example, sample in samples.items():
            if example in others:
                by_task[example[0]].append(sample["score"] - (others[example]["score"] if less else 0.0))
        return estimate(by_task.values())

    def by_task(self, section, policy, budget):
        by_task = collections.defaultdict(list)
        for (task, _, _), sample in self.samples.get((section, policy, budget), {}).items():
            by_task[task].append(sample["score"])
        return {task: np.mean(scores) for task, scores in sorted(by_task.items())}


def table(head, rows):
    rules = ["---"] + ["---:"] * (len(head) - 1)
    lines = ["| " + " | ".join(map(str, head)) + " |", "|" + "|".join(rules) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def percent(share):
    return f"{100 * share:.10g} %"


def mark(difference, low_is_better):
    """The difference of two policies on the same examples, if it exceeds two standard errors."""
    if difference is None or abs(difference[0]) <= 2 * difference[1]:
        return ""
    return " ▽" if (difference[0] > 0) == low_is_better else " ▲"


def score_text(results, section, policy, budget):
    value = results.value(section, policy, budget)
    if value is None:
        return ""
    over_random = mark(results.value(section, policy, budget, less=("random", budget)), section == TEXT)
    if section != TEXT:
        return f"{100 * value[0]:.1f} ± {100 * value[1]:.1f}{over_random}"
    over_full = results.value(section, policy, budget, less=("full", 1.0))
    if policy == "full" or over_full is None:
        return f"{value[0]:.3f} ± {value[1]:.3f}" + ("" if policy == "full" else " nats")
    return share_of_full(value[0] - over_full[0], over_full) + over_random


def share_of_full(full, difference):
    return f"{100 * difference[0] / full:+.2f} % ± {100 * difference[1] / full:.2f}"


def difference_text(results, section, policy, budget):
    """COMPARED less the policy; of the full cache there is one budget alone."""
    other = (policy, 1.0 if policy == "full" else budget)
    difference = results.value(section, COMPARED, budget, less=other)
    if difference is None:
        return ""
    if section != TEXT:
        return f"{100 * difference[0]:+.1f} ± {100 * difference[1]:.1f}" + mark(difference, False)
    full = results.value(section, "full", 1.0)
    return share_of_full(full[0], difference) + mark(difference, True) if full else ""


def budget_table(results, section, text, without=()):
    budgets = results.budgets(section)
    rows = []
    for policy in results.policies(section):
        cells = [text(policy, budget) for budget in budgets]
        if policy not in without and any(cells):
            rows.append([policy, *cells])
    return table(["policy", *map(percent, budgets)], rows) if rows else ""


def task_table(results, section):
    tasks = sorted({task for key, samples in results.samples.items() if key[0] == section for task, _, _ in samples})
    rows = []
    for policy in results.policies(section):
        budget = 1.0 if policy == "full" else TASK_BUDGET
        samples = results.samples.get((section, policy, budget))
        if samples:
            accuracies = results.by_task(section, policy, budget)
            slots = next(iter(samples.values()))["slots"]
            rows.append([policy, slots, score_text(results, section, policy, budget),
                         *(f"{100 * accuracies[task]:.0f}" if task in accuracies else "" for task in tasks)])
    return table([f"policy at {percent(TASK_BUDGET)}", "slots", "all", *tasks], rows)


def section_text(results, section):
    def score(policy, budget):
        return score_text(results, section, policy, budget)

    def difference(policy, budget):
        return difference_text(results, section, policy, budget)

    text = f"## {SECTIONS[section]}\n\n{budget_table(results, section, score)}\n"
    if section != TEXT:
        text += task_table(results, section) + "\n"
    differences = budget_table(results, section, difference, without=(COMPARED,))
    if differences:
        text += f"### `{COMPARED}` less the others on the same examples, {section}\n\n{differences}\n"
    return text


def tables(results):
    settings = results.settings
    counts = {section: max(len(samples) for key, samples in results.samples.items() if key[0] == section)
              for section in results.sections()}
    text = (f"# Quality: tables\n\nWritten by `lab/report.py`. Measured with {', '.join(results.machines)}. Model: {settings['model']} ({settings['num_parameters']} parameters). Text: "
            f"{settings['text']}. Seed set: **{settings['seeds']}**, {settings['length']} tokens a sequence. Examples: "
            + ", ".join(f"{count} {section}" for section, count in counts.items()) + ".\n\n"
            "Recall in %: mean ± standard error, every task counting the same. Running text: nats per byte over the "
            "full cache's, as a share of these. Budgets are bytes, as a share of the full cache's. ▲ and ▽: better and "
            "worse than `random` at the same budget, example by example, by more than two standard errors. In tables "
            f"of differences: `{COMPARED}` better and worse than the policy of the row.\n\n")
    text += "".join(section_text(results, section) for section in results.sections())
    text += "## Policies\n\n"
    for group in ("reference", *GROUPS):
        for policy, description in results.descriptions.items():
            if results.groups[policy] == group:
                text += f"* `{policy}` ({group}): {description}\n"
    return text


def read_tables(text):
    """Data of the figures: by section, policy and budget the mean and its error, and the group of a policy."""
    groups = {policy: group for policy, group in re.findall(r"^\* `([\w-]+)` \((\w+)\)", text, re.M)}
    values = {}
    for section, heading in SECTIONS.items():
        if f"## {heading}\n" not in text:
            continue
        lines = text.split(f"## {heading}\n")[1].split("\n| policy |")[1].split("\n\n")[0].splitlines()
        budgets = [float(cell.strip(" %")) / 100 for cell in lines[0].strip(" |").split("|")]
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
        values[section] = {policy: {budget: number(cell) for budget, cell in zip(budgets, cells) if cell}
                           for policy, *cells in rows}
    return values, groups


def number(cell):
    """Mean and error of a cell such as `+0.24 % ± 0.07 ▽`."""
    mean, error = re.fullmatch(r"([-+.\d]+)(?: %)? ± ([.\d]+).*", cell).groups()
    return float(mean), float(error)


def draw(section, values, groups, path):
    """A panel for each group of policies: a value over the budget."""
    is_text = section == TEXT
    shown = [group for group in GROUPS if any(groups.get(policy) == group for policy in values)]
    full = None
    if "full" in values:
        full = 0.0 if is_text else values["full"][1.0][0]
    figure, axes = plt.subplots(1, len(shown), figsize=(4.6 * len(shown), 4.8), sharey=True, squeeze=False)
    for panel, group in zip(axes[0], shown):
        if full is not None:
            panel.axhline(full, color=COLORS["full"], linestyle="--", linewidth=1, label="full")
        names = [p for p in values if p != "full" and (groups.get(p) == group or p in IN_ALL_PANELS)]
        others = itertools.cycle(["#d68610", "#1496a5", "#8c5628", "#5f8c14", "#5050c8", "#aa9614", "#e16969", "#3c9fdc"])
        for policy, marker in zip(names, "osD^vP*Xd<>hp8" * 2):
            budgets = sorted(values[policy], reverse=True)
            means, errors = zip(*(values[policy][budget] for budget in budgets))
            panel.errorbar([100 * budget for budget in budgets], means, errors, label=policy, marker=marker,
                           markersize=4, linewidth=1.4, elinewidth=0.8, color=COLORS.get(policy) or next(others))
        panel.set_title(GROUPS[group], fontsize=10)
        panel.set_xlabel("budget: % of the full cache's bytes")
        panel.set_xticks(sorted({100 * budget for of_policy in values.values() for budget in of_policy}))
        panel.invert_xaxis()
        panel.grid(color="#e2e3e0")
        panel.legend(fontsize=7, frameon=False, ncol=3, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    in_nats = "nats per byte" if full is None else "nats per byte over the full cache's, %"
    axes[0][0].set_ylabel(in_nats if is_text else "recall, %")
    figure.suptitle(SECTIONS[section], fontsize=11)
    figure.tight_layout()
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path, help="results.jsonl, or a tables.md")
    parser.add_argument("out", type=pathlib.Path, help="folder for tables.md and the figures")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.results.suffix == ".md":
        text = arguments.results.read_text(encoding="utf-8")
    else:
        text = tables(Results(arguments.results))
        (arguments.out / "tables.md").write_text(text, encoding="utf-8")
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    values, groups = read_tables(text)
    for section, of_section in values.items():
        draw(section, of_section, groups, arguments.out / f"{section}.png")


if __name__ == "__main__":
    main()
