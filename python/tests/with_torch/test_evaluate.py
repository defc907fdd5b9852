# SPDX-License-Identifier: Apache-2.0
"""The evaluation: its examples, its passes against decoding, equal bytes, resuming, tables, refusals, its command."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluating import WORDS, Words, results_of, save_model, tiny_profile
from models import cache_name, tiny

import hashevict
from hashevict import Cache, Config, HashEvictCache, InvalidArgument, InvalidData, Rule
from hashevict.evaluate import main
from hashevict.evaluation.budgets import Budgets
from hashevict.evaluation.measure import Reader
from hashevict.evaluation.policies import ALLOCATIONS, RULES, PolicyContext, policies_of
from hashevict.evaluation.results import read_results
from hashevict.evaluation.tasks import MAIN_TASKS, SPOT_TASKS, TEXT, make_example, token_ids
from hashevict.evaluation.texts import Filler, own_texts
from hashevict.transformers.models import shape_of

LENGTH = 160


@pytest.mark.parametrize("task", [*MAIN_TASKS, *SPOT_TASKS])
def test_an_example_holds_its_answer_and_has_the_length(task: str) -> None:
    filler = Filler("words", WORDS, Words())
    for index in range(4):
        example = make_example(Words(), task, filler, 400, index, 0)
        ids, spans = token_ids(Words(), example)
        assert 380 <= len(ids) <= 400
        assert len(spans) == (4 if task in ("one_of_four", "passphrase", "settings", "facts") else 1)
        for (first, last), turn in zip(spans, example.turns, strict=True):
            assert ids[first:last] == Words()(turn.answer)["input_ids"]
            for word in re.findall(r"\w+", turn.answer.replace(" and ", " ")):
                assert example.context.count(word) >= 1
        assert spans[-1][1] == len(ids)


@pytest.mark.parametrize("task", [*MAIN_TASKS, TEXT])
def test_examples_are_the_same_by_seed_and_index(task: str) -> None:
    filler = Filler("words", WORDS, Words())
    made = [make_example(Words(), task, filler, 400, index, seed) for index, seed in ((0, 0), (0, 0), (1, 0), (0, 1))]
    assert made[0] == made[1]
    assert len({example.context for example in made}) == 3


def test_pieces_of_running_text_do_not_overlap() -> None:
    lines = [f"{i:05}" for i in range(2000)]
    filler = Filler("lines", "\n".join(lines), Words())
    pieces = [make_example(Words(), TEXT, filler, 300, i, 5).context for i in range(filler.num_pieces(300))]
    seen = [line for piece in pieces for line in piece.split("\n")[1:-1]]
    assert len(seen) > 1000
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("recall",)])
def test_a_pass_gives_what_decoding_token_by_token_gives(name: str) -> None:
    model, profile = tiny("llama"), tiny_profile()
    ids = torch.randint(3, 97, (1, 60))
    context = PolicyContext(60, np.full((2, 2), 24, np.int32), profile, seed=3)
    policy = policies_of([name])[0]
    assert policy.make is not None
    found = Reader(model, Words()).measure(ids, [(30, 36), (50, 60)], policy.make(model, context), "streamed")
    cache, logits = policy.make(model, context), []
    with torch.no_grad():
        for t in range(59):
            logits.append(model(input_ids=ids[:, t : t + 1], **{cache_name(): cache}).logits[0, 0])
    assert cache.statistics().evictions == 2 * 2 * (59 - 24)
    for (first, last), each in zip([(30, 36), (50, 60)], found, strict=True):
        of = torch.stack(logits)[first - 1 : last - 1]
        expected = torch.nn.functional.cross_entropy(of, ids[0, first:last], reduction="sum")
        assert each.nats == pytest.approx(float(expected), rel=1e-4)
        assert each.num_right == int((of.argmax(-1) == ids[0, first:last]).sum())


@pytest.mark.parametrize("mode", ["streamed", "known"])
def test_a_cache_that_holds_all_is_the_full_cache(mode: Any) -> None:
    model = tiny("llama")
    reader, ids = Reader(model, Words()), torch.randint(3, 97, (1, 60))
    context = PolicyContext(60, np.full((2, 2), 60, np.int32), tiny_profile(), seed=3, mode=mode)
    (full,) = reader.measure(ids, [(50, 60)], None, mode)
    for policy in policies_of(["window", "paper", "mean", "importance", "hidden"]):
        assert policy.make is not None
        (found,) = reader.measure(ids, [(50, 60)], policy.make(model, context), mode)
        assert found.nats == pytest.approx(full.nats, rel=1e-5)
        assert (found.num_right, found.tokens) == (full.num_right, full.tokens)


def test_the_known_question_is_compressed_once() -> None:
    model = tiny("llama")
    ids = torch.randint(3, 97, (1, 60))
    context = PolicyContext(60, np.full((2, 2), 24, np.int32), None, seed=3, mode="known")
    (window,) = policies_of(["window"])
    (found,) = Reader(model, Words()).measure(ids, [(50, 60)], window.make(model, context), "known")
    cache = HashEvictCache(model, 24, rule=Rule(policy="window"))
    with torch.no_grad():
        model(input_ids=ids[:, :49], **{cache_name(): cache})
        logits = model(input_ids=ids[:, 49:-1], **{cache_name(): cache}).logits[0]
    expected = torch.nn.functional.cross_entropy(logits, ids[0, 50:], reduction="sum")
    assert found.nats == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(("budget", "allocation"), list(itertools.product([0.9, 0.3], ALLOCATIONS)))
def test_all_policies_get_the_same_bytes(budget: float, allocation: str) -> None:
    shape = shape_of(tiny("llama").config)
    budgets = Budgets(shape, tiny_profile(), 16)
    full = budgets.full_bytes(500)
    assert full == 500 * 2 * 2 * 2 * 16 * 2
    slots = {}
    for policy in policies_of(RULES):
        share = budgets.share(policy, allocation, budget, 500)
        more = budgets.capacities(allocation, int(share.capacities.mean()) + 1, 500)
        assert share.bytes <= budget * full < budgets.bytes(policy, more)
        slots[policy.name] = int(share.capacities.sum())
        assert (allocation == "uniform") == (len(np.unique(share.capacities)) == 1)
    assert slots["mean"] < slots["superseded"] < slots["paper"] < 4 * budget * 500


def test_bytes_are_those_of_a_cache_that_is_made() -> None:
    shape = shape_of(tiny("llama").config)
    capacities = np.array([[40, 50], [60, 70]], np.int32)
    counted = Budgets(shape, None, 16).bytes(policies_of(["superseded"])[0], capacities)
    config = Config(
        num_layers=2,
        num_qo_heads=4,
        num_kv_heads=2,
        head_dim=16,
        capacities=capacities,
        rule="superseded",
        backend="cpu",
    )
    one, two = (Cache.required_bytes(dataclasses.replace(config, num_sequences=count)) for count in (1, 2))
    assert counted == sum(getattr(two, part) - getattr(one, part) for part in ("keys", "values", "state"))


def test_rows_meet_the_same_examples_and_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: Any) -> None:
    whole = results_of(tmp_path / "whole")
    measure, calls = Reader.measure, []

    def stopped(self: Reader, *arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return measure(self, *arguments)

    monkeypatch.setattr(Reader, "measure", stopped)
    with pytest.raises(KeyboardInterrupt):
        results_of(tmp_path / "parts")
    file = tmp_path / "parts" / "results.jsonl"
    with file.open("a") as out:
        out.write('{"mode": "stre')  # the machine went down while it wrote
    resumed = results_of(tmp_path / "parts")
    assert len(calls) == 12 + len(whole) - 11
    assert [without_time(result) for result in resumed] == [without_time(result) for result in whole]
    assert len(read_results(file)[1]) == len(whole)
    examples = {}
    for result in whole:
        examples.setdefault((result.policy, result.allocation, result.budget), []).append(
            (result.task, result.domain, result.index)
        )
    assert len(examples) == 1 + 2 * 2 * 2
    assert all(keys == examples["full", "uniform", 1.0] for keys in examples.values())


def test_questions_about_one_context_are_results_of_their_own(tmp_path: Path) -> None:
    options = {"tasks": ["settings"], "policies": ["full", "window@uniform"], "budgets": [0.5], "rounds": 1}
    found = results_of(tmp_path, length=240, modes=["streamed", "known"], **options)
    for policy, domain, mode in itertools.product(("full", "window"), ("words", "others"), ("streamed", "known")):
        of = [r for r in found if (r.policy, r.domain, r.mode) == (policy, domain, mode)]
        assert [r.turn for r in of] == ([0, 1, 2, 3] if mode == "streamed" else [0])
        assert len({(r.bytes, r.seconds, r.index) for r in of}) == 1


def test_a_run_that_stopped_within_an_examples_answers_adds_the_others(tmp_path: Path) -> None:
    options = {"tasks": ["settings"], "policies": ["full"], "rounds": 1, "length": 240}
    whole = results_of(tmp_path, **options)
    file = tmp_path / "results.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:3]) + lines[3][:20])
    again = results_of(tmp_path, **options)
    assert [without_time(result) for result in again] == [without_time(result) for result in whole]


def without_time(result: Any) -> Any:
    return dataclasses.replace(result, seconds=0.0)


def test_more_rows_and_rounds_measure_what_is_missing(tmp_path: Path, monkeypatch: Any) -> None:
    first = len(results_of(tmp_path))
    measure, calls = Reader.measure, []
    monkeypatch.setattr(Reader, "measure", lambda self, *a: calls.append(a) or measure(self, *a))
    more = results_of(tmp_path, policies=["full", "window", "mean", "random"], rounds=3)
    assert len(calls) == len(more) - first > 0


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    results_of(tmp_path, rounds=1)
    with pytest.raises(InvalidArgument, match=r"results have seed = 0, not 1: choose another folder"):
        results_of(tmp_path, rounds=1, seed=1)


def test_the_models_attention_is_restored(tmp_path: Path) -> None:
    model = tiny("llama")
    before = model.config._attn_implementation
    results_of(tmp_path, model=model, rounds=1)
    assert model.config._attn_implementation == before


def test_others_examples_are_measured(tmp_path: Path) -> None:
    folder = tmp_path / "examples"
    folder.mkdir()
    lines = [{"context": WORDS[:900], "question": "\nwhich? ", "answer": f"w{i}"} for i in range(3)]
    (folder / "mine.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    (folder / "essay.txt").write_text(WORDS)
    found = results_of(tmp_path / "out", examples=folder, rounds=5, texts=None)
    full = [result for result in found if result.policy == "full"]
    assert [(r.task, r.domain, r.index) for r in full if r.task == "mine"] == [("mine", "given", i) for i in range(3)]
    assert {r.domain for r in full if r.task == TEXT} == {"essay"}


@pytest.mark.parametrize("fields", [("", "", "w1"), (WORDS[:900], "", "\u200b")])
def test_an_example_without_a_prompt_or_an_answer_is_refused(tmp_path: Path, fields: tuple[str, ...]) -> None:
    line = dict(zip(("context", "question", "answer"), fields, strict=True))
    (tmp_path / "bad.jsonl").write_text(json.dumps(line))
    with pytest.raises(InvalidArgument, match=r"'bad', example 0: expected tokens before each answer, and of each"):
        results_of(tmp_path / "out", examples=tmp_path)


def test_a_plugin_is_a_row_like_any_other(tmp_path: Path) -> None:
    plugin = tmp_path / "plugged.py"
    plugin.write_text(
        "from hashevict import HashEvictCache, Rule\n"
        "def make(model, context):\n"
        "    assert context.profile is None and context.mode == 'streamed'\n"
        "    rule = Rule(policy='window')\n"
        "    return HashEvictCache(model, context.capacities, rule=rule, prompt_attention='streamed')\n"
        "POLICIES = {'mine': make, 'heavy': make}\n"
        "SLOT_BYTES = {'heavy': 60}\n"
    )
    found = results_of(tmp_path / "out", policies=["mine", "heavy"], plugins=[str(plugin)], profile=None, budgets=[0.5])
    sizes = {name: {r.bytes for r in found if r.policy == name} for name in ("mine", "heavy")}
    assert all(size <= 0.5 * LENGTH * 4 * 64 for of in sizes.values() for size in of)
    assert all(size % (4 * (64 + 4)) == 0 for size in sizes["mine"])
    assert all(size % (4 * (64 + 60)) == 0 for size in sizes["heavy"])
    with pytest.raises(InvalidArgument, match=r"budget 0.001 of \d+ tokens: policy 'mine' gets no slot"):
        results_of(tmp_path / "no", policies=["mine"], plugins=[str(plugin)], profile=None, budgets=[0.001])


def test_texts_come_with_python() -> None:
    texts = own_texts()
    assert all(len(text) > 200_000 for text in texts.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policies": ["best"]}, r"policy 'best': expected one of full, window"),
        ({"policies": ["mean:bits=3"]}, r"policy 'mean:bits=3': 'bits=3': expected FIELD=VALUE"),
        ({"policies": ["mean@here"]}, r"policy 'mean@here': expected one of uniform, calibrated, layered"),
        ({"allocations": ["mine"]}, r"allocation 'mine': expected one of uniform"),
        ({"profile": None, "allocations": ["calibrated"]}, r"allocation 'calibrated': needs a profile"),
        ({"profile": None, "policies": ["importance"]}, r"'importance' needs a profile with importance weights"),
        ({"profile": None, "policies": ["hidden"]}, r"'given' needs a profile with hidden weights"),
        ({"budgets": [1.5]}, r"budget = 1.5: expected above 0 and at most 1"),
        ({"budgets": [0.05]}, r"config.shape.capacities\[0\]\[0\] = \d+: expected 15 to .*, since a victim requires"),
        ({"tasks": ["riddle"]}, r"task 'riddle': expected one of needle"),
        ({"modes": ["half"]}, r"mode 'half': expected one of streamed, known"),
        ({"rounds": 0}, r"rounds = 0: expected at least 1"),
        ({"length": 64, "tasks": ["copy"]}, r"length = 64: too small for task 'copy'"),
        ({"texts": {"short": "a few words"}}, r"texts: domain 'short': 11 characters: expected over"),
        ({"length": 600}, r"task 'needle', example 0: \d+ tokens: expected at most 512, those of the model"),
        ({"plugins": ["no_such_module"]}, r"plugin no_such_module: No module named"),
        ({"plugins": ["json"]}, r"plugin json: expected a module with a dict POLICIES"),
    ],
)
def test_wrong_use_gives_one_clear_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as raised:
        results_of(tmp_path, **change)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"bad.jsonl:1: not JSON"),
        ('{"context": "a", "question": "b"}', r"bad.jsonl:1: expected the strings context, question and answer"),
        ('{"context": "a", "question": "b", "answer": ""}', r"answer, which is not empty"),
        ("[1]", r"expected the strings"),
    ],
)
def test_a_line_that_is_no_example_is_refused(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "bad.jsonl").write_text(line + "\n")
    with pytest.raises(InvalidArgument, match=message):
        results_of(tmp_path / "out", examples=tmp_path)


def test_a_line_that_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"seed": 0}\n{"mode": "streamed"}\n')
    with pytest.raises(InvalidData, match=r"results.jsonl:2: not a result"):
        read_results(tmp_path / "results.jsonl")


def test_the_command_measures_and_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path / "model")
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "words.txt").write_text(WORDS)
    arguments = [str(tmp_path / "model"), "--out", str(tmp_path / "out"), "--texts", str(texts), "--quiet"]
    small = [*arguments, "--rounds", "1", "--length", str(LENGTH), "--tasks", "needle", "text", "--budgets", "0.5"]
    assert main([*small, "--policies", "full", "window", "mean:hash_bits=64"]) == 0
    assert "results.jsonl: 6 results" in capsys.readouterr().out
    assert callable(hashevict.evaluate)
    for wrong, message in (
        (["--policies", "best"], "policy 'best'"),
        (["--profile", str(tmp_path / "none")], "No such file"),
        (["--texts", str(tmp_path / "none")], "there is no such folder"),
        (["--dtype", "int8"], "--dtype int8: expected float32"),
        (["--seed", "1"], "choose another folder"),
    ):
        assert main([*small, *wrong]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith("error: ")
        assert message in lines[-1]
