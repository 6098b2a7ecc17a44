"""A task of one's own: which files are its sets, which columns texts and labels, and what is said where that fails."""

import gzip
from pathlib import Path

import pytest

from batch import InputError
from finetuning.files import Layout, are_entities, the_file
from finetuning.sources import SOURCES, open_sets

NAMED = Layout(("question", "sentence"), "label")
NUMBERED = Layout(("1",), "0")


def silent(line: str) -> None:
    del line


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def read(folder: Path, task: str, layout: Layout):
    return open_sets(task, folder, layout, silent)


def refused(folder: Path, task: str, layout: Layout) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, task, layout)
    return str(caught.value)


def test_columns_are_found_by_name_and_classes_are_those_of_training(tmp_path):
    table = "label\tsentence\tquestion\nno\tb\ta\nyes\td\tc\n"
    folder = write(tmp_path / "qa", split_train__tsv=table, split_dev__tsv=table)
    sets = read(folder, "classification", NAMED)
    assert sets.labels == ("no", "yes") and sets.task.metrics == ("accuracy",) and sets.task.name == "qa"
    assert [(each.texts, each.label) for each in sets.train] == [(("a", "b"), "no"), (("c", "d"), "yes")]


def test_columns_are_found_by_number_and_files_may_be_compressed(tmp_path):
    folder = write(tmp_path, train__tsv="1\tgood\n0\tbad\n")
    with gzip.open(folder / "dev.tsv.gz", "wt") as file:
        file.write("0\tpoor\n1\tfine\n")
    sets = read(folder, "Classification", NUMBERED)
    assert [each.texts for each in sets.dev] == [("poor",), ("fine",)]


def test_numbers_are_a_regression(tmp_path):
    table = "text,score\na,0.5\nb,-2\nc,3e1\n"
    sets = read(write(tmp_path, train__csv=table, dev__csv=table), "regression", Layout(("text",), "score"))
    assert (sets.labels, sets.task.metrics) == ((), ("pearson", "spearman"))
    folder = write(tmp_path, dev__csv="text,score\na,1\nb,x\n")
    sentence = refused(folder, "regression", Layout(("text",), "score"))
    assert sentence.startswith("line 3 of ") and "label 'x' is not a finite number" in sentence


def test_words_have_tags_and_entities_are_judged_as_such(tmp_path):
    train, dev = "Ann B-person\nsang O\n\nBob B-person\n", "in O\nRome B-place\n"
    sets = read(write(tmp_path, train__conll=train, dev__conll=dev), "tagging", Layout())
    assert sets.task.metrics == ("entity_f1",)
    assert sets.labels == ("B-person", "O", "B-place"), "what training lacks comes last"
    words = "Ann NOUN N\nsang VERB V\n"
    sets = read(write(tmp_path / "pos", train__txt=words, dev__txt=words), "tagging", Layout(("0",), "1"))
    assert sets.task.metrics == ("tag_accuracy",) and sets.labels == ("NOUN", "VERB")
    assert not are_entities(("NOUN", "O-Z")) and are_entities(("O", "B-x", "I-x"))


def test_of_several_files_one_must_be_named(tmp_path):
    folder = write(tmp_path, train_a__tsv="", train_b__tsv="", train__md="")
    with pytest.raises(InputError, match=r"train_a\.tsv, train_b\.tsv are a train set by name; .* --train=FILE"):
        the_file(folder, None, "train", (".tsv",))
    assert the_file(folder, "train_b.tsv", "train", (".tsv",)) == folder / "train_b.tsv"
    with pytest.raises(InputError, match=r"none of its files is a dev set by name; .* --dev=FILE"):
        the_file(folder, None, "dev", (".tsv",))
    with pytest.raises(InputError, match="is no folder"):
        the_file(folder / "train.md", None, "dev", (".tsv",))


@pytest.mark.parametrize(
    ("task", "layout", "dev", "expected"),
    [
        ("classification", Layout(), "1\ta\n", "--text and --label: one of them is missing"),
        ("classification", Layout(("text",), "0"), "1\ta\n", "columns=['text', 0]: give names, or else numbers"),
        ("classification", NUMBERED, "2\ta\n", "label '2' is not one of '0', '1'"),
        ("classification", NUMBERED, "1\ta\n1\tb\n", "its dev set has one class"),
        ("classification", NUMBERED, "", "holds no rows"),
        ("tagging", Layout(("word",), "tag"), "a\tO\n", "has no header; give the numbers"),
        ("sst-2", NUMBERED, "1\ta\n", "--task=sst-2: its files are known"),
        ("sst-3", Layout(), "1\ta\n", "--task=sst-3: unknown; there are classification, regression, tagging, cola"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, task, layout, dev, expected):
    folder = write(tmp_path, train__tsv="1\tgood\n0\tbad\n", dev__tsv=dev)
    assert expected in refused(folder, task, layout)


def test_a_task_of_glue_says_what_its_leaderboard_takes(tmp_path):
    rows = "s\t1\t\tgood\ns\t0\t*\tbad\n"
    folder = write(tmp_path, train__tsv=rows, dev__tsv=rows, test__tsv="index\tsentence\n7\tfine\n")
    sets = read(folder, "CoLA", Layout())
    assert [each.name for each in sets.others["test"]] == ["7"] and sets.others.keys() == sets.submitted.keys()
    sets.submitted["test"](tmp_path / "out", ["7"], ["1"])
    assert (tmp_path / "out" / "CoLA.tsv").read_text() == "index\tprediction\n7\t1\n"


def test_every_task_of_glue_has_its_name_however_it_is_written(tmp_path):
    assert {"cola", "sst-2", "mrpc", "qqp", "sts-b", "mnli", "qnli", "rte", "wnli"} < set(SOURCES)
    for name in ("SST-2", "sst2", "StsB"):
        assert f"{tmp_path}/train.tsv: no such file" in refused(tmp_path, name, Layout())


@pytest.mark.parametrize(
    ("folder", "task", "layout", "sizes", "classes"),
    [
        ("sentence_polarity", "classification", NUMBERED, (8528, 1068), 2),
        ("qnli_dev", "classification", NAMED, (4370, 1093), 2),
        ("wnut17", "tagging", Layout(), (3394, 1009), 13),
        ("ud_ewt", "tagging", Layout(("0",), "1", "ewt_train_pos.tsv.gz", "ewt_dev_pos.tsv.gz"), (12544, 2001), 17),
    ],
)
def test_real_tasks_are_read_whole(real_data, folder, task, layout, sizes, classes):
    sets = read(real_data / folder, task, layout)
    assert (len(sets.train), len(sets.dev)) == sizes and len(sets.labels) == classes
