# SPDX-License-Identifier: Apache-2.0
"""The model's tokenizer in the format of Hugging Face: a byte is a token, and BOS comes first."""

from __future__ import annotations

import json
from pathlib import Path

BOS = "<s>"


def byte_characters() -> list[str]:
    """The printable character that stands for each byte in byte-level tokenizers (GPT-2)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte if byte in printable else 256 + others.index(byte)) for byte in range(256)]


def export_tokenizer(folder: Path, bos_token_id: int) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    bos = {"id": bos_token_id, "content": BOS, "special": True}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{**bos, **flags}],
        "pre_tokenizer": level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": BOS, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {BOS: {"id": BOS, "ids": [bos_token_id], "tokens": [BOS]}},
        },
        "decoder": level,
        "model": {
            "type": "BPE",
            "vocab": {character: byte for byte, character in enumerate(byte_characters())},
            "merges": [],
        },
    }
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "model_max_length": 2048}
    for name, entries in (("tokenizer.json", tokenizer), ("tokenizer_config.json", config)):
        (folder / name).write_text(json.dumps(entries, indent=1) + "\n")
