# SPDX-License-Identifier: Apache-2.0
"""``python -m hashevict.evaluate MODEL --out FOLDER``: measures bounded caches on a model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hashevict import command
from hashevict.profile import Profile


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hashevict.evaluate",
        description="Measures how much of a model's recall and likelihood of text is left when its cache is bounded. "
        "Results are appended to FOLDER/results.jsonl; a run that was stopped goes on. "
        "`python -m hashevict.evaluation.report FOLDER` makes tables and a figure of them.",
    )
    command.add_model(parser)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="of the results")
    parser.add_argument("--profile", metavar="FILE", help="of the model, by `python -m hashevict.calibrate`")
    parser.add_argument(
        "--policies",
        nargs="+",
        metavar="NAME",
        help="full; a rule: window, random, paper, authors, superseded, mean, importance, hidden, recall; one with "
        "other fields: mean:hash_bits=64,recent_fraction=0.3; a plugin's; @uniform, @calibrated or @layered behind a "
        "name chooses its allocation",
    )
    parser.add_argument(
        "--allocations",
        nargs="+",
        metavar="NAME",
        help="uniform: the same slots in every head; calibrated: divided by the profile; layered: the same within a "
        "layer (default: uniform, and calibrated with a profile)",
    )
    parser.add_argument(
        "--floor", type=int, help="the fewest slots of a calibrated head (default: a third of the mean, at least 16)"
    )
    parser.add_argument(
        "--budgets", nargs="+", type=float, metavar="SHARE", help="of the full cache's bytes (default: 0.3 0.2 0.1)"
    )
    parser.add_argument(
        "--tasks",
        nargs="+",
        metavar="NAME",
        help="needle, one_of_four, passphrase, settings, facts, text (the default); values, tracking, decoys, copy",
    )
    parser.add_argument("--texts", metavar="FOLDER", help="a .txt file, or a folder of them, for each domain")
    parser.add_argument(
        "--examples", metavar="FOLDER", help="others' examples: .jsonl (context, question, answer), .txt"
    )
    parser.add_argument(
        "--rounds", type=int, default=10, help="examples of each task and domain (default: %(default)s)"
    )
    parser.add_argument("--length", type=int, default=1024, help="tokens of a sequence (default: %(default)s)")
    parser.add_argument(
        "--modes", nargs="+", default=["streamed"], metavar="NAME", help="streamed (the default), known"
    )
    parser.add_argument("--plugin", nargs="+", default=[], metavar="MODULE", help="further policies: a name or a path")
    parser.add_argument("--seed", type=int, default=0, help="of examples and draws (default: %(default)s)")
    parser.add_argument("--name", help="of the model in the results (default: MODEL's last part)")
    parser.add_argument("--threads", type=int, help="of torch and of the cache (default: torch's)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns 2 and prints one line for bad input."""
    return command.run(_parser(), _run, arguments)


def _run(options: argparse.Namespace) -> None:
    profile = None if options.profile is None else Profile.read(options.profile)
    import torch

    from hashevict.evaluation.runner import evaluate
    from hashevict.evaluation.texts import read_texts

    texts = None if options.texts is None else read_texts(options.texts)
    given = {name: getattr(options, name) for name in ("policies", "budgets", "tasks")}
    if options.threads:
        torch.set_num_threads(options.threads)
    model, tokenizer = command.load_model(options)
    results = evaluate(
        model,
        tokenizer,
        options.out,
        profile=profile,
        allocations=options.allocations,
        floor=options.floor,
        texts=texts,
        examples=options.examples,
        rounds=options.rounds,
        length=options.length,
        modes=options.modes,
        plugins=options.plugin,
        seed=options.seed,
        name=options.name or Path(options.gguf or options.model).name,
        progress=not options.quiet,
        **{name: value for name, value in given.items() if value is not None},
    )
    print(f"{options.out}/results.jsonl: {len(results)} results")


def _function() -> Callable[..., Any]:
    from hashevict.evaluation.runner import evaluate

    return evaluate


command.make_callable(__name__, _function)

if __name__ == "__main__":
    sys.exit(main())
