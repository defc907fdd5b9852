# SPDX-License-Identifier: Apache-2.0
"""Tensors of libraries that speak DLPack and nothing else, of its first version and of the present one."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from caches import config, states

from hashevict import Cache, InvalidArgument


class Foreign:
    """An array that shows nothing but DLPack."""

    def __init__(self, array: Any, versioned: bool = True) -> None:
        self.array = array
        self.versioned = versioned

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()  # type: ignore[no-any-return]

    def __dlpack__(self, **options: Any) -> Any:
        if not self.versioned and options:
            raise TypeError("unexpected keyword argument")
        return self.array.__dlpack__(**options)


class OnCuda(Foreign):
    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, **options: Any) -> Any:
        assert options["stream"] == -1  # the call does its own ordering
        capsule = self.array.__dlpack__()
        pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
        pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
        ctypes.c_int32.from_address(pointer_of(capsule, b"dltensor") + 8).value = 2  # DLTensor.device.device_type
        return capsule


@pytest.mark.parametrize("versioned", [False, True])
def test_foreign_tensors_are_read_and_written_in_place(rng: np.random.Generator, versioned: bool) -> None:
    ours, theirs = Cache(config()), Cache(config())
    for _ in range(30):
        fused = states(rng, 1, 8)
        q, k, v = fused[:, :4], fused[:, 4:6], fused[:, 6:]
        out = np.full((1, 4, 16), 77, np.float32)
        foreign = [Foreign(array, versioned) for array in (q, k, v, out)]
        returned = theirs.decode(0, *foreign[:3], out=foreign[3])
        assert returned is foreign[3]
        np.testing.assert_array_equal(out, ours.decode(0, q, k, v))


def test_what_a_foreign_library_refuses_is_named(rng: np.random.Generator, cache: Cache) -> None:
    q, k, v = states(rng, 1, 4), states(rng, 1, 2), states(rng, 1, 2)
    fixed = np.zeros((1, 4, 16), np.float32)
    fixed.flags.writeable = False
    with pytest.raises(InvalidArgument, match=r"out: .*(read-?only|Cannot export)"):
        cache.decode(0, q, k, v, out=Foreign(fixed))
    with pytest.raises(InvalidArgument, match=r"k: dtype float64"):
        cache.decode(0, q, Foreign(k.astype(np.float64)), v)
    with pytest.raises(InvalidArgument, match=r"out: needed"):
        cache.decode(0, Foreign(q), k, v)
    assert cache.statistics().tokens_seen == 0


def test_memory_that_is_elsewhere_is_refused(rng: np.random.Generator, cache: Cache) -> None:
    out = np.zeros((1, 4, 16), np.float32)
    with pytest.raises(InvalidArgument, match=r"q: on CUDA device 0: expected host memory"):
        cache.decode(0, OnCuda(states(rng, 1, 4)), states(rng, 1, 2), states(rng, 1, 2), out=out)  # type: ignore[type-var]
