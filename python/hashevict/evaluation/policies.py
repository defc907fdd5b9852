# SPDX-License-Identifier: Apache-2.0
"""Policies under evaluation: the library's rules, and those of plugins. Each makes a transformers ``Cache``.

A plugin is a module with ``POLICIES: dict[str, Callable[[model, PolicyContext], Cache]]``, and optionally
``SLOT_BYTES: dict[str, int]``: what each policy stores in a slot beside key and value (default 4, the position).
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hashevict.config import Rule
from hashevict.errors import InvalidArgument
from hashevict.profile import Profile

Mode = Literal["streamed", "known"]
"""``streamed``: tokens come one by one, the question last. ``known``: the prompt, which ends with the question, attends
in full and is compressed once; then the answer comes.
"""

POSITION_BYTES = 4
FULL = "full"

UNIFORM = "uniform"
CALIBRATED = "calibrated"
LAYERED = "layered"
ALLOCATIONS = (UNIFORM, CALIBRATED, LAYERED)
"""The same slots in every head; divided by the profile among all heads; or among the layers, equal within each."""


@dataclass(frozen=True)
class PolicyContext:
    """What a policy is told of one example."""

    num_tokens: int
    """Tokens of the whole sequence, the answer included."""
    capacities: NDArray[np.int32]
    """``[num_layers, num_kv_heads]``: the slots of each head of the layers with full attention. A policy that divides
    slots by itself, per text, keeps to their sum.
    """
    profile: Profile | None
    """The model's profile, if one was given. ``capacities`` are divided by it already if the row says so."""
    seed: int
    """Of draws and projections: the same for all policies, another for each example."""
    mode: Mode = "streamed"


MakeCache = Callable[[Any, PolicyContext], Any]
"""Makes the cache of one example, for one row of a batch. It gets all tokens in one forward pass (``streamed``), or the
prompt in one and the answer in another (``known``). It sets the model's attention implementation, if it has its own.
"""


@dataclass(frozen=True)
class Policy:
    """A policy by name."""

    name: str
    make: MakeCache | None
    """None: the full cache."""
    rule: Rule | None = None
    """Of the library's rules; sizes their slots."""
    slot_bytes: int = POSITION_BYTES
    """Of others: in each slot, beside key and value."""


RULES: dict[str, Rule] = {
    "window": Rule(policy="window"),
    "random": Rule(policy="random", recent_fraction=0.5),
    "paper": Rule("paper"),
    "authors": Rule("authors"),
    "superseded": Rule("superseded"),
    "mean": Rule(policy="mean", hash_bits=128, recent_fraction=0.5),
    "importance": Rule(policy="importance", importance_source="key", recent_fraction=0.5),
    "hidden": Rule(policy="importance", importance_source="given", recent_fraction=0.5),
    "recall": Rule("recall"),
}
"""The library's rules as rows of a table. ``NAME:FIELD=VALUE,...`` changes fields of one."""


def policies_of(names: Sequence[str], plugins: Sequence[str] = ()) -> list[Policy]:
    """The policies of these names, ``full``, the library's and those of plugins.

    Args:
        names: such as ``mean`` or ``mean:hash_bits=64,recent_fraction=0.3``
        plugins: modules by name, or files

    Raises:
        InvalidArgument: a name that nobody knows, or a plugin that is none
    """
    known: dict[str, Policy] = {}
    for plugin in plugins:
        known.update(_plugged(plugin))
    return [_policy(name, known) for name in names]


def _policy(name: str, plugged: Mapping[str, Policy]) -> Policy:
    if name == FULL:
        return Policy(FULL, None)
    if name in plugged:
        return plugged[name]
    base, _, changes = name.partition(":")
    if base not in RULES:
        raise InvalidArgument(f"policy {name!r}: expected one of {', '.join([FULL, *RULES, *plugged])}")
    rule = _changed(name, RULES[base], changes)
    return Policy(name, lambda model, context: _library_cache(model, rule, context), rule)


def _changed(name: str, rule: Rule, changes: str) -> Rule:
    fields = {field.name for field in dataclasses.fields(Rule)} - {"preset", "policy", "seed"}
    given: dict[str, Any] = {}
    for change in changes.split(",") if changes else []:
        field, _, value = change.partition("=")
        if field not in fields or not value:
            raise InvalidArgument(f"policy {name!r}: {change!r}: expected FIELD=VALUE with a field of a rule")
        try:
            given[field] = json.loads(value)
        except ValueError:
            given[field] = value
    return dataclasses.replace(rule, **given)


def _library_cache(model: Any, rule: Rule, context: PolicyContext) -> Any:
    import torch

    from hashevict.transformers import HashEvictCache

    return HashEvictCache(
        model,
        context.capacities,
        profile=context.profile,
        rule=dataclasses.replace(rule, seed=context.seed),
        prompt_attention="streamed" if context.mode == "streamed" else "full",
        num_threads=torch.get_num_threads(),
    )


def _plugged(plugin: str) -> dict[str, Policy]:
    module = _module(plugin)
    made = getattr(module, "POLICIES", None)
    if not isinstance(made, dict):
        raise InvalidArgument(f"plugin {plugin}: expected a module with a dict POLICIES")
    sizes = getattr(module, "SLOT_BYTES", {})
    return {name: Policy(name, make, None, sizes.get(name, POSITION_BYTES)) for name, make in made.items()}


def _module(plugin: str) -> Any:
    """Imports a module by name, or a file or a package's folder by path."""
    path = Path(plugin)
    try:
        if not path.exists():
            return importlib.import_module(plugin)
        sys.path.insert(0, str(path.resolve().parent))
        return importlib.import_module(path.stem)
    except (ImportError, SyntaxError) as error:
        raise InvalidArgument(f"plugin {plugin}: {error}") from error
