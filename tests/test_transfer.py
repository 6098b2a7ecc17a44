"""What pretraining is worth: the sets are read as told, runs are made once, and the table says what the seeds say."""

import dataclasses
import gzip
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

import commands
import tasks
from benchmarks import transfer_runs, transfer_table
from benchmarks.transfer_runs import SCALES, Course, Plan, compare, stages
from benchmarks.transfer_table import Comparison, judged, verdict
from benchmarks.transfer_tasks import EVERY, TASKS, drawn, find_tasks, parted, tuning
from finetuning.trials import RESULT, Outcome, Trials, write_whole
from training.progress import Progress

SENTENCES = ("the old boat", "a boat sings", "old water runs", "the tree is old", "light and stone")
TAGS = {"the": "DET", "a": "DET", "old": "ADJ", "boat": "NOUN", "tree": "NOUN", "runs": "VERB", ".": "PUNCT"}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        file.write(text)


def words(rng, most=9):
    return rng.choice(list(TAGS), rng.integers(3, most)).tolist()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Small files of every format, in folders named as the public sets are."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    write(folder / "gutenberg_few" / "one.txt", commands.text(24))
    write(folder / "zh_classics" / "book.txt", "\n".join("水流石不转。\n" * 4 for _ in range(20)))
    for split, count in (("train", 30), ("dev", 10)):
        lines = [f"{i % 2}\t{'good' if i % 2 else 'bad'} {SENTENCES[i % 5]}\n" for i in range(count)]
        write(folder / "sentence_polarity" / f"{split}.tsv", "".join(lines))
        pairs = [f"{i}\tis it {i}?\tit is\t{('entailment', 'not_entailment')[i % 2]}\n" for i in range(count)]
        write(folder / "qnli" / f"split_{split}.tsv", "index\tquestion\tsentence\tlabel\n" + "".join(pairs))
        write(folder / "wnut17" / f"{split}.conll", "Al\tB-person\nsings\tO\n\n" * count)
        sentences = [words(rng) for _ in range(count)]
        tagged = "\n".join("".join(f"{word}\t{TAGS[word]}\tX\n" for word in own) for own in sentences)
        write(folder / "ud_ewt" / f"ewt_{split}_pos.tsv.gz", tagged)
        write(folder / "ud_ewt" / f"ewt_raw_docs_{split}.txt", "no tags\n")
        ends = "\t".join(f"the boat {verb}" for verb in ("runs", "sings", "is old", "rows"))
        write(folder / "codah" / f"{split}.tsv", f"o\tA boat?\t{ends}\t2\n" * count)
    for split, count in (("dev", 12), ("test", 7)):
        answers = [{"text": "old boat", "answer_start": 4}]
        asked = [{"id": f"{split}{i}", "question": "What runs?", "answers": answers} for i in range(count)]
        passage = {"context": "The old boat runs.", "qas": asked}
        write(folder / "policyqa" / f"{split}.json", json.dumps({"data": [{"paragraphs": [passage]}]}))
    rows = [("水", "NOUN"), ("流", "VERB")]
    tree = "".join(f"{n}\t{word}\t_\t{tag}" + "\t_" * 5 + "\tSpaceAfter=No\n" for n, (word, tag) in enumerate(rows, 1))
    write(folder / "zh_gsdsimp" / "zh.conllu", "\n".join([tree] * 11))
    return folder


def silent(line: str) -> None:
    del line


@pytest.fixture(scope="module")
def sets(data):
    return {task.name: found for task, found in find_tasks(data, TASKS, silent).items()}


def test_every_set_is_read_split_and_named(sets):
    sizes = {name: (len(found.train), len(found.dev)) for name, found in sets.items()}
    assert sizes.pop("density")[0] < 30
    few = dict.fromkeys(("polarity", "qnli", "endings", "entities", "tags"), (30, 10))
    assert sizes == {**few, "answers": (12, 7), "tags-zh": (9, 2)}
    assert {name: found.task.name for name, found in sets.items()} == {name: name for name in sets}
    metrics = {name: found.task.metrics for name, found in sets.items()}
    assert metrics["entities"] == ("entity_f1",) and metrics["tags"] == metrics["tags-zh"] == ("tag_accuracy",)
    assert sets["qnli"].train[1].texts == ("is it 1?", "it is") and sets["polarity"].labels == ("0", "1")
    assert metrics["endings"] == ("accuracy",) and metrics["answers"] == ("exact", "answer_f1")
    assert (sets["endings"].train[0].context, sets["endings"].train[0].label) == ("A boat?", 2)
    assert sets["tags-zh"].train[0].spaced == (False, False)


