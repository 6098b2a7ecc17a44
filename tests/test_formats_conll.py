"""Words in columns and CoNLL-U: every word with its tag, and no line that is silently another thing."""

import gzip
import re
from pathlib import Path

import pytest

from batch import InputError
from finetuning.examples import Tagged
from finetuning.formats.conll import read_conll
from finetuning.formats.conllu import read_conllu
from finetuning.formats.predictions import write_tags


def refuse(*words: str):
    """A context in which an InputError of one sentence with all of `words`, in that order, is raised."""
    return pytest.raises(InputError, match=r"(?s)\A" + ".*".join(["", *map(re.escape, words)]) + r".*\.\Z")


@pytest.fixture
def write(tmp_path):
    def write(content: str) -> Path:
        path = tmp_path / "words.conll"
        path.write_text(content, encoding="utf-8", newline="")
        return path

    return write


def test_words_are_cut_at_tabs_or_at_spaces(write):
    tabs = write("\n#\tO\nNew York\tB\r\n\n \t\n\u2028\tO\nx\u3000y\xa0\tO")
    assert read_conll(tabs) == [
        Tagged("0", ("#", "New York"), ("O", "B"), (True, True)),
        Tagged("1", ("\u2028", "x\u3000y\xa0"), ("O", "O"), (True, True)),
    ]
    spaces = write("-DOCSTART- -X- O O\n\nEU  NNP B-NP B-ORG \nx\xa0y VBZ\tB-VP O\n\n-DOCSTART-\n\n")
    assert read_conll(spaces) == [Tagged("0", ("EU", "x\xa0y"), ("B-ORG", "O"), (True, True))]
    assert read_conll(spaces, tag=1)[0].tags == ("NNP", "VBZ")
    assert read_conll(spaces, tag=None, spaced=False) == [Tagged("0", ("EU", "x\xa0y"), None, (False, False))]
    assert read_conll(spaces, word=-1, tag=0)[0] == Tagged("0", ("B-ORG", "O"), ("EU", "x\xa0y"), (True, True))


def test_a_comment_is_one_only_where_the_file_is_said_to_have_them(write):
    path = write("# id\tone\n#\tO\n\n# alone\tx\n\nb\tO\n")
    assert [sentence.words for sentence in read_conll(path)] == [("# id", "#"), ("# alone",), ("b",)]
    assert [sentence.words for sentence in read_conll(path, comment="# ")] == [("#",), ("b",)]


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("", {}, ["words.conll holds no words"]),
        ("\n-DOCSTART- O\n", {}, ["holds no words"]),
        ("a\tO\n\nb\n", {}, ["line 3 of", "has 1 columns where the first word has 2", "comment"]),
        ("a\tO\nNew York\n", {}, ["line 2 of", "has 1 columns"]),
        ("a O\nb x O\n", {}, ["line 2 of", "has 3 columns"]),
        ("a\tO\n\tO\n", {}, ["line 2 of", "empty word"]),
        ("a\tO\nb\t\n", {}, ["line 2 of", "empty label"]),
        ("a\tO\nb\tX\n", {"known": ("O", "B")}, ["line 2 of", "'X' is not one of 'O', 'B'"]),
        ("a\tO\n", {"tag": 2}, ["line 1 of", "2 columns", "number 2"]),
        ("a\tO\n", {"word": -3}, ["line 1 of", "2 columns", "number -3"]),
    ],
)
def test_lines_that_are_no_word_are_refused_by_number(write, content, options, words):
    with refuse(*words):
        read_conll(write(content), **options)


def row(identity: str, form: str, tag: str = "X", misc: str = "_") -> str:
    return "\t".join([identity, form, form, tag, f"x{tag}", "_", "0", "root", "_", misc]) + "\n"


