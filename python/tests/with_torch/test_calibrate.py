# SPDX-License-Identifier: Apache-2.0
"""Calibration: its scores against the model's own attention weights, its promises, its refusals, its command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import VOCABULARY, generate, tiny

from hashevict import Cache, Config, HashEvictCache, InvalidArgument, InvalidData, Profile, Rule, Unsupported, calibrate
from hashevict.calibrate import main
from hashevict.fit import LinearFits
from hashevict.transformers.models import shape_of
from hashevict.transformers.scores import HeadScores
from hashevict.votes import VoteSamples, rank_correlation


class Bytes:
    """A tokenizer of one token a character."""

    bos_token_id = 1

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [3 + ord(character) % (VOCABULARY - 3) for character in text]}


TEXTS = ["".join(chr(33 + (7 * i * i + i // 3 + k) % 80) for i in range(400)) for k in range(2)]
SMALL: dict[str, Any] = {"piece_tokens": 40, "progress": False, "instruction": "again"}


def scores_by_weights(model: Any, ids: list[int], keys: range, first_query: int) -> Any:
    """The scores, from what the model itself shows of its attention. ``[layers, num_kv_heads, keys]``."""
    model.set_attn_implementation("eager")
    values: list[Any] = []
    hooks = [
        layer.self_attn.v_proj.register_forward_hook(lambda module, args, out: values.append(out))
        for layer in model.model.layers
    ]
    with torch.no_grad():
        shown = model(input_ids=torch.tensor([ids]), output_attentions=True, output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    scores = np.zeros((2, 2, len(keys)))
    for layer in range(2):
        v = values[layer].view(len(ids), 2, 16).double()
        output = model.model.layers[layer].self_attn.o_proj.weight.double()
        hidden = shown.hidden_states[layer][0].double().norm(dim=-1)
        for head in range(4):
            a = shown.attentions[layer][0, head].double()
            for column, key in enumerate(keys):
                strongest = max(float(a[query, key] / hidden[query]) for query in range(first_query, len(ids)))
                size = float((output[:, 16 * head : 16 * head + 16] @ v[key, head // 2]).norm())
                scores[layer, head // 2, column] = max(scores[layer, head // 2, column], strongest * size)
    return scores


def test_scores_are_those_of_the_models_attention() -> None:
    model = tiny("llama")
    ids = [1, *torch.randint(3, VOCABULARY, (30,)).tolist()]
    with HeadScores(model, shape_of(model.config)) as reader, torch.no_grad():
        found = reader.read(ids, range(1, 13), 18)
    np.testing.assert_allclose(found.scores, scores_by_weights(model, ids, range(1, 13), 18), rtol=1e-3)
    assert found.hidden is None


def test_hidden_states_are_those_that_attention_is_given() -> None:
    model = tiny("llama")
    ids, given = [1, *torch.randint(3, VOCABULARY, (30,)).tolist()], []
    for layer in model.model.layers:
        layer.input_layernorm.register_forward_hook(lambda module, args, out: given.append(out[0, 1:13]))
    with HeadScores(model, shape_of(model.config), hidden=True) as reader, torch.no_grad():
        found = reader.read(ids, range(1, 13), 18)
    np.testing.assert_array_equal(found.hidden, torch.stack(given).numpy())


def test_reading_leaves_the_model_as_it_was() -> None:
    model = tiny("llama")
    before = model.config._attn_implementation
    calibrate(model, Bytes(), TEXTS, **SMALL)
    assert model.config._attn_implementation == before
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi3", "opt", "gpt_neox"])
def test_quantiles_ascend_and_divide_a_budget(family: str) -> None:
    model = tiny(family)
    profile = calibrate(model, Bytes(), TEXTS, num_quantiles=17, **SMALL)
    layers = len(shape_of(model.config).bounded)
    assert profile.quantiles.shape[::2] == (layers, 17)
    assert (np.diff(profile.quantiles, axis=2) >= 0).all()
    HashEvictCache(model, 0.5, max_length=200, profile=profile)


def test_the_same_seed_gives_the_same_profile() -> None:
    model = tiny("llama")
    profiles = [calibrate(model, Bytes(), TEXTS, num_pieces=5, seed=seed, **SMALL) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(profiles[0].quantiles, profiles[1].quantiles)
    assert (profiles[0].quantiles != profiles[2].quantiles).any()


def test_an_interrupted_calibration_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, work = tiny("llama"), tmp_path / "work"
    options = {**SMALL, "num_pieces": 7, "weights": True, "votes": 16, "resume": work}
    options["hidden_weights"] = True
    whole = calibrate(model, Bytes(), TEXTS, **options)
    assert not work.exists()
    read, calls = HeadScores.read, []

    def interrupted(self: HeadScores, *arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return read(self, *arguments)

    monkeypatch.setattr(HeadScores, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        calibrate(model, Bytes(), TEXTS, **options)
    resumed = calibrate(model, Bytes(), TEXTS, **options)
    assert len(calls) == 4 + 4  # three pieces were kept
    learned = ("importance_weight", "importance_bias", "hidden_weight", "hidden_bias", "projection", "center")
    for name in ("quantiles", *learned):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))


def test_weights_predict_scores_of_held_out_text() -> None:
    generator = np.random.default_rng(1)
    weight, bias = generator.standard_normal((1, 2, 8)), np.array([[3.0, -1.0]])
    fits = LinearFits()
    for held_out in (False, False, True):
        x = generator.standard_normal((1, 2, 200, 8)).astype(np.float32)
        y = np.einsum("lhsd,lhd->lhs", x, weight) + bias[..., None]
        fits.add(x, y + 0.1 * generator.standard_normal(y.shape), held_out)
    found, offset, r2 = fits.solve()
    np.testing.assert_allclose(found, weight, atol=0.05)
    np.testing.assert_allclose(offset, bias, atol=0.05)
    assert (r2 > 0.98).all()


def test_heads_that_share_samples_are_fitted_as_each_alone() -> None:
    generator = np.random.default_rng(1)
    shared, alone = LinearFits(), LinearFits()
    for held_out in (False, False, True):
        x = generator.standard_normal((2, 1, 200, 8)).astype(np.float32)
        y = np.cumsum(x, axis=3).transpose(0, 1, 3, 2)[:, 0, 2:5] + generator.standard_normal((2, 3, 200))
        shared.add(x, y, held_out)
        alone.add(np.repeat(x, 3, axis=1), y, held_out)
    for ours, theirs, shape in zip(shared.solve(), alone.solve(), ((2, 3, 8), (2, 3), (2, 3)), strict=True):
        assert ours.shape == shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gemma2", "opt"])
def test_hidden_weights_are_fitted_to_what_attention_is_given(family: str) -> None:
    model = tiny(family)
    shape = shape_of(model.config)
    layers, heads = len(shape.bounded), shape.num_kv_heads
    profile = calibrate(model, Bytes(), TEXTS, hidden_weights=True, **SMALL)
    assert profile.hidden_weight is not None and profile.hidden_weight.shape == (layers, heads, 64)
    assert profile.hidden_bias is not None and profile.hidden_bias.shape == (layers, heads)
    assert np.shape(profile.about["hidden_r2"]) == (layers, heads)
    assert np.isfinite(profile.about["hidden_r2"]).all()
    assert profile.importance_weight is None and "r2" not in profile.about
    cache = HashEvictCache(model, 0.5, max_length=100, profile=profile, num_threads=1)
    generate(model, torch.randint(3, VOCABULARY, (1, 60)), None, cache, max_new_tokens=20)
    assert cache.statistics().evictions > 0


def test_importance_weights_of_a_profile_decide() -> None:
    model = tiny("llama")
    profile = calibrate(model, Bytes(), TEXTS, weights=True, **SMALL)
    assert np.shape(profile.about["r2"]) == (2, 2)
    cache = HashEvictCache(model, 0.5, max_length=100, profile=profile, rule=Rule(policy="importance"), num_threads=1)
    model.generate(torch.randint(3, VOCABULARY, (1, 60)), past_key_values=cache, max_new_tokens=20, eos_token_id=None)
    assert cache.statistics().evictions > 0


def samples_of_two_heads(pieces: int = 10) -> tuple[VoteSamples, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Head 0's scores are linear in the key, and those of head 1 large on either side of a plane. Keys are far from 0,
    as keys with a bias are. Returns the samples, and keys and scores of the last piece, which is held out.
    """
    generator = np.random.default_rng(5)
    samples = VoteSamples(3)
    for _ in range(pieces):
        keys = (generator.standard_normal((1, 2, 128, 16)) * np.geomspace(0.1, 3, 16) + 7.0).astype(np.float32)
        along = (keys[..., 8] - 7.0) / 0.8
        scores = np.exp(np.stack([along[:, 0], np.abs(along[:, 1])], 1)).astype(np.float32)
        samples.add(keys, scores)
    return samples, keys[0], scores[0]


