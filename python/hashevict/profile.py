# SPDX-License-Identifier: Apache-2.0
"""Profiles: what a calibration learned of the heads of one model."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashevict import _native
from hashevict.errors import InvalidArgument, InvalidData
from hashevict.tensors import SupportsDLPack

Floats = NDArray[np.float32]
LEAST_FLOOR = 16
"""More than sinks and recent tokens of every preset."""


def divide_slots(quantiles: SupportsDLPack, total_slots: int, length: int, floor: int) -> NDArray[np.int32]:
    """Divides slots among the heads of a model by the importance of their keys: every head gets ``floor`` slots, and
    each further slot goes to the head whose next key is the most important one, up to ``length`` slots a head. Ties go
    to the lowest layer, then to the lowest head. The sum is exact, and no head loses a slot when the total grows.

    Args:
        quantiles: float32 ``[num_layers, num_kv_heads, Q]``, host: of the importance of each head's keys, ascending,
            entry i at level ``i / (Q - 1)``, comparable across heads and layers
        total_slots: slots of all layers and heads
        length: tokens of the sequences that the slots are for
        floor: the fewest slots of a head

    Returns:
        The capacities ``[num_layers, num_kv_heads]``

    Raises:
        InvalidArgument

    Source: ``hashevict/divide_slots.hpp``; ``docs/algorithm.md``, *Slots for each head*.
    """
    capacities = np.array(_native.divide_slots(quantiles, total_slots, length, floor), np.int32)
    return capacities.reshape(np.asarray(quantiles).shape[:2])


@dataclass(frozen=True, eq=False)
class Profile:
    """What a calibration learned of the heads of one model; :func:`hashevict.calibrate` makes it.

    Its file is safetensors, with ``layers.i.quantiles``, optionally ``layers.i.importance.weight``,
    ``layers.i.importance.bias``, ``layers.i.importance.hidden_weight``, ``layers.i.importance.hidden_bias``,
    ``layers.i.projection`` and ``layers.i.center``, all F32; the command ``hashevict`` reads the same file
    (``--profile``) and passes over the hidden weights, which no key can be multiplied with.
    """

    quantiles: Floats
    """``[num_layers, num_kv_heads, Q]``, as :func:`divide_slots` takes them."""
    importance_weight: Floats | None = None
    """``[num_layers, num_kv_heads, head_dim]``: importances linear in the key as cached."""
    importance_bias: Floats | None = None
    """``[num_layers, num_kv_heads]``."""
    hidden_weight: Floats | None = None
    """``[num_layers, num_kv_heads, hidden_size]``: importances linear in the hidden state that attention is given."""
    hidden_bias: Floats | None = None
    """``[num_layers, num_kv_heads]``."""
    projection: Floats | None = None
    """``[num_layers, bits, head_dim]`` or ``[num_layers, num_kv_heads, bits, head_dim]``: learned votes."""
    center: Floats | None = None
    """``[num_layers, num_kv_heads, head_dim]``, with the projection."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """How it was made: the method's settings, the model's name, R2 of the weights on held-out text."""

    def __post_init__(self) -> None:
        for name, rank in _RANKS.items():
            array = getattr(self, name)
            if array is None:
                continue
            if array.dtype != np.float32 or array.ndim not in rank or array.shape[0] != self.quantiles.shape[0]:
                raise InvalidArgument(
                    f"profile.{name}: {array.dtype} {list(array.shape)}: expected float32 of {rank[0]} dimensions, the "
                    f"first of {self.quantiles.shape[0]} layers"
                )
            if not np.isfinite(array).all():
                raise InvalidArgument(f"profile.{name}: expected finite numbers")
        for pair in (("importance_weight", "importance_bias"), ("hidden_weight", "hidden_bias")):
            if len([name for name in pair if getattr(self, name) is not None]) == 1:
                raise InvalidArgument(f"profile: {pair[0]} and {pair[1]} come together")
        for name in ("hidden_weight", "hidden_bias"):  # the library checks the others, which it is handed
            array = getattr(self, name)
            if array is not None and array.shape[1] != self.num_kv_heads:
                raise InvalidArgument(f"profile.{name}: of {array.shape[1]} KV heads: expected {self.num_kv_heads}")
        if (np.diff(self.quantiles, axis=2) < 0).any():
            raise InvalidArgument("profile.quantiles: expected ascending quantiles")

    @property
    def num_layers(self) -> int:
        return int(self.quantiles.shape[0])

    @property
    def num_kv_heads(self) -> int:
        return int(self.quantiles.shape[1])

    def capacities(self, mean: int, length: int, floor: int | None = None) -> NDArray[np.int32]:
        """Slots ``[num_layers, num_kv_heads]`` whose mean is ``mean`` (:func:`divide_slots`).

        Args:
            mean: slots of a head on average
            length: tokens of the sequences that the slots are for, the most slots of a head
            floor: the fewest slots of a head; lowered to ``length``. None: a third of the mean, at least 16

        Raises:
            InvalidArgument
        """
        heads = self.num_layers * self.num_kv_heads
        mean = min(mean, length)
        if floor is None:
            floor = min(mean, max(LEAST_FLOOR, mean // 3))
        return divide_slots(self.quantiles, mean * heads, length, min(floor, length))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the file: whole or not at all, the same bytes for the same profile."""
        from safetensors.numpy import save

        tensors = {
            f"layers.{layer}.{part}": np.ascontiguousarray(getattr(self, name)[layer])
            for name, part in _PARTS.items()
            if getattr(self, name) is not None
            for layer in range(self.num_layers)
        }
        data = save(tensors, {"hashevict": json.dumps(dict(self.about), sort_keys=True)})
        temporary = Path(f"{os.fspath(path)}.part")
        temporary.write_bytes(data)
        temporary.replace(path)

    @staticmethod
    def read(path: str | os.PathLike[str]) -> Profile:
        """Reads a profile.

        Raises:
            InvalidData: the file is not a profile; the message names what is wrong
            OSError: it cannot be read
        """
        from safetensors import SafetensorError, safe_open

        where = os.fspath(path)
        Path(where).stat()
        try:
            with safe_open(where, framework="numpy") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                about = json.loads((file.metadata() or {}).get("hashevict", "{}"))
        except (SafetensorError, ValueError) as error:
            raise InvalidData(f"{where}: not a safetensors file: {error}") from error
        arrays = {name: _stacked(where, tensors, part) for name, part in _PARTS.items()}
        if tensors:
            raise InvalidData(f"{where}: {min(tensors)}: a profile has no such tensor")
        if arrays["quantiles"] is None:
            raise InvalidData(f"{where}: no layers.0.quantiles: not a profile")
        try:
            return Profile(about=about, **arrays)  # type: ignore[arg-type]
        except InvalidArgument as error:
            raise InvalidData(f"{where}: {error}") from error

    def replace(self, **changes: Any) -> Profile:
        """A copy with other fields."""
        return dataclasses.replace(self, **changes)


_PARTS = {
    "quantiles": "quantiles",
    "importance_weight": "importance.weight",
    "importance_bias": "importance.bias",
    "hidden_weight": "importance.hidden_weight",
    "hidden_bias": "importance.hidden_bias",
    "projection": "projection",
    "center": "center",
}
_RANKS = {
    "quantiles": (3,),
    "importance_weight": (3,),
    "importance_bias": (2,),
    "hidden_weight": (3,),
    "hidden_bias": (2,),
    "projection": (4, 3),
    "center": (3,),
}


def _stacked(where: str, tensors: dict[str, Any], part: str) -> Floats | None:
    """Takes a part of all layers out of ``tensors``."""
    layers: list[Any] = []
    while (name := f"layers.{len(layers)}.{part}") in tensors:
        layers.append(tensors.pop(name))
    if len({layer.shape for layer in layers}) > 1:
        raise InvalidData(f"{where}: {part}: expected the same shape in all layers")
    return np.stack(layers) if layers else None
