#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the attention of a prompt with torch's causal scaled_dot_product_attention over the same tokens, on the CPU.

Usage: prefill_sdpa.py LIBRARY [--tokens N ...] [--dims N ...] [--groups N ...] [--rounds N] [--threads N] [--json FILE]

LIBRARY is libhashevict.so of the preset release-shared. All figures are ratios of times taken in turn, in one run, the
median over its rounds:
  speed         torch / prefill with every token kept: above 1 prefill is faster. torch gets whichever of its two ways
                is faster: grouped heads, or keys and values repeated beforehand, outside its time.
  RULE at 30 %  prefill with slots for 30 % of the tokens / prefill with every token kept, evictions included.
With --threads 1 times are processor time of that thread, which other programs disturb little. Skips with one line where
torch is missing.
"""
import argparse
import ctypes
import sys

import native

SECTION = "a prompt's attention"


class Cache:
    """One layer of a cache, and one prompt for it."""

    def __init__(self, torch, library, rule, capacity, inputs, options):
        q, k, _ = inputs
        self.clock = options.clock
        shape = (1, q.shape[1], k.shape[1], q.shape[2], native.FLOAT32)
        self.handle = native.Handle(library, rule, capacity, shape, (q.shape[0], options.threads))
        self.out = torch.empty_like(q)
        self.offsets = torch.tensor([0, q.shape[0]], dtype=torch.int32)
        self.importance = torch.randn(k.shape[0], k.shape[1])
        self.inputs = inputs
        args = native.PrefillArgs(struct_size=ctypes.sizeof(native.PrefillArgs))
        args.q, args.k, args.v = (native.tensor_of(torch, x) for x in inputs)
        args.out = native.tensor_of(torch, self.out)
        args.cu_seqlens = native.tensor_of(torch, self.offsets)
        if rule == "importance":
            args.importance = native.tensor_of(torch, self.importance)
        self.args = args

    def prefill(self):
        """Seconds of one prompt in the empty cache."""
        self.handle.reset()
        start = self.clock()
        self.handle.call("prefill", self.args)
        return self.clock() - start


def peers(torch, inputs):
    """torch's ways to compute the same attention, each a function of no arguments."""
    q, k, v = (x.transpose(0, 1).contiguous().unsqueeze(0) for x in inputs)
    attention = torch.nn.functional.scaled_dot_product_attention
    group = q.shape[1] // k.shape[1]
    repeated = [x.repeat_interleave(group, dim=1) for x in (k, v)]
    ways = [lambda: attention(q, *repeated, is_causal=True)]
    if group > 1:
        ways.append(lambda: attention(q, k, v, is_causal=True, enable_gqa=True))
    return ways


def seconds(function, clock):
    start = clock()
    function()
    return clock() - start


def compare(torch, library, tokens, dim, group, options):
    heads = options.heads
    torch.manual_seed(tokens + dim + group)
    inputs = (torch.randn(tokens, heads * group, dim), torch.randn(tokens, heads, dim), torch.randn(tokens, heads, dim))
    ways = peers(torch, inputs)
    kept = Cache(torch, library, "hash", tokens, inputs, options)
    some = {rule: Cache(torch, library, rule, tokens * 3 // 10, inputs, options) for rule in options.rules}
    times = {name: [] for name in ("torch", "kept", *some)}
    for _ in range(options.rounds):
        times["torch"].append(min(seconds(way, options.clock) for way in ways))
        times["kept"].append(kept.prefill())
        for rule, cache in some.items():
            times[rule].append(cache.prefill())
    expected = ways[0]()[0].transpose(0, 1)
    difference = (kept.out - expected).abs().max().item()
    if difference > 1e-4:
        sys.exit(f"prefill and torch differ by {difference}")
    text = f"{tokens} tokens, head size {dim}, group {group}"
    ratios = [theirs / ours for theirs, ours in zip(times["torch"], times["kept"], strict=True)]
    rows = [native.row(SECTION, f"{text}: speed", ratios, ">= 0.5", "torch's causal SDPA")]
    for rule in some:
        ratios = [part / whole for part, whole in zip(times[rule], times["kept"], strict=True)]
        rows.append(native.row(SECTION, f"{text}: {rule} at 30 %", ratios, "<= 0.7", "the same with all kept"))
    for cache in (kept, *some.values()):
        cache.handle.close()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 3, 4])
    parser.add_argument("--rules", nargs="*", choices=native.RULES, default=list(native.RULES))
    parser.add_argument("--heads", type=int, default=2, help="KV heads")
    native.add_options(parser, rounds=3)
    options = parser.parse_args()
    torch, library = native.start(options, [SECTION])
    rows = []
    with torch.inference_mode():
        for tokens in options.tokens:
            for dim in options.dims:
                for group in options.groups:
                    rows += compare(torch, library, tokens, dim, group, options)
    native.write_rows(options.json, rows)


if __name__ == "__main__":
    main()
