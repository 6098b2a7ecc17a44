"""A suite that asks a task, from the command: planned, refused before anything is trained, reported on."""

import json

import pytest

import commands
import tasks

SUITE = """
import dataclasses

import tasks
from ablation.claims import claim
from ablation.finetuned import Finetuning, fine_tuned
from ablation.suite import Suite
from finetuning.files import Layout
from training.flags import load

FIELDS = [("data.length", "16"), ("data.batch_size", "8"), ("data.shortest", "16")]


def get_suite(change=""):
    given = dict(task="classification", data={data!r}, texts=("sentence",), label="label", rates=(1e-2,), fields=FIELDS)
    given |= eval(change or "{{}}")
    return Suite(
        question="What is it worth?",
        base=dataclasses.replace(load({config!r} + ":gpt"), model=tasks.CONFIGS["gpt"]),
        arms={{"gpt": {{}}}},
        yardsticks=(
            fine_tuned(
                given["task"],
                given["data"],
                layout=Layout(given["texts"], given["label"]),
                how=Finetuning(epochs=2, rates=given["rates"], fields=given["fields"]),
            ),
        ),
        claims=(claim("pretraining helps", "toy, gained", "gpt", above=0),),
        seeds=1,
    )
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    sets = tasks.classification(train=16, dev=10)
    (folder / "toy").mkdir()
    for name, examples in (("train", sets.train), ("dev", sets.dev)):
        rows = [("sentence", "label"), *((each.texts[0], each.label) for each in examples)]
        (folder / "toy" / f"{name}.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    path = folder / "asked.py"
    path.write_text(SUITE.format(config=str(commands.write_config(folder)), data=str(folder / "toy")))
    return path


def values(workdir):
    found = json.loads((workdir / "results.json").read_text())
    return {each["metric"]: each["by_seed"] for each in found["measurements"]}, found


def test_a_task_is_planned_fine_tuned_judged_and_reported(suite, tmp_path):
    arguments = (f"--suite={suite}", f"--workdir={tmp_path}", "--config.optimizer.total_steps=4")
    arguments += ("--config.training.eval_every=4",)
    planned = commands.run("ablate.py", *arguments, "--dry_run")
    assert planned.code == 0 and not list(tmp_path.iterdir()), planned.err
    done = commands.run("ablate.py", *arguments)
    assert done.code == 0, done.err
    runs = {file.parents[2].name: file.parent for file in tmp_path.glob("trials/**/fine-tuned/**/result.json")}
    steps = [
        json.loads((run / "experiment.json").read_text())["experiment"]["optimizer"]["total_steps"]
        for run in runs.values()
    ]
    (row,) = (line.split("|") for line in planned.out.splitlines() if line.startswith("| toy"))
    assert [cell.strip() for cell in row[1:-1]] == ["toy", "gpt", "1", "1", str(sum(steps))]

    measured, found = values(tmp_path)
    score = {arm: json.loads((run / "result.json").read_text())["values"]["accuracy"] for arm, run in runs.items()}
    assert measured["toy"] == [score["pretrained"]] and measured["toy, from scratch"] == [score["scratch"]]
    assert measured["toy, gained"][0] == pytest.approx(score["pretrained"] - score["scratch"], abs=1e-12)
    (verdict,) = found["verdicts"]
    assert verdict["statement"] == "toy, gained: gpt > 0" and verdict["by_seed"] == measured["toy, gained"]
    report = (tmp_path / "report.md").read_text()
    assert "toy, from scratch" in report and "The most frequent answer of the training set has 0.400 accuracy" in report


def test_a_plan_counts_runs_from_random_weights_once_for_all_matchings(suite, tmp_path):
    """The thin arm makes more steps where operations match, so that it has trials of both kinds; its seeds are two."""
    two, thin = tmp_path / "two.py", '{"model": dataclasses.replace(tasks.CONFIGS["gpt"], mlp_dim=8)}'
    two.write_text(suite.read_text().replace('arms={"gpt": {}}', f'arms={{"gpt": {{}}, "thin": {thin}}}'))
    arguments = ("--config.optimizer.total_steps=40", "--match=tokens,flops", "--seeds=2", "--dry_run")
    planned = commands.run("ablate.py", f"--suite={two}", f"--workdir={tmp_path / 'runs'}", *arguments)
    assert planned.code == 0, planned.err
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in planned.out.splitlines() if "| toy" in line]
    of_one = 2 * 2  # epochs of 16 examples, 8 a batch
    assert rows == [["gpt", "2", "2", str((2 + 2) * of_one)], ["thin", "4", "2", str((4 + 2) * of_one)]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"task": "sst-3"}, "fine_tuned: task=sst-3: unknown; there are classification"),
        ({"data": None}, "fine_tuned: the task classification has no data; give the folder of its files"),
        ({"data": "/nowhere"}, "fine_tuned: data=/nowhere: is no folder; name the one of the task's files."),
        ({"label": None}, "fine_tuned: text and label: one of them is missing"),
        ({"label": "verdict"}, "verdict"),
        ({"rates": (2,)}, "fine_tuned: rates=2: must be default, paper, or different numbers"),
        ({"fields": [("seed", "3")]}, "arm gpt: fine_tuned: seed=3: is said by"),
        (
            {"fields": [("data.lengths", "3")]},
            "arm gpt: fine_tuned: data.lengths: unknown field; did you mean",
        ),
        ({"fields": [("data.length", "99")]}, "arm gpt: fine_tuned: data.length=99: exceeds model.max_length=64"),
    ],
    ids=str,
)
@pytest.mark.parametrize("dry", [["--dry_run"], []], ids=["planned", "run"])
def test_what_cannot_be_learned_is_refused_before_anything_is_trained(suite, tmp_path, change, sentence, dry):
    done = commands.run("ablate.py", f"--suite={suite}:{change}", f"--workdir={tmp_path}", *dry)
    assert sentence in done.sentence and not (tmp_path / "trials").exists()
