# SPDX-License-Identifier: Apache-2.0
"""Intervals on known data, and tables and figures of results."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from hashevict.errors import InvalidArgument
from hashevict.evaluation import statistics
from hashevict.evaluation.pages import fill_page
from hashevict.evaluation.report import main
from hashevict.evaluation.results import Result
from hashevict.evaluation.tables import sections, tables_text, text_excess


def result(policy: str, task: str, index: int, right: bool | None, nats: float = 1.0, budget: float = 0.3) -> Result:
    allocation, budget = ("uniform", 1.0) if policy == "full" else ("uniform", budget)
    if policy.endswith("+"):
        policy, allocation = policy[:-1], "calibrated"
    return Result("streamed", task, "prose", 100, policy, allocation, budget, index, right, nats, 4, 1000, 0.1)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).normal(5.0, 2.0, 900)
    found = statistics.mean(values)
    half = 1.96 * values.std() / 30
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)


def test_intervals_of_95_percent_cover_that_share() -> None:
    rng = np.random.default_rng(2)
    draws = [statistics.mean(rng.random(60) < 0.3) for _ in range(300)]
    covered = np.mean([found.low <= 0.3 <= found.high for found in draws])
    assert 0.90 <= covered <= 0.98


def test_pairing_removes_what_examples_share() -> None:
    rng = np.random.default_rng(3)
    shared = rng.normal(0.0, 10.0, 200)
    a, b = shared + rng.normal(0.3, 0.5, 200), shared + rng.normal(0.0, 0.5, 200)
    found = statistics.difference(a, b)
    assert found.excludes_zero
    assert found.high - found.low < 0.3
    assert not statistics.difference(a, rng.permutation(b)).excludes_zero


def test_answers_about_one_context_are_drawn_together() -> None:
    values = np.random.default_rng(5).normal(0.0, 1.0, 80)
    alone = statistics.mean(values)
    repeated = statistics.mean(np.repeat(values, 4), np.repeat(np.arange(80), 4).tolist())
    assert (repeated.value, repeated.low, repeated.high) == pytest.approx((alone.value, alone.low, alone.high))
    assert statistics.mean(np.repeat(values, 4)).high < repeated.high


def test_the_excess_of_a_constant_ratio_has_no_width() -> None:
    b = np.random.default_rng(4).random(50) + 1.0
    found = statistics.excess(1.1 * b, b)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))


RESULTS = [
    *(result("full", "easy", i, i < 9) for i in range(10)),
    *(result("full", "hard", i, i < 2) for i in range(10)),
    *(result("full", "text", i, None, 8.0) for i in range(10)),
    *(result("poor", "easy", i, False) for i in range(10)),
    *(result("good", "easy", i, i < 4) for i in range(10)),
    *(result("good", "hard", i, True) for i in range(10)),
    *(result("good", "text", i, None, 8.8) for i in range(10)),
    *(result("good+", "easy", i, i < 9) for i in range(10)),
]


def test_tasks_in_which_the_full_cache_fails_do_not_count() -> None:
    (section,) = sections(RESULTS)
    assert section.tasks == ["easy"]
    assert section.left_out == {"hard": 0.2}
    text = tables_text({"model": "m"}, RESULTS)
    assert "below 50 %: hard (20 %)" in text
    assert "| good | uniform | 10 | 10 | 40.0 [" in text
    assert "| good | uniform | +10.00 [+10.00, +10.00] |" in text


def test_rows_are_compared_with_full_and_with_the_best_uniform_rival() -> None:
    text = tables_text({}, RESULTS)
    assert "| good | calibrated | +0.0 [+0.0, +0.0] |" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| good | calibrated | **+50.0 [")]
    assert line.endswith("** good |")
    (line,) = [line for line in text.splitlines() if line.startswith("| poor | uniform | **-40.0 [")]
    assert line.endswith("** good |")


def test_the_best_rival_is_found_on_shared_examples() -> None:
    easy = [result("lucky", "easy", 100 + i, True) for i in range(5)]  # examples that no other row has
    lucky = [*easy, *(result("lucky", "easy", i, i < 1) for i in range(10))]
    lines = tables_text({}, [*RESULTS, *lucky]).splitlines()
    (line,) = [line for line in lines if line.startswith("| poor | uniform | **-40.0 [")]
    assert line.endswith("** good |")


def test_text_is_compared_on_the_same_pieces() -> None:
    (section,) = sections([*RESULTS, result("full", "text", 99, None, 500.0)])
    found = text_excess(section, ("good", "uniform", 0.3))
    assert found is not None
    assert found.value == pytest.approx(10.0)


PAGE = """Before.

