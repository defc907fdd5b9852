# SPDX-License-Identifier: Apache-2.0
"""``results.jsonl``: the settings of a run in its first line, then one measurement a line."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hashevict.errors import InvalidArgument, InvalidData

Key = tuple[str, str, str, int, str, str, float, int, int]


@dataclass(frozen=True)
class Result:
    """One answer, or running text, of one example under one row of the table."""

    mode: str
    task: str
    domain: str
    length: int
    """Asked for; the tokens of examples that were drawn."""
    policy: str
    allocation: str
    budget: float
    """Share of the full cache's bytes."""
    index: int
    correct: bool | None
    """Whether every token of the answer was the most likely one; None: running text."""
    nats: float
    """Summed over the tokens of the answer, or of the text."""
    tokens: int
    """Those of the answer, or of the text."""
    bytes: int
    """Of the cache."""
    seconds: float
    """Of the example's forward pass."""
    turn: int = 0
    """Which of the example's questions."""

    @property
    def key(self) -> Key:
        """Names the measurement."""
        return (*self.example, self.policy, self.allocation, self.budget, self.index, self.turn)

    @property
    def example(self) -> tuple[str, str, str, int]:
        return (self.mode, self.task, self.domain, self.length)


class ResultFile:
    """The file of a run. A run that was stopped goes on: what is in the file is not measured again.

    Args:
        folder: made if it does not exist
        settings: what all results of the file share

    Raises:
        InvalidArgument: the folder has results of other settings
        InvalidData: a line that is no result
        OSError: the file cannot be written
    """

    def __init__(self, folder: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self.path = Path(folder) / "results.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.results: list[Result] = []
        if self.path.exists():
            found, self.results = read_results(self.path)
            for name in sorted({*found, *settings}):
                if found.get(name) != settings.get(name):
                    raise InvalidArgument(
                        f"{self.path}: its results have {name} = {found.get(name)}, not {settings.get(name)}: choose "
                        "another folder"
                    )
            self._cut_partial_line()
        else:
            self._append(dict(settings))
        self._known = {result.key for result in self.results}

    def __contains__(self, key: Key) -> bool:
        return key in self._known

    def add(self, results: Sequence[Result]) -> None:
        """Appends those results that the file does not have, and hands them to the system at once."""
        new = [result for result in results if result.key not in self._known]
        self._append(*(dataclasses.asdict(result) for result in new))
        self.results += new
        self._known.update(result.key for result in new)

    def _append(self, *lines: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(fields, separators=(",", ":")) + "\n" for fields in lines))

    def _cut_partial_line(self) -> None:
        data = self.path.read_bytes()
        if not data.endswith(b"\n"):
            os.truncate(self.path, data.rfind(b"\n") + 1)


def read_results(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[Result]]:
    """The settings and results of a file. A last line without its end is left out: the run was stopped there.

    Raises:
        InvalidData: a line that is no result
        OSError: it cannot be read
    """
    lines = Path(path).read_text(encoding="utf-8").split("\n")[:-1]
    if not lines:
        raise InvalidData(f"{path}: empty: expected settings in the first line")
    results = []
    for number, line in enumerate(lines):
        try:
            fields = json.loads(line)
            if number == 0:
                settings = dict(fields)
            else:
                results.append(Result(**fields))
        except (ValueError, TypeError) as error:
            raise InvalidData(f"{path}:{number + 1}: not a result: {error}") from error
    return settings, results
