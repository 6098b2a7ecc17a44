"""Splits: whole documents, about the shares asked for, and no document on both sides."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import InputError
from data.corpus import Document
from data.splits import SPLITS, plan_splits


def parts_of(documents, validation, test):
    plan = plan_splits(lambda: iter(documents), validation, test)
    return plan, list(plan.parts(iter(documents)))


def documents_of(lengths):
    return [Document(str(i), (f"{i} " + "x" * length,)) for i, length in enumerate(lengths)]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.lists(st.integers(1, 2000), min_size=3, max_size=60),
    st.sampled_from([0.0, 0.05, 0.3, 0.6]),
    st.sampled_from([0.0, 0.05, 0.3]),
)
def test_every_document_has_one_split_and_every_split_its_share(lengths, validation, test):
    documents = documents_of(lengths)
    plan, parts = parts_of(documents, validation, test)
    assert [document for _, document in parts] == documents
    total, largest = sum(plan.num_bytes.values()), max(len(document.text) for document in documents)
    for split, share in zip(SPLITS, (1 - validation - test, validation, test), strict=True):
        held = [document for name, document in parts if name == split]
        assert plan.num_bytes[split] == sum(len(document.text) for document in held)
        assert bool(held) == (share > 0)
        assert abs(plan.num_bytes[split] - share * total) <= 2 * largest


def test_many_documents_meet_the_shares_closely():
    plan, _ = parts_of(documents_of([500 + i % 100 for i in range(1000)]), 0.05, 0.1)
    total = sum(plan.num_bytes.values())
    assert abs(plan.num_bytes["validation"] / total - 0.05) < 0.001
    assert abs(plan.num_bytes["test"] / total - 0.1) < 0.001


def test_equal_documents_stay_together():
    documents = [Document(str(i), (f"text {i % 30}",)) for i in range(300)]
    _, parts = parts_of(documents, 0.2, 0.2)
    splits_of = {
        text: {split for split, document in parts if document.text == text} for _, d in parts for text in [d.text]
    }
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert set.union(*splits_of.values()) == set(SPLITS)


def test_the_split_is_of_the_content_and_not_of_the_order():
    documents = documents_of(range(10, 200))
    _, parts = parts_of(documents, 0.2, 0.2)
    _, backwards = parts_of(documents[::-1], 0.2, 0.2)
    assert parts == backwards[::-1]


@pytest.mark.parametrize("shape", [[40], [20, 20], [1, 2], [3]])
def test_few_documents_are_split_along_their_lines(shape):
    documents = [Document(str(i), tuple(f"{i} line {j:03}" for j in range(n))) for i, n in enumerate(shape)]
    plan, parts = parts_of(documents, 0.1, 0.1)
    assert plan.note
    assert [line for _, document in parts for line in document.lines] == [line for d in documents for line in d.lines]
    order = [SPLITS.index(split) for split, _ in parts]
    assert order == sorted(order) and set(order) == {0, 1, 2}
    if sum(shape) == 40:
        assert [sum(len(d.lines) for name, d in parts if name == split) for split in SPLITS] == [32, 4, 4]


def test_words_are_split_with_their_lines():
    words = (("a", "b"), ("c",), ("d", "e"))
    _, parts = parts_of([Document("d", ("ab", "c", "de"), words)], 0.3, 0.3)
    assert [document.words for _, document in parts] == [(line,) for line in words]


def test_two_documents_are_enough_for_one_share():
    plan, parts = parts_of(documents_of([50, 50]), 0.1, 0.0)
    assert not plan.note
    assert sorted(split for split, _ in parts) == ["train", "validation"]


def test_too_few_lines_are_refused():
    with pytest.raises(InputError, match="2 lines cannot be split"):
        parts_of([Document("d", ("one", "two"))], 0.1, 0.1)
    _, parts = parts_of([Document("d", ("one",))], 0.0, 0.0)
    assert [split for split, _ in parts] == ["train"]
