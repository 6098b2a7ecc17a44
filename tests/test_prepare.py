"""Preparation: one corpus, one answer, built once, whole or not at all."""

import dataclasses
import multiprocessing
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from batch import InputError
from data import prepare as module
from data.config import DataConfig
from data.corpus import Document, open_corpus
from data.prepare import make_cache, prepare, with_known_cache
from data.tokenizer import Tokenizer

TEXT = "the cat sat on a mat and was not seen by any other cats 我们 去 吃饭 。"


@pytest.fixture
def config(tmp_path):
    draw = random.Random(0)
    words = TEXT.split()
    sentences = [" ".join(draw.choices(words, k=9)) + ".\n" for _ in range(600)]
    text = "\n".join("".join(sentences[i : i + 10]) for i in range(0, 600, 10))
    (tmp_path / "corpus.txt").write_text(text, encoding="utf-8")
    return DataConfig(
        str(tmp_path / "corpus.txt"), vocab_size=310, cache=str(tmp_path / "cache"), validation=0.1, test=0.1
    )


def prepared(config, tokenizer=None):
    reports = []
    return prepare(config, reports.append, tokenizer), reports


def same(a, b):
    return a.tokenizer.digest == b.tokenizer.digest and all(
        np.array_equal(getattr(getattr(a, split), field.name), getattr(getattr(b, split), field.name))
        for split in ("train", "validation", "test")
        for field in dataclasses.fields(a.train)
    )


def test_the_splits_hold_the_corpus(config):
    data, _ = prepared(config)
    splits = (data.train, data.validation, data.test)
    texts = [
        data.tokenizer.decode(split.tokens[start:end])
        for split in splits
        for start, end in zip(split.documents[:-1], split.documents[1:], strict=True)
    ]
    assert sorted(texts) == sorted(document.text for document in open_corpus(config).documents())
    assert all(split.num_documents for split in splits)
    assert data.vocab.size == 310
    assert data.corpus_digest[:16] in data.description


def test_the_second_time_is_the_cache(config):
    first, reports = prepared(config)
    again, quiet = prepared(config)
    assert reports and not quiet
    assert same(first, again)


def test_another_cache_gives_the_same_data(config, tmp_path):
    other = dataclasses.replace(config, cache=str(tmp_path / "other"))
    assert same(prepared(config)[0], prepared(other)[0])


@pytest.mark.parametrize(
    "change", [{"vocab_size": 300}, {"test": 0.2}, {"tokenizer": "bytes"}, {"tokenizer_sample": 9000}]
)
def test_another_tokenizer_or_split_is_built_anew(config, change):
    first, _ = prepared(config)
    changed, reports = prepared(dataclasses.replace(config, **change))
    assert reports and not same(first, changed)


def test_a_layout_is_not_a_reason_to_build(config):
    prepared(config)
    assert not prepared(dataclasses.replace(config, length=64, layout="streams", batch_size=4))[1]


def test_a_changed_corpus_is_built_anew(config):
    first, _ = prepared(config)
    path = Path(config.corpus)
    path.write_text(path.read_text(encoding="utf-8").replace("mat", "rug"), encoding="utf-8")
    changed, reports = prepared(config)
    assert reports and changed.corpus_digest != first.corpus_digest
    assert " rug" in changed.tokenizer.decode(changed.train.tokens)


def test_held_out_text_does_not_reach_the_tokenizer(config):
    first, _ = prepared(config)
    held_out = first.tokenizer.decode(first.validation.tokens[: first.validation.documents[1]])
    seen = []
    train = module.train_tokenizer

    def spy(kind, vocab_size, texts):
        seen.extend(texts)
        return train(kind, vocab_size, seen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "train_tokenizer", spy)
        prepared(dataclasses.replace(config, cache=f"{config.cache}2"))
    assert seen and not set(held_out.splitlines()) & set(seen)


def test_a_given_tokenizer_is_used(config):
    data, _ = prepared(config, Tokenizer("bytes"))
    assert data.vocab.size == Tokenizer("bytes").vocab.size == len(data.train.counts)
    assert data.train.num_tokens == data.train.num_bytes + data.train.num_documents


