"""Corpora: every document of every kind of file, and one sentence for each that cannot be read."""

import gzip
import json
import os
import tracemalloc

import pytest

from batch import InputError
from data.config import DataConfig
from data.corpus import Document, open_corpus


def opened(tmp_path, corpus, **fields):
    return open_corpus(DataConfig(corpus=str(corpus), cache=str(tmp_path / "cache"), **fields))


def lines_of(corpus):
    return [document.lines for document in corpus.documents()]


def test_blank_lines_separate_documents(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n\none\ntwo\n \t\nthree\n\n\nfour", encoding="utf-8")
    assert lines_of(opened(tmp_path, path)) == [("one", "two"), ("three",), ("four",)]


def test_line_ends_and_byte_order_mark_are_not_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\ntwo \r\n\r\nthree\ufeff\r\n".encode())
    assert lines_of(opened(tmp_path, path)) == [("one", "two "), ("three\ufeff",)]


def test_the_text_of_a_document_ends_every_line():
    assert Document("d", ("one", "two")).text == "one\ntwo\n"


def test_folder_glob_gzip_and_json_hold_the_same_documents(tmp_path):
    folder = tmp_path / "texts"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("one\n\ntwo\n")
    (folder / "sub" / "b.txt.gz").write_bytes(gzip.compress("三\n".encode()))
    (folder / "sub" / "c.jsonl").write_text(json.dumps({"text": "four\r\n\nfive"}) + "\n\n" + json.dumps({"text": " "}))
    (folder / "sub" / "d.jsonl.gz").write_bytes(gzip.compress(json.dumps({"text": "six"}).encode()))
    (folder / "image.png").write_bytes(b"\x89PNG\0")
    (folder / ".hidden.txt").write_text("no")
    expected = [("one",), ("two",), ("三",), ("four", "five"), ("six",)]
    assert lines_of(opened(tmp_path, folder)) == expected
    assert lines_of(opened(tmp_path, folder / "**" / "*.[tj]*")) == expected


def test_the_json_field_is_the_one_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "no", "body": "yes"}))
    assert lines_of(opened(tmp_path, path, text_field="body")) == [("yes",)]


def test_word_separators_leave_the_text_and_mark_its_words(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("我们/去/吃饭。\n/a//b/\n", encoding="utf-8")
    (document,) = opened(tmp_path, path, word_separator="/").documents()
    assert document.lines == ("我们去吃饭。", "ab")
    assert document.words == (("我们", "去", "吃饭。"), ("a", "b"))


BAD = {
    "absent": (None, ["absent", "no such file"]),
    "empty.txt": (b"\n \n", ["empty.txt", "no text"]),
    "latin.txt": (b"fine\ncaf\xe9\n", ["latin.txt", "not UTF-8", "0xe9 at byte 8"]),
    "binary.txt": (b"fine\nso \0 far", ["binary.txt", "binary", "byte 8"]),
    "cut.txt.gz": (gzip.compress(os.urandom(999).hex().encode())[:-99], ["cut.txt.gz", "damaged gzip"]),
    "not.txt.gz": (b"plain text", ["not.txt.gz", "damaged gzip"]),
    "bad.jsonl": (b'{"text": "a"}\n{"text": \n', ["line 2", "bad.jsonl", "not JSON"]),
    "other.jsonl": (b'{"body": "a"}\n', ["line 1", "other.jsonl", "'text'", "body", "data.text_field"]),
    "list.jsonl": (b"[1]\n", ["line 1", "list.jsonl", "'text'"]),
    "number.jsonl": (b'{"text": 1}\n', ["line 1", "number.jsonl", "int"]),
    "half.jsonl": (rb'{"text": "\ud800"}', ["line 1", "half.jsonl", "surrogate"]),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_named_in_one_sentence(tmp_path, name):
    content, parts = BAD[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        lines_of(opened(tmp_path, tmp_path / name))
    message = str(error.value)
    assert message.startswith("data.corpus") and message.endswith(".") and "\n" not in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("corpus", ["", "*.txt"])
def test_a_folder_or_glob_without_text_is_refused(tmp_path, corpus):
    folder = tmp_path / "nothing"
    folder.mkdir()
    with pytest.raises(InputError, match=r"holds no text|no file matches"):
        opened(tmp_path, folder / corpus)


def test_the_digest_follows_the_content_and_not_the_path(tmp_path):
    for name, text in (("a.txt", "same"), ("b.txt", "same"), ("c.txt", "other")):
        (tmp_path / name).write_text(text)
    a, b, c = (opened(tmp_path, tmp_path / name).digest for name in ("a.txt", "b.txt", "c.txt"))
    assert a == b != c
    assert opened(tmp_path, tmp_path / "a.txt", word_separator="/").digest != a


def test_unchanged_files_are_not_hashed_again(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("text")
    digest = opened(tmp_path, path).digest
    (known,) = (tmp_path / "cache" / "digests").iterdir()
    known.write_text("0" * 64)
    assert opened(tmp_path, path).digest == "0" * 64
    path.write_text("more text")
    assert opened(tmp_path, path).digest not in ("0" * 64, digest)


def test_documents_are_streamed(tmp_path):
    def peak(count):
        path = tmp_path / f"{count}.txt"
        path.write_text("a line of text\nand another\n\n" * count)
        corpus = opened(tmp_path, path)
        tracemalloc.start()
        assert sum(1 for _ in corpus.documents()) == count
        peaked = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peaked

    small, large = peak(2_000), peak(16_000)
    assert large < 1.5 * small
