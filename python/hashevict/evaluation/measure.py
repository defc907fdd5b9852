# SPDX-License-Identifier: Apache-2.0
"""One example under one cache: a teacher-forced forward pass over the whole sequence."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hashevict.errors import InvalidArgument
from hashevict.evaluation.policies import Mode
from hashevict.evaluation.tasks import Example, Span, token_ids
from hashevict.transformers.models import use_attention

ROWS = 256
"""Logits whose logarithms are taken at once."""


@dataclass(frozen=True)
class Measured:
    """What the model made of an answer, or of running text."""

    nats: float
    num_right: int
    tokens: int


def cache_argument(model: Any) -> str:
    """The argument of a model that takes a cache; transformers 5.24 renamed it."""
    parameters = inspect.signature(model.forward).parameters
    return "cache" if "cache" in parameters else "past_key_values"


class Reader:
    """Lets a model read examples."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self._tokenizer = tokenizer
        self._argument = cache_argument(model)

    def ids(self, example: Example) -> tuple[Any, list[Span]]:
        """The tokens ``[1, tokens]`` of an example, and those that count.

        Raises:
            InvalidArgument: more tokens than the model takes, or an example that has no answer to measure
        """
        ids, spans = token_ids(self._tokenizer, example)
        most = getattr(self.model.config, "max_position_embeddings", None) or len(ids)
        if len(ids) > most:
            raise InvalidArgument(
                f"task {example.task!r}, example {example.index}: {len(ids)} tokens: expected at most {most}, those of "
                "the model"
            )
        return torch.tensor([ids], device=self.model.device), spans

    def measure(self, ids: Any, spans: Sequence[Span], cache: Any, mode: Mode) -> list[Measured]:
        """Measures the tokens of each span, given the true ones before.

        Args:
            ids: ``[1, tokens]``
            spans: ascending; tokens before the first are the prompt, at least 1
            cache: empty, or None: the full cache
            mode: ``known``: the prompt but its last token is one pass, the rest another
        """
        if cache is None:
            use_attention(self.model, "sdpa")
        prompt, end = spans[0][0], spans[-1][1]
        kept = end - prompt
        options: dict[str, Any] = {"use_cache": cache is not None or mode == "known"}
        if cache is not None:
            options[self._argument] = cache
        with torch.no_grad():
            if mode == "streamed" or prompt == 1:
                out = self.model(input_ids=ids[:, : end - 1], logits_to_keep=kept, **options)
            else:
                first = self.model(input_ids=ids[:, : prompt - 1], logits_to_keep=1, **options)
                options[self._argument] = cache if cache is not None else first.past_key_values
                out = self.model(input_ids=ids[:, prompt - 1 : end - 1], logits_to_keep=kept, **options)
        return [_measured(out.logits[0, first - prompt : last - prompt], ids[0, first:last]) for first, last in spans]


def _measured(logits: Any, wanted: Any) -> Measured:
    nats, right = 0.0, 0
    for part, tokens in zip(logits.split(ROWS), wanted.split(ROWS), strict=True):
        scores = part.float()
        nats += float((scores.logsumexp(-1) - scores.gather(-1, tokens[:, None])[:, 0]).sum())
        right += int((scores.argmax(-1) == tokens).sum())
    return Measured(nats, right, len(wanted))
