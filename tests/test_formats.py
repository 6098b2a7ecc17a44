"""Tables of tasks: cells are read as they were written, and whatever cannot be read is refused by line."""

import csv
import gzip
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import InputError
from finetuning.examples import Choice, Labeled
from finetuning.formats.choices import CODAH, SWAG, ChoiceColumns, read_choices
from finetuning.formats.delimited import read_rows
from finetuning.formats.glue import TASKS, read_glue, task_named, write_glue
from finetuning.formats.labeled import Columns, read_labeled
from finetuning.formats.labels import Range, label_set
from finetuning.formats.predictions import write_predictions

# What str.splitlines, csv and regular expressions take for the end of a line, a cell or a quotation, and is text.
PASTED = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\"'\\,#\ufeff\xa0\u3000 \U0001f600é中"
characters = st.sampled_from(PASTED) | st.characters(exclude_categories=["Cs"], exclude_characters="\0")
cells = st.text(characters)
tsv_cells = st.text(characters.filter(lambda char: char not in "\t\n\r"))
PAIR = Columns(("first", "second"), "label")


def refuse(*words: str):
    """A context in which an InputError of one sentence with all of `words`, in that order, is raised."""
    return pytest.raises(InputError, match=r"(?s)\A" + ".*".join(["", *map(re.escape, words)]) + r".*\.\Z")


@pytest.fixture
def write(tmp_path):
    def write(name: str, content: str | bytes) -> Path:
        raw = content.encode() if isinstance(content, str) else content
        path = tmp_path / name
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return path

    return write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


def unread(_: str):
    raise AssertionError("nothing was to be reported")


def read(path: Path, columns=("a", "b")) -> list[tuple[str, ...]]:
    return [row.cells for row in read_rows(path, columns)]


@given(st.lists(st.tuples(tsv_cells, tsv_cells), min_size=1), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_tsv_gives_back_what_stands_between_tabs(folder, rows, end, last):
    path = folder / "rows.tsv"
    body = end.join("\t".join(row) for row in [("b", "a"), *rows])
    path.write_bytes((body + end * last).encode())
    assert read(path) == [(a, b) for b, a in rows]


@given(st.lists(st.tuples(cells, cells), min_size=1), st.sampled_from(["minimal", "all"]))
def test_csv_gives_back_what_was_quoted(folder, rows, quoting):
    path = folder / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL if quoting == "all" else csv.QUOTE_MINIMAL)
        writer.writerows([("a", "b"), *rows])
    assert read(path) == rows


@given(st.lists(st.tuples(cells, cells), min_size=1), st.booleans())
def test_jsonl_gives_back_every_text(folder, rows, ascii_only):
    path = folder / "rows.jsonl.gz"
    written = (json.dumps({"b": b, "c": None, "a": a}, ensure_ascii=ascii_only) for a, b in rows)
    path.write_bytes(gzip.compress("".join(line + "\n" for line in written).encode()))
    assert read(path) == rows


def test_rows_know_the_lines_on_which_they_begin(write):
    quoted = write("x.csv", 'a,b\r\n\r\n"two\nlines",1\r\n"with ""quotes"", and a \t",2\r\n')
    rows = list(read_rows(quoted, ["a"]))
    assert rows == [(3, "0", ("two\nlines",)), (5, "1", ('with "quotes", and a \t',))]
    assert [row.line for row in read_rows(write("x.tsv", '\n"a\n\nb"\n'), [0])] == [2, 4]
    numbers = write("x.jsonl", '{"a": 1.50, "b": true}\n\n{"a": -0, "b": "x"}\n')
    assert list(read_rows(numbers, ["a", "b"])) == [(1, "0", ("1.50", "true")), (3, "1", ("-0", "x"))]


def test_a_byte_order_mark_and_a_long_cell_are_no_obstacle(write):
    long = "x" * 200_000  # Python's reader of CSV stops at 131,072
    before = csv.field_size_limit(12_345)
    assert read(write("x.csv", f"\ufeffa,b\n{long},1\n")) == [(long, "1")]
    assert csv.field_size_limit(before) == 12_345
    assert read(write("x.tsv", "\ufeffa\tb\n\ufeffx\t1\n")) == [("\ufeffx", "1")]


