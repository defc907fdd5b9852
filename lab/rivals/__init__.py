# SPDX-License-Identifier: Apache-2.0
"""Eviction policies of others, simulated exactly: a plugin of ``hashevict.evaluate``.

Each has its paper's own settings. ``NAME_half`` is the same rule with half of each head's capacity recent, as the
library's rules have it; so has ``kvzip``, which does not stream and says nothing of recent tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rivals.cache import Context, SimulatedCache
from rivals.given import GivenImportance
from rivals.h2o import H2o
from rivals.keydiff import KeyDiff
from rivals.kvzap import SINKS, WINDOW, LinearImportance
from rivals.kvzip import TextScores
from rivals.positional import RandomPinned, StreamingLlm
from rivals.r_kv import RKv
from rivals.rule import MakeRule
from rivals.snapkv import AdaKv, SnapKv
from rivals.tova import Tova

MakeCache = Callable[[Any, Context], SimulatedCache]


def _of_rule(name: str, rule: MakeRule) -> MakeCache:
    return lambda model, context: SimulatedCache(model, name, rule, context)


def _kvzap(name: str, rule: MakeRule) -> MakeCache:
    return lambda model, context: SimulatedCache(
        model, name, rule, context, importance=LinearImportance(model), wants_hidden=True
    )


def _kvzip(name: str, rule: MakeRule) -> MakeCache:
    return lambda model, context: SimulatedCache(model, name, rule, context, importance=TextScores(model))


POLICIES: dict[str, MakeCache] = {
    name: kind(name, rule)
    for name, kind, rule in (
        ("streaming_llm", _of_rule, StreamingLlm),
        ("random_pinned", _of_rule, RandomPinned),
        ("h2o", _of_rule, H2o),
        ("tova", _of_rule, Tova),
        ("tova_half", _of_rule, partial(Tova, recent=0.5)),
        ("snapkv", _of_rule, SnapKv),
        ("snapkv_half", _of_rule, partial(SnapKv, recent=0.5)),
        ("ada_kv", _of_rule, AdaKv),
        ("r_kv", _of_rule, RKv),
        ("r_kv_half", _of_rule, partial(RKv, recent=0.5)),
        ("keydiff", _of_rule, KeyDiff),
        ("keydiff_half", _of_rule, partial(KeyDiff, recent=0.5)),
        ("kvzap_linear", _kvzap, partial(GivenImportance, sinks=SINKS, window=WINDOW)),
        ("kvzap_linear_half", _kvzap, partial(GivenImportance, sinks=SINKS, recent=0.5)),
        ("kvzip", _kvzip, partial(GivenImportance, sinks=SINKS, recent=0.5)),
    )
}

_SUM = 4 + 4  # the position, and one fp32 number

SLOT_BYTES: dict[str, int] = {
    name: _SUM
    for name in POLICIES
    if name.removesuffix("_half") in ("h2o", "snapkv", "ada_kv", "r_kv", "kvzap_linear", "kvzip")
}
"""What a slot holds beside key and value, where it is more than its position."""
