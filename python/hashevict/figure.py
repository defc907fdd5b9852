# SPDX-License-Identifier: Apache-2.0
"""Figures of a profile. Needs Matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hashevict.profile import Profile


def capacities_figure(profile: Profile, mean: float = 0.3, length: int = 1024, floor: int | None = None) -> Figure:
    """Draws the slots of each head, layers by heads.

    Args:
        profile: of a model
        mean: slots of a head on average, as a fraction of ``length``
        length: tokens of a sequence, the most slots of a head
        floor: the fewest slots of a head, as :meth:`hashevict.Profile.capacities` takes it

    Raises:
        InvalidArgument: slots that cannot be divided so

    Returns:
        The figure; ``figure.savefig("capacities.svg")`` writes it.
    """
    from matplotlib.figure import Figure

    capacities = profile.capacities(max(1, int(mean * length)), length, floor)
    figure = Figure(figsize=(1.5 + 0.28 * profile.num_layers, 1.6 + 0.28 * profile.num_kv_heads), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(capacities.T, vmin=0, vmax=length, aspect="auto", cmap="viridis")
    axes.set_xlabel("layer")
    axes.set_ylabel("KV head")
    axes.set_yticks(range(profile.num_kv_heads))
    axes.set_title(f"Slots of each head: {capacities.mean():.0f} of {length} on average")
    figure.colorbar(image, label="slots")
    return figure
