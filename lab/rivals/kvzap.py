# SPDX-License-Identifier: Apache-2.0
"""KVzap: an importance that is linear in the hidden state.

``python -m rivals.kvzap MODEL --text FILES`` (in ``lab/``, with ``python/`` on the path) fits it for a model.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from hashevict.calibration import INSTRUCTION, LEAST_SCORE
from hashevict.errors import Error, InvalidArgument
from hashevict.transformers.models import shape_of
from hashevict.transformers.scores import HeadScores
from rivals.cache import SimulatedCache, SimulatedLayer
from rivals.hooks import give_hidden_states
from rivals.rule import Floats

FOLDER = Path(__file__).resolve().parents[2] / "build" / "rivals"
WINDOW = 128
"""Tokens that stay (the paper's, and ``sliding_window_size`` of its code)."""
SINKS = 4
"""The first tokens that stay: KVzip keeps the system prompt, and scores are not made for the start of a text."""
RIDGE = 1.0
"""Of scikit-learn's ``Ridge()``, which the authors' code uses; the bias is free."""
HELD_OUT = 5
"""Every so many pieces, one is not fitted."""


@dataclass(frozen=True)
class Weights:
    """Of the layers with full attention."""

    weight: NDArray[np.float32]
    """``[layers, num_kv_heads, hidden_size]``."""
    bias: NDArray[np.float32]
    """``[layers, num_kv_heads]``."""
    r2: NDArray[np.float64]
    """Of held-out pieces, likewise."""


def file_of(model: Any, folder: Path | None = None) -> Path:
    """Where the weights for a model lie, by its size and first embeddings."""
    embeddings = model.get_input_embeddings().weight
    first = embeddings[:64].detach().float().cpu().numpy().tobytes()
    described = hashlib.sha256(first + repr((tuple(embeddings.shape), shape_of(model.config).bounded)).encode())
    return (folder or FOLDER) / f"kvzap-{described.hexdigest()[:12]}.npz"


class LinearImportance:
    """KVzap, linear (arXiv 2601.07891): the logarithm of a key's KVzip+ score, predicted from the hidden state that the
    layer's attention is given. The authors' code (``kvzap/train.py``, ``kvzap_press.py``, ``dms_press.py``) fits
    scikit-learn's ``Ridge()`` per layer, keeps the last 128 tokens, and drops every other key whose score is below one
    threshold; here capacities are given, and the smallest score of a full head goes.

    Raises:
        InvalidArgument: no weights were fitted for this model
    """

    def __init__(self, model: Any, folder: Path | None = None) -> None:
        path = file_of(model, folder)
        if not path.exists():
            raise InvalidArgument(f"kvzap_linear: {path}: no such file: fit the weights by python -m rivals.kvzap")
        with np.load(path, allow_pickle=False) as file:
            self.weights = Weights(file["weight"], file["bias"], file["r2"])
        give_hidden_states(model)

    def __call__(self, cache: SimulatedCache, index: int, start: int, end: int) -> Floats:
        layer = cache.layers[cache.shape.bounded[index]]
        assert isinstance(layer, SimulatedLayer)
        hidden = layer.hidden.float().cpu().numpy()
        layer.hidden = None
        scores: Floats = self.weights.weight[index] @ hidden.T + self.weights.bias[index][:, None]
        return scores


def fit(model: Any, tokenizer: Any, texts: Sequence[str], pieces: int = 44, piece_tokens: int = 480) -> Weights:
    """Fits the weights as :func:`hashevict.calibrate` scores keys: the model reads a piece of text and repeats it.

    Args:
        texts: cut into pieces of ``piece_tokens``, of which the first ``pieces`` are read, evenly over the texts

    Raises:
        InvalidArgument: texts of fewer than ``HELD_OUT`` pieces
    """
    shape = shape_of(model.config)
    tokenized = [tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] for text in texts]
    cut = [ids[i : i + piece_tokens] for ids in tokenized for i in range(0, len(ids) - piece_tokens + 1, piece_tokens)]
    chosen = [cut[i] for i in np.unique(np.linspace(0, len(cut) - 1, pieces).astype(int))] if cut else []
    if len(chosen) < HELD_OUT:
        raise InvalidArgument(f"texts: {len(chosen)} pieces of {piece_tokens} tokens: expected at least {HELD_OUT}")
    between = tokenizer(INSTRUCTION, add_special_tokens=False)["input_ids"]
    first = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    sums = [_Sums(len(shape.bounded)), _Sums(len(shape.bounded))]  # fitted, held out
    keys = range(len(first), len(first) + piece_tokens)
    with HeadScores(model, shape, hidden=True) as scores, torch.no_grad():
        for number, piece in enumerate(tqdm(chosen, desc="fitting", unit="piece")):
            ids = [*first, *piece, *between, *piece]
            found = scores.read(ids, keys, len(ids) - piece_tokens)
            assert found.hidden is not None
            logs = np.log(np.maximum(found.scores.astype(np.float64), LEAST_SCORE))
            sums[number % HELD_OUT == HELD_OUT - 1].add(found.hidden.astype(np.float64), logs)
    weight, bias = sums[0].solve()
    return Weights(weight.astype(np.float32), bias.astype(np.float32), sums[1].r2(weight, bias))


