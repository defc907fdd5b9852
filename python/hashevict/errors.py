# SPDX-License-Identifier: Apache-2.0
"""The exceptions of the package. A call that raises one has changed no state."""

from __future__ import annotations


class Error(Exception):
    """Base of all. Its text is the library's message: one line with the argument, its value and what was expected.

    Attributes:
        status: the name of the library's status, such as ``"invalid_argument"``.
    """

    status = "internal"


class InvalidArgument(Error, ValueError):
    """An argument is out of its range, or arguments contradict each other."""

    status = "invalid_argument"


class InvalidState(Error, RuntimeError):
    """The arguments are valid, but not in the cache's present state."""

    status = "invalid_state"


class Unsupported(Error, NotImplementedError):
    """This build, backend, device or model cannot do it; see :meth:`Cache.capabilities`."""

    status = "unsupported"


class OutOfMemory(Error, MemoryError):
    """The system gave no memory, or not the threads asked for."""

    status = "out_of_memory"


class InvalidData(Error, ValueError):
    """The bytes given to ``load`` are not a state of this cache, or a file is not a profile."""

    status = "invalid_data"


class BackendError(Error, RuntimeError):
    """The device's runtime reported an error."""

    status = "backend_error"


class Internal(Error, RuntimeError):
    """A defect of the library; please report it."""

    status = "internal"


def _of_status(status: str, message: str) -> Error:
    """The exception for a status of the library."""
    classes = (InvalidArgument, InvalidState, Unsupported, OutOfMemory, InvalidData, BackendError)
    return next((kind for kind in classes if kind.status == status), Internal)(message)
