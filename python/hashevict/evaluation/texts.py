# SPDX-License-Identifier: Apache-2.0
"""Ordinary text by domain: the filler of recall tasks, and running text."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hashevict.errors import InvalidArgument

OWN_CODE = (
    "argparse ast asyncio.base_events configparser dataclasses decimal difflib doctest email.message fractions ftplib"
)
SAMPLE = 50_000
"""Characters by which a text's length in tokens is estimated."""
ROOM = 1.25
"""A piece's estimated length over the one that is wanted; it is cut exactly later."""


def own_texts() -> dict[str, str]:
    """Two domains that every Python brings along, under its licence: ``documentation`` and ``code``."""
    topics = importlib.import_module("pydoc_data.topics").topics
    code = [inspect.getsource(importlib.import_module(name)) for name in OWN_CODE.split()]
    return {"documentation": "\n".join(topics[name] for name in sorted(topics)), "code": "\n".join(code)}


def read_texts(folder: str | os.PathLike[str]) -> dict[str, str]:
    """The domains of a folder: each ``.txt`` file, and each folder of such files.

    Raises:
        InvalidArgument: a folder without any
        OSError: a file that cannot be read
    """
    root = Path(folder)
    if not root.is_dir():
        raise InvalidArgument(f"texts {folder}: there is no such folder")
    domains = {}
    for entry in sorted(root.iterdir()):
        files = sorted(entry.rglob("*.txt")) if entry.is_dir() else [entry] if entry.suffix == ".txt" else []
        if files:
            domains[entry.stem] = "\n".join(file.read_text(encoding="utf-8") for file in files)
    if not domains:
        raise InvalidArgument(f"texts {folder}: expected .txt files, each of one domain, or folders of them")
    return domains


def fingerprint(texts: Mapping[str, str]) -> str:
    """Names texts by their contents."""
    digest = hashlib.sha256()
    for name in sorted(texts):
        digest.update(f"{name}\0{texts[name]}\0".encode())
    return digest.hexdigest()[:16]


class Filler:
    """Pieces of one domain's text."""

    def __init__(self, domain: str, text: str, tokenizer: Any) -> None:
        self.domain = domain
        self._text = text
        sample = text[:SAMPLE]
        self._characters_per_token = len(sample) / max(1, len(tokenizer(sample, verbose=False)["input_ids"]))

    def draw(self, rng: np.random.Generator, tokens: int) -> str:
        """A contiguous piece of surely more than ``tokens``, from the start of a line. Pieces may overlap.

        Raises:
            InvalidArgument: the text is too short
        """
        size = self._size(tokens)
        room = len(self._text) - size
        if room <= 0:
            raise InvalidArgument(f"texts: domain {self.domain!r}: {len(self._text)} characters: expected over {size}")
        start = self._text.rfind("\n", 0, int(rng.integers(room))) + 1
        return self._text[start : start + size]

    def num_pieces(self, tokens: int) -> int:
        """Pieces that :meth:`piece` has."""
        return len(self._text) // self._size(tokens)

    def piece(self, index: int, tokens: int, seed: int) -> str:
        """One of the pieces of likely more than ``tokens`` that do not overlap, in an order that ``seed`` draws."""
        size = self._size(tokens)
        place = int(np.random.default_rng(seed).permutation(self.num_pieces(tokens))[index])
        return self._text[place * size : (place + 1) * size]

    def _size(self, tokens: int) -> int:
        return int(ROOM * self._characters_per_token * tokens) + 1
