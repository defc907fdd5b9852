# SPDX-License-Identifier: Apache-2.0
"""Profiles, and the division of slots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hashevict import InvalidArgument, InvalidData, Profile, capacities_figure, divide_slots


def profile(rng: np.random.Generator, **changes: Any) -> Profile:
    quantiles = np.sort(rng.random((3, 2, 9), np.float32), axis=2)
    return Profile(quantiles, **changes)


def test_divide_slots_is_exact_and_monotone(rng: np.random.Generator) -> None:
    quantiles = profile(rng).quantiles
    before = divide_slots(quantiles, 6 * 5, 100, 5)
    assert before.tolist() == [[5, 5]] * 3
    for total in range(31, 600, 7):
        slots = divide_slots(quantiles, total, 100, 5)
        assert slots.sum() == total and (slots >= before).all() and slots.max() <= 100
        before = slots


def test_slots_go_to_the_most_important_keys() -> None:
    quantiles = np.array([[[0.0, 0.1], [5.0, 10.0]]], np.float32)
    assert divide_slots(quantiles, 60, 50, 5).tolist() == [[10, 50]]


def test_profile_read_is_profile_written(rng: np.random.Generator, tmp_path: Path) -> None:
    path = tmp_path / "a.profile"
    written = profile(
        rng,
        importance_weight=rng.random((3, 2, 16), np.float32),
        importance_bias=rng.random((3, 2), np.float32),
        hidden_weight=rng.random((3, 2, 40), np.float32),
        hidden_bias=rng.random((3, 2), np.float32),
        about={"model": "x", "seed": 3},
    )
    written.write(path)
    first = path.read_bytes()
    read = Profile.read(path)
    for name in ("quantiles", "importance_weight", "importance_bias", "hidden_weight", "hidden_bias"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert read.about == written.about and read.projection is None
    read.write(path)
    assert path.read_bytes() == first


def test_hidden_weights_lie_beside_the_importance_weights(rng: np.random.Generator, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    weight, bias = rng.random((3, 2, 40), np.float32), rng.random((3, 2), np.float32)
    profile(rng, hidden_weight=weight, hidden_bias=bias).write(tmp_path / "a")
    tensors = load_file(tmp_path / "a")
    for layer in range(3):
        np.testing.assert_array_equal(tensors.pop(f"layers.{layer}.importance.hidden_weight"), weight[layer])
        np.testing.assert_array_equal(tensors.pop(f"layers.{layer}.importance.hidden_bias"), bias[layer])
    assert sorted(tensors) == [f"layers.{layer}.quantiles" for layer in range(3)]


@pytest.mark.parametrize(
    ("weight", "bias", "message"),
    [
        ((3, 2, 40), None, "hidden_weight and hidden_bias come together"),
        (None, (3, 2), "hidden_weight and hidden_bias come together"),
        ((2, 2, 40), (3, 2), r"profile.hidden_weight: float32 \[2, 2, 40\]: expected float32 of 3 dimensions"),
        ((3, 2), (3, 2), r"profile.hidden_weight: float32 \[3, 2\]: expected float32 of 3 dimensions"),
        ((3, 4, 40), (3, 2), "profile.hidden_weight: of 4 KV heads: expected 2"),
        ((3, 2, 40), (3, 3), "profile.hidden_bias: of 3 KV heads: expected 2"),
    ],
)
def test_hidden_weights_that_do_not_fit_are_refused(
    weight: tuple[int, ...] | None, bias: tuple[int, ...] | None, message: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    from safetensors.numpy import save_file

    shapes = {"hidden_weight": weight, "hidden_bias": bias}
    given = {name: np.zeros(shape, np.float32) for name, shape in shapes.items() if shape is not None}
    with pytest.raises(InvalidArgument, match=message):
        profile(rng, **given)
    tensors = {f"layers.{i}.importance.{name}": array[i] for name, array in given.items() for i in range(len(array))}
    tensors.update({f"layers.{i}.quantiles": np.zeros((2, 9), np.float32) for i in range(3)})
    save_file(tensors, tmp_path / "bad")
    with pytest.raises(InvalidData, match=message):
        Profile.read(tmp_path / "bad")


def test_mean_of_capacities_is_the_budget(rng: np.random.Generator) -> None:
    for mean, floor, least in ((60, 40, 40), (60, None, 20), (20, None, 16), (10, None, 10), (300, None, 66)):
        capacities = profile(rng).capacities(mean, 200, floor)
        assert capacities.mean() == min(mean, 200)
        assert capacities.min() >= least


def test_what_is_no_profile_is_refused(rng: np.random.Generator, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "bad"
    path.write_bytes(b"nonsense")
    with pytest.raises(InvalidData, match="not a safetensors file"):
        Profile.read(path)
    save_file({"layers.0.quantiles": np.zeros((2, 3), np.float32), "other": np.zeros(1, np.float32)}, path)
    with pytest.raises(InvalidData, match="other: a profile has no such tensor"):
        Profile.read(path)
    save_file({"layers.0.quantiles": np.array([[1, 0]], np.float32)}, path)
    with pytest.raises(InvalidData, match="ascending"):
        Profile.read(path)
    with pytest.raises(InvalidArgument, match="finite"):
        Profile(np.full((1, 1, 2), np.nan, np.float32))
    with pytest.raises(FileNotFoundError):
        Profile.read(tmp_path / "none")


def test_figure_shows_every_head(rng: np.random.Generator, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = capacities_figure(profile(rng), 0.5, 200)
    figure.savefig(tmp_path / "figure.svg")
    assert figure.axes[0].images[0].get_array().shape == (2, 3)
