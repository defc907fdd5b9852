# SPDX-License-Identifier: Apache-2.0
"""The caches in a model: one pass against a model that really is bounded, token by token."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import rivals
import torch
import transformers
from rivals import kvzap
from rivals.cache import SimulatedCache, SimulatedLayer
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from hashevict import HashEvictCache, Rule
from hashevict.errors import Error, InvalidArgument, Unsupported
from hashevict.transformers.scores import HeadScores

HEADS, GROUP, SIZE, LAYERS, VOCABULARY = 2, 2, 16, 2, 97
STREAMED = [name for name in rivals.POLICIES if name not in ("random_pinned", "kvzip")]
"""Rules that the oracle knows, and whose importance does not need the whole text."""


@dataclass(frozen=True)
class Context:
    capacities: Any
    seed: int = 0
    mode: Any = "streamed"


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS * GROUP,
        num_key_value_heads=HEADS,
        head_dim=SIZE,
        initializer_range=0.2,
    )
    return transformers.LlamaForCausalLM(config).double().eval()


@pytest.fixture
def weights(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> Iterator[Any]:
    """Weights of ``kvzap_linear`` for the model, at random."""
    monkeypatch.setattr(kvzap, "FOLDER", tmp_path)
    weight = rng.standard_normal((LAYERS, HEADS, 64)).astype(np.float32)
    np.savez(kvzap.file_of(model), weight=weight, bias=weight[..., 0], r2=weight[..., 0])
    return weight


def ids(rng: np.random.Generator, tokens: int) -> Any:
    return torch.from_numpy(rng.integers(0, VOCABULARY, (1, tokens)))


def logits(model: Any, tokens: Any, cache: Any = None, start: int = 0) -> Any:
    positions = torch.arange(start, start + tokens.shape[1])[None]
    with torch.no_grad():
        if cache is None:
            return model(tokens, use_cache=False).logits[0]
        return model(tokens, position_ids=positions, past_key_values=cache).logits[0]


def really_bounded(
    model: Any, tokens: Any, rule: str, capacities: Any, weight: Any, prompt: int = 0
) -> tuple[Any, list[oracle.Layer]]:
    """Logits of a model that is given one token at a time, and whose layers hold what the oracle holds."""
    layers = [oracle.Layer(rule, list(map(int, row)), SIZE**-0.5) for row in capacities]
    hidden: dict[int, Any] = {}

    def attend(module: Any, q: Any, k: Any, v: Any, mask: Any, *_: Any, **__: Any) -> tuple[Any, None]:
        layer = layers[module.layer_idx]
        t = len(layer.queries)
        if t == prompt > 0:
            layer.compress()
        state = hidden[module.layer_idx].float().numpy()
        given = weight[module.layer_idx] @ state + weight[module.layer_idx][:, 0] if weight is not None else None
        q, k, v = (x[0, :, 0].numpy() for x in (q, k, v))
        out = layer.step(q.reshape(HEADS, GROUP, SIZE), k, v, given, evict=t >= prompt)
        return torch.from_numpy(out).reshape(1, 1, HEADS * GROUP, SIZE), None

    def keep(module: Any, args: Any, kwargs: Any) -> None:
        hidden[module.layer_idx] = (args[0] if args else kwargs["hidden_states"])[0, 0]

    AttentionInterface.register("oracle", attend)
    AttentionMaskInterface.register("oracle", sdpa_mask)
    before = model.config._attn_implementation
    hooks = [layer.self_attn.register_forward_pre_hook(keep, with_kwargs=True) for layer in model.model.layers]
    model.set_attn_implementation("oracle")
    with torch.no_grad():
        found = [
            model(tokens[:, t : t + 1], position_ids=torch.tensor([[t]]), use_cache=False).logits[0, 0]
            for t in range(tokens.shape[1])
        ]
    model.set_attn_implementation(before)
    for hook in hooks:
        hook.remove()
    return torch.stack(found), layers


def simulation(cache: SimulatedCache, layer: int) -> Any:
    found = cache.layers[layer]
    assert isinstance(found, SimulatedLayer) and found.simulation is not None
    return found.simulation


@pytest.mark.parametrize("mode", ["streamed", "known"])
@pytest.mark.parametrize("rule", STREAMED)
def test_one_pass_is_a_model_that_really_is_bounded(
    rng: np.random.Generator, model: Any, weights: Any, rule: str, mode: str
) -> None:
    capacities = rng.integers(12, 30, (LAYERS, HEADS)).astype(np.int32)
    prompt = 50 if mode == "known" else 0
    tokens = ids(rng, 64)
    cache = rivals.POLICIES[rule](model, Context(capacities, mode=mode))
    found = [logits(model, tokens[:, :prompt], cache)] if prompt else []
    found.append(logits(model, tokens[:, prompt:], cache, prompt))
    expected, layers = really_bounded(model, tokens, rule, capacities, weights, prompt)
    for layer in range(LAYERS):
        deaths = [[layers[layer].death(head, t) for t in range(64)] for head in range(HEADS)]
        np.testing.assert_array_equal(simulation(cache, layer).deaths, deaths)
    torch.testing.assert_close(torch.cat(found), expected, rtol=1e-9, atol=1e-9)
    assert (expected - logits(model, tokens)).abs().max() > 1e-3, "the budget has an effect"


@pytest.mark.parametrize("rule", rivals.POLICIES)
def test_a_capacity_for_all_tokens_gives_exactly_full_attention(
    rng: np.random.Generator, model: Any, weights: Any, rule: str
) -> None:
    tokens = ids(rng, 40)
    cache = rivals.POLICIES[rule](model, Context(np.full((LAYERS, HEADS), 40, np.int32)))
    assert torch.equal(logits(model, tokens, cache), logits(model, tokens))


@pytest.mark.parametrize("prompt", [0, 40])
def test_kvzip_keeps_the_keys_that_the_repetition_needs(rng: np.random.Generator, model: Any, prompt: int) -> None:
    tokens, capacities = ids(rng, 50), np.full((LAYERS, HEADS), 21, np.int32)
    cache = rivals.POLICIES["kvzip"](model, Context(capacities, mode="known" if prompt else "streamed"))
    passes = [(0, prompt), (prompt, 50)] if prompt else [(0, 50)]
    given = []
    for start, end in passes:
        logits(model, tokens[:, start:end], cache, start)
        twice = 2 * tokens[0, :end].tolist()
        with HeadScores(model, cache.shape) as scores, torch.no_grad():
            given.append(scores.read(twice, range(end), end).scores[:, :, start:])
    found = np.concatenate(given, axis=2)
    for layer in range(LAYERS):
        plain = oracle.Layer("kvzip", [21, 21], 1.0)
        nothing = np.zeros((HEADS, GROUP, SIZE))
        for t in range(50):
            if t == prompt > 0:
                plain.compress()
            plain.step(nothing, nothing[:, 0], nothing[:, 0], found[layer, :, t], evict=t >= prompt)
        deaths = [[plain.death(head, t) for t in range(50)] for head in range(HEADS)]
        np.testing.assert_array_equal(simulation(cache, layer).deaths, deaths)


def test_streaming_llm_is_the_librarys_window_with_sinks(rng: np.random.Generator, model: Any) -> None:
    single, tokens = copy.deepcopy(model).float(), ids(rng, 60)
    theirs = HashEvictCache(
        single, 20, rule=Rule(policy="window", num_sink_tokens=4), prompt_attention="streamed", num_threads=1
    )
    expected = logits(single, tokens, theirs)
    ours = rivals.POLICIES["streaming_llm"](single, Context(np.full((LAYERS, HEADS), 20, np.int32)))
    torch.testing.assert_close(logits(single, tokens, ours), expected, rtol=1e-3, atol=1e-4)


def test_a_reset_cache_starts_anew(rng: np.random.Generator, model: Any) -> None:
    tokens = ids(rng, 40)
    cache = rivals.POLICIES["kvzip"](model, Context(np.full((LAYERS, HEADS), 15, np.int32)))
    first = logits(model, tokens, cache)
    cache.reset()
    assert torch.equal(logits(model, tokens, cache), first)


def refused(kind: type[Error], *parts: str) -> Any:
    """One line that has these parts."""
    return pytest.raises(kind, match=r"\A[^\n]*" + r"[^\n]*".join(parts) + r"[^\n]*\Z")


@pytest.mark.parametrize("rule", rivals.POLICIES)
def test_wrong_capacities_are_refused(model: Any, weights: Any, rule: str) -> None:
    make = rivals.POLICIES[rule]
    with refused(InvalidArgument, rule, r"\[2, 3\]", r"\[2, 2\]"):
        make(model, Context(np.full((LAYERS, 3), 20, np.int32)))
    with refused(InvalidArgument, rule, "float64", "integers"):
        make(model, Context(np.full((LAYERS, HEADS), 20.0)))
    with refused(InvalidArgument, rule, "0 slots in layer 1", "KV head 0", "at least"):
        make(model, Context(np.array([[20, 20], [0, 0]], np.int32)))
    with refused(InvalidArgument, rule, "mode = 'both'"):
        make(model, Context(np.full((LAYERS, HEADS), 20, np.int32), mode="both"))


def test_streaming_llm_needs_a_slot_beside_its_sinks(model: Any) -> None:
    rivals.POLICIES["streaming_llm"](model, Context(np.full((LAYERS, HEADS), 5, np.int32)))
    with refused(InvalidArgument, "4 slots in layer 0", "at least 5"):
        rivals.POLICIES["streaming_llm"](model, Context(np.full((LAYERS, HEADS), 4, np.int32)))


def test_kvzap_without_weights_is_refused(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvzap, "FOLDER", tmp_path)
    with refused(InvalidArgument, "kvzap_linear", "no such file", "python -m rivals.kvzap"):
        rivals.POLICIES["kvzap_linear"](model, Context(np.full((LAYERS, HEADS), 20, np.int32)))


def test_batches_gradients_and_padding_are_refused(rng: np.random.Generator, model: Any) -> None:
    tokens = ids(rng, 20)
    make, context = rivals.POLICIES["h2o"], Context(np.full((LAYERS, HEADS), 10, np.int32))
    with refused(Unsupported, "h2o", "a batch of 2 rows"), torch.no_grad():
        model(tokens.expand(2, -1), past_key_values=make(model, context))
    with refused(Unsupported, "h2o", "gradients"):
        model(tokens, past_key_values=make(model, context))
    padding = torch.ones(1, 20, dtype=torch.long)
    padding[0, :3] = 0
    with refused(Unsupported, "h2o", "padding"), torch.no_grad():
        model(tokens, attention_mask=padding, past_key_values=make(model, context))


def test_a_model_without_full_attention_is_refused() -> None:
    config = transformers.BloomConfig(vocab_size=97, hidden_size=64, n_layer=1, n_head=4)
    with refused(Unsupported, "bloom"):
        rivals.POLICIES["h2o"](transformers.BloomForCausalLM(config), Context(np.full((1, 4), 10, np.int32)))


class _Words:
    """A tokenizer of single characters."""

    bos_token_id = 1

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [2 + ord(letter) % (VOCABULARY - 2) for letter in text]}


def test_kvzap_is_fitted_to_the_scores_of_a_repetition(rng: np.random.Generator, model: Any) -> None:
    text = "".join(map(chr, rng.integers(0, 95, 1600)))
    fitted = kvzap.fit(model, _Words(), [text], pieces=10, piece_tokens=160)
    assert fitted.weight.shape == (LAYERS, HEADS, 64) and fitted.bias.shape == fitted.r2.shape == (LAYERS, HEADS)
    assert fitted.r2[0].min() > 0.1, "better than the mean, on pieces that were not fitted; later layers are chance"
    with pytest.raises(InvalidArgument, match="texts: 3 pieces of 160 tokens: expected at least 5"):
        kvzap.fit(model, _Words(), [text[:480]], piece_tokens=160)


def test_the_sums_of_a_fit_are_those_of_least_squares(rng: np.random.Generator) -> None:
    x, noise = rng.standard_normal((1, 4000, 5)), rng.standard_normal((1, 2, 4000))
    weight = rng.standard_normal((2, 5))
    y = (x[0] @ weight.T).T[None] + 3.0 + noise
    sums = kvzap._Sums(1)
    sums.add(x[:, :1000], y[:, :, :1000])
    sums.add(x[:, 1000:], y[:, :, 1000:])
    found, bias = sums.solve()
    rows = np.column_stack([x[0], np.ones(4000)])
    expected = np.linalg.lstsq(rows, y[0].T, rcond=None)[0]
    np.testing.assert_allclose(found[0].T, expected[:-1], atol=2e-3)
    np.testing.assert_allclose(bias[0], expected[-1], atol=2e-3)
    errors = y[0] - (x[0] @ found[0].T + bias[0]).T
    np.testing.assert_allclose(sums.r2(found, bias)[0], 1.0 - errors.var(1) / y[0].var(1), atol=1e-3)
