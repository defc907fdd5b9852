# SPDX-License-Identifier: Apache-2.0
"""Descriptions of a cache: ``Config``, its ``Rule``, and ``Memory`` lent to it.

Names and meanings are those of the C++ face (``hashevict/config.hpp``, ``hashevict/memory.hpp``). ``None`` stands for
the library's default. The library checks values; its messages name fields as ``config.PART.FIELD``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hashevict.errors import InvalidArgument
from hashevict.tensors import SupportsDLPack

Preset = Literal["paper", "authors", "superseded", "recall"]
Policy = Literal["hash", "window", "random", "superseded", "mean", "votes", "importance"]
HashSource = Literal["query", "key"]
ImportanceSource = Literal["given", "key"]
Tie = Literal["oldest", "lowest_slot"]
Centering = Literal["none", "prompt", "fixed"]
ProjectionKind = Literal["gaussian", "orthogonal", "learned"]
Backend = Literal["auto", "cpu", "cuda"]
Layout = Literal["head_major", "slot_major", "paged", "paged_per_head"]
DType = Literal["float32", "float16", "bfloat16"]
PrefillMode = Literal["replay", "window", "recent"]
PrefillAttention = Literal["streamed", "full"]
AttendQueries = Literal["last", "after"]
EncodeAs = Literal["keys", "queries"]


@dataclass(frozen=True)
class Rule:
    """Selects victims, protects slots and defines the codes: a preset, and the fields that differ from it.

    Example:
        ``Rule("superseded", num_sink_tokens=8)``
    """

    preset: Preset = "paper"
    policy: Policy | None = None
    hash_bits: int | None = None
    """8, 16, 32, 64 or 128; a code takes ``hash_bits / 8`` bytes."""
    hash_source: HashSource | None = None
    tie: Tie | None = None
    num_sink_tokens: int | None = None
    """Positions below it are never evicted."""
    recent_window: int | None = None
    """The last tokens that are never evicted, besides the new one."""
    sink_fraction: float | None = None
    """At least 0: sinks as this fraction of each head's capacity, instead of ``num_sink_tokens``."""
    recent_fraction: float | None = None
    """The same for ``recent_window``."""
    pin_prompt: bool | None = None
    """Evict a prompt's tokens only if no other is evictable."""
    centering: Centering | None = None
    projection_kind: ProjectionKind | None = None
    projection_per_head: bool | None = None
    seed: int | None = None
    """Of drawn projections and of policy ``random``."""
    importance_source: ImportanceSource | None = None
    importance_slopes: bool | None = None
    """Every step brings ``importance_slope``, too."""


@dataclass(frozen=True)
class Config:
    """Describes a cache.

    Example:
        ``Config(num_layers=32, num_qo_heads=32, num_kv_heads=8, head_dim=128, capacity=4096, rule="superseded")``
    """

    num_layers: int
    num_qo_heads: int
    """A multiple of ``num_kv_heads``."""
    num_kv_heads: int
    head_dim: int
    """A multiple of 8, 8 to 256."""
    capacity: int | None = None
    """Slots per KV head, at least sinks + recent window + 1."""
    capacities: Sequence[Sequence[int]] | np.ndarray[Any, Any] | None = None
    """``[num_layers, num_kv_heads]``: slots of each KV head, instead of ``capacity``."""
    num_sequences: int | None = None
    dtype: DType | None = None
    """Storage of keys and values; default bfloat16."""
    kv_head_offset: int | None = None
    """Global index of this shard's first KV head."""
    rule: Rule | Preset = "paper"
    layer_rules: Sequence[Rule | Preset] | None = None
    """``[num_layers]``: each layer's own rule, instead of ``rule``."""
    backend: Backend | None = None
    """Default ``auto``: CUDA where this build has kernels for the device, else the CPU."""
    device: int | None = None
    layout: Layout | None = None
    page_size: int | None = None
    max_batch_tokens: int | None = None
    """Tokens of the largest batch; sizes the workspace."""
    num_threads: int | None = None
    """CPU: 0 (default) all that this process may use; 1 only the calling one."""

    def _parts(self) -> dict[str, Any]:
        """The parts of the library's config, as the native module takes them."""
        shape = _given(
            self, "num_layers num_sequences num_qo_heads num_kv_heads head_dim dtype kv_head_offset capacity"
        )
        if self.capacities is not None:
            shape["capacities"] = self._flat_capacities()
        parts: dict[str, Any] = {
            "shape": shape,
            "rule": _rule_fields(self.rule),
            "placement": _given(self, "backend device layout page_size"),
            "execution": _given(self, "max_batch_tokens num_threads"),
        }
        if self.layer_rules is not None:
            parts["layer_rules"] = [_rule_fields(rule) for rule in self.layer_rules]
        return parts

    def _flat_capacities(self) -> list[int]:
        capacities = np.asarray(self.capacities)
        expected = (self.num_layers, self.num_kv_heads)
        if capacities.shape != expected or not np.issubdtype(capacities.dtype, np.integer):
            raise InvalidArgument(
                f"config.shape.capacities: {capacities.dtype} of shape {list(capacities.shape)}: expected integers "
                f"[num_layers, num_kv_heads] = {list(expected)}"
            )
        return [int(capacity) for capacity in capacities.ravel()]


