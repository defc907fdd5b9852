# SPDX-License-Identifier: Apache-2.0
"""Write and read the model folder: `config.json`, `model.safetensors`, the tokenizer, `golden.safetensors`."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model import Config, Llama
from tokenizer import export_tokenizer

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "I32": torch.int32}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
GOLDEN_LENGTH = 96


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file: header size (u64, little-endian), JSON header, raw data. The file appears at once."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    blobs, offset = [], 0
    for name, tensor in tensors.items():
        blob = tensor.contiguous().view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    _replace(path, len(text).to_bytes(8, "little") + text + b"".join(blobs))


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__", None)
    data = np.frombuffer(raw, dtype=np.uint8, offset=8 + size)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = torch.from_numpy(data[begin:end].copy()).view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def load_model(folder: Path) -> Llama:
    """The stored model; its rounded weights are widened to fp32, in which it computes."""
    entries = json.loads((folder / "config.json").read_text())
    config = Config(**{field.name: entries[field.name] for field in dataclasses.fields(Config)})
    model = Llama(config)
    tensors = read_safetensors(folder / "model.safetensors")
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return model.eval()


def export_model(model: Llama, folder: Path, sample: bytes) -> None:
    """Store the model in bfloat16, and golden logits of what was stored, so that other engines can be compared."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: weight.detach().to(torch.bfloat16) for name, weight in model.state_dict().items()}
    write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
    entries = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "bfloat16",
        **dataclasses.asdict(model.config),
    }
    _replace(folder / "config.json", (json.dumps(entries, indent=2) + "\n").encode())
    export_tokenizer(folder, model.config.bos_token_id)
    write_safetensors(folder / "golden.safetensors", golden(load_model(folder), sample))


@torch.no_grad()
def golden(model: Llama, sample: bytes) -> dict[str, Tensor]:
    """Tokens `[96]` and logits `[96, vocab_size]`: BOS and the beginning of the sample text."""
    tokens = torch.tensor([model.config.bos_token_id, *sample[: GOLDEN_LENGTH - 1]])
    return {"tokens": tokens.to(torch.int32), "logits": model(tokens[None])[0]}


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(content)
    os.replace(temporary, path)