def test_a_density_is_the_share_of_content_words_in_deviations_of_the_training_set(sets):
    def counted(part):
        kept = [[tag for tag in each.tags if tag != "PUNCT"] for each in part]
        return [sum(tag in {"NOUN", "ADJ", "VERB"} for tag in tags) / len(tags) for tags in kept if len(tags) >= 5]

    learned, judged_by = counted(sets["tags"].train), counted(sets["tags"].dev)
    for part, shares in (("train", learned), ("dev", judged_by)):
        found = [float(each.label) for each in getattr(sets["density"], part)]
        np.testing.assert_allclose(found, (np.array(shares) - np.mean(learned)) / np.std(learned, ddof=1), atol=6e-5)
    texts = {" ".join(each.words) for each in sets["tags"].train}
    assert all(each.texts[0] in texts for each in sets["density"].train)


def test_a_rate_is_chosen_on_a_part_of_the_training_set(sets):
    whole = sets["polarity"]
    part = tuning(whole)
    assert len(part.dev) == len(whole.train) // EVERY
    assert sorted(int(each.name) for each in [*part.train, *part.dev]) == list(range(30))
    assert part.labels == whole.labels and part.digest != whole.digest


def test_of_too_many_examples_some_are_drawn_in_their_order():
    assert drawn(range(7), 9) == list(range(7))
    some = drawn(range(1000), 100)
    assert some == sorted(set(some)) and len(some) == 100 and 400 < np.mean(some) < 600
    assert drawn(range(1000), 100) == some
    assert parted(range(11)) == ([0, 1, 2, 3, 5, 6, 7, 8, 10], [4, 9])


def test_what_is_not_there_is_left_out_or_refused_in_one_sentence(data, tmp_path):
    told = []
    write(tmp_path / "gutenberg" / "a.txt", "text\n")
    write(tmp_path / "qnli" / "split_train.tsv", "index\tquestion\tsentence\tlabel\n0\ta\tb\tentailment\n")
    run = lambda *arguments: commands.run("benchmarks/transfer.py", *arguments).sentence  # noqa: E731
    assert "--data: missing; name the folder" in run()
    assert "is no folder" in run(f"--data={tmp_path / 'nowhere'}")
    assert "gold is none; there are polarity, qnli" in run(f"--data={data}", "--tasks=polarity,gold")
    assert "none of its files has 'dev' in the name" in run(f"--data={tmp_path}", "--tasks=qnli")
    assert "holds the set and the text of no task" in run(f"--data={tmp_path}", "--tasks=entities,tags-zh")
    chinese = [task for task in TASKS if task.name in ("tags-zh", "polarity")]
    (data / "zh_classics").rename(data / "elsewhere")
    found = find_tasks(data, chinese, told.append)
    (data / "elsewhere").rename(data / "zh_classics")
    assert [task.name for task in found] == ["polarity"]
    assert told == [f"tags-zh: left out, as {data} has no folder whose name begins with zh_classics."]
    (tmp_path / "qnli_more").mkdir()
    assert "qnli, qnli_more all begin with qnli" in run(f"--data={tmp_path}", "--tasks=qnli")


SMALL = (
    *("--model=tiny", "--steps=2", "--updates=2", "--seeds=2", "--rates=1e-2", "--tasks=polarity"),
    *("--config.data.tokenizer=bytes", "--config.data.validation=0.1", "--config.data.test=0.1"),
    *("--config.model.num_layers=1", "--config.model.num_heads=2"),
    *("--config.model.model_dim=16", "--config.model.mlp_dim=32"),
)