@pytest.mark.parametrize(
    ("name", "content", "columns", "words"),
    [
        ("x.tsv", "", ["a"], ["x.tsv holds no rows"]),
        ("x.tsv", "a\tb\n", ["a"], ["x.tsv holds no rows"]),
        ("x.jsonl", "\n", ["a"], ["x.jsonl holds no rows"]),
        ("x.tsv", "a\tb\n1\t2\n", ["c"], ["no column 'c' (it has 'a', 'b')"]),
        ("x.csv", "a,a\n1,2\n", ["a"], ["2 columns 'a' (it has 'a', 'a')"]),
        ("x.tsv", "1\t2\n", [2], ["line 1 of", "2 columns", "number 2", "0 to 1"]),
        ("x.tsv", "1\t2\n", [-3], ["2 columns", "number -3"]),
        ("x.tsv", "a\tb\n1\t2\n\n3\n", ["a"], ["line 4 of", "has 1 column where the first has 2"]),
        ("x.tsv", "a\tb\n1\t2\t3\n", ["a"], ["line 2 of", "has 3 columns where the first has 2"]),
        ("x.csv", 'a,b\n1,2\n"3,4\n5,6\n', ["a"], ["line 3 of", "not CSV"]),
        ("x.csv", 'a,b\n"3"x,4\n', ["a"], ["line 2 of", "not CSV"]),
        ("x.jsonl", '{"a": 1}\n{"a": 1\n', ["a"], ["line 2 of", "not JSON", "column 8"]),
        ("x.jsonl", '{"a": 1}\n[1]\n', ["a"], ["line 2 of", "no object"]),
        ("x.jsonl", '{"a": ' + "[" * 99_999, ["a"], ["line 1 of", "nested too deep"]),
        ("x.jsonl", '{"b": 1, "c": 2}\n', ["a"], ["line 1 of", "no field 'a' (it has 'b', 'c')"]),
        ("x.jsonl", '{"a": null}\n', ["a"], ["line 1 of", "null in 'a'"]),
        ("x.jsonl", '{"a": ["b"]}\n', ["a"], ["line 1 of", "[\"b\"] in 'a'"]),
        ("x.jsonl", '{"a": "\\ud83d"}\n', ["a"], ["line 1 of", "surrogate"]),
        ("x.jsonl", '{"a": "b"}\n', [0], ["no field 0"]),
        ("x.tsv", "a\nb\n".encode("utf-16"), ["a"], ["line 1 of", "NUL"]),
        ("x.tsv", "\ufeffa\né\n".encode() + b"ab\xe9\n", ["a"], ["line 3 of", "not UTF-8 (0xe9 at byte 10)"]),
        ("x.csv", b"a\nb\xff\n", ["a"], ["line 2 of", "not UTF-8 (0xff at byte 3)"]),
        ("x.xlsx", "a", ["a"], ["x.xlsx", ".tsv, .txt, .csv, .jsonl"]),
        ("x.tsv", "a\tb", ["a", 1], ["columns=['a', 1]"]),
        ("x.tsv", "a\tb", [], ["columns=[]"]),
    ],
)
def test_what_cannot_be_read_is_refused_by_line(write, name, content, columns, words):
    with refuse(*words):
        list(read_rows(write(name, content), columns))


def test_files_that_are_not_there_or_damaged_are_refused(write, tmp_path):
    with refuse("none.tsv: no such file"):
        list(read_rows(tmp_path / "none.tsv", ["a"]))
    with refuse("cannot be read (Is a directory)"):
        (tmp_path / "folder.tsv").mkdir()
        list(read_rows(tmp_path / "folder.tsv", ["a"]))
    packed = write("x.tsv.gz", "a\n" + "b\n" * 99)
    packed.write_bytes(packed.read_bytes()[:-9])
    with refuse("x.tsv.gz is a damaged gzip file"):
        list(read_rows(packed, ["a"]))


def test_examples_are_named_by_their_column_or_counted(write):
    path = write("x.tsv", "label\tsecond\tid\tfirst\nyes\tB\tq7\tA\nno\t\tq9\tC\n")
    assert read_labeled(path, PAIR) == [Labeled("0", ("A", "B"), "yes"), Labeled("1", ("C", ""), "no")]
    assert read_labeled(path, Columns(("first",), name="id")) == [
        Labeled("q7", ("A",), None),
        Labeled("q9", ("C",), None),
    ]
    with refuse("line 3 of", "has the name 'yes' of line 2"):
        read_labeled(write("y.tsv", "label\ta\nyes\t1\nyes\t2\n"), Columns(("a",), name="label"))
    with refuse("no text"):
        read_labeled(path, Columns((), "label"))


