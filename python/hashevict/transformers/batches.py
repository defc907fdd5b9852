# SPDX-License-Identifier: Apache-2.0
"""Batches of the library from transformers' masks: padding never enters the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from hashevict.errors import Unsupported


@dataclass(frozen=True)
class Batch:
    """Which of the new tokens ``[batch, tokens]`` are real, as the library's rows."""

    mask: Any
    """The mask that it was made from, or None."""
    row_to_sequence: Any
    """int32 ``[rows]``; -1: a piece of padding."""
    cu_seqlens: Any
    """int32 ``[rows + 1]``, or None: one token a row."""
    packed: Any
    """int64 ``[real tokens]`` into the flattened tokens where padding does not lead its row; else None."""
    has_padding: bool


def batch_of(mask: Any, shape: tuple[int, int], sequences: list[int], device: Any) -> Batch:
    """Describes the new tokens of a forward pass.

    Args:
        mask: bool ``[batch, 1, tokens, tokens]``, or None: no padding
        shape: batch, tokens
        sequences: of each row of the batch

    Raises:
        Unsupported: a mask that is not causal attention with padding
    """
    rows, tokens = shape
    valid = None if mask is None else valid_tokens(mask, shape)
    if valid is None or bool(valid.all()):
        offsets = None if tokens == 1 else _int32(range(0, rows * tokens + 1, tokens), device)
        return Batch(mask, _int32(sequences, device), offsets, None, False)
    if bool((valid[:, 1:] | ~valid[:, :-1]).all()):  # padding on the left: each row is a skipped piece and a real one
        counts = valid.sum(1).tolist()
        owners, ends = [], [0]
        for row, count in enumerate(counts):
            owners += [-1, sequences[row]]
            ends += [(row + 1) * tokens - count, (row + 1) * tokens]
        return Batch(mask, _int32(owners, device), _int32(ends, device), None, True)
    ends = torch.nn.functional.pad(valid.sum(1).cumsum(0), (1, 0)).to(torch.int32)
    return Batch(mask, _int32(sequences, device), ends, valid.flatten().nonzero().flatten(), True)


def valid_tokens(mask: Any, shape: tuple[int, int]) -> Any:
    """Which of the new tokens are real, bool ``[batch, tokens]``."""
    rows, tokens = shape
    if mask.dtype != torch.bool or mask.dim() != 4 or mask.shape[1] != 1 or mask.shape[2:] != (tokens, tokens):
        raise Unsupported(
            f"attention_mask: {str(mask.dtype).removeprefix('torch.')} {list(mask.shape)}: expected padding alone (a "
            "mask of two dimensions); masks of one's own hide tokens that the cache may have evicted"
        )
    mask = mask.expand(rows, -1, -1, -1)
    valid = mask.diagonal(dim1=-2, dim2=-1)[:, 0]
    if tokens > 1:
        causal = torch.ones(tokens, tokens, dtype=torch.bool, device=mask.device).tril()
        expected = causal & valid[:, None, :]
        if not bool(((mask[:, 0] == expected) | ~valid[:, :, None]).all()):
            raise Unsupported("attention_mask: expected causal attention and padding; other masks are not supported")
    return valid


def _int32(values: Any, device: Any) -> Any:
    return torch.tensor(list(values), dtype=torch.int32, device=device)