def test_the_command_runs_from_text_to_table_and_does_nothing_twice(data, tmp_path, monkeypatch):
    for family in ("bert", "gpt"):  # the one that differs the most between text and task is enough
        monkeypatch.delitem(transfer_runs.FAMILIES, family)
    workdir = tmp_path / "runs"
    command = "benchmarks/transfer.py", f"--data={data}", f"--workdir={workdir}", *SMALL
    planned = commands.run(*command, "--dry_run")
    assert "polarity: 30 examples to learn from, 10 to judge by, accuracy" in planned.out and not workdir.exists()
    done = commands.run(*command)
    assert done.code == 0, done.err
    found = json.loads((workdir / "results.json").read_text())
    table = (workdir / "table.md").read_text()
    assert table.strip() in done.out and (workdir / "differences.png").read_bytes().startswith(b"\x89PNG")
    assert "Of 1 comparison, no verdict: 1." in table and "no verdict: 6 seeds are needed" in table
    (row,), (source,) = found["rows"], found["pretraining"]
    assert row["of"]["family"] == source["model"] == "XLNet"
    assert (source["step"], source["tokens"]) == (2, 2 * 16 * 64)
    final = workdir / "tasks" / "polarity" / "xlnet" / "final"
    for arm, scores in row["of"]["scores"].items():
        for seed, score in enumerate(scores):
            folder = final / arm / "rate-0.01" / f"seed-{seed}"
            said = [line.split("\t")[1] for line in (folder / "predictions-dev.tsv").read_text().splitlines()[1:]]
            assert score == np.mean([text == str(i % 2) for i, text in enumerate(said)])
            assert not any(path.is_dir() for path in folder.iterdir())
    spent = stages(workdir / "seconds.json")
    assert found["seconds"] == pytest.approx(sum(each["seconds"] for each in spent.values()))
    assert set(spent) == {"pretraining XLNet on English text", "polarity, XLNet"}

    asked, train = [], Trials.train
    monkeypatch.setattr(Trials, "train", lambda *own: asked.append(own[1]) or train(*own))
    monkeypatch.setattr(transfer_runs, "train", lambda *own, **named: pytest.fail("pretrained twice"))
    (final / "scratch" / "rate-0.01" / "seed-1" / RESULT).unlink()
    again = commands.run(*command)
    assert again.code == 0, again.err
    assert [(trial.arm, trial.seed) for trial in asked] == [("scratch", 1)]
    assert json.loads((workdir / "results.json").read_text())["rows"] == found["rows"]
    other = commands.run(*command, "--updates=3").sentence
    assert "holds another experiment: optimizer.total_steps is 2 there and 3 here" in other


def test_families_are_pretrained_alike_but_for_model_and_objective(data, tmp_path):
    plan = Plan(data, tmp_path, SCALES["mini"], steps=30, updates=2, rates=(1e-2,), seeds=2)
    for text in ("English", "Chinese"):
        found = [plan.pretraining(text, family).experiment for family in transfer_runs.FAMILIES]
        assert len({type(each.model) for each in found}) == len({type(each.objective) for each in found}) == 3
        for one, other in itertools.pairwise(found):
            assert dataclasses.replace(one, model=other.model, objective=other.objective) == other
            for size in ("num_layers", "num_heads", "model_dim", "mlp_dim", "dropout_rate"):
                assert getattr(one.model, size) == getattr(other.model, size)


def test_each_arm_learns_at_its_own_best_rate_and_is_judged_by_the_dev_set(data, sets, tmp_path, monkeypatch):
    (task,) = (task for task in TASKS if task.name == "polarity")
    plan = Plan(data, tmp_path, SCALES["tiny"], steps=1, updates=2, rates=(1e-2, 1e-3, 1e-4), seeds=2)
    tasks.checkpoint(plan.pretraining("English", "xlnet").folder, "xlnet")
    score = {("scratch", 1e-3): 0.6, ("scratch", 1e-4): 0.6, ("pretrained", 1e-4): 0.7, ("pretrained", 1e-3): 0.1}
    asked = []

    def fake(trials, trial, run, part):
        where = trials.output.name
        asked.append((where, trial.arm, trial.rate, trial.seed))
        assert len(run.sets.dev) == {"tuning": 6, "final": 10}[where] and run.experiment.optimizer.total_steps == 2
        value = score.get((trial.arm, trial.rate), 0.5) + trial.seed / 10
        folder = trials.output / trial.folder
        folder.mkdir(parents=True)
        write_whole(folder / RESULT, json.dumps({"step": 2, "values": {"score": value}, "diverged": None}))
        return Outcome(trial, 2, {"score": value})

    monkeypatch.setattr(Trials, "train", fake)
    with Progress(plan.work({task: sets["polarity"]}), "all") as progress:
        course = Course(progress, tmp_path / "seconds.json")
        found = compare(plan, task, sets["polarity"], "xlnet", course)
        assert found.rates == {"scratch": 1e-3, "pretrained": 1e-4}, "of equals the first"
        assert found.scores == {"scratch": (0.6, 0.7), "pretrained": (0.7, pytest.approx(0.8))}
        assert len(asked) == 2 * 3 + 2 * 2
        assert compare(plan, task, sets["polarity"], "xlnet", course) == found and len(asked) == 10
    each = (3 + 2) * 2 * 2  # of one family; the others cost as much, and pretraining one step each
    assert plan.work({task: sets["polarity"]}) == 3 * each + 3 * transfer_runs.WEIGHT


