"""Further sets that have labels, as MNLI's mismatched one: told beside the dev set, and nothing is chosen by them."""

import dataclasses
import json
import math
import statistics

import numpy as np
import pytest

import commands
import tasks
from finetuning.answers import said
from finetuning.examples import Answer, Labeled, Question
from finetuning.files import Layout
from finetuning.scoring import majority, measured_on
from finetuning.sources import open_sets
from finetuning.spans.decoding import Prediction
from finetuning.summary import table
from finetuning.trials import Outcome, Trial, summarize

CLASSES = ("entailment", "neutral", "contradiction")
SIZES = {"train": 24, "dev_matched": 9, "dev_mismatched": 12, "test_matched": 4}
NAME = "dev_mismatched/accuracy"


def write_mnli(folder):
    """Tables with the columns of MNLI's that are read; the test set has no labels, its other one is not there."""
    rng = np.random.default_rng(0)
    for name, count in SIZES.items():
        labels = [CLASSES[int(i)] for i in rng.choice(3, count, p=(0.5, 0.3, 0.2))]
        lines = [f"{i}\tthe {labels[i][:4]} boat\ta tree\t{labels[i]}" for i in range(count)]
        header = "index\tsentence1\tsentence2\tgold_label"
        if name.startswith("test"):
            lines, header = [line.rpartition("\t")[0] for line in lines], header.rpartition("\t")[0]
        (folder / f"{name}.tsv").write_text("\n".join([header, *lines]) + "\n")
    return folder


def told(output):
    return json.loads((output / "results.json").read_text())


def test_the_mismatched_set_is_told_for_both_arms_and_the_majority_and_told_again(tmp_path, monkeypatch):
    folder, output = write_mnli(tmp_path), tmp_path / "out"
    fields = ("length=64", "shortest=64", "batch_size=8")
    asked = (f"--workdir={tasks.pretrained('gpt')}", "--task=mnli", f"--data={folder}", f"--output={output}")
    asked += ("--seeds=2", "--epochs=1", "--rates=1e-2", *(f"--config.data.{field}" for field in fields))
    done = commands.run("finetune.py", *asked)
    assert done.code == 0, done.err
    found = told(output)
    sets = open_sets("mnli", folder, Layout(), print)
    assert sets.further == ("dev_mismatched",), "what has no labels is no such set"
    assert sets.measures == ("accuracy", NAME)
    header, *lines = done.out.splitlines()[-4:]
    assert header.split()[2:4] == ["accuracy", NAME]
    for name in ("dev", "dev_mismatched"):
        key = {"dev": "accuracy", "dev_mismatched": NAME}[name]
        right = [each.label for each in sets.named[name]]
        for arm, line in zip(("pretrained", "scratch"), lines, strict=False):
            scores = []
            for seed in range(2):
                own = output / arm / "rate-0.01" / f"seed-{seed}"
                predicted = [
                    row.split("\t")[1] for row in (own / f"predictions-{name}.tsv").read_text().split("\n")[1:-1]
                ]
                scores.append(float(np.mean([one == other for one, other in zip(predicted, right, strict=True)])))
                assert json.loads((own / "result.json").read_text())["values"][key] == scores[-1]
                assert found["arms"][arm]["seeds"][str(seed)][key] == scores[-1]
            assert found["arms"][arm]["mean"][key] == pytest.approx(statistics.fmean(scores))
            assert found["arms"][arm]["deviation"][key] == pytest.approx(statistics.stdev(scores))
            cell = f"{100 * statistics.fmean(scores):.1f} ± {100 * statistics.stdev(scores):.1f}"
            assert cell in line
        common = statistics.mode(each.label for each in sets.train)
        assert found["majority"][key] == right.count(common) / len(right)
        assert f"{100 * found['majority'][key]:.1f}" in lines[-1]
    assert not (output / "pretrained" / "rate-0.01" / "seed-0" / "predictions-dev_matched.tsv").exists()

    def killed(*_, **__):
        raise AssertionError("nothing is trained again")

    monkeypatch.setattr("finetuning.trials.train", killed)
    again = commands.run("finetune.py", *asked)
    assert again.out == done.out and told(output) == found

    file = output / "pretrained" / "rate-0.01" / "seed-1" / "result.json"
    older = json.loads(file.read_text())
    del older["values"][NAME]
    file.write_text(json.dumps(older))
    again = commands.run("finetune.py", *asked)
    assert again.code == 0, again.err
    assert "? ± ?" in again.out.splitlines()[-3] and "±" in again.out.splitlines()[-3].replace("? ± ?", "")
    assert told(output)["arms"]["pretrained"]["mean"][NAME] == "nan"
    assert told(output)["arms"]["scratch"] == found["arms"]["scratch"]


def outcome(rate, seed, dev, other):
    values = {"accuracy": dev, "score": dev, NAME: other, "loss": 1.0}
    return Outcome(Trial("pretrained", rate, seed), 1, values)


def test_a_rate_is_chosen_on_the_dev_set_alone():
    sets = dataclasses.replace(tasks.classification(), others={"dev_mismatched": tasks.sentences(4, 9)})
    (found,) = summarize([outcome(1e-2, 0, 0.6, 0.1), outcome(1e-3, 0, 0.5, 0.9)])
    assert found.rate == 1e-2 and found.mean(NAME) == 0.1
    line = table(sets, [found], majority(sets)).splitlines()[1]
    assert line.split() == ["pretrained", "0.01", "60.0", "±", "?", "10.0", "±", "?", "60.0"]


def test_a_set_that_is_empty_or_has_an_example_without_a_label_is_only_predicted():
    labeled, unlabeled = Labeled("0", ("a",), "no"), Labeled("1", ("b",), None)
    others = {"empty": [], "half": [labeled, unlabeled], "test": [unlabeled], "whole": [labeled]}
    sets = dataclasses.replace(tasks.classification(), others=others)
    assert sets.further == ("whole",) and sets.digest == tasks.classification().digest, "it is the same run"
    assert measured_on(sets, "whole", np.array([0])) == {"whole/accuracy": 1.0}
    for name in ("dev", "empty", "half", "test"):
        assert measured_on(sets, name, np.array([0])) == {}


def test_further_sets_of_every_kind_have_a_majority():
    words, tags, questions = (sets() for sets in (tasks.regression, tasks.tagging, tasks.extraction))
    for sets in (words, tags, questions, tasks.choice()):
        both = majority(dataclasses.replace(sets, others={"again": sets.dev}))
        alone = majority(sets)
        assert both == {**alone, **{f"again/{name}": alone[name] for name in sets.task.metrics}}


def test_answers_on_a_further_set_are_given_by_the_threshold_of_the_dev_set():
    more = [
        Question(str(i), "q", "old boat", answers, not answers) for i, answers in enumerate([(), (Answer("old", 0),)])
    ]
    sets = dataclasses.replace(tasks.extraction(nullable=True), others={"more": more})
    found = [Prediction("0", "boat", 1.0, ()), Prediction("1", "old", 2.0, ())]
    exact = {
        threshold: measured_on(sets, "more", said(found, threshold))["more/exact"] for threshold in (0.0, 1.5, 9.0)
    }
    assert exact == {0.0: 0.5, 1.5: 0.0, 9.0: 0.5} and not math.isnan(sum(exact.values()))
    assert said(found, None) == ["boat", "old"]
