# SPDX-License-Identifier: Apache-2.0
"""Compiled models: one graph with the cache's operations in it, and the tokens of the model that was not compiled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from models import MIXED_FAMILIES, cache_name, forward, generate, hidden_profile, prompts, tiny

from hashevict import HashEvictCache, Unsupported


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Graphs:
    """A compiler that runs graphs as they are, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: Any, _: Any) -> Any:
        self.count += 1
        return graph.forward


def cache_of(model: Any, **options: Any) -> HashEvictCache:
    return HashEvictCache(model, 20, num_threads=1, **options)


def step_by_step(model: Any, ids: Any, cache: HashEvictCache, steps: int) -> list[int]:
    """Greedy tokens of bare forward passes, without a mask."""
    tokens: list[int] = []
    for _ in range(steps):
        logits = forward(model, torch.tensor([tokens[-1:]]) if tokens else ids, cache)
        tokens.append(int(logits[0, -1].argmax()))
    return tokens


@pytest.mark.parametrize("goes_by_hidden", [False, True], ids=["keys", "hidden"])
def test_all_decode_steps_of_all_caches_are_one_graph(goes_by_hidden: bool) -> None:
    model = tiny("llama")
    options: dict[str, Any] = {"profile": hidden_profile(), "max_length": 20} if goes_by_hidden else {}
    ids, _ = prompts(1, 9)
    expected = step_by_step(model, ids, cache_of(model, **options), 30)
    graphs = Graphs()
    model.forward = torch.compile(model.forward, fullgraph=True, backend=graphs)
    for _ in range(2):
        cache = cache_of(model, **options)
        assert step_by_step(model, ids, cache, 30) == expected
        assert cache.get_seq_length() == 9 + 29
        assert cache.statistics().evictions == 2 * 2 * (38 - 20)
        assert graphs.count == 2  # the prompt's, and that of every step


def test_a_graph_evicts_by_hidden_states_as_the_model_does() -> None:
    model = tiny("llama")
    options = {"profile": hidden_profile(), "max_length": 20, "prompt_attention": "streamed"}
    ids, mask = prompts(2, 30, [7, 0])
    plain = cache_of(model, **options)
    expected = generate(model, ids, mask, plain)
    model.forward = torch.compile(model.forward, fullgraph=True, backend=Graphs())
    cache = cache_of(model, **options)
    assert torch.equal(generate(model, ids, mask, cache), expected)
    for layer in range(2):
        for head in range(2):
            ours, theirs = (np.asarray(of.native.view(layer, head).positions) for of in (cache, plain))
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_oss"])
def test_generate_gives_the_same_tokens_in_a_padded_batch(family: str) -> None:
    model = tiny(family, **MIXED_FAMILIES.get(family, {}))
    ids, mask = prompts(2, 30, [7, 0])
    expected = generate(model, ids, mask, cache_of(model))
    graphs = Graphs()
    model.forward = torch.compile(model.forward, fullgraph=True, backend=graphs)
    assert torch.equal(generate(model, ids, mask, cache_of(model)), expected)
    assert graphs.count <= 3  # layers of transformers' own may count by a number, which begins as a constant


def test_beams_are_forked_between_steps() -> None:
    model = tiny("llama")
    ids, mask = prompts(2, 30, [3, 0])
    options = {"num_beams": 3, "max_new_tokens": 12}
    expected = generate(model, ids, mask, cache_of(model), **options)
    model.forward = torch.compile(model.forward, fullgraph=True, backend=Graphs())
    assert torch.equal(generate(model, ids, mask, cache_of(model), **options), expected)


@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_compilers_that_copy_and_reorder_keep_the_count(compiler: str) -> None:
    model = tiny("llama")
    ids, _ = prompts(1, 30)
    options: dict[str, Any] = {"prompt_attention": "streamed"}
    expected = step_by_step(model, ids, cache_of(model, **options), 8)
    model.forward = torch.compile(model.forward, fullgraph=True, backend=compiler)
    cache = cache_of(model, **options)
    assert step_by_step(model, ids, cache, 8) == expected
    assert cache.get_seq_length() == 30 + 7


def test_a_graph_refuses_by_name_and_the_cache_stays_as_it_was() -> None:
    model = tiny("llama")
    ids, _ = prompts(1, 6)
    expected = forward(model, ids, cache_of(model))
    compiled = torch.compile(model, fullgraph=True, backend=Graphs())
    cache = cache_of(model)
    mask = torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    mask[0, 0, 4, 1] = False
    with torch.no_grad(), pytest.raises(Unsupported, match="attention_mask: expected causal"):
        compiled(input_ids=ids, attention_mask=mask, **{cache_name(): cache})
    assert torch.equal(forward(model, ids, cache), expected)