def test_votes_rank_keys_of_held_out_text() -> None:
    samples, keys, scores = samples_of_two_heads()
    projection, center, correlation = samples.learn(32, np.arange(10) % 5 == 4)
    assert projection.shape == (1, 2, 32, 16)
    assert correlation[0, 0] > 0.95
    assert correlation[0, 1] > 0.7  # no linear score has more than about 0
    rule = Rule("recall", projection_kind="learned", projection_per_head=True, hash_bits=32, centering="fixed")
    cache = Cache(
        Config(1, num_qo_heads=2, num_kv_heads=2, head_dim=16, capacity=64, dtype="float32", backend="cpu", rule=rule)
    )
    cache.set_projection(0, projection[0])
    cache.set_center(0, 0, center[0], np.zeros((2, 16), np.float32))
    codes = np.zeros((128, 2, 4), np.uint8)
    cache.encode(0, 0, "keys", np.ascontiguousarray(keys.swapaxes(0, 1)), codes)
    counts = np.unpackbits(codes, axis=2).sum(2, dtype=np.int64).T  # by the library's own codes
    assert (rank_correlation(counts, scores) > [0.95, 0.7]).all()


def test_rank_correlation_is_spearmans() -> None:
    a = np.array([[1, 2, 2, 4], [1, 2, 3, 4], [5, 5, 5, 5]])
    b = np.array([[1.0, 3, 2, 9], [4.0, 3, 2, 1], [1.0, 2, 3, 4]])
    np.testing.assert_allclose(rank_correlation(a, b), [4.5 / np.sqrt(4.5 * 5), -1, 0])


