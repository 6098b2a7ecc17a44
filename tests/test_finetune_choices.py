"""What is chosen and counted around a fine-tuning run, and what is refused in one sentence before it begins."""

import dataclasses
import shutil

import numpy as np
import pytest

import commands
import tasks
from batch import InputError
from finetuning import sources
from finetuning.build import Recipe, build_task_run, encode, experiment_of, open_pretrained
from finetuning.examples import Labeled
from finetuning.files import Layout
from finetuning.rates import rates_of
from finetuning.run import TaskRun
from finetuning.scoring import majority, measured
from finetuning.sources import open_sets
from finetuning.task import Sets, Task
from training.workdir import claim

YESNO, WORDS, OLD = tasks.classification(), tasks.regression(), tasks.tagging()


def test_rates_are_a_default_by_size_a_grid_of_the_papers_or_numbers():
    assert [rates_of("default", dim) for dim in (128, 512, 768)] == [(3e-4,), (1e-4,), (5e-5,)]
    assert rates_of("paper", 1024) == (5e-5, 3e-5, 2e-5) and 3e-4 in rates_of("paper", 256)
    assert rates_of("1e-3,3e-4", 128) == (1e-3, 3e-4)
    for text in ("fast", "", "1e-3,1e-3", "0", "2"):
        with pytest.raises(InputError, match=r"--rates=.*as in 1e-3,3e-4"):
            rates_of(text, 128)


def test_a_score_is_the_mean_of_its_metrics_and_the_majority_answers_without_looking():
    task = Task("both", "classification", ("accuracy", "accuracy"))
    values = measured(task, np.array([0, 1, 1]), np.array([0, 1, 0]))
    assert values["score"] == pytest.approx(2 / 3) and values["error"] == pytest.approx(1 / 3)
    assert majority(WORDS)["pearson"] == 0.0
    words = [tag for each in OLD.dev for tag in each.tags]
    assert majority(OLD)["tag_accuracy"] == pytest.approx(words.count("O") / len(words))


def labeled(*labels):
    return [Labeled(str(i), ("a text",), label) for i, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("train_set", "dev", "said"),
    [
        ((), ("a", "b"), "its training set is empty"),
        (("a", "b"), (), "its dev set is empty"),
        (("a", "b"), ("a", "a"), "its dev set has one class, 'a'"),
        (("a", "b"), ("a", None), "its dev set has no labels"),
    ],
)
def test_sets_that_nothing_can_be_learned_from_or_measured_on_are_refused(train_set, dev, said):
    with pytest.raises(InputError, match=rf"task t: {said}"):
        Sets(Task("t", "classification", ("accuracy",)), ("a", "b"), labeled(*train_set), labeled(*dev))


def run_of(sets, *fields, folder="") -> TaskRun:
    own = Recipe(open_pretrained(tasks.pretrained("gpt"), "latest"), sets, folder, fields=fields)
    experiment = experiment_of(own, "pretrained", 1e-2, 0)
    return build_task_run(own, experiment, *(encode(own, each, experiment.data) for each in (sets.train, sets.dev)))


def finetune(*arguments, workdir=None):
    """The sentence with which the command refuses."""
    return commands.run("finetune.py", f"--workdir={workdir or tasks.pretrained('gpt')}", *arguments).sentence


def test_what_cannot_be_is_said_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sources.SOURCES, "yesno", lambda folder, layout, report: YESNO)
    refused = lambda *told, **where: finetune("--task=yesno", "--data=there", *told, **where)  # noqa: E731
    assert "--task=cola-2: unknown; there are classification, regression, tagging, cola" in refused("--task=cola-2")
    assert "exceeds model.max_length=64; set --config.data.length=64 or less" in refused("--config.data.length=65")
    assert "said by the flags of this command" in refused("--config.seed=3")
    assert "--config.mesh.data=2: is for pretraining" in refused("--config.mesh.data=2")
    assert "did you mean --config.data.length" in refused("--config.data.lengths=65")
    assert "holds no experiment.json" in refused(workdir=tmp_path / "nothing")
    assert "--data: missing; give the folder of its files" in finetune("--task=yesno")
    damaged = shutil.copytree(tasks.pretrained("gpt"), tmp_path / "damaged")
    (damaged / "checkpoints" / "0" / "SHA256SUMS").unlink()
    assert "SHA256SUMS is damaged or missing" in refused(workdir=damaged)
    unknown = dataclasses.replace(YESNO, labels=("no", "maybe"))
    with pytest.raises(InputError, match=r"example \d+: label 'yes' is not one of no, maybe, which the head has"):
        run_of(unknown)


TABLE = "sentence\tlabel\ngood\t1\nbad\t0\n"


@pytest.mark.parametrize(
    ("text", "files", "said"),
    [
        (
            "sentences",
            {},
            "{folder}/train.tsv has no column 'sentences' (it has 'sentence', 'label'); correct the name.",
        ),
        (
            "sentence",
            {"dev": TABLE + "so so\t2\n"},
            "line 4 of {folder}/dev.tsv: label '2' is not one of '0', '1'; correct it.",
        ),
        ("sentence", {"train": ""}, "{folder}/train.tsv holds no rows; give a file that has some."),
        ("sentence", {"dev": "sentence\tlabel\n"}, "{folder}/dev.tsv holds no rows; give a file that has some."),
        (
            "sentence",
            {"dev": "sentence\tlabel\ngood\t1\n"},
            "task {name}: its dev set has one class, '1', so that nothing can be measured; give a set with at least "
            "two.",
        ),
        (
            "sentence",
            {"train": "sentence\tlabel\ngood\t1\n"},
            "{folder}/train.tsv: every label is '1'; give a set with at least two classes.",
        ),
    ],
)
def test_files_that_cannot_be_read_are_named_with_the_place(tmp_path, text, files, said):
    for name, content in ({"train": TABLE, "dev": TABLE} | files).items():
        (tmp_path / f"{name}.tsv").write_text(content)
    sentence = finetune("--task=classification", f"--data={tmp_path}", f"--text={text}", "--label=label")
    assert sentence == said.format(folder=tmp_path, name=tmp_path.name)
    assert not (tasks.pretrained("gpt") / "finetune" / tmp_path.name).exists()


def test_more_labels_than_the_head_of_a_run_are_refused_with_both(tmp_path):
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text(TABLE)
    asked = (f"--data={tmp_path}", "--text=sentence", "--label=label", "--rates=1e-2", f"--output={tmp_path / 'out'}")
    run = run_of(open_sets("classification", tmp_path, Layout(("sentence",), "label"), print))
    claim(tmp_path / "out" / "pretrained" / "rate-0.01" / "seed-0", run.experiment, run.prepared)
    (tmp_path / "train.tsv").write_text(TABLE + "so so\t2\n")
    sentence = finetune("--task=classification", *asked)
    assert "holds another experiment: data.labels is ['0', '1'] there and ['0', '1', '2'] here; " in sentence
    assert sentence.startswith("--output=") and sentence.endswith("choose another output.")


def test_a_fine_tuned_folder_is_no_pretrained_one(tmp_path):
    run = run_of(YESNO)
    claim(tmp_path / "run", run.experiment, run.prepared)
    for script, arguments in (("evaluate.py", ["--tasks=likelihood"]), ("finetune.py", ["--task=yesno", "--data=x"])):
        sentence = commands.run(script, f"--workdir={tmp_path / 'run'}", *arguments).sentence
        assert "holds a model of the task yesno; name the pretrained run" in sentence
