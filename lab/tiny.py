# SPDX-License-Identifier: Apache-2.0
"""Prepares an evaluation of the built-in model.

    python3 lab/tiny.py FOLDER --profile FILE

writes FOLDER/NAME.jsonl with examples of each task that the model was trained on (lab/train/tasks.py), and
FOLDER/sample.txt, running text that it never saw; `python -m hashevict.evaluate --examples FOLDER` takes them.
--profile: adds the learned codes of `recall` (assets/tiny-llama/recall.safetensors) to a profile of the model.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "lab" / "train"))

from corpus import read_words  # noqa: E402
from tasks import TASKS, make_example  # noqa: E402

EVALUATION_KEY = (2026, 11)  # of no training or calibration seed
QUESTION = b"\nQ: "


def examples(task: str, text: bytes, length: int, count: int) -> list[dict[str, str]]:
    words = read_words(ROOT / "assets" / "text" / "words.txt")
    found = []
    for index in range(count):
        rng = np.random.default_rng([*EVALUATION_KEY, TASKS.index(task), length, index])
        (turn,) = make_example(rng, task, text, words, length)
        context, question = turn.prompt.rsplit(QUESTION, 1)
        parts = {"context": context, "question": QUESTION + question, "answer": turn.answer}
        found.append({name: part.decode("ascii") for name, part in parts.items()})
    return found


def add_codes(path: pathlib.Path) -> None:
    from hashevict import Profile
    from safetensors.numpy import load_file

    learned = load_file(ROOT / "assets" / "tiny-llama" / "recall.safetensors")
    profile = Profile.read(path)
    parts = {
        name: np.stack([learned[f"layers.{layer}.{name}"] for layer in range(profile.num_layers)])
        for name in ("projection", "center")
    }
    profile.replace(**parts).write(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--profile", type=pathlib.Path, metavar="FILE", help="of the built-in model; is changed")
    parser.add_argument("--length", type=int, default=1023, help="bytes of an example (default: %(default)s)")
    parser.add_argument("--count", type=int, default=50, help="examples of each task (default: %(default)s)")
    options = parser.parse_args()
    sample = (ROOT / "assets" / "text" / "sample.txt").read_bytes().decode().encode("ascii", "replace")
    options.out.mkdir(parents=True, exist_ok=True)
    for task in TASKS:
        lines = [json.dumps(example) for example in examples(task, sample, options.length, options.count)]
        (options.out / f"{task}.jsonl").write_text("\n".join(lines) + "\n")
    (options.out / "sample.txt").write_bytes(sample)
    if options.profile:
        add_codes(options.profile)


if __name__ == "__main__":
    main()
