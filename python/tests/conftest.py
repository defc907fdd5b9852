# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests: every test draws its inputs from a seed that a failure prints."""

from __future__ import annotations

import os

import numpy as np
import pytest
from caches import config

from hashevict import Cache


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    seed = int(os.environ.get("HASHEVICT_SEED", np.random.SeedSequence().generate_state(1)[0]))
    print(f"HASHEVICT_SEED={seed}")
    return np.random.default_rng(seed)


@pytest.fixture
def cache() -> Cache:
    return Cache(config())
