# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests: every test draws its inputs from a seed that a failure prints."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from hashevict import Cache, Config


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    seed = int(os.environ.get("HASHEVICT_SEED", np.random.SeedSequence().generate_state(1)[0]))
    print(f"HASHEVICT_SEED={seed}")
    return np.random.default_rng(seed)


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


@pytest.fixture
def cache() -> Cache:
    return Cache(config())


def states(rng: np.random.Generator, tokens: int, heads: int, size: int = 16) -> Any:
    return rng.standard_normal((tokens, heads, size), dtype=np.float32)
