"""The data report: what it measures is so, and each warning comes exactly where it should."""

import dataclasses
import json
import math

import numpy as np
import pytest

from corpora import END, VOCAB, corpus, random_corpus
from data import report
from data.batches import open_stream
from data.config import DataConfig
from data.report import DataReport, describe_data, duplicate_rate, entropy
from data.shards import Tokens

CORPUS = random_corpus(documents=80, sentences=12, words=9)
USED = dataclasses.replace(VOCAB, size=5 + CORPUS.num_tokens)  # every id occurs
VALIDATION = random_corpus(documents=20, sentences=12, words=9, seed=1)
CONFIG = DataConfig(length=32, batch_size=8)


def described(config=CONFIG, train: Tokens = CORPUS, vocab=USED, validation=VALIDATION, **options) -> DataReport:
    stream = open_stream(config, train, vocab, seed=0)
    splits = {"train": train, "validation": validation}
    return describe_data(config, splits, stream, vocab, **{"total_steps": stream.steps_per_epoch} | options)


def renumbered(tokens: Tokens, ids: np.ndarray) -> Tokens:
    counts = np.bincount(ids, minlength=VOCAB.size).astype(np.int64)
    return dataclasses.replace(tokens, tokens=ids.astype(np.uint32), counts=counts)


def test_ordinary_data_is_described_without_a_warning():
    described_data = described()
    assert described_data.warnings == ()
    train = described_data.splits["train"]
    assert (train.tokens, train.documents) == (CORPUS.num_tokens, 80)
    assert train.bytes == 3 * train.tokens and train.sentences == len(CORPUS.sentences) - 1
    assert (
        described_data.fill == 1 and described_data.epochs == 1 and described_data.unused_ids == 80
    )  # `end` stands in their places
    assert described_data.label_share is None
    text = str(described_data)
    assert f"{CORPUS.num_tokens:,} tokens" in text and "100.0% filled" in text and "objective" not in text


def test_the_report_is_plain_json_and_prints_what_the_objective_measured():
    described_data = described(corruption={"masked": 0.8, "rows without targets": 0.0})
    assert json.loads(json.dumps(described_data.as_dict()))["corruption"] == {"masked": 0.8, "rows without targets": 0}
    assert "masked 0.8, rows without targets 0" in str(described_data)


def test_entropy_of_equal_counts_is_the_logarithm_of_their_number():
    assert entropy(np.array([7, 0, 7, 7, 7])) == pytest.approx(math.log(4))
    assert entropy(np.array([0, 3])) == 0


@pytest.mark.parametrize("chunk", [1, 50, 1 << 20])
def test_duplicate_sentences_are_counted_wherever_they_stand(chunk, monkeypatch):
    monkeypatch.setattr(report, "_CHUNK", chunk)
    tokens = corpus([[4, 4, 5]] * 10)  # the third sentence ends in `end`
    ids = np.concatenate([np.r_[[10, 11, 12, 13], [100 + i, 20, 30, 40], [10, 11, 12, 13, END]] for i in range(10)])
    rate, among = duplicate_rate(renumbered(tokens, ids), VOCAB)
    assert among == 30 and rate == pytest.approx(1 - 11 / 30)
    assert duplicate_rate(CORPUS, VOCAB)[0] == 0
    swapped = renumbered(tokens, np.concatenate([np.r_[[1, 2, 3, 4], [4, 3, 2, 1], [1, 2, 4, 3, END]]] * 10))
    assert duplicate_rate(swapped, VOCAB)[0] == pytest.approx(1 - 3 / 30)  # the order of tokens counts


def test_duplicates_are_counted_on_a_sample_of_a_large_corpus(monkeypatch):
    monkeypatch.setattr(report, "SAMPLED_TOKENS", 1000)
    _, among = duplicate_rate(CORPUS, VOCAB)
    assert among == np.searchsorted(CORPUS.sentences, 1000, side="right") - 1


def test_the_share_of_random_b_is_measured_and_warned_of_where_it_is_skewed():
    config = dataclasses.replace(CONFIG, layout="pairs", short_rate=0.0)
    paragraphs = corpus([[40] * 6] * 80)
    skewed = described(config, paragraphs, VOCAB)
    assert skewed.label_share == 1 and any("random B" in warning for warning in skewed.warnings)
    balanced = described(dataclasses.replace(config, pair_balance="balanced"), paragraphs, VOCAB)
    assert balanced.label_share == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 200))
    assert not any("random B" in warning for warning in balanced.warnings)
    assert "random B; always answering" in str(balanced)


def test_padding_is_measured_and_warned_of():
    config = dataclasses.replace(CONFIG, layout="pairs", length=200)
    sparse = described(config, corpus([[9, 9]] * 200), VOCAB)
    assert sparse.fill < 0.2 and any("padding" in warning for warning in sparse.warnings)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"vocab": VOCAB}, "token ids never occur"),
        ({"total_steps": 100_000}, "by heart"),
        ({"validation": corpus([[9, 9]])}, "raise data.validation"),
        ({"train": renumbered(CORPUS, np.full(CORPUS.num_tokens, 7)), "vocab": VOCAB}, "boilerplate"),
    ],
)
def test_each_defect_has_its_warning(options, message):
    assert any(message in warning for warning in described(**options).warnings)
