"""The comparison of checkpoints end to end: what evaluate.py prints is what the scorers find, or a sentence."""

import itertools
import json
import shutil

import numpy as np
import pytest

import commands
from data.config import DataConfig
from data.corpus import open_corpus
from data.prepare import prepare
from evaluation.blocks import cut
from evaluation.checkpoints import open_checkpoint
from evaluation.likelihood import Options, left_to_right
from evaluation.statistics import bits_per_byte
from evaluation.tasks import TASKS
from training.workdir import stored_experiment

MODELS = ("bert", "gpt", "xlnet")
CARRIED = "left to right, memory carried"
QUICK = ("--positions=2", "--orders=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A config, a corpus and a run of each model."""
    folder = tmp_path_factory.mktemp("evaluate")
    commands.write_config(folder)
    short = ["--config.optimizer.total_steps=2", "--config.optimizer.warmup_steps=0"]
    for name in MODELS:
        config = f"--config={folder}/tiny.py:{name}"
        done = commands.run("train.py", config, f"--workdir={folder / name}", *short)
        assert done.code == 0, done.err
    return folder


def compare(folder, *arguments, models=MODELS):
    return commands.run("evaluate.py", *(f"--workdir={folder / name}" for name in models), *arguments)


@pytest.fixture(scope="module")
def compared(folder):
    done = compare(folder, "--tasks=likelihood,pseudo", "--kappa=1", "--kappa=all", *QUICK, f"--output={folder}/eval")
    assert done.code == 0, done.err
    return done, json.loads((folder / "eval" / "eval.json").read_text())


def scores(values, model):
    """The scores of a model by name."""
    return {row["score"]: row for row in values["scores"] if row["model"] == str(model)}


@pytest.fixture(scope="module")
def asked(folder):
    """The other tasks, asked of the same three."""
    pairs = [("the boat sings", "the boat sing"), ("a tree runs", "a tree run"), ("old house", "house old")]
    rows = [{"sentence_good": good, "sentence_bad": bad, "UID": "agreement"} for good, bad in pairs]
    (folder / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    words = [("the", "DET"), ("a", "DET"), ("boat", "NOUN"), ("river", "NOUN"), ("sings", "VERB"), ("runs", "VERB")]
    sentences = [chosen for size in (1, 2, 3) for chosen in itertools.product(words, repeat=size)]
    short = [chosen for chosen in sentences if sum(len(word) + 1 for word, _ in chosen) < 15]
    (folder / "tags.tsv").write_text("\n".join("".join(f"{w}\t{t}\n" for w, t in chosen) for chosen in short))
    files = (f"--pairs={folder}/pairs.jsonl", f"--probe={folder}/tags.tsv")
    tasks = "--tasks=cloze,pairs,curve,probe,calibration"
    done = compare(folder, tasks, *files, *QUICK, "--items=8", f"--output={folder}/asked")
    assert done.code == 0, done.err
    return done, json.loads((folder / "asked" / "eval.json").read_text())


def test_every_task_answers_for_every_checkpoint_and_its_baselines(asked, folder):
    done, values = asked
    runs = {str(folder / model) for model in MODELS}
    tokens = values["cloze"]["tokens"]["scores"]  # of its 14 words there are too few alike to choose from
    (curves,) = values["curve"]["by_tokenizer"]
    one_side = values["calibration"]["one side"]["scores"]
    for rows in (tokens, curves["curves"], one_side, values["pairs"]["scores"]):
        names = {row["model"] for row in rows}
        assert runs <= names and {f"{run}, random weights" for run in runs} <= names
        assert any("unigram" in name for name in names) and any("5-gram" in name for name in names)
    assert {row["model"] for row in values["probe"]["checkpoints"]} == runs
    for task in ("cloze", "pairs", "curve", "probe", "calibration"):
        assert f"\n{task}\n" in done.out
    assert "Not asked" in done.out and "not asked" in done.out  # GPT sees one side


def test_every_task_draws_what_it_found(asked, compared, folder):
    names = {path.stem for path in (folder / "asked").glob("*.png")}
    assert names == {"cloze", "pairs", "curve", "probe", "calibration", "calibration_both_sides"}
    assert (folder / "eval" / "likelihood.png").read_bytes().startswith(b"\x89PNG")
    assert all(path.stat().st_size > 10_000 for path in (folder / "asked").glob("*.png"))


def test_every_checkpoint_has_its_likelihoods_and_baselines(compared, folder):
    _, values = compared
    names = {model: set(scores(values["likelihood"], folder / model)) for model in MODELS}
    masked = {"left to right, κ=1", "left to right, κ=all"}
    assert names == {"bert": masked, "gpt": {"left to right"}, "xlnet": {"left to right", CARRIED}}
    assert set(scores(values["likelihood"], "n-grams")) == {"unigram", "5-gram"}
    untrained = [scores(values["likelihood"], f"{folder / model}, random weights") for model in MODELS]
    assert [len(found) for found in untrained] == [1, 1, 1]
    assert all(row["normalised"] for row in values["likelihood"]["scores"])
    assert not any(row["normalised"] for row in values["pseudo"]["scores"])
    both = [str(folder / model) for model in ("bert", "xlnet")]
    assert {row["model"] for row in values["pseudo"]["scores"]} == {*both, *(f"{run}, random weights" for run in both)}
    assert [row["model"] for row in values["likelihood"]["orders"]] == [str(folder / "bert"), str(folder / "xlnet")]
    assert len({row["bytes"] for row in values["likelihood"]["scores"]}) == 1


def test_the_table_prints_what_the_file_holds(compared):
    done, values = compared
    for task in ("likelihood", "pseudo"):
        for row in values[task]["scores"]:
            (line,) = [line for line in done.out.splitlines() if line.startswith(f"| {row['model']} ") and
                       f"| {row['score']} " in line and f"| {row['context']}" in line]  # fmt: skip
            assert f"{row['bits_per_byte']['value']:.4f}" in line
    assert "ETA 0:00" in done.err and "random orders" in done.err


def test_the_score_of_a_checkpoint_is_that_of_its_held_out_text(compared, folder):
    checkpoint = open_checkpoint(folder / "gpt", "latest")
    split = prepare(stored_experiment(folder / "gpt").data, print, checkpoint.tokenizer).validation
    blocks = cut(split, checkpoint.tokenizer.vocab, 16)
    found = bits_per_byte(left_to_right(checkpoint.subject, blocks)).value
    row = scores(compared[1]["likelihood"], folder / "gpt")["left to right"]
    assert row["bits_per_byte"]["value"] == pytest.approx(found, rel=1e-5)
    assert row["bytes"] == split.num_bytes
    assert found < 8 + 1


def test_differences_are_paired_and_add_up(compared, folder):
    found = {(row["model"], row["minus"]): row["value"] for row in compared[1]["likelihood"]["differences"]}
    bert, gpt, xlnet = (str(folder / model) for model in MODELS)
    assert found[bert, xlnet] == pytest.approx(found[bert, gpt] + found[gpt, xlnet])
    assert len(found) == 3


def test_random_weights_are_those_before_the_first_step(folder):
    checkpoint = open_checkpoint(folder / "xlnet", "latest")
    moved = {
        name: not np.array_equal(leaf, checkpoint.untrained().params[name])
        for name, leaf in checkpoint.subject.params.items()
        if not isinstance(leaf, dict)
    }
    assert moved and all(moved.values())
    assert checkpoint.untrained().chain is checkpoint.subject.chain


def test_a_given_text_is_scored_whole_and_needs_no_corpus(folder, tmp_path):
    (tmp_path / "text.txt").write_text("The old boat sings.\nA river runs 水.\n\nAnother stone.\n")
    for name in ("gpt", "bert"):
        shutil.copytree(folder / name, tmp_path / name)
        file = tmp_path / name / "experiment.json"
        file.write_text(file.read_text().replace("corpus.txt", "gone.txt"))
    text = f"--text={tmp_path}/text.txt"
    done = compare(tmp_path, "--tasks=likelihood", text, f"--output={tmp_path}/eval", *QUICK, models=("gpt", "bert"))
    assert done.code == 0, done.err
    values = json.loads((tmp_path / "eval" / "eval.json").read_text())
    assert {row["bytes"] for row in values["likelihood"]["scores"]} == {(tmp_path / "text.txt").stat().st_size - 1}
    assert "no n-gram baselines" in done.out and not scores(values["likelihood"], "n-grams")


def test_memory_is_carried_beside_the_same_text_without(compared, folder):
    found = scores(compared[1]["likelihood"], folder / "xlnet")
    one, other = found["left to right"], found[CARRIED]
    assert one["bytes"] == other["bytes"] and one["bits_per_byte"]["value"] != other["bits_per_byte"]["value"]
    assert "tokens of memory" in other["context"] and "memory" not in one["context"]


def test_a_sample_is_the_full_likelihood_within_its_error(folder):
    checkpoint = open_checkpoint(folder / "bert", "latest")
    split = prepare(stored_experiment(folder / "bert").data, print, checkpoint.tokenizer).validation
    blocks = cut(split, checkpoint.tokenizer.vocab, 16)
    full, part = (left_to_right(checkpoint.subject, blocks, Options(positions=k)) for k in (0, 4))
    error = np.sqrt(part.sampling_variance().sum())
    assert error > 0 and abs(part.tokens.nats.sum() - full.tokens.nats.sum()) < 4 * error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tasks=likelihoods"], ["--tasks=likelihoods", "no such task", ", ".join(TASKS)]),
        (["--tasks=likelihood,closed"], ["--tasks=closed", "no such task"]),
        (["--tasks=pairs"], ["--tasks=pairs", "--pairs=FILE"]),
        (["--tasks=probe"], ["--tasks=probe", "--probe=FILE"]),
        (["--tasks=likelihood", "--pairs=x.jsonl"], ["--pairs=x.jsonl", "add pairs to --tasks"]),
        (["--tasks=pairs", "--pairs=gone.jsonl"], ["--pairs=gone.jsonl", "no such file"]),
        (["--tasks=probe", "--probe=gone.tsv"], ["--probe=gone.tsv", "no such file"]),
        (["--tasks=regret"], ["regret", "markov:"]),
        (["--tasks=likelihood", "--kappa=none"], ["--kappa=none", "from 1 on, or all"]),
        (["--tasks=likelihood", "--kappa=0"], ["--kappa=0"]),
        (["--tasks=likelihood", "--positions=1"], ["--positions=1", "at least 2"]),
        (["--tasks=likelihood", "--orders=1"], ["--orders=1", "at least 2"]),
        (["--tasks=likelihood", "--length=17"], ["--length=17", "max_length=16"]),
        (["--tasks=likelihood", "--length=1"], ["--length=1"]),
        (["--tasks=likelihood", "--text=nowhere"], ["--text=nowhere", "no such file"]),
        (["--tasks=likelihood", "--step=7"], ["--step=7", "no such checkpoint"]),
        (["--text=a.txt"], ["--text=a.txt", "--tasks=likelihood"]),
        (["--output=eval"], ["--output=eval", "--tasks=likelihood"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_what_cannot_be_asked_is_refused(folder, arguments, said):
    sentence = compare(folder, *arguments, models=("gpt",)).sentence
    for part in said:
        assert part in sentence


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_scored(folder):
    (folder / "file").write_text("")
    done = compare(folder, "--tasks=likelihood", f"--output={folder}/file", models=("gpt",))
    assert "--output=" in done.sentence and done.out == ""


def edited(run, copy, digest=None, **fields):
    """A copy of a run that says it was trained on other data."""
    shutil.copytree(run, copy)
    values = json.loads((copy / "experiment.json").read_text())
    values["experiment"]["data"].update(fields)
    values["identity"]["corpus_digest"] = digest or values["identity"]["corpus_digest"]
    (copy / "experiment.json").write_text(json.dumps(values))


def test_checkpoints_of_other_corpora_or_splits_are_refused_by_name(folder, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(commands.text(seed=1))
    edited(folder / "gpt", tmp_path / "split", validation=0.1)
    edited(folder / "gpt", tmp_path / "corpus", open_corpus(DataConfig(corpus=str(other))).digest, corpus=str(other))
    for name, field in (("corpus", "data.corpus"), ("split", "data.validation")):
        runs = (f"--workdir={run}" for run in (folder / "gpt", tmp_path / name))
        sentence = commands.run("evaluate.py", "--tasks=likelihood", *runs).sentence
        assert field in sentence and str(tmp_path / name) in sentence and "--text=PATH" in sentence


def test_a_corpus_that_changed_since_training_is_refused(folder, tmp_path):
    edited(folder / "gpt", tmp_path / "run", "0" * 64)
    sentence = commands.run("evaluate.py", "--tasks=likelihood", f"--workdir={tmp_path / 'run'}").sentence
    assert "data.corpus has changed since training" in sentence


def test_parameters_that_were_imported_take_the_held_out_text_of_the_others(folder, tmp_path):
    edited(folder / "gpt", tmp_path / "imported", corpus="docstrings", validation=0.2)
    file = tmp_path / "imported" / "experiment.json"
    values = json.loads(file.read_text())
    values["identity"]["corpus_digest"] = None
    file.write_text(json.dumps(values))
    runs = [f"--workdir={run}" for run in (tmp_path / "imported", folder / "gpt")]
    done = commands.run("evaluate.py", "--tasks=likelihood", *runs, f"--output={tmp_path}/eval", *QUICK)
    assert done.code == 0, done.err
    (same,) = json.loads((tmp_path / "eval" / "eval.json").read_text())["likelihood"]["differences"]
    assert same["value"] == same["z"] == 0


def test_several_runs_without_tasks_each_print_their_own_objective(folder):
    done = compare(folder, models=("bert", "gpt"))
    assert done.code == 0 and "MaskedLm" in done.out and "CausalLm" in done.out
    assert done.out.count("unigram_loss") == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [("", ["holds no pairs"]), ('{"sentence_good": "A.", "UID": "a"}\n', ["line 1", "sentence_bad"])],
)
def test_a_task_file_that_cannot_be_read_is_named_by_its_line(folder, tmp_path, content, said):
    (tmp_path / "pairs.jsonl").write_text(content)
    done = compare(folder, "--tasks=pairs", f"--pairs={tmp_path}/pairs.jsonl", models=("gpt",))
    for part in ("--pairs", "pairs.jsonl", *said):
        assert part in done.sentence


def test_regret_is_measured_on_a_known_source(tmp_path):
    config = commands.write_config(tmp_path)
    source = "--config.data.corpus=markov:symbols=6,length=14,documents=200"
    few = ["--config.optimizer.total_steps=2", "--config.optimizer.warmup_steps=0"]
    for name in ("gpt", "xlnet"):
        done = commands.run("train.py", f"--config={config}:{name}", f"--workdir={tmp_path / name}", source, *few)
        assert done.code == 0, done.err
    done = compare(
        tmp_path, "--tasks=regret,curve", *QUICK, "--items=8", f"--output={tmp_path}/eval", models=("gpt", "xlnet")
    )
    assert done.code == 0, done.err
    values = json.loads((tmp_path / "eval" / "eval.json").read_text())
    (curves,) = values["curve"]["by_tokenizer"]
    assert "optimum" in {row["model"] for row in curves["curves"]}
    assert {path.stem for path in (tmp_path / "eval").glob("*.png")} == {"regret", "curve"}
    left = {row["model"]: row for row in values["regret"]["scores"] if row["slice"] == "left to right"}
    for name in ("gpt", "xlnet"):
        found = left[str(tmp_path / name)]
        assert 0 < found["regret"]["value"] < 3  # two steps: little is learned of the 2.6 bits that a letter can cost
        assert found["bits_per_symbol"]["value"] > found["regret"]["value"]
