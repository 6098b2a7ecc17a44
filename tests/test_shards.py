"""Token shards: boundaries that cut the text where it says, in bounded memory, and refused when damaged."""

import functools
import json
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import InputError
from data import shards
from data.corpus import Document
from data.sentences import split_sentences
from data.shards import open_tokens, tokens_writer
from data.tokenizer import END, Tokenizer, train_tokenizer

LINE = "The cat sat on a mat. Then it left! 猫坐在垫子上。然后走了。"
DOCUMENTS = [Document("a", (LINE, "One line.")), Document("b", (" and 猫",)), Document("c", ("x" * 30, LINE))]


@functools.cache
def unigram():
    draw = random.Random(0)
    words = LINE.replace(".", "").split()
    return train_tokenizer("unigram", 300, [" ".join(draw.choices(words, k=9)) for _ in range(200)])


def written(folder, documents, tokenizer):
    with tokens_writer(folder, tokenizer) as writer:
        for document in documents:
            writer.add(document)
    return open_tokens(folder)


def pieces(tokens, bounds, tokenizer):
    return [tokenizer.decode(part) for part in np.split(tokens.tokens, bounds[1:-1])]


def check_against(tokens, documents, tokenizer):
    """Every law of `Tokens`, for these documents."""
    texts = [document.text for document in documents]
    sentences = [s for document in documents for line in document.lines for s in split_sentences(f"{line}\n")]
    assert pieces(tokens, tokens.documents, tokenizer) == texts
    assert pieces(tokens, tokens.sentences, tokenizer) == sentences
    assert np.diff(tokens.document_bytes).tolist() == [len(text.encode()) for text in texts]
    assert np.diff(tokens.sentence_bytes).tolist() == [len(sentence.encode()) for sentence in sentences]
    assert (tokens.tokens[tokens.documents[1:] - 1] == END).all()
    assert (tokens.tokens == END).sum() == tokens.num_documents == len(documents)
    assert np.isin(tokens.documents, tokens.sentences).all()
    assert np.array_equal(tokens.byte_length, tokenizer.byte_lengths(tokens.tokens))
    assert np.array_equal(tokens.counts, np.bincount(tokens.tokens, minlength=tokenizer.vocab.size))
    assert tokens.word_start[tokens.sentences[:-1]].all()
    assert tokens.sentences[0] == tokens.documents[0] == tokens.sentence_bytes[0] == tokens.document_bytes[0] == 0
    assert tokens.sentences[-1] == tokens.documents[-1] == tokens.num_tokens
    assert tokens.sentence_bytes[-1] == tokens.num_bytes


@pytest.mark.parametrize("kind", ["unigram", "bytes"])
@pytest.mark.parametrize("chunk", [1, 60, 1 << 19])
def test_boundaries_are_those_of_the_text_for_any_chunk(tmp_path, kind, chunk, monkeypatch):
    monkeypatch.setattr(shards, "_CHUNK", chunk)
    tokenizer = unigram() if kind == "unigram" else Tokenizer("bytes")
    tokens = written(tmp_path / "s", DOCUMENTS, tokenizer)
    check_against(tokens, DOCUMENTS, tokenizer)
    word_start = tokenizer.word_starts(tokens.tokens)
    word_start[tokens.sentences[:-1]] = True
    assert np.array_equal(tokens.word_start, word_start)


LINES = st.text(st.sampled_from("ab. 猫。\u2581!é😀"), min_size=1, max_size=12)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.lists(LINES, min_size=1, max_size=3), min_size=1, max_size=4))
def test_boundaries_are_those_of_any_text(tmp_path_factory, documents):
    documents = [Document("d", tuple(lines)) for lines in documents]
    folder = tmp_path_factory.mktemp("shards") / "s"
    check_against(written(folder, documents, unigram()), documents, unigram())


def test_words_of_the_corpus_are_kept(tmp_path):
    words = (("The", "cat", "sat"), ("猫", "坐在", "垫子上。", "然后", "走了"))
    document = Document("d", tuple("".join(line) for line in words), words)
    tokens = written(tmp_path / "s", [document, *DOCUMENTS], unigram())
    check_against(tokens, [document, *DOCUMENTS], unigram())
    first = tokens.tokens[: tokens.documents[1]]
    starts = np.flatnonzero(tokens.word_start[: len(first)])
    found = [unigram().decode(part) for part in np.split(first, starts[1:])]
    assert found == ["The", "cat", "sat", "\n", "猫", "坐在", "垫子上。", "然后", "走了", "\n", ""]


def test_an_empty_split_is_a_split(tmp_path):
    tokens = written(tmp_path / "s", [], unigram())
    assert (tokens.num_tokens, tokens.num_sentences, tokens.num_documents, tokens.num_bytes) == (0, 0, 0, 0)


def test_a_small_vocabulary_takes_two_bytes_a_token(tmp_path):
    tokens = written(tmp_path / "s", DOCUMENTS, unigram())
    assert tokens.tokens.dtype == np.uint16
    assert isinstance(tokens.tokens, np.memmap)
    assert shards._types(1 << 17)["tokens"] == np.uint32


def test_a_build_that_fails_leaves_no_shards(tmp_path):
    with pytest.raises(ZeroDivisionError), tokens_writer(tmp_path / "s", unigram()) as writer:
        writer.add(DOCUMENTS[0])
        raise ZeroDivisionError
    with pytest.raises(InputError, match="cannot be read"):
        open_tokens(tmp_path / "s")


def test_cut_shards_are_refused(tmp_path):
    written(tmp_path / "s", DOCUMENTS, unigram())
    path = tmp_path / "s" / "tokens.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(InputError, match=r"tokens.bin has \d+ bytes instead of \d+"):
        open_tokens(tmp_path / "s")


def test_shards_with_unknown_ids_are_refused(tmp_path):
    size = written(tmp_path / "s", DOCUMENTS, unigram()).counts.size
    path = tmp_path / "s" / "tokens.bin"
    path.write_bytes(np.uint16(size).tobytes() + path.read_bytes()[2:])
    with pytest.raises(InputError, match=f"token id {size} is not below the vocabulary size {size}"):
        open_tokens(tmp_path / "s")


def test_shards_of_another_format_are_refused(tmp_path):
    written(tmp_path / "s", DOCUMENTS, unigram())
    path = tmp_path / "s" / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 0}))
    with pytest.raises(InputError, match="their format is 0"):
        open_tokens(tmp_path / "s")


def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_CHUNK", 1 << 15)

    def peak(count):
        documents = (Document("d", (f"{LINE} {i}",) * 20) for i in range(count))
        tracemalloc.start()
        with tokens_writer(tmp_path / str(count), unigram()) as writer:
            for document in documents:
                writer.add(document)
        peaked = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peaked

    written(tmp_path / "first", DOCUMENTS, unigram())  # makes the tables that are made once
    small, large = peak(60), peak(480)
    assert large < 1.5 * small
