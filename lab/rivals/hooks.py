# SPDX-License-Identifier: Apache-2.0
"""What a cache is not handed by transformers: hidden states and token ids. The hooks stay on a model, and do nothing
but for a :class:`SimulatedCache` that wants them.
"""

from __future__ import annotations

from typing import Any

from hashevict.errors import Unsupported
from hashevict.transformers.scores import attention_modules, hidden_states
from rivals.cache import SimulatedCache, SimulatedLayer

MARK = "_hashevict_rivals_hook"


def cache_of(kwargs: dict[str, Any]) -> SimulatedCache | None:
    """The cache that a module is called with. Transformers renamed the argument in 5.24."""
    cache = kwargs.get("past_key_values", kwargs.get("cache"))
    return cache if isinstance(cache, SimulatedCache) else None


def give_hidden_states(model: Any) -> None:
    """Lets caches that want them have the hidden states that attention is given."""

    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        cache = cache_of(kwargs)
        if cache is not None and cache.wants_hidden:
            layer = cache.layers[module.layer_idx]
            if isinstance(layer, SimulatedLayer):
                layer.hidden = hidden_states(args, kwargs)[0]

    for _, module in attention_modules(model):
        if not hasattr(module, MARK):
            module.register_forward_pre_hook(hook, with_kwargs=True)
            setattr(module, MARK, True)


def give_token_ids(model: Any) -> None:
    """Lets caches have the ids of their tokens, before the pass that brings them."""

    def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        cache = cache_of(kwargs)
        if cache is None:
            return
        ids = args[0] if args else kwargs.get("input_ids")
        if ids is None:
            raise Unsupported(f"{cache.name}: the model is called without input_ids")
        cache.token_ids += ids[0].tolist()

    if not hasattr(model, MARK):
        model.register_forward_pre_hook(hook, with_kwargs=True)
        setattr(model, MARK, True)
