"""A suite says all that is wrong with it before anything is trained."""

import dataclasses
from pathlib import Path

import pytest

import commands
from ablation.choices import cloze_tokens
from ablation.claims import claim
from ablation.suite import Suite, check
from ablation.yardsticks import likelihood, random_orders
from batch import InputError
from configs.shared import TINY
from models import BertConfig
from objectives import CausalLm, MaskedLm
from training.flags import load_value

SUITES = sorted(Path(__file__).parents[1].glob("configs/suites/[!_]*.py"))
BERT = {"model": TINY.bert().model, "objective": MaskedLm()}
SUITE = Suite(
    question="Which?",
    base=TINY.gpt(),
    arms={"gpt": {}, "bert": BERT},
    yardsticks=(likelihood(positions=2), random_orders(positions=2)),
    claims=(claim("gpt is better", "left to right", "gpt", better_than="bert"),),
    seeds=2,
)


def test_a_sound_suite_gives_the_experiment_of_each_arm():
    assert check(SUITE) == {"gpt": TINY.gpt(), "bert": dataclasses.replace(TINY.bert(), objective=MaskedLm())}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"arms": {}}, "has no arms; name at least one"),
        ({"seeds": 0}, "--seeds=0: must be at least 1"),
        ({"yardsticks": ()}, "has no yardsticks"),
        ({"reference": "xlnet"}, "its reference xlnet is no arm; it is one of gpt, bert"),
        ({"match": ("steps",)}, "--match=steps: unknown; it is one of tokens, predicted"),
        ({"match": ("tokens", "tokens")}, "name each matching once"),
        ({"match": ()}, "at least one"),
        ({"rates": (0.0,)}, "peak rates are positive"),
        ({"tasks": ("curves",)}, "--tasks=curves: no such task"),
        ({"tasks": ("pairs",)}, "its task pairs reads a file"),
        ({"tasks": ("probe",)}, "its task probe reads a file"),
        ({"yardsticks": (likelihood(), likelihood(positions=2))}, "two yardsticks measure left to right"),
        ({"arms": {"gpt": {}, "bert": {"objective.rate": 0.3}}}, "arm bert: objective.rate: unknown field"),
        ({"arms": {"gpt": {}, "bert": {"optimizer.peak_rat": 0.3}}}, r"arm bert: .*did you mean optimizer.peak_rate\?"),
        (
            {"arms": {"gpt": {}, "bert": {"objective": BertConfig(**TINY.trunk)}}},
            "objective=BertConfig: is no objective",
        ),
        ({"arms": {"gpt": {}, "bert": {"model": CausalLm()}}}, "model=CausalLm: is no model"),
        ({"arms": {"gpt": {}, "bert": {**BERT, "seed": 3}}}, "arm bert: seed=3: seeds are the suite's"),
        (
            {"claims": (claim("x", "left to right", "gtp", better_than="bert"),)},
            "unknown arm 'gtp'; did you mean 'gpt'",
        ),
        ({"claims": (claim("x", "bleu", "gpt", better_than="bert"),)}, "unknown metric 'bleu'"),
        ({"claims": (claim("x", "any order", "gpt", better_than="bert"),)}, "any order cannot be asked of gpt"),
        (
            {"arms": {"gpt": {}, "bert": {**BERT, "optimizer.clip": 0.5}}, "fields": (("optimizer.clip", "0"),)},
            "--config.optimizer.clip: is what the arm bert changes",
        ),
        ({"fields": (("data.lengths", "8"),)}, r"arm gpt: data.lengths: unknown field; did you mean data.length\?"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        check(dataclasses.replace(SUITE, **changes))


def test_fields_of_the_command_line_are_set_in_every_arm():
    found = check(dataclasses.replace(SUITE, fields=(("optimizer.total_steps", "77"),)))
    assert [each.optimizer.total_steps for each in found.values()] == [77, 77]


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_suite_that_ships_is_sound(path, tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text(commands.text())
    monkeypatch.setattr("data.corpus.docstrings_file", lambda cache: tmp_path / "text.txt")  # which takes a minute
    modes = [f"{path}:canonical", f"{path}:matched"] if path.stem == "objectives" else [str(path)]
    for spec in modes:
        suite = load_value("suite", spec, "get_suite", Suite)
        assert check(suite) and suite.claims and suite.question.endswith("?")
        assert suite.seeds >= 8, "with fewer, no family of four claims can be decided"


def test_an_unknown_mode_of_a_suite_is_refused():
    with pytest.raises(InputError, match=r"objectives\.py:fair: is canonical or matched"):
        load_value("suite", f"{SUITES[0].parent / 'objectives.py'}:fair", "get_suite", Suite)


@pytest.mark.parametrize("task", ["sst-2", "sst-2=", "=there", "="])
def test_a_task_without_a_folder_is_refused(task):
    with pytest.raises(InputError, match=rf"finetuning\.py:{task}: names no task and folder; write finetuning"):
        load_value("suite", f"{SUITES[0].parent / 'finetuning.py'}:{task}", "get_suite", Suite)


def test_metrics_of_yardsticks_are_found_by_their_names():
    suite = dataclasses.replace(SUITE, yardsticks=(*SUITE.yardsticks, cloze_tokens()))
    assert list(suite.metrics) == ["left to right", "any order", "token cloze", "token cloze, right"]
