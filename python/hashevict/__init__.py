# SPDX-License-Identifier: Apache-2.0
"""A key-value cache of fixed size for language-model inference.

``Cache`` is the library's cache over NumPy's, torch's and other DLPack tensors. ``HashEvictCache`` is a cache for
transformers, ``calibrate`` learns a model's profile, and ``evaluate`` measures what is left of its recall; these need
torch, and importing the package does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hashevict.cache import Cache
from hashevict.config import Bytes, Config, Memory, Rule
from hashevict.errors import (
    BackendError,
    Error,
    Internal,
    InvalidArgument,
    InvalidData,
    InvalidState,
    OutOfMemory,
    Unsupported,
)
from hashevict.inspection import Capabilities, Statistics, View
from hashevict.profile import Profile, divide_slots

if TYPE_CHECKING:
    from hashevict.calibration import calibrate
    from hashevict.evaluation.runner import evaluate
    from hashevict.figure import capacities_figure
    from hashevict.transformers import HashEvictCache

__version__ = Cache.capabilities("cpu").version

__all__ = [
    "BackendError",
    "Bytes",
    "Cache",
    "Capabilities",
    "Config",
    "Error",
    "HashEvictCache",
    "Internal",
    "InvalidArgument",
    "InvalidData",
    "InvalidState",
    "Memory",
    "OutOfMemory",
    "Profile",
    "Rule",
    "Statistics",
    "Unsupported",
    "View",
    "calibrate",
    "capacities_figure",
    "divide_slots",
    "evaluate",
]


def __getattr__(name: str) -> Any:
    """Imports what needs torch or Matplotlib when it is asked for."""
    if name == "HashEvictCache":
        from hashevict.transformers import HashEvictCache

        return HashEvictCache
    if name == "calibrate":
        from hashevict.calibration import calibrate

        return calibrate
    if name == "evaluate":
        from hashevict.evaluation.runner import evaluate

        return evaluate
    if name == "capacities_figure":
        from hashevict.figure import capacities_figure

        return capacities_figure
    raise AttributeError(f"module 'hashevict' has no attribute {name!r}")