def test_a_half_built_folder_is_rebuilt(config):
    first, _ = prepared(config)
    (folder,) = Path(config.cache).glob("tokens-*")
    (folder / module.COMPLETE).unlink()
    shutil.rmtree(folder / "train")
    again, reports = prepared(config)
    assert reports and same(first, again)


def test_a_build_that_fails_leaves_nothing_behind(config):
    with pytest.raises(InputError, match=r"fills at most"):
        prepared(dataclasses.replace(config, vocab_size=4096))
    assert [path.name for path in Path(config.cache).iterdir()] == ["digests"]


def test_a_cache_that_nobody_here_has_made_is_not_written(config, tmp_path):
    """As that of a stranger's run; one that was made, or used, stays the run's own."""
    assert with_known_cache(config).cache == DataConfig.cache and not Path(config.cache).exists()
    (tmp_path / "ours").mkdir()
    named = dataclasses.replace(config, cache=str(tmp_path / "ours"))
    assert with_known_cache(named).cache == DataConfig.cache
    make_cache(named)
    assert with_known_cache(named) == named
    prepared(config)
    assert with_known_cache(config) == config
    for odd in ("~no-such-user/cache", "a" * 300, "\0", ""):
        assert with_known_cache(dataclasses.replace(config, cache=odd)).cache == DataConfig.cache


@pytest.mark.parametrize("path", ["~no-such-user/text", "a" * 300, "a\0b"])
@pytest.mark.parametrize("field", ["corpus", "cache"])
def test_what_can_be_no_path_is_refused(config, tmp_path, monkeypatch, field, path):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=f"data.{field}="):
        prepared(dataclasses.replace(config, **{field: path}))
    assert sorted(set(tmp_path.iterdir()) - {Path(config.cache)}) == before


def test_processes_that_prepare_at_once_agree(config):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=prepare, args=(config, print)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(list(Path(config.cache).glob("tokens-*"))) == 1
    assert not list(Path(config.cache).glob(".*"))
    data, quiet = prepared(config)
    assert not quiet and data.train.num_documents


def test_a_sample_is_spread_over_all_documents():
    documents = [Document(str(i), tuple(f"{i:02} {j:02}" for j in range(20))) for i in range(50)]
    total = sum(len(document.text) for document in documents)
    texts = list(module._sample(documents, total // 10, total))
    assert sum(len(text) + 1 for text in texts) <= total // 10
    assert len({text[:2] for text in texts}) == 50


def test_the_whole_text_is_a_sample_of_itself():
    documents = [Document("a", ("one", "two")), Document("b", ("三",))]
    total = sum(len(document.text.encode()) for document in documents)
    assert list(module._sample(documents, total, total)) == ["one", "two", "三"]


def test_a_single_document_is_split_and_said_so_each_time(config):
    path = Path(config.corpus)
    path.write_text(path.read_text(encoding="utf-8").replace("\n\n", "\n"), encoding="utf-8")
    for _ in range(2):
        data, reports = prepared(config)
        assert "last lines" in reports[-1]
        assert data.train.num_documents == data.validation.num_documents == data.test.num_documents == 1


def test_a_cache_that_cannot_be_written_is_refused(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"data\.cache="):
        prepared(dataclasses.replace(config, cache=str(tmp_path / "file" / "cache")))


@pytest.mark.parametrize("corpus", ["zhwiki_contexts_dev", "tinyshakespeare"])
def test_real_text_is_prepared(tmp_path, corpus):
    folder = os.environ.get("ORDERLY_DATA")
    if not folder:
        pytest.skip("ORDERLY_DATA is not set")
    config = DataConfig(f"{folder}/{corpus}", cache=str(tmp_path), tokenizer="bpe")
    data, _ = prepared(config)
    assert 0.04 < data.validation.num_bytes / data.train.num_bytes < 0.07
    text = "".join(document.text for document in open_corpus(config).documents())
    assert len(text.encode()) == data.train.num_bytes + data.validation.num_bytes + data.test.num_bytes
    assert data.train.num_tokens < 0.4 * data.train.num_bytes
