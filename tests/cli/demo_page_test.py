# SPDX-License-Identifier: Apache-2.0
"""The page of `hashevict demo`: well-formed, and with no need of anything beside it.

Usage: demo_page_test.py HASHEVICT
"""

import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree


class DemoPage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([command, "demo", "--quick", "--out", folder], check=True, capture_output=True)
            with open(folder + "/report.html", encoding="utf-8") as file:
                cls.page = file.read()

    def test_is_well_formed_and_has_its_parts(self):
        elements = list(ElementTree.fromstring(self.page).iter())
        self.assertLessEqual({"html", "title", "h1", "table", "svg", "style"}, {element.tag for element in elements})

    def test_refers_to_nothing_outside(self):
        for element in ElementTree.fromstring(self.page).iter():
            self.assertFalse({"src", "href", "srcset", "data", "action"}.intersection(element.keys()), element.tag)
        for word in ("url(", "@import", "http:", "https:"):
            self.assertNotIn(word, self.page)

    def test_has_a_dark_form(self):
        self.assertIn("prefers-color-scheme: dark", self.page)


if __name__ == "__main__":
    command = sys.argv.pop(1)
    unittest.main()
