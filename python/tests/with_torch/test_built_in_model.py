# SPDX-License-Identifier: Apache-2.0
"""The built-in model of the command, in transformers."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = Path(__file__).parents[3] / "assets" / "tiny-llama"


def test_a_token_is_a_byte_behind_a_first_mark() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    text = "".join(map(chr, range(256))) + "\u20ac\n  end. "
    assert tokenizer(text)["input_ids"] == [256, *text.encode()]
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == list(text.encode())
    assert tokenizer.decode(list(text.encode())) == text


def test_logits_are_those_that_the_engine_is_held_to() -> None:
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    golden = load_file(FOLDER / "golden.safetensors")
    with torch.no_grad():
        logits = model(input_ids=golden["tokens"][None].long()).logits[0]
    torch.testing.assert_close(logits, golden["logits"], rtol=1e-4, atol=1e-4)
