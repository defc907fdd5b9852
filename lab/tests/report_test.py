# SPDX-License-Identifier: Apache-2.0
"""Tables and figures of results: what lab/report.py computes, and that it writes what it says."""

import json
import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import report  # noqa: E402  from the folder above

SETTINGS = {"format": 5, "model": "m", "num_parameters": 1, "text": "t", "contents": 1, "seeds": "dev", "length": 256}


class ReportOfSamples(unittest.TestCase):
    def setUp(self):
        self.lines = [SETTINGS, self.line("machine", "0.2.0", "NEON")]
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        for policy, group in (("full", "reference"), ("random", "library"), ("recall", "library"),
                              ("paper", "library"), ("window", "library")):
            self.lines.append({**self.line("policy", group, policy), "description": "what it does"})

    @staticmethod
    def line(mode, what, policy, budget=1.0, index=0):
        return {"mode": mode, "what": what, "seed": 1, "index": index, "policy": policy, "budget": budget}

    def add(self, mode, what, policy, budget, scores):
        for index, score in enumerate(scores):
            self.lines.append({**self.line(mode, what, policy, budget, index), "score": score, "slots": 10})

    def results(self):
        path = self.folder / "results.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in self.lines), encoding="utf-8")
        return report.Results(path)

    def add_recall(self):
        for task in ("needle", "map"):
            self.add("streamed", task, "full", 1.0, [1, 1, 1, 1])
        for policy, needle, map_ in (("recall", [1, 0, 1, 0], [1, 1, 1, 1]), ("paper", [1, 0, 1, 0], [0, 0, 0, 1]),
                                     ("window", [0, 1, 1, 0], [1, 1, 1, 1])):
            self.add("streamed", "needle", policy, 0.5, needle)
            self.add("streamed", "map", policy, 0.5, map_)

    def test_means_count_every_task_the_same(self):
        mean, error = report.estimate([[1, 1, 0, 0], [1]])
        self.assertAlmostEqual(mean, 0.75)
        # The first stratum's error is sqrt(1/3 / 4), the second's unknown.
        self.assertAlmostEqual(error, math.sqrt(1 / 12) / 2)
        self.assertIsNone(report.estimate([[]]))

    def test_differences_to_recall_are_paired_and_count_tasks_the_same(self):
        self.add_recall()
        tables = report.tables(self.results())
        table = tables.split("### `recall` less the others")[1].split("###")[0]
        # Of needle -1/2 with an error of sqrt(1/3 / 4), of map 0: the full cache has no cell at 50 % of its own.
        self.assertIn("| full |  | -25.0 ± 14.4 |", table)
        # No needle differs; of map 3/4 with an error of 1/4.
        self.assertIn("| paper |  | +37.5 ± 12.5 ▲ |", table)
        # One needle won, one lost.
        self.assertIn("| window |  | +0.0 ± 20.4 |", table)
        self.assertNotIn("| recall |", table)

    def test_differences_of_text_are_shares_of_the_full_caches(self):
        for policy, budget, score in (("full", 1.0, 2), ("random", 0.5, 3), ("recall", 0.5, 2.2), ("window", 0.5, 2.1)):
            self.add("streamed", "text", policy, budget, [score] * 4)
        tables = report.tables(self.results())
        for cell in ("| window |  | +5.00 % ± 0.00 ▲ |",  # over the full cache; better than random
                     "| window |  | +5.00 % ± 0.00 ▽ |",  # recall less window: more nats are worse
                     "| random |  | -40.00 % ± 0.00 ▲ |", "| full |  | +10.00 % ± 0.00 ▽ |"):
            self.assertIn(cell, tables)

    def test_without_the_full_cache_text_is_in_nats(self):
        self.add("streamed", "text", "recall", 0.5, [2.2] * 4)
        tables = report.tables(self.results())
        self.assertIn("| recall | 2.200 ± 0.000 nats |", tables)
        self.assertNotIn("less the others", tables)

    def test_tables_say_what_they_were_measured_with(self):
        self.add_recall()
        tables = report.tables(self.results())
        self.assertIn("hashevict 0.2.0 on the CPU target NEON.", tables)
        self.assertIn("Examples: 8 streamed.", tables)

    def test_program_writes_tables_and_a_figure_of_every_section(self):
        self.add_recall()
        self.add("known", "map", "window", 0.5, [1, 0])
        self.results()
        out = self.folder / "out"
        subprocess.run([sys.executable, "-B", HERE.parent / "report.py", self.folder / "results.jsonl", out], check=True)
        self.assertEqual(sorted(path.name for path in out.iterdir()), ["known.png", "streamed.png", "tables.md"])
        for figure in out.glob("*.png"):
            self.assertTrue(figure.read_bytes().startswith(b"\x89PNG"))
        first = (out / "streamed.png").read_bytes()
        subprocess.run([sys.executable, "-B", HERE.parent / "report.py", out / "tables.md", out], check=True)
        self.assertEqual((out / "streamed.png").read_bytes(), first, "tables hold all that figures show")

    def test_figures_of_the_committed_tables_are_up_to_date(self):
        committed = HERE.parent / "results"
        text = (committed / "tables.md").read_text(encoding="utf-8")
        values, groups = report.read_tables(text)
        self.assertEqual(set(values), {path.stem for path in committed.glob("*.png")})
        self.assertEqual(values["streamed"]["recall"][0.3], (96.3, 1.4))
        self.assertEqual(values["text"]["window"][0.3], (1.47, 0.69))
        self.assertEqual(groups["fastgen"], "attention")


if __name__ == "__main__":
    unittest.main()
