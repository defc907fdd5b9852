#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the attention of a prompt with torch's causal scaled_dot_product_attention over the same tokens, on the CPU.

Usage: prefill_sdpa.py LIBRARY [--tokens N ...] [--dims N ...] [--groups N ...] [--rounds N] [--threads N]

LIBRARY is libhashevict.so of the preset release-shared. All figures are ratios of times taken in turn, in one run, each
the best of its rounds:
  kept   torch / prefill with every token kept: above 1 prefill is faster. torch gets whichever of its two ways is
         faster: grouped heads, or keys and values repeated beforehand, outside its time.
  RULE   prefill with slots for 30 % of the tokens / prefill with every token kept, evictions included.
Skips with one line where torch is missing.
"""
import argparse
import ctypes
import sys
import time
from ctypes import c_char, c_float, c_int32, c_int64, c_size_t, c_uint64, c_void_p

RULES = {"hash": 0, "window": 1, "random": 2, "superseded": 3, "mean": 4, "votes": 5, "importance": 6}
FLOAT32, INT32 = 0, 3
CPU = 1


class Tensor(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("dtype", c_int32), ("rank", c_int32), ("shape", c_int64 * 5),
                ("stride", c_int64 * 5)]


class Shape(ctypes.Structure):
    _fields_ = [(name, c_int32) for name in ("num_layers", "num_sequences", "num_qo_heads", "num_kv_heads", "head_dim",
                                             "dtype", "kv_head_offset", "capacity")]
    _fields_ += [("capacities", c_void_p), ("reserved", c_uint64 * 3)]


class Rule(ctypes.Structure):
    _fields_ = [(name, c_int32) for name in ("policy", "hash_bits", "hash_source", "tie", "num_sink_tokens",
                                             "recent_window")]
    _fields_ += [("sink_fraction", c_float), ("recent_fraction", c_float)]
    _fields_ += [(name, c_int32) for name in ("pin_prompt", "centering", "projection_kind", "projection_per_head")]
    _fields_ += [("seed", c_uint64), ("importance_source", c_int32), ("importance_slopes", c_int32),
                 ("reserved", c_uint64 * 4)]


class Placement(ctypes.Structure):
    _fields_ = [(name, c_int32) for name in ("backend", "device", "layout", "page_size")]
    _fields_ += [("reserved", c_uint64 * 2)]


class Execution(ctypes.Structure):
    _fields_ = [("max_batch_tokens", c_int64), ("parallel_for", c_void_p), ("parallel_for_context", c_void_p),
                ("num_threads", c_int32), ("reserved", c_int32 * 5)]


class Config(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("shape", Shape), ("rule", Rule), ("layer_rules", c_void_p),
                ("placement", Placement), ("execution", Execution)]


class PrefillArgs(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("layer", c_int32)]
    _fields_ += [(name, Tensor) for name in ("row_to_sequence", "cu_seqlens", "q", "k", "v", "slots", "victims")]
    _fields_ += [("mode", c_int32), ("window", c_int32)]
    _fields_ += [(name, Tensor) for name in ("importance", "importance_slope", "out", "lse")]
    _fields_ += [("scale", c_float), ("logit_soft_cap", c_float), ("attention", c_int32)]


def tensor_of(torch, array):
    view = Tensor(data=array.data_ptr(), dtype=INT32 if array.dtype == torch.int32 else FLOAT32, rank=array.dim())
    for axis in range(array.dim()):
        view.shape[axis] = array.shape[axis]
        view.stride[axis] = array.stride(axis)
    return view


class Cache:
    """One layer of a cache, and one prompt for it."""

    def __init__(self, torch, library, rule, capacity, inputs, threads):
        self.library = library
        self.error = (c_char * 512)()
        q, k, v = inputs
        config = Config()
        self.check(library.hashevict_config_init_sized(ctypes.byref(config), c_size_t(ctypes.sizeof(config)),
                                                       self.error))
        config.shape.num_layers = config.shape.num_sequences = 1
        config.shape.num_qo_heads, config.shape.num_kv_heads = q.shape[1], k.shape[1]
        config.shape.head_dim, config.shape.dtype, config.shape.capacity = q.shape[2], FLOAT32, capacity
        config.rule.policy = RULES[rule]
        config.placement.backend = CPU
        config.execution.max_batch_tokens = q.shape[0]
        config.execution.num_threads = threads
        self.handle = c_void_p()
        self.check(library.hashevict_cache_create(ctypes.byref(config), None, ctypes.byref(self.handle), self.error))
        self.out = torch.empty_like(q)
        self.offsets = torch.tensor([0, q.shape[0]], dtype=torch.int32)
        self.importance = torch.randn(k.shape[0], k.shape[1])
        self.inputs = inputs
        args = PrefillArgs(struct_size=ctypes.sizeof(PrefillArgs))
        args.q, args.k, args.v = (tensor_of(torch, x) for x in inputs)
        args.out = tensor_of(torch, self.out)
        args.cu_seqlens = tensor_of(torch, self.offsets)
        if rule == "importance":
            args.importance = tensor_of(torch, self.importance)
        self.args = args

    def check(self, status):
        if status != 0:
            sys.exit(f"hashevict: {self.error.value.decode()}")

    def prefill(self):
        """Seconds of one prompt in the empty cache."""
        self.check(self.library.hashevict_reset(self.handle, c_int32(-1), self.error, None))
        start = time.perf_counter()
        self.check(self.library.hashevict_prefill(self.handle, ctypes.byref(self.args), self.error, None))
        return time.perf_counter() - start

    def close(self):
        self.library.hashevict_cache_destroy(self.handle)


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


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(torch, library, tokens, dim, group, options):
    heads = options.heads
    torch.manual_seed(tokens + dim + group)
    inputs = (torch.randn(tokens, heads * group, dim), torch.randn(tokens, heads, dim), torch.randn(tokens, heads, dim))
    ways = peers(torch, inputs)
    kept = Cache(torch, library, "hash", tokens, inputs, options.threads)
    some = {rule: Cache(torch, library, rule, tokens * 3 // 10, inputs, options.threads) for rule in options.rules}
    best = dict.fromkeys(["torch", "kept", *some], float("inf"))
    for _ in range(options.rounds):
        best["torch"] = min([best["torch"], *(seconds(way) for way in ways)])
        best["kept"] = min(best["kept"], kept.prefill())
        for rule, cache in some.items():
            best[rule] = min(best[rule], cache.prefill())
    expected = ways[0]()[0].transpose(0, 1)
    difference = (kept.out - expected).abs().max().item()
    if difference > 1e-4:
        sys.exit(f"prefill and torch differ by {difference}")
    ratios = [f"kept {best['torch'] / best['kept']:.2f}"]
    ratios += [f"{rule} {best[rule] / best['kept']:.2f}" for rule in some]
    print(f"tokens {tokens:5} dim {dim:3} group {group}  " + "  ".join(ratios), flush=True)
    for cache in (kept, *some.values()):
        cache.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 3, 4])
    parser.add_argument("--rules", nargs="*", choices=RULES, default=list(RULES))
    parser.add_argument("--heads", type=int, default=2, help="KV heads")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of both; 0: all")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("skipped: torch is not installed")
        return
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    library = ctypes.CDLL(options.library)
    with torch.inference_mode():
        for tokens in options.tokens:
            for dim in options.dims:
                for group in options.groups:
                    compare(torch, library, tokens, dim, group, options)


if __name__ == "__main__":
    main()
