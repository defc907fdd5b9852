# SPDX-License-Identifier: Apache-2.0
"""Tests of the rivals: every test draws its inputs from a seed that a failure prints."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    seed = int(os.environ.get("HASHEVICT_SEED", np.random.SeedSequence().generate_state(1)[0]))
    print(f"HASHEVICT_SEED={seed}")
    return np.random.default_rng(seed)
