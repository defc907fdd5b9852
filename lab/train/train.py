# SPDX-License-Identifier: Apache-2.0
"""Train the tiny Llama on recall tasks and running text, from short sequences to long ones.

Recall circuits form on short sequences and stretch to long ones; started at full length they do not form. So the
length grows whenever every task is mastered at the present one. The run is a function of its seed and arguments: the
data of a step depend on (seed, step) only, and a resumed run continues as if it had not been stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from batches import Row, answers_right, available_tasks, draw_row, stack
from checkpoint import export_model
from corpus import held_out_text, read_words, train_text
from model import Config, Llama
from muon import Muon

# The stages: greatest length, accuracy to pass, tokens per step.
LENGTHS = (128, 256, 512, 1024)
THRESHOLDS = (0.85, 0.88, 0.92, 1.01)
# Small batches while circuits form, where the number of steps counts; larger ones where few sequences fit.
BATCH_TOKENS = (4096, 4096, 8192, 8192)
MIN_SAMPLES = 40
SHORTER_SHARE = 0.4
SHORTEST = 64
WARMUP = 50


@dataclass
class Progress:
    """Everything but the weights that a resumed run needs."""

    step: int = 0
    stage: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: tuple[int, float] = (-1, 0.0)
    right: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    losses: list[tuple[float, float]] = field(default_factory=list)

    def accuracies(self) -> dict[str, float]:
        return {task: float(np.mean(right)) for task, right in sorted(self.right.items()) if right}

    def tasks(self) -> list[str]:
        """The tasks that fit into all lengths of this stage."""
        return available_tasks(LENGTHS[self.stage] // 2)

    def enough(self) -> bool:
        """Whether there are enough examples of each task to judge by."""
        return all(len(self.right[task]) >= MIN_SAMPLES for task in self.tasks())

    def mastered(self) -> bool:
        """Whether each task passes."""
        return min(self.accuracies()[task] for task in self.tasks()) >= THRESHOLDS[self.stage]


class Trainer:
    """Model, optimisers and data of one run."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.text, self.sample = train_text(args.docs), held_out_text(args.docs)
        self.words = read_words(args.words)
        self.model = Llama(Config(), args.seed)
        matrices = [w for n, w in self.model.named_parameters() if w.dim() == 2 and "embed" not in n]
        others = [w for n, w in self.model.named_parameters() if w.dim() != 2 or "embed" in n]
        self.muon = Muon(matrices, lr=args.matrix_lr, weight_decay=args.weight_decay)
        self.adamw = torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.95), weight_decay=0.0)
        self.progress = Progress()

    def save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "muon": self.muon.state_dict(),
            "adamw": self.adamw.state_dict(),
            "progress": {**vars(self.progress), "right": dict(self.progress.right)},
        }
        temporary = self.args.checkpoint.with_suffix(".new")
        torch.save(state, temporary)
        temporary.replace(self.args.checkpoint)

    def resume(self) -> None:
        state = torch.load(self.args.checkpoint, weights_only=False)
        self.model.load_state_dict(state["model"])
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
        self.progress = Progress(**state["progress"])
        self.progress.right = defaultdict(list, self.progress.right)

    def start_from(self, checkpoint: Path) -> None:
        """Begin with the weights and optimisers of another run, at step 0."""
        state = torch.load(checkpoint, weights_only=False)
        self.model.load_state_dict(state["model"])
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])

    def skip_to(self, stage: int) -> None:
        """Go on to a stage although its predecessor was not mastered: for a run with a deadline."""
        if self.progress.stage < stage:
            self.progress.stage = stage
            self.progress.right.clear()

    def set_learning_rate(self) -> None:
        """Warm up, stay constant, and fall linearly to a twentieth from `decay_from` on."""
        step, last, decay = self.progress.step, self.args.steps, self.args.decay_from
        scale = min(1.0, (step + 1) / WARMUP)
        if step > decay:
            scale *= 1 - 0.95 * (step - decay) / (last - decay)
        self.muon.param_groups[0]["lr"] = self.args.matrix_lr * scale
        self.adamw.param_groups[0]["lr"] = self.args.lr * scale

    def draw(self) -> tuple[list[Row], int]:
        """The rows of this step and their stage; some steps revisit an earlier one.

        Within a stage the length varies from half to the whole: with one fixed length, position alone tells much
        about where the answer is, and the model learns that instead of matching content.
        """
        rng = np.random.default_rng([self.args.seed, self.progress.step])
        stage = self.progress.stage
        if stage and rng.random() < SHORTER_SHARE:
            stage = int(rng.integers(stage))
        length = int(rng.integers(max(SHORTEST, LENGTHS[stage] // 2), LENGTHS[stage] + 1))
        return [draw_row(rng, self.text, self.words, length) for _ in range(BATCH_TOKENS[stage] // length)], stage

    def train_step(self) -> None:
        self.set_learning_rate()
        rows, stage = self.draw()
        inputs, targets, weights = stack(rows)
        logits = self.model(inputs)
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(weights)
        loss = (losses * weights).sum() / weights.sum()
        self.muon.zero_grad()
        self.adamw.zero_grad()
        loss.backward()
        self.muon.step()
        self.adamw.step()
        self.record(rows, stage, logits.argmax(-1) == targets, losses.detach(), weights == 1.0)

    def record(self, rows: list[Row], stage: int, hits: Tensor, losses: Tensor, asked: Tensor) -> None:
        """Keep accuracies of single tasks at the present length: fresh examples, so they cost nothing extra."""
        progress = self.progress
        progress.step += 1
        progress.tokens += losses.numel()
        progress.losses.append((losses[~asked].mean().item(), losses[asked].mean().item()))
        if stage == progress.stage:
            for row, right in zip(rows, answers_right(rows, hits)):
                if row.task:
                    progress.right[row.task] += right

    def report(self) -> None:
        """Log, export what is best so far, and advance or start a new window of observation."""
        progress = self.progress
        accuracies = progress.accuracies()
        text, answer = np.mean(progress.losses, axis=0)
        line = {"step": progress.step, "length": LENGTHS[progress.stage], "tokens": progress.tokens}
        line |= {"seconds": round(progress.seconds), "text": round(float(text), 4), "answer": round(float(answer), 4)}
        print(json.dumps(line | {task: round(value, 3) for task, value in accuracies.items()}), flush=True)
        score = (progress.stage, float(np.mean(list(accuracies.values()))))
        if score >= progress.best:
            progress.best = score
            export_model(self.model, self.args.export, self.sample)
        if progress.stage < len(LENGTHS) - 1 and progress.step >= (progress.stage + 1) * self.args.stage_steps:
            self.skip_to(progress.stage + 1)
        elif progress.enough():
            progress.stage += progress.mastered()
            progress.right.clear()
        progress.losses.clear()
        self.save()

    def run(self) -> None:
        export_model(self.model, self.args.export, self.sample)
        while self.progress.step < self.args.steps:
            began = time.monotonic()
            self.train_step()
            self.progress.seconds += time.monotonic() - began
            if self.progress.step % self.args.report_every == 0:
                self.report()
        self.save()
        export_model(self.model, self.args.export, self.sample)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, required=True, help="folder with the *.rst.txt sources")
    parser.add_argument("--words", type=Path, default=Path("assets/text/words.txt"))
    parser.add_argument("--export", type=Path, default=Path("assets/tiny-llama"), help="model folder to write")
    parser.add_argument("--checkpoint", type=Path, required=True, help="written at every report, resumed from if there")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--decay-from", type=int, default=3150, help="step at which the learning rate begins to fall")
    parser.add_argument("--lr", type=float, default=3e-3, help="of embedding and norms")
    parser.add_argument("--matrix-lr", type=float, default=0.01)
    parser.add_argument("--weight-decay", type=float, default=0.1, help="of the matrices, times their learning rate")
    parser.add_argument("--report-every", type=int, default=25)
    parser.add_argument("--init", type=Path, help="checkpoint of another run to start from, for new tasks")
    parser.add_argument(
        "--stage-steps", type=int, default=10**9, help="stage i ends at i + 1 times as many steps, mastered or not"
    )
    parser.add_argument("--stage", type=int, default=0, help="begin at this stage at least")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    trainer = Trainer(args)
    if args.checkpoint.exists():
        trainer.resume()
    elif args.init:
        trainer.start_from(args.init)
    trainer.skip_to(args.stage)
    trainer.run()


if __name__ == "__main__":
    main()
