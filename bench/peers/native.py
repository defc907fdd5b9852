# SPDX-License-Identifier: Apache-2.0
"""The C ABI of libhashevict.so over torch's tensors, as far as the peers need it; their options and rows."""
import ctypes
import json
import pathlib
import statistics
import sys
import time
from ctypes import c_char, c_float, c_int32, c_int64, c_size_t, c_uint64, c_void_p

RULES = {"hash": 0, "window": 1, "random": 2, "superseded": 3, "mean": 4, "votes": 5, "importance": 6}
FLOAT32, FLOAT16, BFLOAT16, INT32 = 0, 1, 2, 3
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


class AppendArgs(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("layer", c_int32)]
    _fields_ += [(name, Tensor) for name in ("row_to_sequence", "cu_seqlens", "q", "k", "v", "slots", "victims",
                                             "importance", "importance_slope")]


class AttendArgs(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("layer", c_int32)]
    _fields_ += [(name, Tensor) for name in ("row_to_sequence", "cu_seqlens", "q", "out", "lse")]
    _fields_ += [("scale", c_float), ("logit_soft_cap", c_float), ("queries", c_int32)]


def dtype_of(torch, dtype):
    return {torch.float32: FLOAT32, torch.float16: FLOAT16, torch.bfloat16: BFLOAT16, torch.int32: INT32}[dtype]


def tensor_of(torch, array):
    view = Tensor(data=array.data_ptr(), dtype=dtype_of(torch, array.dtype), rank=array.dim())
    for axis in range(array.dim()):
        view.shape[axis] = array.shape[axis]
        view.stride[axis] = array.stride(axis)
    return view


class Handle:
    """A cache of one layer on the CPU."""

    def __init__(self, library, rule, capacity, shape, execution):
        """shape: sequences, query heads, KV heads, head size, dtype; execution: tokens of a call, threads."""
        self.library = library
        self.error = (c_char * 512)()
        config = Config()
        self.check(library.hashevict_config_init_sized(ctypes.byref(config), c_size_t(ctypes.sizeof(config)),
                                                       self.error))
        config.shape.num_layers = 1
        (config.shape.num_sequences, config.shape.num_qo_heads, config.shape.num_kv_heads, config.shape.head_dim,
         config.shape.dtype) = shape
        config.shape.capacity = capacity
        config.rule.policy = RULES[rule]
        config.placement.backend = CPU
        config.execution.max_batch_tokens, config.execution.num_threads = execution
        self.cache = c_void_p()
        self.check(library.hashevict_cache_create(ctypes.byref(config), None, ctypes.byref(self.cache), self.error))

    def check(self, status):
        if status != 0:
            sys.exit(f"hashevict: {self.error.value.decode()}")

    def call(self, operation, args):
        self.check(getattr(self.library, f"hashevict_{operation}")(self.cache, ctypes.byref(args), self.error, None))

    def reset(self):
        self.check(self.library.hashevict_reset(self.cache, c_int32(-1), self.error, None))

    def close(self):
        self.library.hashevict_cache_destroy(self.cache)


class ReadBandwidth:
    """Threads that only read a buffer; 0 threads: all."""

    def __init__(self, path, num_bytes, threads):
        self.library = ctypes.CDLL(path)
        self.library.hashevict_read_bandwidth_create.restype = c_void_p
        self.buffer = c_void_p(self.library.hashevict_read_bandwidth_create(c_int64(num_bytes), c_int32(threads)))
        if not self.buffer:
            sys.exit(f"no memory for a buffer of {num_bytes} bytes")

    def read(self):
        self.library.hashevict_read_bandwidth_read(self.buffer)

    def close(self):
        self.library.hashevict_read_bandwidth_destroy(self.buffer)


def row(section, name, ratios, limit, peer):
    """A row of bench/table.py from the ratios of a run's rounds; also prints it."""
    values = sorted(ratios)
    last = len(values) - 1
    made = {"section": section, "name": name, "value": statistics.median(values), "low": values[last // 4],
            "high": values[last - last // 4], "limit": limit, "peer": peer}
    print(f"{section}: {name}: {made['value']:.3g} {limit}", flush=True)
    return made


def write_rows(path, rows):
    if path:
        pathlib.Path(path).write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


def torch_or_skip(path, sections):
    """The module torch; without it, rows that say so, and the end."""
    try:
        import torch
    except (ImportError, OSError, ValueError) as error:  # the latter two: libraries that torch needs are missing
        reason = "torch is not installed" if isinstance(error, ModuleNotFoundError) else "torch does not load"
        print(f"skipped: {reason}: {error}")
        write_rows(path, [{"section": section, "name": "all", "skipped": reason} for section in sections])
        sys.exit(0)
    return torch


def add_options(parser, rounds):
    """Adds the options of every comparison with torch; `rounds` is the default of --rounds."""
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", help="file for the rows")
    parser.add_argument("--threads", type=int, default=0, help="of both; 0: all")


def start(options, sections):
    """The module torch and the library, with as many threads as asked for; sets options.clock."""
    torch = torch_or_skip(options.json, sections)
    options.clock = time.thread_time if options.threads == 1 else time.perf_counter
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    return torch, ctypes.CDLL(options.library)
