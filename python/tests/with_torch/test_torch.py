# SPDX-License-Identifier: Apache-2.0
"""Torch's tensors, through DLPack's exchange API where torch has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hashevict import Cache, Config, InvalidArgument


def cache(dtype: Any = "float32") -> Cache:
    return Cache(
        Config(
            num_layers=1,
            num_qo_heads=4,
            num_kv_heads=2,
            head_dim=16,
            capacity=24,
            dtype=dtype,
            backend="cpu",
            num_threads=1,
        )
    )


def test_torch_gives_numpys_results_to_the_bit() -> None:
    ours, theirs = cache(), cache()
    for _ in range(40):
        fused = torch.randn(8, 1, 16).transpose(0, 1)  # strided
        q, k, v = fused[:, :4], fused[:, 4:6], fused[:, 6:]
        out = ours.decode(0, q, k, v)
        assert isinstance(out, torch.Tensor)
        np.testing.assert_array_equal(out.numpy(), theirs.decode(0, q.numpy(), k.numpy(), v.numpy()))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_every_float_type_is_stored_as_it_is(dtype: str) -> None:
    held = cache(dtype)
    kind = getattr(torch, dtype)
    k, v = torch.randn(1, 2, 16).to(kind), torch.randn(1, 2, 16).to(kind)
    out = held.decode(0, torch.randn(1, 4, 16).to(kind), k, v)
    torch.testing.assert_close(out[0, ::2], v[0], rtol=1e-2, atol=1e-2)
    view = held.view(0, 1)
    keys = torch.from_dlpack(view.keys)
    assert keys.dtype == kind
    assert torch.equal(keys[0, 0], k[0, 1])


def test_wrong_tensors_are_named() -> None:
    held = cache()
    q, k, v = torch.randn(1, 4, 16), torch.randn(1, 2, 16), torch.randn(1, 2, 16)
    for arguments, message in (
        ({"k": k.double()}, r"k: dtype float64"),
        ({"row_to_sequence": torch.tensor([0])}, r"row_to_sequence: dtype int64"),
        ({"q": q.requires_grad_()}, r"q: "),
        ({"k": k.to("meta")}, r"k: "),
    ):
        given: dict[str, Any] = {"q": q.detach(), "k": k, "v": v, "out": torch.empty(1, 4, 16), **arguments}
        with pytest.raises(InvalidArgument, match=message):
            held.decode(0, **given)
    assert held.statistics().tokens_seen == 0


def test_importing_the_package_imports_no_torch() -> None:
    import subprocess
    import sys

    program = "import sys, hashevict; hashevict.Profile; print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=Path.cwd())
    assert done.stdout.split() == ["False", "False"]