def test_words_of_a_tree_are_read_and_what_is_no_word_is_not(write):
    path = write(
        "# newdoc\n# sent_id = fr-1\n# text = #Vâmonos du «lac» fin\n"
        + row("0.1", "hidden")
        + row("1", "#", "SYM", "Gloss=hash|SpaceAfter=No")
        + row("2-3", "Vâmonos", "_")
        + row("2", "Vâmos", "VERB", "SpaceAfter=No")
        + row("3", "nos", "PRON", "SpaceAfter=No")
        + row("4-5", "du", "_", "SpaceAfter=No")
        + row("4", "de", "ADP")
        + row("5", "le", "DET")
        + row("5.1", "hidden")
        + row("6", "lac d'or", "NOUN", "NotSpaceAfter=No")
        + "\n# only a comment\n\n"
        + row("1", "_", "PUNCT")
    )
    assert read_conllu(path) == [
        Tagged(
            "fr-1",
            ("#", "Vâmos", "nos", "de", "le", "lac d'or"),
            ("SYM", "VERB", "PRON", "ADP", "DET", "NOUN"),
            (False, False, True, False, False, True),
        ),
        Tagged("1", ("_",), ("PUNCT",), (True,)),
    ]
    assert read_conllu(path, "XPOS")[1].tags == ("xPUNCT",)
    assert read_conllu(path, None)[0].tags is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("# text = x\n", ["holds no words"]),
        ("1\ta\tX\n", ["line 1 of", "has 3 columns", "has 10"]),
        (row("1", ""), ["line 1 of", "empty word"]),
        (row("1", "a") + row("3", "b"), ["line 2 of", "'3' where word 2 is due"]),
        (row("1", "a") + row("1", "b"), ["line 2 of", "'1' where word 2 is due"]),
        (row("one", "a"), ["line 1 of", "'one' where word 1 is due"]),
        (row("2-3", "a"), ["line 1 of", "words 2-3 where word 1 is due"]),
        (row("1-0", "a"), ["line 1 of", "words 1-0"]),
        (row("1-2", "a") + row("1-3", "b"), ["line 2 of", "words 1-3"]),
        (row("1-3", "a") + row("1", "b") + row("2-4", "b"), ["line 3 of", "words 2-4"]),
        ("\n" + row("1-2", "ab") + row("1", "a") + "\n", ["line 3 of", "before word 2"]),
        ("\n" + row("1", "a", "Y"), ["line 2 of", "'Y' is not one of 'X'"]),
    ],
)
def test_what_is_no_tree_is_refused_by_line(write, content, words):
    with refuse(*words):
        read_conllu(write(content), known=("X",))


def test_a_column_that_the_format_does_not_have_is_refused(write):
    with refuse("tag=POS", "UPOS, XPOS"):
        read_conllu(write(row("1", "a")), "POS")


def test_predicted_tags_stand_behind_the_published_ones(tmp_path, write):
    sentences = read_conll(write("New York\tB\nx\tO\n\ny\tO\n"))
    predicted = [("O", "B"), ("I",)]
    write_tags(tmp_path / "new/out.tsv", sentences, predicted)
    assert (tmp_path / "new/out.tsv").read_bytes() == b"New York\tB\tO\nx\tO\tB\n\ny\tO\tI\n\n"
    assert [sentence.tags for sentence in read_conll(tmp_path / "new/out.tsv")] == predicted
    write_tags(tmp_path / "out.tsv", [Tagged("0", ("a",), None, (True,))], [("I",)])
    assert (tmp_path / "out.tsv").read_bytes() == b"a\tI\n\n"


def test_real_columns_are_read_whole(real_data):
    train = read_conll(real_data / "wnut17/train.conll")
    text = (real_data / "wnut17/train.conll").read_bytes().decode().split("\n")
    assert [word for sentence in train for word in sentence.words] == [
        line.split("\t")[0] for line in text if line.strip()
    ]
    known = tuple(sorted({tag for sentence in train for tag in sentence.tags}))
    assert len(train) == 3394 and len(known) == 13
    assert len(read_conll(real_data / "wnut17/dev.conll", known=known)) == 1009
    packed = real_data / "ud_ewt/ewt_dev_pos.tsv.gz"
    dev = read_conll(packed, tag=1)
    assert len(dev) == 2001 and len({tag for sentence in dev for tag in sentence.tags}) == 17
    assert gzip.decompress(packed.read_bytes()).decode().startswith("\t".join([dev[0].words[0], dev[0].tags[0]]))


def test_real_trees_spell_their_text(real_data):
    path = real_data / "zh_gsdsimp/zh_gsdsimp-ud-dev.conllu"
    texts = re.findall(r"^# text = (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    sentences = read_conllu(path)
    spelled = ["".join(w + " " * s for w, s in zip(each.words, each.spaced, strict=True)) for each in sentences]
    assert [text.rstrip() for text in spelled] == [text.rstrip() for text in texts]
    assert len(sentences) == 500 and sentences[0].name == "dev-s1"
