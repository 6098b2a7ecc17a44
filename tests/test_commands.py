"""The commands end to end: what they print, what they write, and that what they print is true."""

import importlib
import itertools
import json
import re

import pytest
from absl import flags

import commands
from ablation import existing, study
from ablation.choices import cloze_tokens, cloze_words
from ablation.yardsticks import likelihood
from training.checkpoint import Checkpoints
from training.config import from_dict

MODELS = ("bert", "gpt", "xlnet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a config and a corpus, where the runs of this module lie."""
    folder = tmp_path_factory.mktemp("commands")
    commands.write_config(folder)
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    """A finished run of each model. GPT's rate rises so high that its best step is not its last."""
    extra = {
        "bert": ["--profile"],
        "gpt": ["--config.optimizer.peak_rate=10", "--config.optimizer.warmup_steps=12"],
        "xlnet": [],
    }
    done = {name: train(folder, name, folder / name, *extra[name]) for name in MODELS}
    assert all(each.code == 0 for each in done.values()), done
    return done


def train(folder, model, workdir, *arguments):
    return commands.run("train.py", f"--config={folder}/tiny.py:{model}", f"--workdir={workdir}", *arguments)


def evaluate(workdir, *arguments):
    return commands.run("evaluate.py", f"--workdir={workdir}", *arguments)


def numbers(done):
    """What evaluate.py printed."""
    assert done.code == 0, done.err
    return {
        name: float(text.replace(",", "")) for name, text in re.findall(r"^  (\w+) +([\d.,naif]+)$", done.out, re.M)
    }


def validation(workdir):
    return {record["step"]: record for record in commands.records(workdir) if record.get("split") == "validation"}


def test_the_printed_experiment_is_the_experiment(tmp_path):
    config = commands.write_config(tmp_path)
    arguments = [f"--config={config}:xlnet", f"--workdir={tmp_path / 'run'}", "--config.seed=3"]
    done = commands.run("train.py", *arguments, "--print_config")
    printed = from_dict(json.loads(done.out))
    expected = commands.experiment(config, "xlnet")
    assert printed.seed == 3 and printed.model == expected.model and printed.objective == expected.objective
    assert (done.code, done.err) == (0, "")
    assert not (tmp_path / "run").exists()


def test_a_dry_run_says_what_would_happen_and_writes_nothing(tmp_path):
    commands.write_config(tmp_path)
    done = train(tmp_path, "xlnet", tmp_path / "run", "--dry_run")
    assert done.code == 0
    for said in ("train  ", "unigram", "11,574 parameters", "GFLOP", "first step: loss", "MiB", "whole run: 12 steps"):
        assert said in done.out
    assert not (tmp_path / "run").exists()


def test_training_reports_the_data_the_progress_and_the_end(runs, folder):
    done, last = runs["xlnet"], validation(folder / "xlnet")[12]
    assert "corpus: " in done.out and "unigram" in done.out and "parameters" in done.out
    assert "held-out loss" in done.err and "12/12  100%" in done.err and "ETA 0:00" in done.err
    assert f"step 12, held-out loss {last['loss']:.4f}" in done.out and "768 tokens, 96 predicted" in done.out


def test_a_workdir_holds_what_is_needed_to_use_the_run(runs, folder):
    names = {path.name for path in (folder / "gpt").iterdir()}
    assert names == {"checkpoints", "experiment.json", "lock", "metrics.jsonl", "tensorboard", "tokenizer"}
    assert list((folder / "gpt" / "tensorboard").iterdir())


def test_a_profile_is_a_folder_with_a_trace(runs, folder):
    assert f"trace in {folder / 'bert' / 'profile'}" in runs["bert"].out
    assert list((folder / "bert" / "profile").rglob("*.xplane.pb"))


@pytest.mark.parametrize("model", MODELS)
def test_evaluation_of_a_checkpoint_repeats_the_record_of_its_step(runs, folder, model):
    """The loop had trained with its memory, evaluation has only the parameters: neither depends on the other's."""
    found, record = numbers(evaluate(folder / model, "--step=5")), validation(folder / model)[5]
    assert found.keys() == record.keys() - {"step", "split"}
    assert {"loss", "accuracy", "perplexity", "unigram_loss", "targets"} <= found.keys()
    for name, value in found.items():
        assert value == pytest.approx(record[name], rel=1e-9, abs=6e-7), name


def test_best_is_the_least_validation_loss_and_latest_the_last_step(runs, folder):
    losses = {step: float(record["loss"]) for step, record in validation(folder / "gpt").items()}
    best = min(losses, key=losses.get)
    assert best != 12, "the run is too tame for this test"
    for which, step in (("best", best), ("latest", 12)):
        first, second = evaluate(folder / "gpt", f"--step={which}"), evaluate(folder / "gpt", f"--step={which}")
        assert first.out == second.out and f"step {step}, validation split" in first.out
        assert numbers(first)["loss"] == pytest.approx(losses[step], abs=6e-7)


def test_a_checkpoint_without_evaluation_can_be_evaluated(runs, folder):
    assert 3 in Checkpoints(folder / "bert").steps and 3 not in validation(folder / "bert")
    assert numbers(evaluate(folder / "bert", "--step=3"))["targets"] == validation(folder / "bert")[5]["targets"]


def test_the_test_split_is_other_text(runs, folder):
    test, other = (numbers(evaluate(folder / "xlnet", f"--split={split}")) for split in ("test", "validation"))
    assert test["unigram_loss"] != other["unigram_loss"]


def test_a_corpus_that_changed_is_not_evaluated_on(tmp_path):
    commands.write_config(tmp_path)
    short = ["--config.optimizer.total_steps=1", "--config.optimizer.warmup_steps=0"]
    assert train(tmp_path, "gpt", tmp_path / "run", *short).code == 0
    (tmp_path / "corpus.txt").write_text(commands.text(seed=1))
    assert "data.corpus has changed since training" in evaluate(tmp_path / "run").sentence


def test_a_longer_window_goes_on_from_another_run_and_says_so(runs, folder):
    longer = [f"--config.init_from={folder / 'gpt'}", "--config.data.length=24", "--config.model.max_length=24"]
    done = train(folder, "gpt", folder / "longer", *longer)
    assert done.code == 0
    assert f"parameters from {folder / 'gpt'}, step 12" in done.out
    assert "the position table is extended from 16 to 24 rows" in done.out
    assert numbers(evaluate(folder / "longer"))["targets"] > 0
    resumed = train(folder, "gpt", folder / "longer", *longer)
    assert resumed.code == 0 and "parameters from" not in resumed.out and "resumed at step 12" in resumed.err


def test_the_last_workdir_and_a_relative_corpus_are_taken(folder, monkeypatch):
    monkeypatch.chdir(folder)
    twice = ["--workdir=last", "--config.data.corpus=corpus.txt", "--config.optimizer.total_steps=2"]
    assert train(folder, "gpt", "first", *twice).code == 0
    assert (folder / "last" / "experiment.json").exists() and not (folder / "first").exists()


def demo_module():
    """demo.py as a module; its flags are taken back, as other commands have some of the same name."""
    module = importlib.import_module("demo")
    for name in ("workdir", "steps"):
        if name in flags.FLAGS:
            delattr(flags.FLAGS, name)
    return module


def test_the_demo_table_is_markdown_whose_columns_align():
    rows = [
        {"model": "BERT", "objective": "MaskedLm", "tokens": "1,000"},
        {"model": "XLNet", "objective": "x", "tokens": "9"},
    ]
    assert demo_module().table(rows).splitlines() == [
        "| model | objective | tokens |",
        "| ----- | --------- | -----: |",
        "| BERT  | MaskedLm  |  1,000 |",
        "| XLNet | x         |      9 |",
    ]


def test_the_demo_trains_three_models_on_the_same_tokens_and_prints_one_table(tmp_path, monkeypatch):
    names = lambda yardsticks: [metric.name for each in yardsticks for metric in each.metrics]  # noqa: E731
    few = (likelihood(positions=2, blocks=8), cloze_words(8), cloze_tokens(8))
    metrics = names(few)
    assert metrics == names(existing.YARDSTICKS), "it is asked the same, of fewer items"
    monkeypatch.setattr(existing, "YARDSTICKS", few)
    monkeypatch.setattr(study, "ITEMS", 8)
    done = commands.run("demo.py", "--steps=2", f"--workdir={tmp_path}")
    assert done.code == 0, done.err
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.out.splitlines() if line[:1] == "|"]
    header, _, *rows = cells
    assert [row[0] for row in rows] == ["BERT", "GPT", "XLNet"]
    tokens, losses, unigrams, gains = (
        [float(row[header.index(name)].replace(",", "")) for row in rows]
        for name in ("tokens", "held-out loss", "unigram", "gain")
    )
    assert tokens == [2 * 16 * 128] * 3
    for row, loss, unigram, gain in zip(rows, losses, unigrams, gains, strict=True):
        last = validation(tmp_path / row[0].lower())[2]
        assert row[-1] == str(tmp_path / row[0].lower())
        assert (loss, unigram) == (pytest.approx(last["loss"], abs=6e-4), pytest.approx(last["unigram_loss"], abs=6e-4))
        assert gain == pytest.approx(unigram - loss, abs=2e-3)
    assert "do not compare them down the" in done.out and "without next-sentence prediction" in done.out
    measured = json.loads((tmp_path / "results.json").read_text())["measurements"]
    asked = sorted((each["arm"], each["metric"]) for each in measured)
    assert asked == sorted(itertools.product(MODELS, metrics))
    assert done.out.endswith(f"{tmp_path / 'report.html'}\n") and (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("corpus", "model", "fields"),
    [
        ("gutenberg_dev", "xlnet", ["--config.data.tokenizer=unigram", "--config.data.vocab_size=600"]),
        ("zh_classics_dev", "gpt", ["--config.data.tokenizer=unigram", "--config.data.vocab_size=1500"]),
        ("ud_ewt", "bert", ["--config.data.layout=pairs", "--config.model.pair_head=true"]),
    ],
)
def test_real_text_trains_end_to_end(tmp_path, real_data, corpus, model, fields):
    commands.write_config(tmp_path)
    pairs = ["--config.objective.pair_weight=1"] if model == "bert" else []
    sampled = ["--config.data.tokenizer_sample=200000"]
    text = smallest(real_data / corpus)
    done = train(tmp_path, model, tmp_path / "run", f"--config.data.corpus={text}", *fields, *pairs, *sampled)
    assert done.code == 0, done.err
    last = validation(tmp_path / "run")[12]
    assert last["loss"] > 0 and last["unigram_loss"] > 0
    assert ("pair_loss" in last) == bool(pairs)
    assert numbers(evaluate(tmp_path / "run"))["loss"] == pytest.approx(last["loss"], abs=6e-7)


def smallest(folder):
    """A file of at least 100 kB: what is learned here does not matter."""
    files = [file for file in folder.rglob("*.txt") if file.stat().st_size > 100_000]
    return min(files, key=lambda file: (file.stat().st_size, file.name))