class _Sums:
    """Products of rows ``(hidden, 1)`` among themselves and with the scores of each head, by layer."""

    def __init__(self, layers: int) -> None:
        self.xx: list[Any] = [0.0] * layers
        self.xy: list[Any] = [0.0] * layers
        self.yy: list[Any] = [0.0] * layers

    def add(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        """x: ``[layers, keys, hidden_size]``; y: ``[layers, num_kv_heads, keys]``."""
        for layer, (states, scores) in enumerate(zip(x, y, strict=True)):
            rows = np.column_stack([states, np.ones(len(states))])
            self.xx[layer] = self.xx[layer] + rows.T @ rows
            self.xy[layer] = self.xy[layer] + rows.T @ scores.T
            self.yy[layer] = self.yy[layer] + (scores**2).sum(1)

    def solve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights ``[layers, num_kv_heads, hidden_size]`` and biases ``[layers, num_kv_heads]``."""
        found = []
        for xx, xy in zip(self.xx, self.xy, strict=True):
            ridge = RIDGE * np.eye(len(xx))
            ridge[-1, -1] = 0.0
            found.append(np.linalg.solve(xx + ridge, xy).T)
        parameters = np.stack(found)
        return parameters[:, :, :-1], parameters[:, :, -1]

    def r2(self, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> NDArray[np.float64]:
        """``[layers, num_kv_heads]``."""
        parameters = np.concatenate([weight, bias[..., None]], axis=2)
        xx, xy, yy = np.stack(self.xx), np.stack(self.xy), np.stack(self.yy)
        residual = yy - 2.0 * np.einsum("lhi,lih->lh", parameters, xy)
        residual += np.einsum("lhi,lij,lhj->lh", parameters, xx, parameters)
        r2: NDArray[np.float64] = 1.0 - residual / (yy - xy[:, -1] ** 2 / xx[:, -1, -1][:, None])
        return r2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns 2 and prints one line for bad input."""
    parser = argparse.ArgumentParser(prog="python -m rivals.kvzap", description="Fits the rival kvzap_linear.")
    parser.add_argument("model", help="a folder, or a name that transformers knows")
    parser.add_argument("--gguf", metavar="FILE", help="the GGUF file within the model's folder")
    parser.add_argument("--text", nargs="+", required=True, metavar="FILE", help="text files, UTF-8")
    parser.add_argument("--pieces", type=int, default=44, help="pieces of text (default: %(default)s)")
    parser.add_argument("--piece-tokens", type=int, default=480, help="tokens of each (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        texts = [Path(file).read_text(encoding="utf-8") for file in options.text]
        from transformers import AutoModelForCausalLM, AutoTokenizer

        source = {} if options.gguf is None else {"gguf_file": options.gguf}
        tokenizer = AutoTokenizer.from_pretrained(options.model, **source)
        model = AutoModelForCausalLM.from_pretrained(options.model, **source).eval()
        weights = fit(model, tokenizer, texts, options.pieces, options.piece_tokens)
    except (Error, OSError, UnicodeDecodeError) as error:
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    path = file_of(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, weight=weights.weight, bias=weights.bias, r2=weights.r2)
    print(f"{path}: R2 on held-out pieces {weights.r2.mean():.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
