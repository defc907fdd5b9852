# SPDX-License-Identifier: Apache-2.0
"""The package against the command ``hashevict replay``, a C++ program: the same slots, victims, codes and bits."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caches import config, states
from safetensors.numpy import load_file, save_file

from hashevict import Cache, Profile, Rule

COMMAND = os.environ.get("HASHEVICT_COMMAND", "")
pytestmark = pytest.mark.skipif(not COMMAND, reason="HASHEVICT_COMMAND names no command")

TOKENS = 70
RULES: dict[str, tuple[Rule, list[str]]] = {
    "paper": (Rule(), []),
    "superseded": (Rule("superseded"), ["--preset", "superseded"]),
    "random": (Rule(policy="random"), ["--policy", "random"]),
    "mean": (Rule(policy="mean", hash_bits=32), ["--policy", "mean", "--bits", "32"]),
}


def random_trace(rng: np.random.Generator, path: Path) -> dict[str, Any]:
    trace = {
        f"layers.{i}.{x}": states(rng, TOKENS, heads) for i in range(2) for x, heads in (("q", 4), ("k", 2), ("v", 2))
    }
    save_file(trace, path)
    return trace


def replayed_by_the_command(trace: Path, *options: Any) -> dict[str, Any]:
    out = trace.with_name("out")
    subprocess.run([COMMAND, "replay", "--trace", trace, "--out", out, *options], check=True, capture_output=True)
    return load_file(out)


def replayed(cache: Cache, trace: dict[str, Any]) -> dict[str, Any]:
    """Slots, victims and attention of every step."""
    found: dict[str, list[Any]] = {}
    for i in range(2):
        for t in range(TOKENS):
            q, k, v = (trace[f"layers.{i}.{x}"][t : t + 1] for x in "qkv")
            slots, victims = np.full((1, 2), 77, np.int32), np.full((1, 2), 77, np.int32)
            out = cache.decode(i, q, k, v, slots=slots, victims=victims)
            for part, array in (("slots", slots), ("victims", victims), ("out", out)):
                found.setdefault(f"layers.{i}.{part}", []).append(array)
    return {tensor: np.concatenate(steps) for tensor, steps in found.items()}


@pytest.mark.parametrize("name", RULES)
def test_a_trace_gives_the_commands_results_to_the_bit(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    rule, options = RULES[name]
    trace = random_trace(rng, tmp_path / "trace")
    expected = replayed_by_the_command(tmp_path / "trace", "--budget", "24", *options)
    cache = Cache(config(rule=rule))
    found = replayed(cache, trace)
    for i in range(2):
        view = [cache.view(i, head) for head in range(2)]
        found[f"layers.{i}.positions"] = np.stack([np.asarray(head.positions)[0] for head in view])
        found[f"layers.{i}.codes"] = np.stack([np.asarray(head.codes)[0] for head in view])
    assert set(found) == set(expected)
    for tensor, steps in found.items():
        np.testing.assert_array_equal(steps, expected[tensor], err_msg=tensor)


def test_votes_and_slots_of_a_profile_are_those_of_the_command(rng: np.random.Generator, tmp_path: Path) -> None:
    profile = Profile(
        np.sort(rng.random((2, 2, 33), np.float32), axis=2),
        projection=rng.standard_normal((2, 2, 16, 16), np.float32),
        center=rng.standard_normal((2, 2, 16), np.float32),
    )
    profile.write(tmp_path / "profile")
    trace = random_trace(rng, tmp_path / "trace")
    options = ["--profile", tmp_path / "profile", "--floor", "16", "--budget", "24"]
    options += ["--policy", "votes", "--bits", "16", "--centering", "fixed"]
    expected = replayed_by_the_command(tmp_path / "trace", *options)
    rule = Rule(policy="votes", projection_kind="learned", projection_per_head=True, centering="fixed")
    cache = Cache(config(rule=rule, capacity=None, capacities=profile.capacities(24, TOKENS, 16)))
    assert profile.projection is not None and profile.center is not None
    for i in range(2):
        cache.set_projection(i, profile.projection[i])
        cache.set_center(i, 0, profile.center[i], np.zeros((4, 16), np.float32))
    for tensor, steps in replayed(cache, trace).items():
        np.testing.assert_array_equal(steps, expected[tensor], err_msg=tensor)
