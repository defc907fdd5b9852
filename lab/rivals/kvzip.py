# SPDX-License-Identifier: Apache-2.0
"""KVzip's scores of the very text: a bound, as nothing that streams can know them."""

from __future__ import annotations

from typing import Any

from hashevict.transformers.scores import HeadScores
from rivals.cache import SimulatedCache
from rivals.hooks import give_token_ids
from rivals.rule import Floats


class TextScores:
    """The importance of a key is its KVzip+ score (KVzip: Kim et al. 2025, arXiv 2505.23416, section 3; KVzip+: arXiv
    2601.07891, section 3): the largest ``attention * |W_O v| / |h|`` that a query gives it while the model repeats the
    text, the largest of the group too. KVzip's own code (``attention/score.py``) takes the attention alone and repeats
    pieces of a long text one by one, after an instruction. Here the repetition is of the whole text, question and
    answer included, and follows it directly: the harness hands over no tokenizer. The first 4 tokens stay, for KVzip's
    system prompt.
    """

    def __init__(self, model: Any) -> None:
        give_token_ids(model)
        self._model = model
        self._scores: Any = None  # [layers, num_kv_heads, tokens]

    def __call__(self, cache: SimulatedCache, index: int, start: int, end: int) -> Floats:
        if index == 0:
            with HeadScores(self._model, cache.shape) as scores:
                self._scores = scores.read([*cache.token_ids, *cache.token_ids], range(end), end).scores
        scored: Floats = self._scores[index, :, start:end]
        return scored
