# SPDX-License-Identifier: Apache-2.0
"""Learn the projection with which policy `votes` keeps what later answers need.

Every bit of a code is a vote: 1 says that the key resembles keys that later tokens ask for. Training lets few keys set
a bit. The policy evicts the slot with the fewest votes, of equals the oldest. Together the bits are a network with one
hidden layer of sign units and equal output weights.

The script measures which keys are needed; nobody labels them. The gain of a query is the loss that it would add if it
saw the latest tokens alone; the far keys share it in proportion to their attention. The script teaches the heads whose
answers suffer when they see the latest tokens alone. Other heads get a projection of zeros: their codes are all equal,
so they evict the oldest slot.

A vote has a threshold, and a code has none. So the centre lies far from all keys, in the direction in which keys vary
least, where it turns a small weight into a constant.

A layer without a taught head is a window, and the script measures how long that window must be. While slots are few,
such layers share 45 % of all slots in proportion to the windows that answers need. No layer gets more than its reach,
the window beyond which text gains nothing; the layers that recall take the rest.

Writes, per layer i: `layers.i.projection` [num_key_value_heads, bits, head_dim], for set_projection;
`layers.i.center` [num_key_value_heads, head_dim], the key centre for set_center (centring FIXED); and for
the capacities `layers.i.share` [1], its capacity in units of the mean over layers, and `layers.i.reach` [1], the
largest capacity of which it has use (infinity where it recalls).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from batches import Row, available_tasks, draw_echo, encode, stack
from checkpoint import load_model, write_safetensors
from corpus import read_words, train_text
from evaluate import sliding_window
from model import Llama, rope_table, rotate
from tasks import TASKS, make_example, make_mixture

# A training seed key is (seed, step), that of an evaluation (2026, 5, 1, ...) with three more: lengths differ.
CALIBRATION_KEY = (2026, 7)
LENGTHS = (512, 1024)
MIXTURE_SHARES = (0.1, 0.2, 0.4)
# A loss that the latest tokens explain is no gain; keys younger than HORIZON are kept by the recent window.
NEAR, HORIZON = 48, 24
MIN_GAIN, MAX_GAIN = 0.5, 3.0
MIN_ATTENTION = 0.05
# Nats per answer byte that a head must be worth.
MIN_WORTH = 0.05
FIRING = 0.08
FIRING_PENALTY = 0.3
BATCH, NEEDED_SHARE = 8192, 0.25
STEEPNESS = 4.0
CENTER_DISTANCE = 1000.0
# Of all slots, those of layers without a head that recalls, while none of them has its reach.
IDLE_SHARE = 0.45
WINDOWS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
SINKS = 4
WINDOW_ROWS = 36
# The most that a layer's window may cost: nats per answer byte, and a share of the loss per text byte.
MAX_ANSWER_COST, MAX_TEXT_COST = 0.01, 0.001


def draw_rows(count: int, length: int, text: bytes, words: Sequence[str], tasks: Sequence[str]) -> list[Row]:
    """Mixtures of tasks, single tasks and echoes in training text."""
    rows = []
    single = [task for task in available_tasks(length) if task in tasks]
    for index in range(count):
        rng = np.random.default_rng([*CALIBRATION_KEY, length, index])
        kind = index % 6
        if kind == 0:
            rows.append(draw_echo(rng, text, words, length))
        elif kind < 4:
            rows.append(encode(make_mixture(rng, text, words, length, MIXTURE_SHARES[kind - 1], tasks)))
        else:
            rows.append(encode(make_example(rng, str(rng.choice(single)), text, words, length)))
    return rows


def losses(model: Llama, inputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
    """Cross entropy of every token."""
    logits = model(inputs, mask)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)


@torch.no_grad()
def worths(model: Llama, rows: Sequence[Row]) -> dict[tuple[int, int], float]:
    """For every (layer, KV head): the loss per answer byte that it adds when it sees the latest tokens only."""
    inputs, targets, weights = stack(rows)
    answer = weights == 1.0
    config, length = model.config, inputs.shape[1]
    near = sliding_window(length, length // 8)
    causal = sliding_window(length, length)
    group = config.num_attention_heads // config.num_key_value_heads
    full = losses(model, inputs, targets)[answer].mean()
    result = {}
    for index, layer in enumerate(model.model["layers"]):
        for head in range(config.num_key_value_heads):
            mask = causal.repeat(1, config.num_attention_heads, 1, 1)
            mask[:, head * group : (head + 1) * group] = near
            hook = layer.self_attn.register_forward_pre_hook(lambda _, args, mask=mask: (*args[:2], mask))
            result[index, head] = float(losses(model, inputs, targets)[answer].mean() - full)
            hook.remove()
    return result


class Recorder:
    """Queries and keys of one forward pass, RoPE applied: per layer `[batch, heads, length, head_dim]`."""

    def __init__(self, model: Llama):
        self._model = model
        self._projected: dict[tuple[int, str], Tensor] = {}
        for index, layer in enumerate(model.model["layers"]):
            for name in ("q_proj", "k_proj"):
                getattr(layer.self_attn, name).register_forward_hook(
                    lambda _, args, out, at=(index, name): self._projected.__setitem__(at, out)
                )

    def get(self, layer: int, name: str) -> Tensor:
        x = self._projected[layer, name]
        heads = self._model.model["layers"][layer].self_attn._heads(x)
        return rotate(heads, rope_table(self._model.config, x.shape[1]))


def key_gains(query: Tensor, key: Tensor, gain: Tensor) -> Tensor:
    """Gain of every key `[length]`: that of later queries, by the largest attention among the group's heads."""
    length, head_dim = key.shape
    logits = query @ key.T / head_dim**0.5
    causal, near = sliding_window(length, length), sliding_window(length, HORIZON + 1)
    attention = logits.masked_fill(~causal, -torch.inf).softmax(-1).amax(0).masked_fill(near, 0.0)
    attention[attention < MIN_ATTENTION] = 0.0
    return (gain @ attention).clamp(max=MAX_GAIN)


