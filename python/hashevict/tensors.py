# SPDX-License-Identifier: Apache-2.0
"""The tensors that the package takes."""

from __future__ import annotations

import sys
from typing import Any, Protocol, TypeVar

from hashevict.errors import InvalidArgument


class SupportsDLPack(Protocol):
    """A tensor of NumPy, torch, JAX or any other library that speaks DLPack. Taken and written without a copy."""

    def __dlpack__(self) -> Any: ...


Tensor = TypeVar("Tensor", bound=SupportsDLPack)


def empty_like(like: Tensor) -> Tensor:
    """An uninitialised dense tensor of the same library, shape, dtype and device.

    Raises:
        InvalidArgument: for a library other than NumPy and torch; there the caller gives ``out``.
    """
    numpy: Any = sys.modules["numpy"]
    if isinstance(like, numpy.ndarray):
        return numpy.empty_like(like, order="C", subok=False)  # type: ignore[no-any-return]
    if hasattr(like, "new_empty"):
        return like.new_empty(like.shape)  # type: ignore[attr-defined, no-any-return]
    raise InvalidArgument(f"out: needed, since {type(like).__name__} is neither NumPy's nor torch's tensor")
