# SPDX-License-Identifier: Apache-2.0
"""These tests need torch and transformers; without them none is collected."""

from __future__ import annotations

import importlib.util
import os

import pytest

if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
    collect_ignore_glob = ["*.py"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    import numpy as np
    import torch

    seed = int(os.environ.get("HASHEVICT_SEED", np.random.SeedSequence().generate_state(1)[0]))
    print(f"HASHEVICT_SEED={seed}")
    torch.manual_seed(seed)
    torch.set_num_threads(1)
