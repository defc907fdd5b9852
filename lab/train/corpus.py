# SPDX-License-Identifier: Apache-2.0
"""Ordinary text for the model: the reStructuredText sources of the Python 3.11 documentation (PSF licence).

One folder of prose and code under one licence is enough, and everybody can fetch it. Whole documents are held out, so
that no passage of the test text was ever seen in training. Run as a program, this writes the files under assets/text.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

HELD_OUT = ("faq/design.rst.txt", "howto/sorting.rst.txt")
# The commonest words would collide with the filler all the time; the rarest are names.
WORD_RANKS = slice(300, 1500)


def train_text(docs: Path) -> bytes:
    """All documents that are not held out, in a fixed order."""
    paths = sorted(path for path in docs.rglob("*.rst.txt") if str(path.relative_to(docs)) not in HELD_OUT)
    if not paths:
        raise FileNotFoundError(f"no *.rst.txt below {docs}")
    return b"\n\n".join(path.read_bytes() for path in paths)


def held_out_text(docs: Path) -> bytes:
    """The documents kept for testing."""
    return b"\n\n".join((docs / name).read_bytes() for name in HELD_OUT)


def frequent_words(text: bytes) -> list[str]:
    """Lowercase words of 4 to 7 letters, common but not the commonest."""
    counts = Counter(re.findall(rb"(?<![\w.:`])[a-z]{4,7}(?![\w:`])", text))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return sorted(word.decode() for word in ranked[WORD_RANKS])


def read_words(path: Path) -> list[str]:
    """The word list, one word a line."""
    return path.read_text().split()


def main() -> None:
    """Write the held-out sample and the word list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=Path, required=True, help="folder with the *.rst.txt sources")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, assets/text")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "sample.txt").write_bytes(held_out_text(args.docs))
    (args.out / "words.txt").write_text("\n".join(frequent_words(train_text(args.docs))) + "\n")


if __name__ == "__main__":
    main()
