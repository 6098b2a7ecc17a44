"""Small tokenizers of one made-up text: one that keeps every byte, one that loses letters, and one of word pieces."""

import functools
import io

import numpy as np
import pytest
import sentencepiece

from data.released import ReleasedTokenizer
from data.tokenizer import Tokenizer, train_tokenizer

SPOKEN = ["the", "cat", "sat", "on", "mats", "don't", "(or", "so)", "Café", "naïve", "1,999", "猫", "在吃", "it."]
TEXTS = [("", " ")[i % 2].join(np.random.default_rng(i).choice(SPOKEN, 7)) for i in range(200)]


@functools.cache
def unigram():
    return train_tokenizer("unigram", 320, TEXTS)


@functools.cache
def lossy():
    """As XLNet's: spaces are joined, accents and case are lost, and rare characters are unknown."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text.replace("é", "e").replace("ï", "i").lower() for text in TEXTS]),
        model_writer=model,
        vocab_size=64,
        control_symbols=["<cls>", "<sep>", "<pad>", "<mask>", "<eod>"],
        minloglevel=2,
    )
    return ReleasedTokenizer(
        {"spiece.model": model.getvalue(), "tokenizer_config.json": b'{"do_lower_case": true}'}, vocab_size=64
    )


@functools.cache
def word_piece(*more: str):
    """Letters, a few words, and `more` of them."""
    pytest.importorskip("tokenizers", reason="tokenizers is not installed (pip install '.[parity]')")
    letters = [chr(c) for c in range(33, 127)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters), "the", "cat", "##s"]
    pieces = [*pieces, *more]
    return ReleasedTokenizer({"vocab.txt": "\n".join(pieces).encode()}, vocab_size=len(pieces))


TOKENIZERS = {"bytes": lambda: Tokenizer("bytes"), "unigram": unigram, "lossy": lossy, "word_piece": word_piece}