def comparison(*differences, base=0.5, majority=0.0):
    scores = {"scratch": (base,) * len(differences), "pretrained": tuple(base + each for each in differences)}
    return Comparison("task", "BERT", "accuracy", 100, 50, {"scratch": 1e-3, "pretrained": 1e-3}, scores, majority)


def test_the_statistics_are_those_of_an_enumeration():
    rng = np.random.default_rng(0)
    shifts = (0.1, 0.02, -0.08, 0.0)
    given = [comparison(*rng.normal(shift, 0.03, 9).tolist()) for shift in shifts]
    rows = judged(given)
    p = []
    for row, each in zip(rows, given, strict=True):
        own = np.array(each.scores["pretrained"]) - 0.5
        sums = [abs(np.dot(signs, own)) for signs in itertools.product((1, -1), repeat=9)]
        p.append(np.mean([total >= abs(own.sum()) - 1e-12 for total in sums]))
        assert row.p == p[-1] and row.mean.value == pytest.approx(own.mean())
        np.testing.assert_allclose(row.by_seed, own)
        # 2^S - 1 means of subsets cut the line into parts that are equally likely to hold the center (Hartigan 1969).
        subsets = [own[list(chosen)] for n in range(1, 10) for chosen in itertools.combinations(range(9), n)]
        means = np.sort([subset.mean() for subset in subsets])
        least = math.floor(0.05 * 2**9 / 2)
        assert (row.mean.low, row.mean.high) == pytest.approx((means[least - 1], means[-least]), abs=1e-7)
    for own, row in zip(p, rows, strict=True):  # Holm: no less than any smaller one's
        at_least = [min(1, other * sum(each >= other for each in p)) for other in p if other <= own]
        assert row.adjusted == pytest.approx(max(at_least))
    assert [row.verdict for row in rows] == ["helps", "no difference shown", "hurts", "no difference shown"]
    assert transfer_table.counted(rows) == "Of 4 comparisons, helps: 1, hurts: 1, no difference shown: 2."


def test_a_verdict_is_no_more_than_the_seeds_allow():
    six, nine = comparison(*[0.1] * 6), comparison(*[0.1] * 9)
    assert verdict(six, 0.1, 0.03125, 1) == "helps"
    assert verdict(six, 0.1, 0.05, 1) == "helps" and verdict(six, -0.1, 0.05, 1) == "hurts"
    assert verdict(six, 0.1, np.nextafter(0.05, 1), 1) == "no difference shown"
    assert verdict(six, 0.1, 0.01, 2) == "no verdict: 7 seeds are needed"
    assert verdict(nine, 0.1, 0.01, 12) == "helps" and verdict(nine, 0.1, 0.01, 13).endswith("10 seeds are needed")
    lost = comparison(0.1, math.nan, *[0.1] * 4, majority=0.9)
    (row,) = judged([lost])
    assert row.verdict == verdict(lost, 0.1, math.nan, 1) == "no verdict: a score is no number"
    assert "nan" in transfer_table.table([row]) and json.dumps(transfer_table.values([row]), allow_nan=False)
    low = comparison(*[0.1] * 6, majority=0.6)
    assert verdict(low, 0.1, 0.01, 1) == "helps; neither beats the majority"
    assert verdict(comparison(*[0.1] * 6, majority=0.59), 0.1, 0.01, 1) == "helps"
    worse = comparison(*[-0.1] * 6, majority=0.45)
    assert verdict(worse, -0.1, 0.01, 1) == "hurts", "from scratch, it beats the majority"


def test_the_table_shows_spread_and_says_where_there_is_none():
    (row,) = judged([comparison(0.02)])
    assert math.isnan(row.mean.low) and row.verdict == "no verdict: 6 seeds are needed"
    text = transfer_table.table([row])
    assert "50.0 ± ? |" in text and "+2.0 |" in text and "| 1.0000 |" in text
    many = judged([comparison(0.02, 0.04, 0.02, 0.04, 0.02, 0.04, base=0.25)])
    cells = [cell.strip() for cell in transfer_table.table(many).splitlines()[-1].split("|")]
    spread = 100 * np.std([0.02, 0.04] * 3, ddof=1)
    assert cells[4:8] == ["25.0 ± 0.0", f"28.0 ± {spread:.1f}", "0.0", "+3.0 (+2.0 to +4.0)"]
    assert json.dumps(transfer_table.values([row]), allow_nan=False)
    assert len(transfer_table.figure(many + judged([comparison(0.1)])).axes) == 1
