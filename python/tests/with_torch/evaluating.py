# SPDX-License-Identifier: Apache-2.0
"""A small evaluation: a tokenizer, text, a profile and a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from models import VOCABULARY, tiny

from hashevict import Profile, evaluate

WORDS = "\n".join(" ".join(f"w{i * i % 83}" for i in range(8 * k, 8 * k + 8)) + "." for k in range(1500))


class Words:
    """A tokenizer of words, spaces and signs, by the sum of their letters; it drops zero-width spaces."""

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        parts = re.findall(r" ?\w+|\s|[^\w\s\u200b]", text)
        return {"input_ids": [3 + sum(map(ord, part)) % (VOCABULARY - 3) for part in parts]}


def tiny_profile() -> Profile:
    """Of the tiny model of two layers and two KV heads: one head matters."""
    quantiles = np.sort(np.random.default_rng(0).random((2, 2, 17)).astype(np.float32), axis=2)
    quantiles[1, 0] += 1.0
    weight = np.random.default_rng(1).standard_normal((2, 2, 16)).astype(np.float32)
    hidden, bias = np.random.default_rng(2).standard_normal((2, 2, 64)).astype(np.float32), np.zeros((2, 2), np.float32)
    return Profile(quantiles, weight, bias, hidden_weight=hidden, hidden_bias=bias)


def results_of(out: Path, **changes: Any) -> Any:
    """The results of a run of seconds, with these arguments changed."""
    arguments: dict[str, Any] = {
        "model": tiny("llama"),
        "tokenizer": Words(),
        "out": out,
        "policies": ["full", "window", "mean"],
        "profile": tiny_profile(),
        "budgets": [0.5, 0.3],
        "tasks": ["needle", "text"],
        "texts": {"words": WORDS, "others": WORDS.replace("w", "v")},
        "rounds": 2,
        "length": 160,
        "floor": 20,
        "progress": False,
        **changes,
    }
    return evaluate(**arguments)


def save_model(folder: Path) -> None:
    """A folder that ``from_pretrained`` loads, with a tokenizer of words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w3"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w3").save_pretrained(folder)
    tiny("llama").save_pretrained(folder)