@torch.no_grad()
def collect(
    model: Llama, batches: Sequence[Sequence[Row]], heads: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
    """Keys `[samples, head_dim]` and gains `[samples]` of the chosen heads."""
    recorder = Recorder(model)
    group = model.config.num_attention_heads // model.config.num_key_value_heads
    samples: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {head: [] for head in heads}
    for rows in batches:
        inputs, targets, weights = stack(rows)
        near = losses(model, inputs, targets, sliding_window(inputs.shape[1], NEAR))
        gain = (near - losses(model, inputs, targets) - MIN_GAIN).clamp(min=0.0) * (weights == 1.0)
        for layer, head in heads:
            queries, keys = recorder.get(layer, "q_proj"), recorder.get(layer, "k_proj")[:, head]
            for query, key, of_row in zip(queries[:, head * group : (head + 1) * group], keys, gain):
                samples[layer, head].append((key, key_gains(query, key, of_row)))
    return {head: tuple(torch.cat(part) for part in zip(*pairs)) for head, pairs in samples.items()}


def train_votes(keys: Tensor, gains: Tensor, bits: int, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Weights `[bits, head_dim]` and thresholds `[bits]` of `<w, x> + b >= 0`, trained through the sign."""
    generator = torch.Generator().manual_seed(seed)
    mean, spread = keys.mean(0), keys.std()
    weight = (torch.randn(bits, keys.shape[1], generator=generator) / spread / keys.shape[1] ** 0.5).requires_grad_()
    bias = torch.full((bits,), -0.7).requires_grad_()
    scale, middle = torch.tensor(0.15).requires_grad_(), torch.tensor(bits / 2).requires_grad_()
    rates = (0.02, 0.01, 0.1)
    optimiser = torch.optim.Adam([{"params": p, "lr": r} for p, r in zip(([weight, bias], [scale], [middle]), rates)])
    total, needed = gains.double().cumsum(0), int(BATCH * NEEDED_SHARE)
    labels = (torch.arange(BATCH) < needed).float()
    for step in range(steps):
        for part, rate in zip(optimiser.param_groups, rates):
            part["lr"] = rate * (1 - step / steps)
        draws = torch.rand(needed, generator=generator, dtype=torch.float64) * total[-1]
        some = torch.randint(len(keys), (BATCH - needed,), generator=generator)
        chosen = torch.cat((torch.searchsorted(total, draws).clamp(max=len(keys) - 1), some))
        margin = (keys[chosen] - mean) @ weight.T + bias
        soft = torch.sigmoid(STEEPNESS * margin)
        votes = (margin >= 0).float() + soft - soft.detach()
        loss = F.binary_cross_entropy_with_logits(scale * (votes.sum(1) - middle), labels)
        loss = loss + FIRING_PENALTY * (soft[needed:].mean(0) - FIRING).clamp(min=0.0).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return weight.detach(), bias.detach() - weight.detach() @ mean


def fold_thresholds(keys: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Projection and centre with `<row, x - center>` = `<w, x> + b`, but for what varies along one quiet direction."""
    mean = keys.mean(0)
    quiet = torch.linalg.eigh((keys - mean).T @ (keys - mean))[1][:, 0]
    center = mean - CENTER_DISTANCE * quiet
    missing = bias + weight @ center
    return weight + torch.outer(missing / CENTER_DISTANCE, quiet), center


@torch.no_grad()
def window_needs(model: Llama, rows: Sequence[Row], layer: int) -> tuple[int, int]:
    """Slots of one layer when it sees sinks and the latest tokens only: the fewest at which answers do not suffer, and
    at which nothing does."""
    inputs, targets, weights = stack(rows)
    answer, length = weights == 1.0, inputs.shape[1]

    def costs(mask: Tensor | None) -> tuple[float, float]:
        hook = model.model["layers"][layer].self_attn.register_forward_pre_hook(lambda _, args: (*args[:2], mask))
        loss = losses(model, inputs, targets)
        hook.remove()
        return float(loss[answer].mean()), float(loss[~answer].mean())

    causal = sliding_window(length, length)
    full_answers, full_text = costs(causal)
    need = reach = None
    for slots in WINDOWS:
        mask = sliding_window(length, slots - SINKS)
        mask[:, :SINKS] = causal[:, :SINKS]
        answers, text = costs(mask)
        if need is None and answers <= full_answers + MAX_ANSWER_COST:
            need = slots
        if need is not None and text <= full_text * (1 + MAX_TEXT_COST):
            reach = slots
            break
    return need or WINDOWS[-1], reach or length


def divide_slots(needs: dict[int, tuple[int, int]], num_layers: int) -> list[tuple[float, float]]:
    """Share and reach of every layer; `needs` holds those that recall nothing."""
    if len(needs) in (0, num_layers):
        return [(1.0, math.inf)] * num_layers
    total = sum(need for need, _ in needs.values())
    recalling = num_layers * (1 - IDLE_SHARE) / (num_layers - len(needs))
    parts = {layer: (num_layers * IDLE_SHARE * need / total, float(reach)) for layer, (need, reach) in needs.items()}
    return [parts.get(layer, (recalling, math.inf)) for layer in range(num_layers)]


def calibrate(model: Llama, args: argparse.Namespace) -> dict[str, Tensor]:
    """Tensors of the calibrated file, by name."""
    config, text, words = model.config, train_text(args.docs), read_words(args.words)
    tasks = [task for task in TASKS if task not in args.without]
    worth = worths(model, draw_rows(12, LENGTHS[0], text, words, tasks))
    heads = [head for head, value in worth.items() if value >= MIN_WORTH]
    print(json.dumps({f"layer {layer} head {head}": round(value, 3) for (layer, head), value in worth.items()}))
    batches = []
    for length in LENGTHS:
        rows = draw_rows(args.tokens // len(LENGTHS) // length, length, text, words, tasks)
        batches += [rows[i : i + 6] for i in range(0, len(rows), 6)]
    result = {}
    idle = set(range(config.num_hidden_layers)) - {layer for layer, _ in heads}
    window_rows = draw_rows(WINDOW_ROWS, LENGTHS[0], text, words, tasks)
    needs = {layer: window_needs(model, window_rows, layer) for layer in sorted(idle)}
    print(json.dumps({f"layer {layer}": {"need": need, "reach": reach} for layer, (need, reach) in needs.items()}))
    for layer, (share, reach) in enumerate(divide_slots(needs, config.num_hidden_layers)):
        result[f"layers.{layer}.share"] = torch.tensor([share])
        result[f"layers.{layer}.reach"] = torch.tensor([reach])
        result[f"layers.{layer}.projection"] = torch.zeros(config.num_key_value_heads, args.bits, config.head_dim)
        result[f"layers.{layer}.center"] = torch.zeros(config.num_key_value_heads, config.head_dim)
    for (layer, head), (keys, gains) in collect(model, batches, heads).items():
        weight, bias = train_votes(keys, gains, args.bits, args.steps, args.seed)
        rows, center = fold_thresholds(keys, weight, bias)
        firing = ((keys - center) @ rows.T >= 0).float().mean(0)
        entry = {"layer": layer, "head": head, "keys": len(keys), "most frequent bit": round(firing.max().item(), 3)}
        print(json.dumps(entry), flush=True)
        result[f"layers.{layer}.projection"][head] = rows
        result[f"layers.{layer}.center"][head] = center
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, required=True, help="folder with the *.rst.txt sources")
    parser.add_argument("--words", type=Path, default=Path("assets/text/words.txt"))
    parser.add_argument("--model", type=Path, default=Path("assets/tiny-llama"))
    parser.add_argument("--out", type=Path, default=Path("assets/tiny-llama/recall.safetensors"))
    parser.add_argument("--bits", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=245_760, help="size of the calibration set")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--without", nargs="*", default=[], choices=TASKS, help="tasks to show nothing of")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tensors = calibrate(load_model(args.model), args)
    write_safetensors(args.out, tensors, {"hash_bits": str(args.bits), "policy": "votes", "centering": "fixed"})


if __name__ == "__main__":
    main()
