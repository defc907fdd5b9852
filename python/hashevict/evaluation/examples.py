# SPDX-License-Identifier: Apache-2.0
"""Where examples come from: the tasks over texts, or a folder of others' examples."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hashevict.errors import InvalidArgument
from hashevict.evaluation.tasks import TEXT, Example, Turn, make_example
from hashevict.evaluation.texts import Filler, fingerprint


class Drawn:
    """Examples of the tasks, round by round: each round has one of every task in every domain."""

    def __init__(
        self, tokenizer: Any, tasks: Sequence[str], texts: Mapping[str, str], length: int, rounds: int, seed: int
    ) -> None:
        self._tokenizer, self._tasks, self._length, self._seed = tokenizer, tasks, length, seed
        self._fillers = [Filler(domain, texts[domain], tokenizer) for domain in sorted(texts)]
        self.rounds = rounds
        self.fingerprint = fingerprint(texts)

    def round(self, index: int) -> Iterator[Example]:
        """The examples of one round. A domain without further pieces has no running text there."""
        for filler in self._fillers:
            for task in self._tasks:
                if task != TEXT or index < filler.num_pieces(self._length):
                    yield make_example(self._tokenizer, task, filler, self._length, index, self._seed)


class Given:
    """Examples of a folder: ``.jsonl`` files, whose lines have ``context``, ``question`` and ``answer``, each file a
    task; and ``.txt`` files of running text, each a domain.

    Raises:
        InvalidArgument: a folder without examples, or a line that is none
        OSError: a file that cannot be read
    """

    def __init__(self, tokenizer: Any, folder: str | os.PathLike[str], length: int, rounds: int, seed: int) -> None:
        root = Path(folder)
        files = {kind: sorted(root.glob(f"*.{kind}")) for kind in ("jsonl", "txt")}
        self._recall = [_read(file) for file in files["jsonl"]]
        texts = {file.stem: file.read_text(encoding="utf-8") for file in files["txt"]}
        if not self._recall and not texts:
            raise InvalidArgument(f"examples {folder}: expected .jsonl or .txt files")
        self._text = Drawn(tokenizer, [TEXT], texts, length, rounds, seed)
        self.rounds = rounds
        self.fingerprint = fingerprint({f.name: f.read_text(encoding="utf-8") for kind in files.values() for f in kind})

    def round(self, index: int) -> Iterator[Example]:
        """The example of this index in every file that has as many."""
        for examples in self._recall:
            if index < len(examples):
                yield examples[index]
        yield from self._text.round(index)


def _read(file: Path) -> list[Example]:
    examples = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines()):
        where = f"{file}:{number + 1}"
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise InvalidArgument(f"{where}: not JSON: {error}") from error
        parts = [fields.get(name) if isinstance(fields, dict) else None for name in ("context", "question", "answer")]
        if not all(isinstance(part, str) for part in parts) or not parts[2]:
            raise InvalidArgument(f"{where}: expected the strings context, question and answer, which is not empty")
        domain = str(fields.get("domain", "given"))
        examples.append(Example(file.stem, domain, number, str(parts[0]), (Turn(str(parts[1]), str(parts[2])),)))
    return examples
