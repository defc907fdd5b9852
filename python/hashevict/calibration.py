# SPDX-License-Identifier: Apache-2.0
"""Calibration: how important the keys of each head of a model are. Needs torch and transformers.

Method (KVzip, arXiv 2505.23416; KVzip+, arXiv 2601.07891): the model reads a piece of text and is told to repeat it.
The score of a key is the largest ``attention * |W_O v| / |h|`` that a query of the repetition gives it, where ``h`` is
the query's hidden state. It needs no task and no labels. Scores compare across heads and layers, so their quantiles
divide a budget (:func:`hashevict.divide_slots`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from hashevict.cache import Cache
from hashevict.errors import InvalidArgument, InvalidData
from hashevict.fit import LinearFits
from hashevict.profile import Profile
from hashevict.transformers.models import shape_of
from hashevict.transformers.scores import HeadScores, Scored
from hashevict.votes import VoteSamples

INSTRUCTION = "\n\nRepeat the previous context exactly.\n\n"
LEAST_SCORE = 1e-12  # attention underflows to 0, which has no logarithm
HELD_OUT = 5
"""One piece of so many measures fits, and teaches none."""


def calibrate(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    num_pieces: int = 44,
    piece_tokens: int = 480,
    instruction: str = INSTRUCTION,
    weights: bool = False,
    hidden_weights: bool = False,
    votes: int = 0,
    num_quantiles: int = 257,
    seed: int = 0,
    progress: bool = True,
    resume: str | os.PathLike[str] | None = None,
) -> Profile:
    """Learns the profile of a model from ordinary text, in one forward pass a piece.

    Args:
        model: a causal language model of transformers, in evaluation mode
        tokenizer: its tokenizer
        texts: cut into pieces of ``piece_tokens``; a text's last, shorter piece is dropped
        num_pieces: the most pieces that are read; of more, ``seed`` draws them
        piece_tokens: tokens of a piece, which the model reads twice
        instruction: between a piece and its repetition; may be empty
        weights: also fits importances that are linear in the key as cached, per head, to the logarithm of its score.
            Every fifth piece is held out; ``profile.about["r2"]`` is R2 there, ``[layers][heads]``
        hidden_weights: the same, linear in the hidden state that the layer's attention is given, after its norm;
            ``profile.about["hidden_r2"]``. Sums take ``16 * layers * hidden_size ** 2`` bytes, here and in ``resume``
        votes: bits of the codes that policy ``votes`` (preset ``recall``) counts; above 0, it also learns a projection
            and a centre per head, so that the more important of two keys has more bits set.
            ``profile.about["rank_correlation"]`` is Spearman's, of set bits and score on held-out text,
            ``[layers][heads]``
        num_quantiles: of each head
        seed: of the choice of pieces, and of the votes
        progress: whether a bar is shown on standard error
        resume: a file that keeps the work done, is read if it fits, and is removed at the end

    Returns:
        The profile of the layers with full attention

    Raises:
        Unsupported: a model that no bounded cache fits, or whose output projection is unknown
        InvalidArgument: texts that are too short, settings out of their range
        InvalidData: scores that are not finite; the message names layer and head

    Deterministic: the same model, texts, settings and threads give the same profile.
    """
    shape = shape_of(model.config)
    _check_settings(num_pieces, piece_tokens, num_quantiles, votes)
    pieces = _pieces(tokenizer, texts, num_pieces, piece_tokens, seed)
    if (weights or hidden_weights or votes) and len(pieces) < HELD_OUT:
        raise InvalidArgument(
            f"texts: {len(pieces)} pieces: expected at least {HELD_OUT} with weights or votes, of which one is held out"
        )
    between = tokenizer(instruction, add_special_tokens=False)["input_ids"] if instruction else []
    first = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    settings = {
        "method": "KVzip+",
        "model": str(getattr(model.config, "_name_or_path", "")),
        "model_type": shape.model_type,
        "piece_tokens": piece_tokens,
        "pieces": len(pieces),
        "instruction": instruction,
        "seed": seed,
        "weights": weights,
        "hidden_weights": hidden_weights,
        "votes": votes,
    }
    work = _Work(resume, settings, pieces)
    with HeadScores(model, shape, hidden=hidden_weights) as scores, torch.no_grad():
        bar = tqdm(pieces, disable=not progress, desc="calibrating", unit="piece")
        for number, piece in enumerate(bar):
            if number < len(work.scores):
                continue
            ids = [*first, *piece, *between, *piece]
            keys = range(len(first), len(first) + len(piece))
            found = scores.read(ids, keys, len(ids) - len(piece))
            _require_finite(found.scores, shape.bounded)
            work.add(found)
    profile = work.profile(num_quantiles)
    work.remove()
    return profile


class _Work:
    """What has been read so far; kept in a file, so that an interrupted calibration goes on where it was."""

    def __init__(self, path: str | os.PathLike[str] | None, settings: dict[str, Any], pieces: list[list[int]]) -> None:
        described = json.dumps([settings, pieces], sort_keys=True).encode()
        self.fingerprint = hashlib.sha256(described).hexdigest()
        self.path = None if path is None else Path(path)
        self.settings = settings
        self.scores: list[np.ndarray[Any, np.dtype[np.float32]]] = []
        self.fits = LinearFits() if settings["weights"] else None
        self.hidden_fits = LinearFits("hidden_fit") if settings["hidden_weights"] else None
        self.samples = VoteSamples(settings["seed"]) if settings["votes"] else None
        if self.path is None or not self.path.exists():
            return
        with np.load(self.path, allow_pickle=False) as file:
            if str(file["fingerprint"]) != self.fingerprint:
                return
            kept = {name: file[name] for name in file.files}
        self.scores = list(kept["scores"])
        for part in self._learners():
            part.restore(kept)

    def _learners(self) -> list[LinearFits | VoteSamples]:
        return [part for part in (self.fits, self.hidden_fits, self.samples) if part is not None]

    def add(self, found: Scored) -> None:
        is_held_out = len(self.scores) % HELD_OUT == HELD_OUT - 1
        logs = np.log(np.maximum(found.scores.astype(np.float64), LEAST_SCORE))
        if self.fits is not None:
            self.fits.add(found.keys, logs, is_held_out)
        if self.hidden_fits is not None:
            assert found.hidden is not None
            self.hidden_fits.add(found.hidden[:, None], logs, is_held_out)
        if self.samples is not None:
            self.samples.add(found.keys, found.scores)
        self.scores.append(found.scores)
        if self.path is None:
            return
        part = self.path.with_name(self.path.name + ".part")
        state: dict[str, Any] = {}
        for learner in self._learners():
            state.update(learner.state())
        with part.open("wb") as file:
            np.savez(file, fingerprint=np.array(self.fingerprint), scores=np.stack(self.scores), **state)
        part.replace(self.path)

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def profile(self, num_quantiles: int) -> Profile:
        every = np.concatenate(self.scores, axis=2)  # [layers, heads, keys]
        quantiles = np.quantile(every, np.linspace(0.0, 1.0, num_quantiles), axis=2)
        ascending = np.maximum.accumulate(np.moveaxis(quantiles, 0, 2).astype(np.float32), axis=2)
        about, learned = dict(self.settings), {}
        if self.fits is not None:
            learned["importance_weight"], learned["importance_bias"], r2 = self.fits.solve()
            about["r2"] = np.round(r2, 4).tolist()
        if self.hidden_fits is not None:
            learned["hidden_weight"], learned["hidden_bias"], r2 = self.hidden_fits.solve()
            about["hidden_r2"] = np.round(r2, 4).tolist()
        if self.samples is not None:
            held_out = np.arange(len(self.scores)) % HELD_OUT == HELD_OUT - 1
            learned["projection"], learned["center"], correlation = self.samples.learn(about["votes"], held_out)
            about["rank_correlation"] = np.round(correlation, 4).tolist()
        return Profile(ascending, **learned, about=about)


def _pieces(tokenizer: Any, texts: Sequence[str], most: int, length: int, seed: int) -> list[list[int]]:
    if isinstance(texts, str):
        raise InvalidArgument("texts: a string: expected a sequence of strings")
    pieces = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        pieces += [list(ids[i : i + length]) for i in range(0, len(ids) - length + 1, length)]
    if not pieces:
        raise InvalidArgument(f"texts: none of {len(texts)} has {length} tokens, those of one piece")
    if len(pieces) <= most:
        return pieces
    chosen = np.random.default_rng(seed).choice(len(pieces), size=most, replace=False)
    return [pieces[i] for i in sorted(chosen)]


def _check_settings(num_pieces: int, piece_tokens: int, num_quantiles: int, votes: int) -> None:
    for name, value, least in (
        ("num_pieces", num_pieces, 1),
        ("piece_tokens", piece_tokens, 16),
        ("num_quantiles", num_quantiles, 2),
    ):
        if value < least:
            raise InvalidArgument(f"{name} = {value}: expected at least {least}")
    known = Cache.capabilities("cpu").hash_bits
    if votes != 0 and votes not in known:
        raise InvalidArgument(f"votes = {votes}: expected 0, or bits of a code: {', '.join(map(str, known))}")


def _require_finite(scores: np.ndarray[Any, np.dtype[np.float32]], layers: tuple[int, ...]) -> None:
    bad = np.argwhere(~np.isfinite(scores))
    if len(bad) > 0:
        layer, head, _ = bad[0]
        raise InvalidData(f"the score of a key in layer {layers[layer]}, KV head {head}, is not finite")
