"""Causal language modeling: each token predicts its neighbor, within its document."""

import jax
import numpy as np
import pytest

from batch import VOID, Batch, Vocab
from objectives import CausalLm

VOCAB = Vocab(size=40, special=(0, 1, 2, 3), pad=0, cls=1, sep=2, mask=3, end=4)


def prepare(tokens, document, direction="forward", **fields):
    tokens, document = np.asarray(tokens, np.int32), np.asarray(document, np.int32)
    rows = np.arange(len(tokens), dtype=np.int32)
    batch = Batch(
        tokens=tokens,
        segments=np.zeros_like(tokens),
        document=document,
        word=np.where(document, np.arange(tokens.shape[1]), -1).astype(np.int32),
        example=rows,
        epoch=rows,
        fresh=rows >= 0,
        summary=rows,
        direction=fields.pop("rows_read", None),
    )
    objective = CausalLm(direction=direction, **fields)
    prepared = jax.jit(lambda batch, key: objective.prepare(batch, VOCAB, key))(batch, jax.random.key(0))
    return jax.tree.map(np.asarray, prepared)


def expected_pairs(tokens, document, step):
    """(position, label) of every token whose neighbor is of its document and ordinary."""
    return [
        (b, i, int(tokens[b][i + step]))
        for b in range(len(tokens))
        for i in range(len(tokens[b]))
        if 0 <= i + step < len(tokens[b])
        and document[b][i] != 0
        and document[b][i] == document[b][i + step]
        and tokens[b][i + step] not in VOCAB.special
    ]


@pytest.mark.parametrize(("direction", "step"), [("forward", 1), ("backward", -1)])
def test_labels_are_ordinary_neighbors_within_the_document_in_reading_direction(direction, step):
    rng = np.random.default_rng(0)
    document = np.cumsum(rng.random((50, 24)) < 0.2, axis=1) * (np.arange(24) < rng.integers(1, 25, (50, 1)))
    tokens = np.where(document, rng.integers(1, 12, (50, 24)), 0)
    inputs, targets = prepare(tokens, document, direction)
    used = targets.weights > 0
    found = [(b, int(inputs.predict[b, p]), int(targets.labels[b, p])) for b, p in np.argwhere(used)]
    assert sorted(found) == expected_pairs(tokens.tolist(), document.tolist(), step)
    assert not VOCAB.is_special[targets.labels[used]].any()
    assert set(np.unique(targets.weights)) == {0, 1}
    np.testing.assert_array_equal(inputs.tokens, tokens)


@pytest.mark.parametrize(("direction", "step"), [("forward", 1), ("backward", -1)])
def test_no_position_sees_its_label(direction, step):
    inputs, targets = prepare([[5, 6, 7, 8, 0, 0]], [[1, 1, 1, 1, 0, 0]], direction)
    order = inputs.order[0]
    sees = (order[None] <= order[:, None]) & (order[None] != VOID)
    for i in np.flatnonzero(targets.weights[0]):
        assert sees[i, i] and not sees[i, i + step]
    assert order[:4].tolist() == sorted(order[:4].tolist(), reverse=step < 0)
    assert len(set(order[:4].tolist())) == 4 and (order[4:] == VOID).all()


def test_forward_and_backward_mirror_each_other():
    tokens, document = np.array([[5, 6, 2, 7, 8, 4, 9, 10]]), np.array([[1, 1, 1, 1, 2, 2, 2, 2]])
    forward, backward = prepare(tokens, document), prepare(tokens[:, ::-1], document[:, ::-1], "backward")
    np.testing.assert_array_equal(forward[0].order, backward[0].order[:, ::-1])
    np.testing.assert_array_equal(forward[1].weights, backward[1].weights[:, ::-1])
    used = forward[1].weights > 0
    np.testing.assert_array_equal(forward[1].labels[used], backward[1].labels[:, ::-1][used])


def test_end_of_document_is_a_label_and_the_next_document_s_first_token_is_not():
    _, targets = prepare([[5, 6, VOCAB.end, 7, 8, VOCAB.end]], [[1, 1, 1, 2, 2, 2]])
    assert targets.weights[0].tolist() == [1, 1, 0, 1, 1, 0]
    assert targets.labels[0, [0, 1, 3, 4]].tolist() == [6, VOCAB.end, 8, VOCAB.end]


def test_without_isolation_the_first_token_after_a_document_s_end_is_predicted():
    _, targets = prepare([[5, 6, VOCAB.end, 7, 8, VOCAB.end]], [[1] * 6])
    assert targets.weights[0].tolist() == [1, 1, 1, 1, 1, 0]


def test_positions_count_within_documents():
    inputs, _ = prepare([[5, 6, 7, 8, 9, 10, 0, 0]], [[3, 3, 4, 4, 4, 7, 0, 0]])
    assert inputs.position[0, :6].tolist() == [0, 1, 0, 1, 2, 0]


def test_rows_of_padding_specials_or_one_token_have_no_targets():
    tokens, document = [[0] * 5, [2] * 5, [6, 0, 0, 0, 0]], [[0] * 5, [1] * 5, [1, 0, 0, 0, 0]]
    for direction in ("forward", "backward"):
        assert not prepare(tokens, document, direction)[1].weights.any()


def test_reuse_and_the_rows_direction_are_handed_on():
    inputs, _ = prepare([[5, 6, 7, 8]] * 2, [[1] * 4] * 2, reuse=2, rows_read=np.array([1, -1], np.int32))
    assert inputs.reuse == 2 and inputs.direction.tolist() == [1, -1]
    assert not inputs.query_stream and not inputs.blind.any()
