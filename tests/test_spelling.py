"""A text that a vocabulary cannot spell is refused with how much of it that is."""

import io

import pytest
import sentencepiece

from batch import InputError
from data.released import ReleasedTokenizer
from data.tokenizer import Tokenizer
from evaluation.blocks import read_text
from evaluation.spelling import check_spelling, unspelled

KNOWN = "the boat sings on the river\n"


@pytest.fixture(scope="module")
def latin():
    """A released tokenizer that knows small Latin letters only."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the boat sings on the river", "a stone by the old house"] * 50),
        model_writer=model,
        vocab_size=30,
        control_symbols=["<cls>", "<sep>", "<pad>", "<mask>", "<eod>"],
        minloglevel=2,
    )
    return ReleasedTokenizer({"spiece.model": model.getvalue()}, 30)


def tokens(folder, text, tokenizer):
    (folder / "text.txt").write_text(text)
    return read_text(str(folder / "text.txt"), tokenizer)


@pytest.mark.parametrize("strange", ["水", "猫在河边", "水 猫"])
def test_the_bytes_are_those_of_the_unknown_characters(tmp_path, latin, strange):
    text = KNOWN * 3 + f"the {strange} sings\n"
    found = unspelled(tokens(tmp_path, text, latin), latin)
    size = len(strange.replace(" ", "").encode())
    assert size <= found <= size + 2  # a space or a line end beside it may be counted


def test_text_that_can_be_spelled_has_none(tmp_path, latin):
    assert unspelled(tokens(tmp_path, KNOWN, latin), latin) == 0
    assert unspelled(tokens(tmp_path, "任何文字\n", Tokenizer("bytes")), Tokenizer("bytes")) == 0


def test_too_much_is_refused_with_tokens_and_bytes(tmp_path, latin):
    given = tokens(tmp_path, "猫在河边\n" + KNOWN, latin)
    with pytest.raises(InputError, match=r"--workdir=run: its vocabulary cannot spell .* of its 41 bytes; give --text"):
        check_spelling("run", given, latin)


def test_a_single_strange_word_is_not_too_much(tmp_path, latin):
    check_spelling("run", tokens(tmp_path, KNOWN * 50 + "水\n", latin), latin)