@pytest.mark.parametrize(
    ("label", "known", "words"),
    [
        ("c", ("a", "b"), ["line 3 of", "label 'c' is not one of 'a', 'b'"]),
        ("b ", ("a", "b"), ["line 3 of", "label 'b ' is not one of"]),
        ("", None, ["line 3 of", "empty label"]),
        ("many", Range(), ["line 3 of", "'many' is not a finite number"]),
        ("nan", Range(), ["line 3 of", "finite"]),
        ("-inf", Range(), ["line 3 of", "finite"]),
        ("5.1", Range(0, 5), ["line 3 of", "5.1 is not from 0 to 5"]),
        ("-0.1", Range(0, 5), ["line 3 of", "-0.1 is not from 0 to 5"]),
    ],
)
def test_labels_that_are_not_known_are_refused_by_line(write, label, known, words):
    good = "5" if isinstance(known, Range) else "a"
    path = write("x.tsv", f"{good}\ttext\n" * 2 + f"{label}\ttext\n")
    with refuse(*words):
        read_labeled(path, Columns((1,), 0), known)


def test_labels_of_a_set_are_its_classes_and_one_class_is_none():
    assert label_set(["b", "a", "b"], "train") == ("a", "b")
    with refuse("dev.tsv: every label is 'a'"):
        label_set(["a", "a"], "dev.tsv")
    with refuse("dev.tsv: no example has a label"):
        label_set([], "dev.tsv")


HEADERS = {  # of the published archives: training (and dev) files, then test files
    "SST-2": ("sentence label", "index sentence"),
    "MRPC": ("Quality|#1 ID|#2 ID|#1 String|#2 String", "index|#1 ID|#2 ID|#1 String|#2 String"),
    "QQP": ("id qid1 qid2 question1 question2 is_duplicate", "id question1 question2"),
    "STS-B": (
        "index genre filename year old_index source1 source2 sentence1 sentence2 score",
        "index genre filename year old_index source1 source2 sentence1 sentence2",
    ),
    "MNLI": (
        "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse "
        "sentence1 sentence2 label1 gold_label",
        "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse "
        "sentence1 sentence2",
    ),
    "QNLI": ("index question sentence label", "index question sentence"),
    "RTE": ("index sentence1 sentence2 label", "index sentence1 sentence2"),
    "WNLI": ("index sentence1 sentence2 label", "index sentence1 sentence2"),
}
LABELS = ("label", "Quality", "is_duplicate", "score", "gold_label")


def table(header: str, label: str) -> str:
    names = header.split("|" if "|" in header else " ")
    given = {"index": "17", "id": "17", **dict.fromkeys(LABELS, label)}
    return "\t".join(names) + "\n" + "\t".join(given.get(name, f'the "{name}') for name in names) + "\n"


@pytest.mark.parametrize("name", [task.name for task in TASKS if task.name != "CoLA"])
def test_every_file_of_glue_is_read_by_its_header(write, tmp_path, name):
    task = task_named(name.lower())
    label = {"STS-B": "3.800", "MNLI": "neutral", "QNLI": "entailment", "RTE": "not_entailment"}.get(name, "1")
    labeled, test = HEADERS[name]
    columns = [column for column in labeled.split("|" if "|" in labeled else " ") if column not in LABELS]
    texts = [column for column in columns if re.fullmatch(r"sentence[12]?|question[12]?|#\d String", column)]
    for split in task.splits:
        is_test = split.name.startswith("test")
        write(f"{split.name}.tsv", "\ufeff" + table(test if is_test else labeled, label))
        expected = Labeled(
            "17" if is_test else "0", tuple(f'the "{text}' for text in texts), None if is_test else label
        )
        assert read_glue(tmp_path, task, split.name, unread) == [expected]


def test_cola_has_a_header_in_its_test_set_alone(write, tmp_path):
    cola = task_named("CoLA")
    write("train.tsv.gz", "gj04\t1\t\tOur friends won't buy this.\ngj04\t0\t*\tThem likes.\n")
    write("test.tsv", 'index\tsentence\n0\tBill "whistled.\n')
    assert read_glue(tmp_path, cola, "train", unread) == [
        Labeled("0", ("Our friends won't buy this.",), "1"),
        Labeled("1", ("Them likes.",), "0"),
    ]
    assert read_glue(tmp_path, cola, "test", unread) == [Labeled("0", ('Bill "whistled.',), None)]