<!-- evaluation: m streamed 100 {kind} -->
old
<!-- end of evaluation -->
Between.
<!-- evaluation: other streamed 100 recall -->
kept
<!-- end of evaluation -->
"""


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("recall", "| `good` | 40 [10, 70] | 90 [70, 100] |"),
        ("text", "| `good` | +10.0 [+10.0, +10.0] |  |"),
        ("summary", "| `good` | 40 | 90 |  |"),
    ],
)
def test_tables_of_a_page_are_replaced(kind: str, line: str) -> None:
    text, count = fill_page(PAGE.format(kind=kind), "m", sections(RESULTS))
    assert count == 1
    assert line in text.splitlines()
    assert "old" not in text
    assert text.startswith("Before.") and "Between." in text and "kept" in text
    assert fill_page(text, "m", sections(RESULTS)) == (text, 1)


def test_spot_checks_are_no_part_of_the_means() -> None:
    found = [result("full", task, i, False, 1.0) for task in ("needle", "copy") for i in range(4)]
    found = [dataclasses.replace(each, correct=each.task == "copy" or each.index < 2) for each in found]
    (section,) = sections(found)
    assert list(section.tasks) == ["needle"]
    assert section.spot_checks == ["copy"]
    assert "Spot checks, not in the means: copy." in tables_text({}, found)
    (alone,) = sections([each for each in found if each.task == "copy"])
    assert list(alone.tasks) == ["copy"] and not alone.spot_checks


def test_a_table_may_name_its_policies_in_order() -> None:
    text, _ = fill_page(PAGE.format(kind="summary:good,full"), "m", sections(RESULTS))
    lines = [line for line in text.splitlines() if line.startswith(("| `", "| full"))]
    assert [line.split("|")[1].strip() for line in lines] == ["`good`", "full cache"]


def test_a_policy_without_results_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"page: .*: no results of best, worst"):
        fill_page(PAGE.format(kind="recall:best,good,worst"), "m", sections(RESULTS))


@pytest.mark.parametrize("wrong", ["streamed 100 nonsense", "known 100 recall", "streamed 99 recall"])
def test_a_table_of_results_that_are_not_there_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidArgument, match=r"page: <!-- evaluation: m .*: expected results of this mode and length"):
        fill_page(f"<!-- evaluation: m {wrong} -->\n<!-- end of evaluation -->", "m", sections(RESULTS))


def test_the_bytes_of_caches_are_compared_with_their_budgets() -> None:
    text = tables_text(
        {}, [result("full", "easy", 0, True), *(result("poor", "easy", 0, True, budget=b) for b in (0.5, 0.8))]
    )
    assert "The caches take 125.0 to 200.0 % of their budgets' bytes." in text


def test_the_command_writes_tables_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    lines = [json.dumps({"model": "m"}), *(json.dumps(dataclasses.asdict(each)) for each in RESULTS)]
    (tmp_path / "results.jsonl").write_text("\n".join(lines) + "\n")
    assert main([str(tmp_path), "--out", str(tmp_path / "made")]) == 0
    assert (tmp_path / "made" / "tables.md").read_text() == tables_text({"model": "m"}, RESULTS)
    assert (tmp_path / "made" / "streamed-100.png").stat().st_size > 10_000
    assert main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
