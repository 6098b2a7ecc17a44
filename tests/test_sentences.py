"""Sentences: a line is cut where one ends, and nothing is lost."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.sentences import split_sentences

PIECES = st.sampled_from(
    ["Dr", "word", "I", "J", "e.g", ".", "!", "?", "…", " ", "\t", '"', "”", ")", "。", "！", "」", "中"]
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(PIECES).map("".join) | st.text())
def test_sentences_concatenate_to_the_line(line):
    sentences = split_sentences(line)
    assert "".join(sentences) == line
    assert all(sentences)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(PIECES).map("".join))
def test_no_sentence_is_only_space(line):
    if line.strip():
        assert all(sentence.strip() for sentence in split_sentences(line))


@pytest.mark.parametrize(
    "sentences",
    [
        ["He left.", " She stayed!", " Why?", " Nobody knew."],
        ["“Go!”", " She went.", " (He did not.)", " The end."],
        ["It cost 3.14 dollars.", " No. 5 was e.g. cheaper than No. 7."],
        ["Dr. Smith met J. R. Brown and Mrs. Jones.", " They spoke."],
        ["It was I.", " You knew."],
        ["He said no.", " Then he left."],
        ["so it goes... on and on."],
        ["Wait...", " What?!", " Yes."],
        [" = Title = "],
        ["他说：“你好！”", "然后走了。", "她问：“为什么？”", "（没有人回答。）", "就这样……", "结束"],
        ["「快去！」", "他喊。", "真的？！", "是。"],
        ["Read the docs.", " 然后回来。", "Done."],
    ],
)
def test_sentences_end_where_a_reader_ends_them(sentences):
    assert split_sentences("".join(sentences)) == sentences


def test_space_after_the_last_sentence_stays_with_it():
    assert split_sentences("One. Two.  \n") == ["One.", " Two.  \n"]


def test_real_text_is_cut_into_sentences_of_plausible_length():
    folder = os.environ.get("ORDERLY_DATA")
    if not folder:
        pytest.skip("ORDERLY_DATA is not set")
    for path, shortest, longest in (("gutenberg_dev", 60, 200), ("zh_classics_dev", 15, 40)):
        text = next(iter(sorted(Path(folder, path).glob("*.txt")))).read_text(encoding="utf-8")
        sentences = [sentence for line in text.splitlines() for sentence in split_sentences(line)]
        assert shortest < sum(map(len, sentences)) / len(sentences) < longest