@dataclass(frozen=True)
class Memory:
    """Memory lent to a cache, which allocates the parts that are ``None``. Offsets and strides count **bytes**; the
    rules for them stand in ``hashevict/memory.h``. The cache keeps the tensors alive; nobody else may write them.

    A paged engine lends ``keys``, ``values`` and ``num_pages`` and a ``block_table``. With layout ``paged_per_head``
    each KV head has a row of the table of its own, and layers may lend one pool of pages.
    """

    keys: Sequence[SupportsDLPack] | None = None
    """``[num_layers]`` tensors, of which only the addresses count: the base of each layer's keys."""
    values: Sequence[SupportsDLPack] | None = None
    head_offsets: Sequence[int] | None = None
    """``[num_layers * num_kv_heads]``, ``head_major``: bytes from the sequence's base to the head's slot 0."""
    sequence_strides: Sequence[int] | None = None
    """``[num_layers]``, not if paged."""
    head_stride: int | None = None
    slot_stride: int | None = None
    page_stride: int | None = None
    num_pages: int | None = None
    """Pages behind each base."""
    block_table: SupportsDLPack | None = None
    """int32 ``[num_sequences, pages]``, per head ``[num_layers, num_sequences, num_kv_heads, pages]``, with contiguous
    rows; with ``block_table_offsets`` ``[entries]``."""
    block_table_offsets: SupportsDLPack | None = None
    """int32 ``[rows + 1]``, of the rows above in their order."""
    state: SupportsDLPack | None = None
    """uint8 ``[Bytes.state]``, aligned to 256 bytes."""
    workspace: SupportsDLPack | None = None
    """uint8 ``[Bytes.workspace]``, aligned to 256 bytes."""

    def _fields(self) -> dict[str, Any]:
        return _given(self, " ".join(field.name for field in dataclasses.fields(self)))


@dataclass(frozen=True)
class Bytes:
    """The memory that a config needs, in bytes."""

    keys: int
    values: int
    codes: int
    """Within ``state``."""
    positions: int
    """Within ``state``."""
    state: int
    workspace: int
    total: int
    """keys + values + state + workspace."""


def _given(holder: object, names: str) -> dict[str, Any]:
    """The named attributes that are not None."""
    values = {name: getattr(holder, name) for name in names.split()}
    return {name: value for name, value in values.items() if value is not None}


def _rule_fields(rule: Rule | Preset) -> dict[str, Any]:
    if isinstance(rule, Rule):
        return _given(rule, " ".join(field.name for field in dataclasses.fields(rule)))
    return {"preset": rule}


def _config_of(parts: dict[str, Any]) -> Config:
    """The config whose every field is given, from the native module's parts."""
    shape = dict(parts["shape"])
    flat = shape.pop("capacities")
    heads = shape["num_kv_heads"]
    if flat:
        shape["capacities"] = tuple(tuple(flat[i : i + heads]) for i in range(0, len(flat), heads))
    rules = [_rule_of(rule) for rule in parts["layer_rules"]]
    return Config(
        **shape,
        rule=_rule_of(parts["rule"]),
        layer_rules=rules or None,
        **parts["placement"],
        **parts["execution"],
    )


def _rule_of(fields: dict[str, Any]) -> Rule:
    flags = {name: bool(fields[name]) for name in ("pin_prompt", "projection_per_head", "importance_slopes")}
    return Rule(**{**fields, **flags})
