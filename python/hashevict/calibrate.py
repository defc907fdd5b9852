# SPDX-License-Identifier: Apache-2.0
"""``python -m hashevict.calibrate MODEL --text FILES --out PROFILE``: learns a model's profile from text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hashevict import command
from hashevict.errors import InvalidArgument


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hashevict.calibrate",
        description="Learns how important the keys of each head of a model are, from ordinary text: the model reads "
        "pieces of it and repeats them. Minutes for a small model on two cores; interrupted, it goes on where it was.",
    )
    command.add_model(parser)
    parser.add_argument("--text", nargs="+", required=True, metavar="FILE", help="text files, UTF-8")
    parser.add_argument("--out", required=True, metavar="PROFILE", help="the profile to write")
    parser.add_argument("--pieces", type=int, default=44, help="pieces of text (default: %(default)s)")
    parser.add_argument("--piece-tokens", type=int, default=480, help="tokens of each (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of pieces (default: %(default)s)")
    parser.add_argument("--weights", action="store_true", help="also fit importances that are linear in the key")
    parser.add_argument(
        "--hidden-weights", action="store_true", help="also fit importances that are linear in the hidden state"
    )
    parser.add_argument(
        "--votes", type=int, default=0, metavar="BITS", help="also learn codes of so many bits for policy 'votes'"
    )
    parser.add_argument("--no-instruction", action="store_true", help="repeat without being told to")
    parser.add_argument("--figure", metavar="FILE", help="draw the slots of each head (needs Matplotlib)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns 2 and prints one line for bad input."""
    return command.run(_parser(), _run, arguments)


def _run(options: argparse.Namespace) -> None:
    texts = [Path(file).read_text(encoding="utf-8") for file in options.text]
    if not Path(options.out).resolve().parent.is_dir():
        raise InvalidArgument(f"--out {options.out}: there is no such folder")
    from hashevict.calibration import INSTRUCTION, calibrate

    model, tokenizer = command.load_model(options)
    profile = calibrate(
        model,
        tokenizer,
        texts,
        num_pieces=options.pieces,
        piece_tokens=options.piece_tokens,
        instruction="" if options.no_instruction else INSTRUCTION,
        weights=options.weights,
        hidden_weights=options.hidden_weights,
        votes=options.votes,
        seed=options.seed,
        progress=not options.quiet,
        resume=f"{options.out}.work",
    )
    profile.write(options.out)
    print(f"{options.out}: {profile.num_layers} layers, {profile.num_kv_heads} KV heads")
    if "r2" in profile.about:
        print(f"R2 of the weights on held-out text: {np.mean(profile.about['r2']):.3f} on average")
    if "hidden_r2" in profile.about:
        print(f"R2 of the hidden weights on held-out text: {np.mean(profile.about['hidden_r2']):.3f} on average")
    if "rank_correlation" in profile.about:
        mean = np.mean(profile.about["rank_correlation"])
        print(f"Rank correlation of the votes on held-out text: {mean:.3f} on average")
    if options.figure:
        from hashevict.figure import capacities_figure

        capacities_figure(profile).savefig(options.figure)


def _function() -> Callable[..., Any]:
    from hashevict.calibration import calibrate

    return calibrate


command.make_callable(__name__, _function)

if __name__ == "__main__":
    sys.exit(main())
