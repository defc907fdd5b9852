#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of bench/table.py, on runs made up here."""
import json
import pathlib
import tempfile
import unittest

import table


def row(name, value, limit="", spread=0.01, section="attention"):
    return {"section": section, "name": name, "value": value, "low": value * (1 - spread),
            "high": value * (1 + spread), "limit": limit, "peer": "a peer"}


def run_of(*rows, **fields):
    return {"machine": "M", "processors": 2, "instruction_set": "AVX2", "date": "2026-11-29", **fields,
            "rows": list(rows)}


class Limits(unittest.TestCase):
    def test_both_senses(self):
        self.assertIs(table.met(row("a", 0.86, ">= 0.85")), True)
        self.assertIs(table.met(row("a", 0.84, ">= 0.85")), False)
        self.assertIs(table.met(row("a", 0.02, "<= 0.02")), True)
        self.assertIs(table.met(row("a", 0.021, "<= 0.02")), False)

    def test_no_limit_and_no_value_give_no_verdict(self):
        self.assertIsNone(table.met(row("a", 1)))
        self.assertIsNone(table.met({"section": "s", "name": "n", "skipped": "no torch", "limit": ">= 1"}))


class TextTable(unittest.TestCase):
    def test_has_machine_value_limit_verdict_and_peer(self):
        text = table.text_table(run_of(row("group 4", 0.8, ">= 0.85")))
        for part in ("M, 2 processors, AVX2, 2026-11-29", "group 4", "0.8", ">= 0.85", "NOT met", "over a peer"):
            self.assertIn(part, text)

    def test_skipped_rows_say_why(self):
        text = table.text_table(run_of({"section": "s", "name": "n", "skipped": "torch is not installed"}))
        self.assertIn("skipped: torch is not installed", text)


class Compare(unittest.TestCase):
    def test_quartiles_near_each_other_are_noise(self):
        for spread, value, moved in ((0.01, 1.015, False), (0.001, 1.05, False), (0.001, 1.1, True), (0.1, 1.3, False)):
            text = table.compare(run_of(row("a", 1.0, spread=spread)), run_of(row("a", value, spread=spread)))[0]
            self.assertEqual(text != "nothing moved beyond noise", moved, f"{spread} {value}")

    def test_a_lower_limit_wants_more(self):
        text, worse = table.compare(run_of(row("a", 0.9, ">= 0.85")), run_of(row("a", 0.8, ">= 0.85")))
        self.assertEqual((text, worse), ("WORSE   attention, a: 0.9 -> 0.8", True))
        text, worse = table.compare(run_of(row("a", 0.8, ">= 0.85")), run_of(row("a", 0.9, ">= 0.85")))
        self.assertEqual((text, worse), ("better  attention, a: 0.8 -> 0.9", False))

    def test_an_upper_limit_wants_less(self):
        self.assertTrue(table.compare(run_of(row("a", 0.01, "<= 0.02")), run_of(row("a", 0.02, "<= 0.02")))[1])
        self.assertFalse(table.compare(run_of(row("a", 0.02, "<= 0.02")), run_of(row("a", 0.01, "<= 0.02")))[1])

    def test_without_a_limit_a_row_only_moves(self):
        moved = table.compare(run_of(row("a", 1)), run_of(row("a", 2)))
        self.assertEqual(moved, ("moved   attention, a: 1 -> 2", False))

    def test_a_row_that_is_no_longer_measured_is_gone(self):
        skipped = {"section": "attention", "name": "a", "skipped": "why"}
        self.assertEqual(table.compare(run_of(row("a", 1)), run_of(skipped)), ("gone    attention, a", False))

    def test_new_rows_are_no_change(self):
        self.assertEqual(table.compare(run_of(), run_of(row("a", 1)))[0], "nothing moved beyond noise")


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        (self.root / "bench/results").mkdir(parents=True)
        (self.root / "docs").mkdir()

    def write(self, name, content):
        path = self.root / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    def test_collect_joins_parts_and_names_the_machine(self):
        first = self.write("a.json", {"instruction_set": "AVX3", "rows": [row("a", 1)]})
        second = self.write("b.json", {"rows": [row("b", 2)]})
        run = table.collect([first, second])
        self.assertEqual([r["name"] for r in run["rows"]], ["a", "b"])
        self.assertEqual(run["instruction_set"], "AVX3")
        self.assertTrue(run["machine"] and run["date"])

    def test_bad_files_are_named(self):
        nameless = {"rows": [{"section": "s", "name": "n"}]}
        for content, fault in (("", "Expecting"), ("[]", "list of rows"), (nameless, "lacks")):
            path = self.write("bad.json", content)
            with self.assertRaisesRegex(table.BadFile, f"bad.json.*{fault}"):
                table.load(path)

    def write_pages(self):
        self.write("README.md", "# T\n<!-- figures: summary -->\nold\n<!-- end of figures -->\nend\n")
        self.write("docs/performance.md", "<!-- figures: all -->\n<!-- end of figures -->\n")
        self.write("bench/results/m.json", run_of(row("with", 0.8, ">= 0.85"), row("more", 0.9, ">= 0.85"),
                                                     row("without", 3)))
        self.write("bench/results/n.json", run_of(row("with", 0.9, ">= 0.85"), machine="N"))

    def test_pages_show_machines_side_by_side(self):
        self.write_pages()
        self.assertEqual(table.pages(self.root, check=False), ["README.md", "docs/performance.md"])
        readme = (self.root / "README.md").read_text(encoding="utf-8")
        self.assertIn("| attention | a peer | >= 0.85 | 0.8 to 0.9, **1 of 2 not met** | 0.9 |", readme)
        self.assertNotIn("without", readme)
        self.assertNotIn("old", readme)
        self.assertTrue(readme.startswith("# T\n") and readme.endswith("end\n"))
        page = (self.root / "docs/performance.md").read_text(encoding="utf-8")
        self.assertIn("| attention: with | >= 0.85 | 0.8, **not met** | 0.9 |", page)
        self.assertIn("| attention: without |  | 3 | not measured |", page)
        self.assertIn("2. N, 2 processors, AVX2, 2026-11-29", page)

    def test_check_changes_nothing_and_sees_a_difference(self):
        self.write_pages()
        before = (self.root / "README.md").read_text(encoding="utf-8")
        self.assertEqual(len(table.pages(self.root, check=True)), 2)
        self.assertEqual((self.root / "README.md").read_text(encoding="utf-8"), before)
        table.pages(self.root, check=False)
        self.assertEqual(table.pages(self.root, check=True), [])

    def test_a_page_without_its_block_is_named(self):
        self.write_pages()
        self.write("README.md", "# T\n")
        with self.assertRaisesRegex(table.BadFile, "README.md: expected one block"):
            table.pages(self.root, check=False)


if __name__ == "__main__":
    unittest.main()