def test_a_profile_with_codes_makes_recall_the_rule() -> None:
    model = tiny("llama")
    with_codes = calibrate(model, Bytes(), TEXTS, votes=16, **SMALL)
    without = with_codes.replace(projection=None, center=None)
    policies = []
    for profile in (None, without, with_codes):
        cache = HashEvictCache(model, 0.5, max_length=100, profile=profile, num_threads=1)
        generate(model, torch.randint(3, VOCABULARY, (1, 60)), None, cache, max_new_tokens=2)
        policies.append(cache.native.config.rule.policy)  # type: ignore[union-attr]
        assert cache.native.config.rule.recent_fraction == 0.5  # type: ignore[union-attr]
    assert policies == ["superseded", "superseded", "votes"]


def test_votes_of_a_profile_decide(tmp_path: Path) -> None:
    model = tiny("llama")
    profile = calibrate(model, Bytes(), TEXTS, votes=16, **SMALL)
    assert np.shape(profile.about["rank_correlation"]) == (2, 2)
    profile.write(tmp_path / "profile")
    profile = Profile.read(tmp_path / "profile")
    rule = Rule(policy="votes", num_sink_tokens=0, recent_window=0)
    cache = HashEvictCache(model, 0.5, max_length=100, profile=profile, floor=8, rule=rule, num_threads=1)
    ids = torch.randint(3, VOCABULARY, (2, 60))
    generate(model, ids, None, cache, max_new_tokens=20)
    assert cache.native.config.rule.hash_bits == 16  # type: ignore[union-attr]
    for layer in range(2):
        for head in range(2):
            view = cache.native.view(layer, head)
            for row in range(2):
                length = int(np.asarray(view.lengths)[row])
                keys = np.asarray(view.keys)[row, :length] - profile.center[layer, head]  # type: ignore[index]
                logits = keys @ profile.projection[layer, head].T  # type: ignore[index]
                codes = np.unpackbits(np.asarray(view.codes)[row, :length], axis=1, bitorder="little")
                sure = np.abs(logits) > 1e-3 * np.abs(logits).max()
                np.testing.assert_array_equal(codes[sure], (logits >= 0)[sure])
    assert cache.statistics().evictions > 0


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"texts": ["short"]}, InvalidArgument, r"texts: none of 1 has 40 tokens"),
        ({"texts": TEXTS[0]}, InvalidArgument, r"texts: a string"),
        ({"piece_tokens": 2}, InvalidArgument, r"piece_tokens = 2: expected at least 16"),
        ({"texts": [TEXTS[0][:90]], "weights": True}, InvalidArgument, r"2 pieces: expected at least 5 with weights"),
        ({"texts": [TEXTS[0][:90]], "hidden_weights": True}, InvalidArgument, r"2 pieces: expected at least 5"),
        ({"texts": [TEXTS[0][:90]], "votes": 16}, InvalidArgument, r"at least 5 with weights or votes"),
        ({"votes": 12}, InvalidArgument, r"votes = 12: expected 0, or bits of a code: 8, 16, 32, 64, 128"),
        ({"model": tiny("llama", vocab_size=50)}, InvalidArgument, r"tokenizer: token \d+: expected below 50"),
        ({"model": tiny("gpt2")}, Unsupported, r"'gpt2': layer 0 has no output projection"),
    ],
)
def test_wrong_use_gives_one_clear_line(change: dict[str, Any], kind: type[Exception], message: str) -> None:
    arguments = {"model": tiny("llama"), "tokenizer": Bytes(), "texts": TEXTS, **SMALL, **change}
    with pytest.raises(kind, match=message):
        calibrate(**arguments)


