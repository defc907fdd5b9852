# SPDX-License-Identifier: Apache-2.0
"""Prints what torch's CUDA build cannot be imported without, as requirements of pip. Torch asks for all of CUDA."""

from __future__ import annotations

import re
from importlib.metadata import requires

NEEDED = ("cudnn", "cufile", "cusparselt", "nccl", "nvshmem")


def libraries(requirements: list[str]) -> list[str]:
    """The needed ones of a package's requirements; cufile is an extra of another package, without a version here."""
    found = {"cufile": "nvidia-cufile"}
    for requirement in requirements:
        match = re.match(r"(nvidia-([a-z]+)(?:-cu\d+)?)\s*\(?([=<>!~]=[^;,)\s]+)?", requirement)
        if match and match[2] in NEEDED:
            found[match[2]] = match[1] + (match[3] or "")
    return sorted(found.values())


if __name__ == "__main__":
    print("\n".join(libraries(requires("torch") or [])))
