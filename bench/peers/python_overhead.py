#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what a decode call costs besides the library's work: through the C ABI, and through the Python package.

Usage: python_overhead.py LIBRARY [--capacity N] [--calls N] [--rounds N]

LIBRARY is libhashevict.so of the preset release-shared. The package hashevict must be importable; what needs torch and
transformers is left out without them. All figures are microseconds a call of one thread's processor time in one run,
each the least of its rounds, taken in turn:
  C ABI       ctypes calls hashevict_decode with arguments prepared once, which adds about 0.5
  NumPy       Cache.decode(0, q, k, v, out=out, row_to_sequence=rows) with NumPy's arrays
  NumPy, out  the same, but the call makes its output
  torch       as NumPy, with torch's tensors
  attention   HashEvictCache: update() and the attention function, as a layer of a model of transformers calls them
The column `skipped` is a batch whose only row is skipped, so that nothing but the call is left; `step` evicts and
attends over N slots of 3 KV heads and 9 query heads of size 64, those of SmolLM2-135M.
"""
import argparse
import ctypes
import time
from ctypes import c_float, c_int32, c_size_t

import native
import numpy as np
from native import Tensor

import hashevict

QO_HEADS, KV_HEADS, SIZE = 9, 3, 64
OPERANDS = ("q", "k", "v", "out", "lse", "slots", "victims")


class DecodeArgs(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("layer", c_int32), ("row_to_sequence", Tensor), ("cu_seqlens", Tensor)]
    _fields_ += [(name, Tensor) for name in OPERANDS]
    _fields_ += [("scale", c_float), ("logit_soft_cap", c_float), ("importance", Tensor), ("importance_slope", Tensor)]


def described(array):
    dtype = native.INT32 if array.dtype == np.int32 else native.FLOAT32
    tensor = Tensor(data=array.ctypes.data, dtype=dtype, rank=array.ndim)
    for axis in range(array.ndim):
        tensor.shape[axis] = array.shape[axis]
        tensor.stride[axis] = array.strides[axis] // array.itemsize
    return tensor


def c_abi_call(path, capacity, q, k, v, out, rows):
    """A function of no arguments that decodes once, through the C ABI."""
    cache = native.Handle(ctypes.CDLL(path), "hash", capacity, (1, QO_HEADS, KV_HEADS, SIZE, native.FLOAT32), (1, 1))
    args = DecodeArgs(struct_size=ctypes.sizeof(DecodeArgs))
    for name, array in zip(("q", "k", "v", "out", "row_to_sequence"), (q, k, v, out, rows)):
        setattr(args, name, described(array))
    cache.call("decode", args)
    decode, handle, reference, error = cache.library.hashevict_decode, cache.cache, ctypes.byref(args), cache.error
    return lambda: decode(handle, reference, error, None)


def package_call(capacity, tensors, make_out=False):
    """A function of no arguments that decodes once, through the package."""
    cache = hashevict.Cache(hashevict.Config(1, QO_HEADS, KV_HEADS, SIZE, capacity, dtype="float32", backend="cpu",
                                             num_threads=1))
    q, k, v, out, rows = tensors
    if make_out:
        return lambda: cache.decode(0, q, k, v, row_to_sequence=rows)
    return lambda: cache.decode(0, q, k, v, out=out, row_to_sequence=rows)


def attention_call(torch, transformers, capacity, states, rows):
    """A function of no arguments that decodes once, as the second layer of a model does."""
    config = transformers.LlamaConfig(vocab_size=8, hidden_size=QO_HEADS * SIZE, intermediate_size=8,
                                      num_hidden_layers=2, num_attention_heads=QO_HEADS, num_key_value_heads=KV_HEADS)
    model = transformers.LlamaForCausalLM(config).eval().requires_grad_(False)
    cache = hashevict.HashEvictCache(model, capacity, num_threads=1)
    attention = transformers.AttentionInterface()["hashevict"]
    q, k, v = (x.transpose(0, 1)[None] for x in states)  # [1, heads, 1, size]
    mask = None if rows == [0] else torch.zeros(1, 1, 1, 1, dtype=torch.bool)
    module = model.model.layers[1].self_attn

    def call():
        key, value = cache.update(k, v, 1)
        attention(module, q, key, value, mask, scaling=SIZE**-0.5)

    return call


def ways(options, rows):
    random = np.random.default_rng(0)
    arrays = [random.standard_normal((1, heads, SIZE), np.float32) for heads in (QO_HEADS, KV_HEADS, KV_HEADS)]
    arrays += [np.zeros((1, QO_HEADS, SIZE), np.float32), np.array(rows, np.int32)]
    found = {"C ABI": c_abi_call(options.library, options.capacity, *arrays)}
    found["NumPy"] = package_call(options.capacity, arrays)
    found["NumPy, out"] = package_call(options.capacity, arrays, make_out=True)
    try:
        import torch
        import transformers
    except ImportError:
        return found
    tensors = [torch.from_numpy(array) for array in arrays]
    found["torch"] = package_call(options.capacity, tensors)
    found["attention"] = attention_call(torch, transformers, options.capacity, tensors[:3], rows)
    return found


def measure(options, rows):
    """The least microseconds a call, of each way."""
    functions = ways(options, rows)
    for function in functions.values():
        for _ in range(2 * options.capacity):  # the slots are full, and memory is warm
            function()
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(options.rounds):
        for name, function in functions.items():
            start = time.thread_time_ns()
            for _ in range(options.calls):
                function()
            best[name] = min(best[name], (time.thread_time_ns() - start) / 1000 / options.calls)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("--capacity", type=int, default=64)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    skipped, step = measure(options, [-1]), measure(options, [0])
    print(f"{'us a call':12} {'skipped':>8} {'step':>8} {'step, beyond the C ABI':>24}")
    for name in step:
        print(f"{name:12} {skipped[name]:8.2f} {step[name]:8.2f} {step[name] - step['C ABI']:24.2f}")


if __name__ == "__main__":
    main()