def test_a_model_that_gives_nan_is_refused() -> None:
    model = tiny("llama")
    with torch.no_grad():
        model.model.layers[1].self_attn.v_proj.weight[20, 3] = torch.nan
    with pytest.raises(InvalidData, match="layer 1, KV head 1, is not finite"):
        calibrate(model, Bytes(), TEXTS, **SMALL)


def save_model(folder: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w3"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w3").save_pretrained(folder)
    tiny("llama").save_pretrained(folder)


def test_the_command_writes_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path / "model")
    text = tmp_path / "text"
    text.write_text(" ".join(f"w{3 + 7 * i * i % 90}" for i in range(300)))
    out = tmp_path / "profile"
    arguments = [str(tmp_path / "model"), "--text", str(text), "--out", str(out), "--piece-tokens", "40", "--quiet"]
    arguments += ["--weights", "--hidden-weights", "--votes", "8"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "2 layers, 2 KV heads" in printed
    assert "R2 of the weights" in printed
    assert "R2 of the hidden weights" in printed
    assert "Rank correlation of the votes" in printed
    assert np.shape(Profile.read(out).hidden_weight) == (2, 2, 64)
    assert Profile.read(out).importance_weight is not None
    assert np.shape(Profile.read(out).projection) == (2, 2, 8, 16)
    first = out.read_bytes()
    assert main(arguments) == 0
    assert out.read_bytes() == first


def test_the_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path / "model")
    text = tmp_path / "text"
    text.write_text("w5 w6")
    for file, out, message in (
        (text, tmp_path / "out", "has 480 tokens"),
        (tmp_path / "none", tmp_path / "out", "No such file"),
        (text, tmp_path / "no" / "out", "there is no such folder"),
    ):
        assert main([str(tmp_path / "model"), "--text", str(file), "--out", str(out), "--quiet"]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ")
        assert message in error
        assert not out.exists()