def test_rows_that_are_cut_short_are_reported_but_a_test_set_is_whole(write, tmp_path):
    qqp, told = task_named("qqp"), []
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    write("train.tsv", header + "1\t1\t2\tA\n2\t3\t4\tB\tC\t1\n")
    assert read_glue(tmp_path, qqp, "train", told.append) == [Labeled("0", ("B", "C"), "1")]
    assert len(told) == 1
    assert re.fullmatch(r"line 2 of .*train.tsv has 4 columns where the first has 6; it is left out\.", told[0])
    write("test.tsv", "id\tquestion1\tquestion2\n0\tA\n")
    with refuse("line 2 of", "2 columns"):
        read_glue(tmp_path, qqp, "test", unread)
    with refuse("split=dev_matched", "train, dev, test"):
        read_glue(tmp_path, qqp, "dev_matched", unread)
    with refuse("task=AX", "CoLA, SST-2, MRPC, QQP, STS-B, MNLI, QNLI, RTE, WNLI"):
        task_named("AX")


def test_predictions_have_the_name_and_form_of_the_leaderboard(tmp_path):
    stsb, mnli = task_named("STS-B"), task_named("MNLI")
    path = write_glue(tmp_path / "new", stsb, "test", ["0", "1", "2"], ["2.34567", "-0.2", "5.0004"])
    assert path.name == "STS-B.tsv"
    assert path.read_bytes() == b"index\tprediction\n0\t2.346\n1\t0.000\n2\t5.000\n"
    assert write_glue(tmp_path, mnli, "test_mismatched", ["9"], ["neutral"]).name == "MNLI-mm.tsv"
    assert (tmp_path / "MNLI-mm.tsv").read_bytes() == b"index\tprediction\n9\tneutral\n"
    named = {split.prediction for task in TASKS for split in task.splits if split.prediction}
    assert sorted(named) == sorted(
        f"{name}.tsv" for name in ["CoLA", "SST-2", "MRPC", "QQP", "STS-B", "MNLI-m", "MNLI-mm", "QNLI", "RTE", "WNLI"]
    )
    with refuse("predictions for MNLI: '9'", "'maybe' is not one of"):
        write_glue(tmp_path, mnli, "test_matched", ["9"], ["maybe"])
    with refuse("'9'", "'nan' is not a finite number"):
        write_glue(tmp_path, stsb, "test", ["9"], ["nan"])
    with refuse("split=dev_matched"):
        write_glue(tmp_path, mnli, "dev_matched", [], [])
    with refuse("a\\tb"):
        write_predictions(tmp_path / "x.tsv", ["0"], ["a\tb"])


def test_swag_joins_each_ending_to_the_words_that_begin_it(write):
    header = ",video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,ending2,ending3,label\n"
    path = write("train.csv", header + '0,v1,7,X She,"She sits, still.",She,gold,"goes, fast",b,c,d,2\n')
    expected = Choice("0", "She sits, still.", ("She goes, fast", "She b", "She c", "She d"), 2)
    assert read_choices(path, SWAG) == [expected]
    marked = ChoiceColumns("q", ("x", "y"), "answer", name="id", marks=("A", "B"))
    line = {"q": "Q", "x": "1", "y": "2", "answer": "B", "id": "z"}
    assert read_choices(write("x.jsonl", json.dumps(line)), marked) == [Choice("z", "Q", ("1", "2"), 1)]
    unlabeled = ChoiceColumns(0, (1, 2))
    assert read_choices(write("x.tsv", "Q\t1\t2\n"), unlabeled) == [Choice("0", "Q", ("1", "2"), None)]
    with refuse("line 1 of", "label 'C' names no ending", "A, B"):
        read_choices(write("x.jsonl", json.dumps(line | {"answer": "C"})), marked)
    for wrong in ("4", "-1", ""):
        with refuse("line 1 of", "names no ending", "0, 1, 2, 3"):
            read_choices(write("x.tsv", f"n\tQ\t0\t1\t2\t3\t{wrong}\n"), CODAH)
    for columns in (ChoiceColumns("q", ("x",)), ChoiceColumns("q", ("x", "y"), marks=("A",))):
        with refuse("columns", "endings"):
            read_choices(write("x.jsonl", json.dumps(line)), columns)


def test_real_tables_are_read_whole(real_data):
    qnli = [
        read_labeled(real_data / f"qnli_dev/split_{name}.tsv", task_named("QNLI").splits[0].columns)
        for name in ("train", "dev")
    ]
    assert [len(part) for part in qnli] == [4370, 1093]
    assert label_set([str(each.label) for each in qnli[0]], "train") == ("entailment", "not_entailment")
    polarity = read_labeled(real_data / "sentence_polarity/train.tsv", Columns((1,), 0), ("0", "1"))
    assert len(polarity) == 8528
    for name, count in (("train", 1665), ("dev", 556)):
        choices = read_choices(real_data / f"codah/{name}.tsv", CODAH)
        assert len(choices) == count and {choice.label for choice in choices} == {0, 1, 2, 3}
        assert all(all(choice.endings) and choice.context for choice in choices)
