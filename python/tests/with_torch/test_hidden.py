# SPDX-License-Identifier: Apache-2.0
"""Importances from hidden states: what the cache evicts is what the library evicts when a test hands it importances
that it computed itself, from hidden states that it caught itself.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from models import forward, generate, hidden_profile, prompts, tiny

from hashevict import Cache, Config, HashEvictCache, Profile, Rule

CAPACITY = 20
GIVEN = Rule(policy="importance", importance_source="given", recent_fraction=0.5)


def cache_of(model: Any, profile: Profile, **options: Any) -> HashEvictCache:
    slots = np.full(profile.quantiles.shape[:2], CAPACITY, np.int32)
    return HashEvictCache(model, slots, profile=profile, num_threads=1, **options)


class Caught:
    """What the norms of a tiny llama give its attention, pass by pass. Masks ``[batch, tokens]`` name real tokens."""

    def __init__(self, model: Any) -> None:
        self.passes: list[tuple[list[Any], Any]] = []
        self._model = model
        self._states: list[Any] = []
        for layer in model.model.layers:
            layer.input_layernorm.register_forward_hook(lambda module, args, out: self._states.append(out))

    def read(self, ids: Any, cache: HashEvictCache, real: Any) -> Any:
        self._states.clear()
        masks = [*(mask for _, mask in self.passes), real]
        logits = forward(self._model, ids, cache, attention_mask=torch.cat(masks, 1))
        self.passes.append((list(self._states), real))
        return logits

    def importances(self, profile: Profile, layer: int, row: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """``[real tokens, num_kv_heads]``, head by head and in single precision."""
        assert profile.hidden_weight is not None and profile.hidden_bias is not None
        hidden = torch.cat([states[layer][row][real[row].bool()] for states, real in self.passes]).float().numpy()
        heads = []
        for weight, bias in zip(profile.hidden_weight[layer], profile.hidden_bias[layer], strict=True):
            first, second = np.flatnonzero(weight)
            heads.append((hidden[:, first] * weight[first] + hidden[:, second] * weight[second]) + bias)
        return np.stack(heads, 1)


def expect_the_librarys_victims(caught: Caught, cache: HashEvictCache, profile: Profile, mode: Any = "replay") -> None:
    """The first pass is a prompt, reduced by ``mode``; later tokens come one by one. Keys do not matter to the rule."""
    for row in range(caught.passes[0][1].shape[0]):
        prompt = int(caught.passes[0][1][row].sum())
        for layer in range(2):
            importance = caught.importances(profile, layer, row)
            zeros = np.zeros((len(importance), 2, 16), np.float32)
            shape = {"num_layers": 1, "num_qo_heads": 2, "num_kv_heads": 2, "head_dim": 16, "capacity": CAPACITY}
            alone = Cache(Config(**shape, max_batch_tokens=64, rule=GIVEN, dtype="float32", backend="cpu"))
            rows = (slice(0, prompt), *(slice(i, i + 1) for i in range(prompt, len(zeros))))
            for part in rows:
                taken = {"importance": importance[part]}
                if part.stop == prompt and part.start == 0:
                    offsets = np.array([0, prompt], np.int32)
                    alone.prefill(0, None, zeros[part], zeros[part], mode=mode, cu_seqlens=offsets, **taken)
                else:
                    alone.append(0, None, zeros[part], zeros[part], **taken)
            assert len(importance) > CAPACITY
            for head in range(2):
                ours, theirs = (
                    np.asarray(view.positions) for view in (cache.native.view(layer, head), alone.view(0, head))
                )
                np.testing.assert_array_equal(ours[row], theirs[0])


@pytest.mark.parametrize("options", [{}, {"prompt_attention": "streamed"}, {"prompt": "recent"}], ids=str)
@pytest.mark.parametrize("padding", [[0, 0], [9, 0]], ids=str)
def test_the_least_important_tokens_go(options: dict[str, Any], padding: list[int]) -> None:
    model, profile = tiny("llama"), hidden_profile()
    cache, caught = cache_of(model, profile, rule=GIVEN, **options), Caught(model)
    caught.read(*_with(cache, prompts(2, 40, padding)))
    ids, real = prompts(2, 150)  # longer than the workspace, so that it is cut
    real[1, 140:] = 0
    caught.read(ids, cache, real)
    for _ in range(6):
        caught.read(*_with(cache, prompts(2, 1)))
    assert cache.statistics().evictions > 0
    expect_the_librarys_victims(caught, cache, profile, options.get("prompt", "replay"))


def test_padding_behind_a_prompt_stays_out() -> None:
    model, profile = tiny("llama"), hidden_profile()
    for options in ({}, {"prompt_attention": "streamed"}):
        cache, caught = cache_of(model, profile, **options), Caught(model)
        ids, real = prompts(2, 40)
        real[0, 33:] = 0
        caught.read(ids, cache, real)
        expect_the_librarys_victims(caught, cache, profile)


def test_importances_are_of_single_precision_under_autocast() -> None:
    model, profile = tiny("llama"), hidden_profile()
    cache, caught = cache_of(model, profile), Caught(model)
    with torch.autocast("cpu", torch.bfloat16):
        caught.read(*_with(cache, prompts(1, 40)))
        caught.read(*_with(cache, prompts(1, 1)))
    expect_the_librarys_victims(caught, cache, profile)


def test_a_copy_goes_on_as_the_cache_does() -> None:
    model, profile = tiny("llama"), hidden_profile()
    cache = cache_of(model, profile)
    forward(model, prompts(2, 30)[0], cache)
    twin = copy.deepcopy(cache)
    token = prompts(2, 1)[0]
    torch.testing.assert_close(forward(model, token, cache), forward(model, token, twin))
    assert cache.native.save(1) == twin.native.save(1)


def test_hidden_weights_make_their_rule_the_default() -> None:
    model, hidden = tiny("llama"), hidden_profile()
    weight, bias = np.ones((2, 2, 16), np.float32), np.zeros((2, 2), np.float32)
    keys = Profile(hidden.quantiles, importance_weight=weight, importance_bias=bias)
    codes = {"projection": np.ones((2, 2, 16, 16), np.float32), "center": weight}
    found = []
    for profile in (hidden, hidden.replace(importance_weight=weight, importance_bias=bias, **codes), keys):
        cache = cache_of(model, profile)
        forward(model, prompts(1, 30)[0], cache)
        rule = cache.native.config.rule
        assert isinstance(rule, Rule)
        assert rule.recent_fraction == 0.5
        found.append((rule.policy, rule.importance_source == "given" and rule.policy == "importance"))
    assert found == [("importance", True), ("importance", True), ("superseded", False)]


def test_hooks_come_once_and_leave_other_caches_alone() -> None:
    from transformers import DynamicCache

    model, profile = tiny("llama"), hidden_profile()
    ids, mask = prompts(2, 30, [4, 0])
    weight, bias = np.ones((2, 2, 16), np.float32), np.zeros((2, 2), np.float32)
    both = profile.replace(importance_weight=weight, importance_bias=bias)
    rules = ("superseded", Rule(policy="importance", importance_source="key"))
    others = [lambda: None, lambda: DynamicCache(config=model.config)]
    others += [lambda rule=rule: cache_of(model, both, rule=rule) for rule in rules]
    before = [generate(model, ids, mask, other()) for other in others]
    assert not any(module._forward_pre_hooks for module in model.modules())
    for _ in range(2):
        cache_of(model, profile)
    assert [len(layer.self_attn._forward_pre_hooks) for layer in model.model.layers] == [1, 1]
    for other, expected in zip(others, before, strict=True):
        assert torch.equal(generate(model, ids, mask, other()), expected)
    cache = cache_of(model, both, rule="superseded")
    forward(model, ids, cache)
    assert all(layer.hidden is None for layer in cache.bounded)


def _with(cache: HashEvictCache, prompt: tuple[Any, Any]) -> tuple[Any, HashEvictCache, Any]:
    ids, mask = prompt
    return ids, cache, mask
