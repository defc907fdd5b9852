# SPDX-License-Identifier: Apache-2.0
"""Small caches and random inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from hashevict import Config


def config(**changes: Any) -> Config:
    """A small cache on the CPU."""
    fields: dict[str, Any] = {
        "num_layers": 2,
        "num_qo_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 16,
        "capacity": 24,
        "dtype": "float32",
        "backend": "cpu",
        "num_threads": 1,
    }
    return Config(**{**fields, **changes})


def states(rng: np.random.Generator, tokens: int, heads: int, size: int = 16) -> Any:
    return rng.standard_normal((tokens, heads, size), dtype=np.float32)
