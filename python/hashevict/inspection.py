# SPDX-License-Identifier: Apache-2.0
"""What a cache tells of itself and of its build."""

from __future__ import annotations

from dataclasses import dataclass

from hashevict.tensors import SupportsDLPack


@dataclass(frozen=True)
class View:
    """Tensors over the state of one KV head, without copies; they keep the cache alive. Read-only, except that an
    engine that uses ``Cache.evict`` writes keys and values of the slots it was given. ``numpy.asarray`` takes them
    (host memory, not bfloat16), ``torch.from_dlpack`` takes all.
    """

    keys: SupportsDLPack
    """Storage dtype ``[num_sequences, capacity, head_dim]``, strided; paged: ``[num_pages, page_size, head_dim]``."""
    values: SupportsDLPack
    codes: SupportsDLPack
    """uint8 ``[num_sequences, capacity, hash_bits / 8]``."""
    positions: SupportsDLPack
    """int32 ``[num_sequences, capacity]``, -1 where empty."""
    lengths: SupportsDLPack
    """int32 ``[num_sequences]``: ``min(tokens seen, capacity)``."""
    tokens_seen: SupportsDLPack
    """int32 ``[num_sequences]``: the position of the next token."""


@dataclass(frozen=True)
class Statistics:
    """Counters, summed over the layers, KV heads and sequences asked for."""

    tokens_seen: int
    slots_used: int
    slots_total: int
    evictions: int
    """Tokens no longer held: ``tokens_seen - slots_used``."""
    kv_bytes: int
    """Bytes of keys and values in the slots used."""
    kv_bytes_full: int
    """Bytes that all tokens seen would take."""


@dataclass(frozen=True)
class Capabilities:
    """What this build can do on this machine."""

    version: str
    has_cuda_build: bool
    num_cuda_devices: int
    max_head_dim: int
    num_hardware_threads: int
    hash_bits: tuple[int, ...]
    policies: tuple[str, ...]
    prefill_modes: tuple[str, ...]
    layouts: tuple[str, ...]
    storage_dtypes: tuple[str, ...]
    cpu_target: str
    """The SIMD instruction set chosen at run time."""
    host_memory_bytes: int
