"""Tokenizers: exact round trips, honest byte counts, words where a reader sees them."""

import functools
import json
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import InputError
from data.tokenizer import END, FIRST_PIECE, SPECIALS, Tokenizer, load_tokenizer, train_tokenizer

KINDS = ("unigram", "bpe", "bytes")
TEXT = "the cat sat on a mat and was not seen (again) by any other cats; 我们 去 吃饭 。 猫 坐在 垫子 上"
WORDS = TEXT.split()


def sentences(count=400):
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=9)) + "." for _ in range(count)]


@functools.cache
def tokenizer_of(kind):
    return Tokenizer("bytes") if kind == "bytes" else train_tokenizer(kind, 320, sentences())


ODD = [
    "[MASK]",
    "[END]",
    "<pad>",
    "<s>",
    "<0x0A>",
    "\u2581",
    "\u2585",
    "\ufeff",
    "\0",
    "  ",
    "\n",
    "\t",
    "\r\n",
    "\u3000",
]
TEXTS = st.lists(st.sampled_from([*ODD, *WORDS, "😀", "é", "猫"]) | st.text(max_size=4)).map("".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(derandomize=True, deadline=None, max_examples=200)
@given(text=TEXTS)
def test_any_text_comes_back_exactly(kind, text):
    tokenizer = tokenizer_of(kind)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.byte_lengths(ids).sum(dtype=int) == len(text.encode())
    assert ids.dtype == np.int32


@pytest.mark.parametrize("kind", KINDS)
@settings(derandomize=True, deadline=None, max_examples=100)
@given(text=TEXTS)
def test_text_never_becomes_a_special(kind, text):
    tokenizer = tokenizer_of(kind)
    ids = tokenizer.encode(text)
    assert not tokenizer.vocab.is_special[ids].any()
    assert not (ids == END).any()


@pytest.mark.parametrize("kind", KINDS)
def test_many_texts_are_encoded_as_each_alone(kind):
    texts = [*sentences(5), "", "a\u2581b", "\u2581"]
    together = tokenizer_of(kind).encode_many(texts)
    assert all(np.array_equal(ids, tokenizer_of(kind).encode(text)) for ids, text in zip(together, texts, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_every_ordinary_id_but_end_stands_for_text(kind):
    tokenizer = tokenizer_of(kind)
    vocab = tokenizer.vocab
    assert vocab.size == {"bytes": FIRST_PIECE}.get(kind, 320)
    assert [tokenizer.decode([i]) for i in range(len(SPECIALS))] == [""] * len(SPECIALS)
    assert vocab.end in vocab.ordinary
    assert all(tokenizer.pieces[i] for i in vocab.ordinary if i != vocab.end)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_same_text_gives_the_same_tokenizer(kind):
    again = train_tokenizer(kind, 320, iter(sentences()))
    assert again.digest == tokenizer_of(kind).digest
    assert train_tokenizer(kind, 321, sentences()).digest != again.digest


def test_training_says_nothing():
    code = "from data.tokenizer import train_tokenizer; train_tokenizer('bpe', 268, ['abc axe box ' * 9] * 9)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_long_lines_are_learned_from(kind):
    line = " ".join(sentences())
    assert len(line) > 5000
    tokenizer = train_tokenizer(kind, 290, [line.replace(".", "")])
    assert len(tokenizer.encode("the cat sat on a mat")) < 12


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_text_too_small_names_the_largest_vocabulary_that_it_fills(kind):
    with pytest.raises(InputError, match=r"data.vocab_size=4096: .* fills at most \d+ pieces") as error:
        train_tokenizer(kind, 4096, sentences())
    largest = int(str(error.value).split("set data.vocab_size=")[1].split()[0])
    assert train_tokenizer(kind, largest, sentences()).vocab.size == largest
    with pytest.raises(InputError, match=r"data.vocab_size"):
        train_tokenizer(kind, largest + 1, sentences())


def test_a_vocabulary_without_room_for_pieces_is_refused():
    with pytest.raises(InputError, match=r"data.vocab_size=262: .* data.tokenizer=bytes"):
        train_tokenizer("unigram", 262, sentences())


def test_more_characters_than_pieces_are_spelled_in_bytes():
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))
    tokenizer = train_tokenizer("unigram", 320, [*sentences(), *(text[i : i + 50] for i in range(0, 2000, 50))])
    assert tokenizer.decode(tokenizer.encode(text)) == text


def words(kind, text):
    tokenizer = tokenizer_of(kind)
    ids = tokenizer.encode(text)
    first = np.flatnonzero(tokenizer.word_starts(ids))
    return [tokenizer.decode(part) for part in np.split(ids, first[1:])]


@pytest.mark.parametrize("kind", ["unigram", "bpe", "bytes"])
@pytest.mark.parametrize(
    "expected",
    [
        ["the", " cats", " sat", "."],
        ["x", " xyzzy", "\n", "the", "\t", "mat"],
        ["café", " naïve", "-", "é"],
        [" ", " ", " the"],
        ["猫", "鑫", "😀", "龘", "x"],
        ["the", "猫", "cat"],
    ],
)
def test_words_are_what_a_reader_sees(kind, expected):
    assert words(kind, "".join(expected)) == expected


@pytest.mark.parametrize("kind", KINDS)
@settings(derandomize=True, deadline=None, max_examples=100)
@given(text=TEXTS)
def test_words_never_cut_a_character(kind, text):
    assert "".join(words(kind, text)) == text
    assert "\ufffd" not in "".join(words(kind, text)) or "\ufffd" in text


def test_specials_are_words_of_their_own():
    tokenizer = tokenizer_of("unigram")
    ids = np.concatenate([tokenizer.encode("cat"), [END], tokenizer.encode("cat")]).astype(np.int32)
    first = len(tokenizer.encode("cat"))
    assert tokenizer.word_starts(ids)[first : first + 2].all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_is_the_same_one(kind, tmp_path):
    tokenizer_of(kind).save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.digest == tokenizer_of(kind).digest
    assert loaded.vocab == tokenizer_of(kind).vocab
    assert np.array_equal(loaded.encode("the 猫"), tokenizer_of(kind).encode("the 猫"))


def test_a_damaged_tokenizer_is_refused(tmp_path):
    tokenizer_of("unigram").save(tmp_path)
    model = tmp_path / "tokenizer.model"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    with pytest.raises(InputError, match=r"does not match its digest"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"kind": "unigram"}))
    with pytest.raises(InputError, match=r"cannot be read"):
        load_tokenizer(tmp_path)
    with pytest.raises(InputError, match=r"cannot be read"):
        load_tokenizer(tmp_path / "absent")
