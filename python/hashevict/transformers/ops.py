# SPDX-License-Identifier: Apache-2.0
"""The cache's part of attention as operations of torch, so that ``torch.compile`` makes one graph of a model.

A graph cannot hold a cache. Its operations take the cache's counter, int64 ``[2]`` in host memory: the cache's number,
and the tokens that it has seen. They change the counter, which keeps them in order; and since the graph reads lengths
from it, one graph holds for every length and for every cache of the same kind.
"""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from hashevict.transformers.cache import HashEvictCache
    from hashevict.transformers.layer import BoundedLayer

_numbers = itertools.count(1)
_caches: weakref.WeakValueDictionary[int, HashEvictCache] = weakref.WeakValueDictionary()


def counter_of(cache: HashEvictCache) -> Any:
    """A counter by which operations find the cache."""
    number = next(_numbers)
    _caches[number] = cache
    return torch.tensor([number, 0])


def _layer(counter: Any, index: int, mask: Any) -> tuple[BoundedLayer, Any]:
    """A bounded layer of a cache, and the mask of the present forward pass."""
    cache = _caches[int(counter[0])]
    return cache.bounded[index], cache.shared_mask(index, mask)


def _prefill(counter: Any, index: int, query: Any, key: Any, value: Any, hidden: Any, mask: Any) -> None:
    layer, mask = _layer(counter, index, mask)
    layer.prefill(query, key, value, hidden, mask)
    counter[1] = layer.owner.counter[1]  # a graph may hand over a copy of the cache's own


def _decode(
    counter: Any,
    index: int,
    is_prompt: bool,
    query: Any,
    key: Any,
    value: Any,
    hidden: Any,
    mask: Any,
    sinks: Any,
    scaling: float,
    softcap: float,
) -> Any:
    layer, mask = _layer(counter, index, mask)
    out = layer.decode(is_prompt, query, key, value, hidden, mask, sinks, scaling, softcap)
    counter[1] = layer.owner.counter[1]
    return out


def _seen(counter: Any) -> Any:
    return counter[1].clone()


def _like_out(counter: Any, index: int, is_prompt: bool, query: Any, *rest: Any) -> Any:
    rows, heads, tokens, size = query.shape
    return query.new_empty((rows, tokens, heads, size))


def _operation(name: str, function: Any, schema: str, fake: Any = None) -> Any:
    changed = ("counter",) if "(a!)" in schema else ()
    tags = (torch.Tag.cudagraph_unsafe,)  # a replay would repeat kernels, and not what Python counts
    operation = torch.library.custom_op(f"hashevict::{name}", function, mutates_args=changed, schema=schema, tags=tags)
    if fake is not None:
        operation.register_fake(fake)
    return operation


_STATES = "Tensor query, Tensor key, Tensor value, Tensor? hidden, Tensor? mask"

prefill = _operation("prefill", _prefill, f"(Tensor(a!) counter, int index, {_STATES}) -> ()")
"""Takes the prompt of a layer in (:meth:`hashevict.transformers.layer.BoundedLayer.prefill`)."""

decode = _operation(
    "decode",
    _decode,
    f"(Tensor(a!) counter, int index, bool is_prompt, {_STATES}, Tensor? sinks, float scaling, float softcap)"
    " -> Tensor",
    _like_out,
)
"""Takes tokens of a layer in and attends (:meth:`hashevict.transformers.layer.BoundedLayer.decode`)."""

seen = _operation("seen", _seen, "(Tensor counter) -> Tensor", lambda counter: counter.new_empty(()))
"""The tokens seen as a tensor of its own: a compiler may read a view of the counter as late as after the step."""
