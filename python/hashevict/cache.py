# SPDX-License-Identifier: Apache-2.0
"""The cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from hashevict import _native
from hashevict.config import (
    AttendQueries,
    Backend,
    Bytes,
    Config,
    EncodeAs,
    Memory,
    PrefillAttention,
    PrefillMode,
    Rule,
    _config_of,
)
from hashevict.inspection import Capabilities, Statistics, View
from hashevict.tensors import SupportsDLPack, Tensor, empty_like


class Cache:
    """A key-value cache of fixed size: ``capacity`` slots per layer, sequence and KV head. In a full cache every new
    token replaces the one that the layer's rule evicts.

    Tensors are NumPy's, torch's or of any library that speaks DLPack. They are read and written in place, never copied,
    and lie where the cache lies: host memory, or the device's. Shapes: ``tokens`` of a batch, ``num_qo_heads``,
    ``num_kv_heads``, ``head_dim``. ``q``, ``k``, ``v`` and ``out`` may have any float dtype of the library; queries and
    keys come with RoPE applied.

    A batch: row r is sequence r and has one token, unless ``row_to_sequence``, int32 ``[rows]`` (-1 skips a row), and
    ``cu_seqlens``, int32 ``[rows + 1]`` (token offsets), say otherwise. Tokens lie back to back, row by row.

    ``stream``: on CUDA a ``cudaStream_t`` as a number, or torch's stream; None: the stream on which the library of the
    tensors now works (torch's current one).

    Operations (prefill, evict, append, attend, decode, encode, reset, fork) release the interpreter's lock; several
    threads that call one cache need a lock of their own. An operation that raises has changed nothing.

    Args:
        config: shape, rule, placement, threads
        memory: memory lent to the cache, or None

    Raises:
        InvalidArgument, Unsupported (a backend not in this build or on this device), OutOfMemory, BackendError

    Example:
        >>> config = Config(num_layers=1, num_qo_heads=4, num_kv_heads=2, head_dim=64, capacity=256, backend="cpu")
        >>> cache = Cache(config)
        >>> out = cache.decode(0, q, k, v)  # evicts if full, stores, attends

    Source: ``hashevict/cache.hpp``; the rules are defined in ``docs/algorithm.md``.
    """

    def __init__(self, config: Config, memory: Memory | None = None) -> None:
        lent = None if memory is None else memory._fields()
        self._native = _native.Cache(config._parts(), lent)

    @staticmethod
    def required_bytes(config: Config) -> Bytes:
        """Measures the memory that a config needs, before a cache is made.

        Raises:
            InvalidArgument
        """
        return Bytes(**_native.required_bytes(config._parts()))

    @staticmethod
    def capabilities(backend: Backend = "auto") -> Capabilities:
        """Describes what this build can do on this machine. Cheap."""
        return Capabilities(**_native.capabilities(backend))

    @property
    def config(self) -> Config:
        """The config the cache was created with, every field given: backend resolved, fractions left as given."""
        return _config_of(self._native.config())

    # Operations of a step

    def prefill(
        self,
        layer: int,
        q: SupportsDLPack | None,
        k: SupportsDLPack,
        v: SupportsDLPack,
        *,
        slots: SupportsDLPack | None = None,
        victims: SupportsDLPack | None = None,
        mode: PrefillMode = "replay",
        window: int = 0,
        out: SupportsDLPack | None = None,
        lse: SupportsDLPack | None = None,
        scale: float = 0.0,
        logit_soft_cap: float = 0.0,
        attention: PrefillAttention = "streamed",
        importance: SupportsDLPack | None = None,
        importance_slope: SupportsDLPack | None = None,
        row_to_sequence: SupportsDLPack | None = None,
        cu_seqlens: SupportsDLPack | None = None,
        stream: Any = None,
    ) -> None:
        """Adds a prompt, or a chunk of one, to a layer, and keeps as many of its tokens as fit.

        Args:
            q: ``[tokens, num_qo_heads, head_dim]``; may be None without ``out`` for rules whose probe is not the query,
                in modes ``replay`` and ``recent``
            k: ``[tokens, num_kv_heads, head_dim]``
            v: ``[tokens, num_kv_heads, head_dim]``
            slots: int32 ``[tokens, num_kv_heads]``, written. ``replay``: the slot that the token's own step gave it.
                Else its slot after the call, or -1
            victims: int32 ``[tokens, num_kv_heads]``, written. ``replay``: the position that the token's step evicted,
                or -1. Else -1
            mode: ``replay``: the state that one decode step per token would leave, whatever the chunking. ``window``:
                sinks, the last ``window`` tokens, and the others nearest to their queries. ``recent``: sinks and the
                latest
            window: of mode ``window``; 0: 32
            out: ``[tokens, num_qo_heads, head_dim]``, written: the prompt's attention; None: none is computed
            lse: float32 ``[tokens, num_qo_heads]``, written, with ``out``
            scale, logit_soft_cap: as for :meth:`attend`
            attention: ``streamed``: each query sees what :meth:`decode` of its token would have seen (mode ``replay``
                alone). ``full``: what the cache held before the call, and causally the call's own tokens
            importance: float32 ``[tokens, num_kv_heads]``, for policy ``importance`` alone
            importance_slope: likewise

        Raises:
            InvalidArgument; InvalidState for a chunk of mode ``window``, or with centring ``prompt``, that cannot be
            done exactly
        """
        self._native.prefill(
            layer,
            q,
            k,
            v,
            slots,
            victims,
            mode,
            window,
            out,
            lse,
            scale,
            logit_soft_cap,
            attention,
            importance,
            importance_slope,
            row_to_sequence,
            cu_seqlens,
            stream,
        )

    def evict(
        self,
        layer: int,
        q: SupportsDLPack | None,
        k: SupportsDLPack,
        *,
        slots: SupportsDLPack | None = None,
        victims: SupportsDLPack | None = None,
        importance: SupportsDLPack | None = None,
        importance_slope: SupportsDLPack | None = None,
        row_to_sequence: SupportsDLPack | None = None,
        cu_seqlens: SupportsDLPack | None = None,
        stream: Any = None,
    ) -> None:
        """Chooses a slot for each token and records code and position there, but stores no key or value: for engines
        whose own kernel writes the cache. Arguments as for :meth:`append`.

        Raises:
            InvalidArgument
        """
        self._native.evict(
            layer, q, k, slots, victims, importance, importance_slope, row_to_sequence, cu_seqlens, stream
        )

    def append(
        self,
        layer: int,
        q: SupportsDLPack | None,
        k: SupportsDLPack,
        v: SupportsDLPack,
        *,
        slots: SupportsDLPack | None = None,
        victims: SupportsDLPack | None = None,
        importance: SupportsDLPack | None = None,
        importance_slope: SupportsDLPack | None = None,
        row_to_sequence: SupportsDLPack | None = None,
        cu_seqlens: SupportsDLPack | None = None,
        stream: Any = None,
    ) -> None:
        """:meth:`evict` that also stores keys and values: a step without attention.

        Args:
            q: ``[tokens, num_qo_heads, head_dim]``; may be None for rules whose probe is not the query
            k, v: ``[tokens, num_kv_heads, head_dim]``
            slots: int32 ``[tokens, num_kv_heads]``, written: the slot that took the token
            victims: int32 ``[tokens, num_kv_heads]``, written: the position evicted, or -1
            importance, importance_slope: float32 ``[tokens, num_kv_heads]``, for policy ``importance`` alone

        Raises:
            InvalidArgument
        """
        self._native.append(
            layer, q, k, v, slots, victims, importance, importance_slope, row_to_sequence, cu_seqlens, stream
        )

    def attend(
        self,
        layer: int,
        q: Tensor,
        *,
        out: Tensor | None = None,
        lse: SupportsDLPack | None = None,
        scale: float = 0.0,
        logit_soft_cap: float = 0.0,
        queries: AttendQueries = "last",
        row_to_sequence: SupportsDLPack | None = None,
        cu_seqlens: SupportsDLPack | None = None,
        stream: Any = None,
    ) -> Tensor:
        """Attention over the cached tokens. The n tokens of a row stand at the last n positions of its sequence, and
        each sees slots up to its own position. Changes no state.

        Args:
            q: ``[tokens, num_qo_heads, head_dim]``
            out: ``[tokens, num_qo_heads, head_dim]``, written; None: a new tensor like ``q``, whose skipped rows are
                uninitialised
            lse: float32 ``[tokens, num_qo_heads]``, written: the natural logarithm of the softmax sum
            scale: 0: ``1 / sqrt(head_dim)``
            logit_soft_cap: above 0: logits become ``cap * tanh(logit / cap)``
            queries: ``after``: they stand behind every token, and each sees all slots

        Returns:
            ``out``

        Raises:
            InvalidArgument; InvalidState for a row of several tokens whose sequence has evicted (CUDA: NaN)
        """
        out = empty_like(q) if out is None else out
        self._native.attend(layer, q, out, lse, scale, logit_soft_cap, queries, row_to_sequence, cu_seqlens, stream)
        return out

    def decode(
        self,
        layer: int,
        q: Tensor,
        k: SupportsDLPack,
        v: SupportsDLPack,
        *,
        out: Tensor | None = None,
        lse: SupportsDLPack | None = None,
        slots: SupportsDLPack | None = None,
        victims: SupportsDLPack | None = None,
        scale: float = 0.0,
        logit_soft_cap: float = 0.0,
        importance: SupportsDLPack | None = None,
        importance_slope: SupportsDLPack | None = None,
        row_to_sequence: SupportsDLPack | None = None,
        cu_seqlens: SupportsDLPack | None = None,
        stream: Any = None,
    ) -> Tensor:
        """One step: :meth:`append`, then :meth:`attend`. Several tokens of a row are several steps, each attending over
        the state that its own step left. Arguments as for these two; ``out`` may be ``q`` itself.

        Returns:
            ``out``, ``[tokens, num_qo_heads, head_dim]``

        Raises:
            InvalidArgument
        """
        out = empty_like(q) if out is None else out
        self._native.decode(
            layer,
            q,
            k,
            v,
            out,
            lse,
            slots,
            victims,
            scale,
            logit_soft_cap,
            importance,
            importance_slope,
            row_to_sequence,
            cu_seqlens,
            stream,
        )
        return out

    def encode(
        self,
        layer: int,
        sequence: int,
        as_: EncodeAs,
        x: SupportsDLPack,
        codes: SupportsDLPack,
        *,
        stream: Any = None,
    ) -> None:
        """Computes the codes of vectors: bit i is 1 iff ``<r_i, x - center> >= 0``. Changes no state.

        Args:
            sequence: whose centre is subtracted
            as_: ``keys`` or ``queries``: whose heads ``x`` has
            x: ``[tokens, heads, head_dim]``
            codes: uint8 ``[tokens, heads, hash_bits / 8]``, written; bit i of a code is bit i % 8 of byte i / 8

        Raises:
            InvalidArgument
        """
        self._native.encode(layer, sequence, as_, x, codes, stream)

    # Whole sequences

    def reset(self, sequence: int = -1, *, stream: Any = None) -> None:
        """Empties a sequence in every layer, its centre included; -1: all sequences."""
        self._native.reset(sequence, stream)

    def fork(self, source: int, target: int, *, stream: Any = None) -> None:
        """Copies all of ``source``'s state, keys and values included, over ``target``."""
        self._native.fork(source, target, stream)

    def save(self, sequence: int, *, stream: Any = None) -> bytes:
        """A sequence's whole state, in a form that either backend, any layout and any batch can load. Synchronises."""
        return self._native.save(sequence, stream)

    def load(self, sequence: int, data: bytes, *, stream: Any = None) -> None:
        """Replaces a sequence's state by a saved one; it then continues exactly as the saved one would have.

        Raises:
            InvalidData: damaged bytes, or saved by a cache of another shape, rule, projection or importance weights
            InvalidState: a layer waits for a learned projection or for importance weights
        """
        self._native.load(sequence, data, stream)

    # Parameters of layers; host memory, float32

    def set_projection(self, layer: int, projection: SupportsDLPack) -> None:
        """Replaces a layer's projection, for example by a learned one. Synchronises.

        Args:
            projection: float32 ``[hash_bits, head_dim]``, or ``[num_kv_heads, hash_bits, head_dim]`` with
                ``projection_per_head``, host

        Raises:
            InvalidArgument, also for what is not finite; InvalidState if a sequence of the layer holds tokens
        """
        self._native.set_projection(layer, projection)

    def projection(self, layer: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """A copy of a layer's projection, of the shape of :meth:`set_projection`. Synchronises."""
        config = self.config
        rule = config.layer_rules[layer] if config.layer_rules and 0 <= layer < config.num_layers else config.rule
        assert isinstance(rule, Rule)
        bits = rule.hash_bits
        heads = (config.num_kv_heads,) if rule.projection_per_head else ()
        rows = np.empty((*heads, bits, config.head_dim), np.float32)
        self._native.get_projection(layer, rows)
        return rows

    def set_center(self, layer: int, sequence: int, key_center: SupportsDLPack, query_center: SupportsDLPack) -> None:
        """Sets the centres that are subtracted before hashing (centring ``fixed`` or ``prompt``). Synchronises.

        Args:
            key_center: float32 ``[num_kv_heads, head_dim]``, host
            query_center: float32 ``[num_qo_heads, head_dim]``, host

        Raises:
            InvalidArgument, also for what is not finite; InvalidState if the sequence holds tokens in the layer
        """
        self._native.set_center(layer, sequence, key_center, query_center)

    def set_importance_weights(self, layer: int, weight: SupportsDLPack, bias: SupportsDLPack) -> None:
        """Sets the weights by which a layer computes its keys' importances, ``<weight, key> + bias`` (policy
        ``importance``, ``importance_source="key"``). Synchronises.

        Args:
            weight: float32 ``[num_kv_heads, head_dim]``, host
            bias: float32 ``[num_kv_heads]``, host

        Raises:
            InvalidArgument, also for what is not finite; InvalidState if a sequence of the layer holds tokens
        """
        self._native.set_importance_weights(layer, weight, bias)

    # Inspection

    def view(self, layer: int, kv_head: int) -> View:
        """Tensors over the state of one KV head. Touches no device."""
        return View(*self._native.view(layer, kv_head))

    def statistics(self, layer: int = -1, kv_head: int = -1, sequence: int = -1, *, stream: Any = None) -> Statistics:
        """Counters of one layer, KV head and sequence; -1 sums over all of them. Synchronises."""
        return Statistics(**self._native.statistics(layer, kv_head, sequence, stream))
