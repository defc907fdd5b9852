#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares a decode step with torch's over the same slots, on the CPU: attention, and the eviction before it.

Usage: decode_sdpa.py LIBRARY [--slots N] [--sequences N] [--heads N] [--rounds N] [--threads N] [--json FILE]

LIBRARY is libhashevict.so of the preset release-shared. All figures are torch's time over ours, taken in turn in one
run, the median over its rounds. Attention in torch's three forms: grouped heads (enable_gqa), the group as the query
rows of one head, two matrix products with a softmax. Eviction as the paper's authors write it, by ordinary torch
operations: signs of a random projection, Hamming distances to all codes, argmax, and the new row in the victim's slot.
The share of read bandwidth is the time of threads that only read as many bytes (libhashevict_read_bandwidth.so, named by
--read-bandwidth), divided by that of attention. Torch's memory has ordinary pages; the cache and that buffer ask for huge
ones.

With --threads 1 times are processor time of that thread. Skips with one line where torch is missing.
"""
import argparse
import ctypes
import sys

import native

ATTENTION, EVICTION = "decode attention, speed", "a step's eviction, speed"
SHARE = "decode attention over read bandwidth"
BITS = 16


def attention_ways(torch, q, k, v):
    """torch's forms of q [b, heads * group, dim] over k, v [b, heads, slots, dim], each giving q's shape."""
    batch, heads, _, dim = k.shape
    group = q.shape[1] // heads
    sdpa = torch.nn.functional.scaled_dot_product_attention
    rows = q.view(batch, heads, group, dim)

    def products():
        weights = torch.softmax(rows @ k.transpose(-1, -2) * dim**-0.5, dim=-1)
        return (weights @ v).view_as(q)

    return {"grouped heads": lambda: sdpa(q.unsqueeze(2), k, v, enable_gqa=True).squeeze(2),
            "group as query rows": lambda: sdpa(rows, k, v).view_as(q),
            "two products": products}


class AuthorsStep:
    """Codes, keys and values in torch's tensors, and one step of eviction over them."""

    def __init__(self, torch, k, v):
        self.torch = torch
        self.keys, self.values = k.clone(), v.clone()
        self.at = torch.arange(k.shape[0])[:, None], torch.arange(k.shape[1])  # every head
        self.projection = torch.randn(k.shape[-1], BITS)
        self.codes = self.signs(k)

    def signs(self, rows):
        return rows.float() @ self.projection >= 0

    def step(self, key, value):
        """key, value: [b, heads, dim]"""
        code = self.signs(key)
        victims = (self.codes != code.unsqueeze(2)).sum(-1).argmax(-1)
        for rows, new in ((self.codes, code), (self.keys, key), (self.values, value)):
            rows[*self.at, victims] = new


class Ours:
    """A full cache with the same keys and values, and the arguments of its step."""

    def __init__(self, torch, library, q, k, v, options):
        batch, heads, slots, dim = k.shape
        dtype = native.dtype_of(torch, k.dtype)
        shape = (batch, q.shape[1], heads, dim, dtype)
        self.handle = native.Handle(library, "hash", slots, shape, (batch * slots, options.threads))
        self.out = torch.empty_like(q)
        offsets = torch.arange(batch + 1, dtype=torch.int32) * slots
        fill = native.PrefillArgs(struct_size=ctypes.sizeof(native.PrefillArgs))
        rows = [x.transpose(1, 2).reshape(batch * slots, heads, dim).contiguous() for x in (k, v)]
        queries = torch.randn(batch * slots, q.shape[1], dim).to(k.dtype)
        fill.q, fill.k, fill.v = (native.tensor_of(torch, x) for x in (queries, *rows))
        fill.cu_seqlens = native.tensor_of(torch, offsets)
        self.handle.call("prefill", fill)
        self.attend = native.AttendArgs(struct_size=ctypes.sizeof(native.AttendArgs))
        self.attend.q, self.attend.out = native.tensor_of(torch, q), native.tensor_of(torch, self.out)
        self.new = [torch.randn(batch, heads, dim).to(k.dtype) for _ in range(2)]
        self.append = native.AppendArgs(struct_size=ctypes.sizeof(native.AppendArgs))
        self.append.q = native.tensor_of(torch, q)
        self.append.k, self.append.v = (native.tensor_of(torch, x) for x in self.new)


def seconds(function, clock):
    start = clock()
    function()
    return clock() - start


def rounds_of(theirs, ours, options):
    """For each name the ratios of their times over ours, after one call of each."""
    ratios = {name: [] for name in theirs}
    for function in (*theirs.values(), ours):
        function()
    for _ in range(options.rounds):
        own = min(seconds(ours, options.clock) for _ in range(2))
        for name, function in theirs.items():
            ratios[name].append(seconds(function, options.clock) / own)
    return ratios


def compare(torch, library, dtype, group, options):
    torch.manual_seed(group)
    shape = (options.sequences, options.heads, options.slots, options.dim)
    q = torch.randn(options.sequences, options.heads * group, options.dim).to(dtype)
    k, v = (torch.randn(*shape).to(dtype) for _ in range(2))
    ours = Ours(torch, library, q, k, v, options)
    ways = attention_ways(torch, q, k, v)
    memory = native.ReadBandwidth(options.read_bandwidth, 2 * k.nbytes, options.threads)
    ratios = rounds_of(ways | {"read": memory.read}, lambda: ours.handle.call("attend", ours.attend), options)
    read = ratios.pop("read")
    memory.close()
    expected = attention_ways(torch, q.float(), k.float(), v.float())["two products"]()
    difference = (ours.out.float() - expected).abs().max().item()
    if difference > (1e-4 if dtype == torch.float32 else 2e-2):
        sys.exit(f"attention and torch differ by {difference}")
    text = f"{str(dtype).removeprefix('torch.')}, group {group}"
    best = [min(times) for times in zip(*ratios.values(), strict=True)]
    rows = [native.row(ATTENTION, f"{text}: torch's best form", best, ">= 3", "torch's SDPA or two products")]
    rows += [native.row(ATTENTION, f"{text}: {name}", times, "", "torch") for name, times in ratios.items()]
    rows.append(native.row(SHARE, f"{text}: hashevict", read, "", "threads that only read"))
    shares = [part / whole for part, whole in zip(read, best, strict=True)]
    rows.append(native.row(SHARE, f"{text}: torch's best form", shares, "", "threads that only read"))
    authors = AuthorsStep(torch, k, v)
    steps = rounds_of({"authors": lambda: authors.step(*ours.new)},
                      lambda: ours.handle.call("append", ours.append), options)
    rows.append(native.row(EVICTION, text, steps["authors"], ">= 1", "the authors' steps by torch operations"))
    ours.handle.close()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("--read-bandwidth", required=True, help="libhashevict_read_bandwidth.so of the preset bench")
    parser.add_argument("--slots", type=int, default=4096)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--heads", type=int, default=8, help="KV heads")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--dtypes", nargs="+", choices=["bfloat16", "float32"], default=["bfloat16", "float32"])
    native.add_options(parser, rounds=5)
    options = parser.parse_args()
    torch, library = native.start(options, [ATTENTION, SHARE, EVICTION])
    rows = []
    with torch.inference_mode():
        for dtype in options.dtypes:
            for group in options.groups:
                rows += compare(torch, library, getattr(torch, dtype), group, options)
    native.write_rows(options.json, rows)


if __name__ == "__main__":
    main()
