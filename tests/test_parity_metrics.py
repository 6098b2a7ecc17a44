"""Metrics of tasks equal scikit-learn's and seqeval's, degenerate cases too, and English is cut as NLTK cuts it."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuning.metrics import accuracy, entity_f1, entity_overlaps, f1, macro_f1, matthews, tag_accuracy
from finetuning.metrics.answers_zh import segmented

EXTRA = "parity needs the extra: pip install -e '.[parity]'"
theirs = pytest.importorskip("sklearn.metrics", reason=EXTRA)
seqeval = pytest.importorskip("seqeval.metrics", reason=EXTRA)
schemes = pytest.importorskip("seqeval.scheme", reason=EXTRA)
destructive = pytest.importorskip("nltk.tokenize.destructive", reason=EXTRA)

CLASSES = st.integers(0, 3).flatmap(
    lambda most: st.lists(st.tuples(st.integers(0, most), st.integers(0, most)), min_size=1, max_size=15)
)
TAGS = st.sampled_from(["O", *(f"{letter}-{name}" for letter in "BIES" for name in ("A", "B-C"))])
SENTENCES = st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=6), min_size=1, max_size=4)
BIO = SENTENCES.map(lambda all_: [[tuple(tag.replace("E-", "I-").replace("S-", "B-") for tag in pair) for pair in one]
                                  for one in all_])  # fmt: skip


@settings(max_examples=40)
@given(CLASSES)
def test_metrics_of_classes_are_scikit_learns(pairs):
    predicted, truth = (np.array(side) for side in zip(*pairs, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a single class
        assert accuracy(predicted, truth) == pytest.approx(theirs.accuracy_score(truth, predicted))
        assert matthews(predicted, truth) == pytest.approx(theirs.matthews_corrcoef(truth, predicted), abs=1e-12)
    macro = theirs.f1_score(truth, predicted, average="macro", zero_division=0)
    assert macro_f1(predicted, truth) == pytest.approx(macro)
    binary = theirs.f1_score(truth == 1, predicted == 1, zero_division=0)
    assert f1(predicted, truth) == pytest.approx(binary)


def both(sentences):
    """The predicted tags and the true ones."""
    return tuple([[pair[side] for pair in sentence] for sentence in sentences] for side in (0, 1))


@given(SENTENCES)
def test_entities_are_seqevals_in_every_scheme_at_once(sentences):
    predicted, truth = both(sentences)
    assert entity_f1(predicted, truth) == pytest.approx(seqeval.f1_score(truth, predicted, zero_division=0))
    assert tag_accuracy(predicted, truth) == pytest.approx(seqeval.accuracy_score(truth, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no entity at all
        report = seqeval.classification_report(truth, predicted, output_dict=True, zero_division=0)
    for name, counts in entity_overlaps(predicted, truth).items():
        assert counts.there == report[name]["support"]
        found = (counts.precision, counts.recall, counts.f1)
        assert found == pytest.approx(tuple(report[name][each] for each in ("precision", "recall", "f1-score")))


@given(BIO)
def test_entities_are_seqevals_in_strict_iob2(sentences):
    predicted, truth = both(sentences)
    strict = {"mode": "strict", "scheme": schemes.IOB2, "zero_division": 0}
    assert entity_f1(predicted, truth, "iob2") == pytest.approx(seqeval.f1_score(truth, predicted, **strict))


@given(SENTENCES)
def test_entities_are_seqevals_in_strict_iobes(sentences):
    predicted, truth = both(sentences)
    strict = {"mode": "strict", "scheme": schemes.IOBES, "zero_division": 0}
    assert entity_f1(predicted, truth, "iobes") == pytest.approx(seqeval.f1_score(truth, predicted, **strict))


WORDS = ["ab", "x", "3", "4,000", "30.5", "it's", "don't", "we'll", "u.s", "dogs'", "é"]
BETWEEN = [" ", " ", ", ", ",", " (", ") ", "% ", "&", "? ", "!", "; ", "... ", ' "', '" ', "$"]


@given(
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(BETWEEN)), max_size=5), st.sampled_from(["", ".", ".)"])
)
def test_english_between_chinese_is_cut_as_nltk_cuts_a_sentence(parts, end):
    text = "".join(word + between for word, between in parts) + end
    assert segmented(text) == destructive.NLTKWordTokenizer().tokenize(text)
