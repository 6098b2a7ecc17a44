"""Masked language modeling: what is hidden, how it is shown, and that nothing else changes."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batch import VOID, Batch, InputError, Output, Targets, Task, Vocab
from objectives import MaskedLm
from texts import VOCAB, batch_of, eligible, only_ordinary, random_batch

KEY = jax.random.key(7)


@functools.cache
def prepared(objective: MaskedLm, vocab: Vocab = VOCAB):
    return jax.jit(lambda batch, key: objective.prepare(batch, vocab, key))


def hide(objective: MaskedLm, batch: Batch, key=KEY, vocab: Vocab = VOCAB):
    """Tokens as shown, which tokens are targets, inputs and targets."""
    inputs, targets = jax.tree.map(np.asarray, prepared(objective, vocab)(batch, key))
    chosen = np.zeros(batch.tokens.shape, bool)
    used = targets.weights > 0
    chosen[np.nonzero(used)[0], inputs.predict[used]] = True
    assert chosen.sum() == used.sum()  # no position twice
    return np.asarray(inputs.tokens), chosen, inputs, targets


def assert_share(successes: int, trials: int, share: float) -> None:
    assert abs(successes - trials * share) <= 4 * np.sqrt(trials * share * (1 - share))


@pytest.mark.parametrize(("rate", "slots"), [(0.15, None), (0.15, 20), (0.3, None)])
def test_a_row_of_n_tokens_has_exactly_min_p_max_1_round_rate_n_targets(rate, slots):
    length = 400
    real = np.arange(3, length + 1)[:, None]
    document = (np.arange(length) < real).astype(int)
    tokens = np.random.default_rng(0).integers(10, VOCAB.size, document.shape) * document
    tokens[:, 0], tokens[np.arange(len(real)), real[:, 0] - 1] = VOCAB.cls, VOCAB.sep
    objective = MaskedLm(rate=rate, max_predictions=slots)
    _, chosen, inputs, _ = hide(objective, batch_of(tokens, document))
    places = slots or round(rate * length)
    assert inputs.predict.shape == (len(real), places)
    assert chosen.sum(axis=1).tolist() == [min(places, max(1, round(rate * n))) for n in range(3, length + 1)]


def test_too_few_eligible_tokens_are_all_targets():
    tokens = np.full((3, 12), VOCAB.sep)
    tokens[1, 4], tokens[2, [3, 8]] = 11, 12
    _, chosen, _, _ = hide(MaskedLm(rate=0.9), batch_of(tokens))
    np.testing.assert_array_equal(chosen, ~VOCAB.is_special[tokens])


@pytest.mark.parametrize("unit", ["token", "word", "span"])
@pytest.mark.parametrize("corrupt", ["token", "unit"])
def test_targets_are_eligible_labels_original_and_all_else_untouched_over_1e5_tokens(unit, corrupt):
    batch = random_batch(2000, 64)
    assert batch.tokens.size > 1e5
    shown, chosen, inputs, targets = hide(MaskedLm(unit=unit, corrupt=corrupt), batch)
    assert chosen.any() and not (chosen & ~eligible(batch)).any()
    np.testing.assert_array_equal(shown[~chosen], batch.tokens[~chosen])
    used, restored = targets.weights > 0, shown.copy()
    restored[np.nonzero(used)[0], inputs.predict[used]] = targets.labels[used]
    np.testing.assert_array_equal(restored, batch.tokens)
    assert set(np.unique(shown[chosen])) <= {VOCAB.mask, *VOCAB.ordinary.tolist()}
    assert set(np.unique(targets.weights)) == {0, 1}


def test_targets_are_shown_as_mask_random_and_unchanged_within_the_binomial_bounds():
    batch = only_ordinary(4000, 64)
    shown, chosen, _, _ = hide(MaskedLm(), batch)
    number, before, after = int(chosen.sum()), batch.tokens[chosen], shown[chosen]
    same = 1 / len(VOCAB.ordinary)  # of the random replacements repeat the original
    assert_share((after == VOCAB.mask).sum(), number, 0.8)
    assert_share(((after != before) & (after != VOCAB.mask)).sum(), number, 0.1 * (1 - same))
    assert_share((after == before).sum(), number, 0.1 + 0.1 * same)


def test_all_mask_all_random_and_all_unchanged_are_exact():
    batch = only_ordinary(500, 64)
    shown, chosen, _, _ = hide(MaskedLm(mask_share=1.0, random_share=0.0), batch)
    assert (shown[chosen] == VOCAB.mask).all()
    shown, _, _, _ = hide(MaskedLm(mask_share=0.0, random_share=0.0), batch)
    np.testing.assert_array_equal(shown, batch.tokens)
    shown, chosen, _, _ = hide(MaskedLm(mask_share=0.0, random_share=1.0), batch)
    same = 1 / len(VOCAB.ordinary)
    assert_share((shown[chosen] == batch.tokens[chosen]).sum(), chosen.sum(), same)


def test_random_replacements_are_uniform_over_the_ordinary_ids():
    batch = batch_of(np.full((3000, 64), 10))
    shown, chosen, _, _ = hide(MaskedLm(mask_share=0.0, random_share=1.0), batch)
    observed = np.bincount(shown[chosen], minlength=VOCAB.size)
    expected, freedom = chosen.sum() / len(VOCAB.ordinary), len(VOCAB.ordinary) - 1
    assert not observed[list(VOCAB.special)].any()
    statistic = ((observed[VOCAB.ordinary] - expected) ** 2 / expected).sum()
    assert statistic < freedom + 4 * np.sqrt(2 * freedom)


def test_random_replacements_from_the_vocabulary_are_uniform_over_all_ids_as_in_the_release():
    batch = batch_of(np.full((3000, 64), 10))
    shown, chosen, _, _ = hide(MaskedLm(mask_share=0.0, random_share=1.0, random_from="vocabulary"), batch)
    observed, expected = np.bincount(shown[chosen], minlength=VOCAB.size), chosen.sum() / VOCAB.size
    assert ((observed - expected) ** 2 / expected).sum() < VOCAB.size - 1 + 4 * np.sqrt(2 * (VOCAB.size - 1))
    shown, chosen, _, _ = hide(MaskedLm(random_from="vocabulary"), batch)
    assert_share((shown[chosen] == VOCAB.mask).sum(), chosen.sum(), 0.8 + 0.1 / VOCAB.size)


def test_every_eligible_position_is_a_target_equally_often():
    tokens = np.full((8000, 24), 10)
    tokens[:, [0, 11, 23]] = VOCAB.cls, VOCAB.sep, VOCAB.sep
    batch = batch_of(tokens)
    _, chosen, _, _ = hide(MaskedLm(), batch)
    allowed = eligible(batch)[0]
    for count in chosen[:, allowed].sum(axis=0):
        assert_share(count, len(tokens), 4 / allowed.sum())  # round(0.15 x 24) targets


def test_whole_words_are_hidden_whole_and_never_beyond_the_count():
    batch = random_batch(2000, 64)
    _, chosen, _, _ = hide(MaskedLm(unit="word"), batch)
    real = (batch.document != 0).sum(axis=1)
    assert (chosen.sum(axis=1) <= np.clip(np.round(0.15 * real), 1, 10)).all()
    joined = (np.diff(batch.word, axis=1) == 0) & (batch.word[:, 1:] >= 0)
    np.testing.assert_array_equal(chosen[:, 1:][joined], chosen[:, :-1][joined])


def test_whole_words_of_one_piece_are_hidden_as_tokens_are():
    tokens = np.full((8000, 20), 10)
    tokens[:, [0, 19]] = VOCAB.cls, VOCAB.sep
    for unit in ("token", "word"):
        _, chosen, _, _ = hide(MaskedLm(unit=unit), batch_of(tokens))
        assert (chosen.sum(axis=1) == 3).all()
        for count in chosen[:, 1:19].sum(axis=0):
            assert_share(count, len(tokens), 3 / 18)


def test_word_numbers_decide_so_that_chinese_characters_or_segmented_words_are_words():
    tokens = np.full((3000, 20), 10)  # one and the same character
    _, characters, _, _ = hide(MaskedLm(unit="word"), batch_of(tokens, word=np.tile(np.arange(20), (3000, 1))))
    _, segmented, _, _ = hide(MaskedLm(unit="word"), batch_of(tokens, word=np.tile(np.arange(20) // 2, (3000, 1))))
    assert (characters.sum(axis=1) == 3).all() and (segmented.sum(axis=1) == 2).all()
    assert (characters[:, ::2] != characters[:, 1::2]).any()
    np.testing.assert_array_equal(segmented[:, ::2], segmented[:, 1::2])


@pytest.mark.parametrize("unit", ["word", "span"])
def test_corrupt_unit_shows_a_unit_in_one_way_and_corrupt_token_each_token_in_its_own(unit):
    length, size = 60, 3
    tokens = np.full((1500, length), 10)
    batch = batch_of(tokens, word=np.tile(np.arange(length) // size, (1500, 1)))
    mixed = {}
    for corrupt in ("unit", "token"):
        objective = MaskedLm(unit=unit, corrupt=corrupt, mask_share=0.5, random_share=0.0)
        shown, chosen, _, _ = hide(objective, batch)
        kept = (shown == 10) & chosen
        words = chosen.reshape(-1, length // size, size).all(axis=2)
        kept_of_word = kept.reshape(-1, length // size, size).sum(axis=2)[words]
        mixed[corrupt] = np.isin(kept_of_word, (1, 2))
    assert not mixed["unit"].any()
    assert_share(mixed["token"].sum(), len(mixed["token"]), 6 / 8)


def test_corrupt_unit_draws_once_for_all_words_of_a_span():
    batch = only_ordinary(1500, 60)
    objective = MaskedLm(unit="span", corrupt="unit", mask_share=0.5, random_share=0.0)
    shown, chosen, _, _ = hide(objective, batch)
    pairs = chosen[:, 1:] & chosen[:, :-1]  # mostly of one span; independent draws would agree half the time
    agree = ((shown == VOCAB.mask)[:, 1:] == (shown == VOCAB.mask)[:, :-1])[pairs]
    assert agree.mean() > 0.85


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_tiny_rows_have_the_targets_they_can_have(unit):
    tokens = np.full((5, 6), VOCAB.pad)
    tokens[0, :3] = VOCAB.cls, 11, VOCAB.sep  # one eligible token
    tokens[1, :3] = VOCAB.cls, VOCAB.mask, VOCAB.sep  # none
    tokens[2] = VOCAB.sep
    tokens[4] = 12
    document = (tokens != VOCAB.pad).astype(int)  # row 3 is padding
    shown, chosen, inputs, targets = hide(MaskedLm(unit=unit, max_predictions=4), batch_of(tokens, document))
    assert chosen.sum(axis=1).tolist() == [1, 0, 0, 0, 1]
    assert targets.weights.shape == (5, 4) and chosen[0, 1]
    np.testing.assert_array_equal(shown[1:4], tokens[1:4])
    assert (inputs.order[document == 0] == VOID).all() and (inputs.order[document != 0] == 0).all()
    assert (targets.labels[targets.weights == 0] == 0).all()


def test_there_are_never_more_slots_than_tokens():
    _, chosen, inputs, _ = hide(MaskedLm(rate=1.0, max_predictions=50), only_ordinary(2, 8))
    assert inputs.predict.shape == (2, 8) and chosen.all()


def test_with_reuse_what_the_memory_keeps_does_not_see_the_rest():
    _, _, inputs, _ = hide(MaskedLm(reuse=5), only_ordinary(2, 8))
    assert inputs.order.tolist() == [[0] * 5 + [1] * 3] * 2
    assert inputs.reuse == 5 and not inputs.query_stream and not inputs.blind.any()


@pytest.mark.parametrize("static_draws", [0, 1, 3])
def test_static_draws_hide_a_text_in_so_many_ways_one_an_epoch_in_turn_and_0_always_anew(static_draws):
    batch, objective = only_ordinary(50, 64), MaskedLm(unit="span", static_draws=static_draws)
    hidden = [hide(objective, dataclasses.replace(batch, epoch=batch.epoch + epoch))[0] for epoch in range(7)]
    for one, other in itertools.combinations(range(7), 2):
        same = (hidden[one] == hidden[other]).all(axis=1)
        assert same.all() if static_draws and (one - other) % static_draws == 0 else not same.any()
    np.testing.assert_array_equal(hidden[0], hide(MaskedLm(unit="span"), batch)[0])


def assert_same_rows(objective: MaskedLm, batch: Batch, rows: list[int], key=KEY) -> None:
    whole = prepared(objective)(batch, key)
    part = prepared(objective)(jax.tree.map(lambda x: x[np.array(rows)], batch), key)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a)[rows], b), whole, part)


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_a_row_s_corruption_does_not_depend_on_the_batch_around_it(unit):
    batch = random_batch(12, 32)
    for rows in ([7, 2, 11, 0], list(range(12))[::-1]):
        assert_same_rows(MaskedLm(unit=unit, corrupt="unit"), batch, rows)


def test_nor_do_static_draws_depend_on_the_batch_or_on_the_epochs_in_it():
    batch = random_batch(12, 32)
    mixed = dataclasses.replace(batch, epoch=np.arange(12, dtype=np.int32))
    assert_same_rows(MaskedLm(static_draws=5), mixed, [7, 2, 11, 0])


def test_other_keys_epochs_and_examples_hide_other_tokens_and_the_same_hide_the_same():
    batch = only_ordinary(200, 64)
    first = hide(MaskedLm(), batch)[1]
    np.testing.assert_array_equal(first, hide(MaskedLm(), batch)[1])
    later, others = batch.epoch + 1, batch.example + 1000
    for batch_, key in (
        (batch, jax.random.key(8)),
        (dataclasses.replace(batch, epoch=later), KEY),
        (dataclasses.replace(batch, example=others), KEY),
    ):
        again = hide(MaskedLm(), batch_, key)[1]
        assert (again != first).any(axis=1).all()
        assert abs((again & first).sum() / first.sum() - 10 / 64) < 4 * np.sqrt(0.15 * 0.85 / first.sum())


def test_a_label_of_id_0_counts_like_any_other():
    class Uniform:
        logits = staticmethod(lambda hidden: hidden @ np.zeros((2, 8), np.float32))

    targets = Targets(labels=jnp.array([[0, 5, 0]]), weights=jnp.array([[1.0, 1.0, 0.0]]))
    losses, metrics = MaskedLm().loss(Uniform(), Output(hidden=jnp.zeros((1, 3, 2))), targets)
    assert (losses["loss"].weight, metrics["accuracy"].weight, metrics["accuracy"].total) == (2, 2, 1)
    np.testing.assert_allclose(losses["loss"].total, 2 * np.log(8), rtol=1e-6)


def test_the_pair_loss_counts_every_row_that_is_not_padding():
    batch = only_ordinary(3, 8)
    batch.document[1] = 0
    task = Task(label=np.array([0, 1, 1], np.int32))
    _, _, _, targets = hide(MaskedLm(pair_weight=1.0), dataclasses.replace(batch, task=task))
    assert targets.task_weights.tolist() == [1, 0, 1] and targets.task.label.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"rate": 0.0}, "objective.rate=0.0"),
        ({"rate": 1.5}, "objective.rate=1.5"),
        ({"mask_share": 0.8, "random_share": 0.3}, "objective.mask_share=0.8 and objective.random_share=0.3"),
        ({"random_share": -0.1}, "objective.random_share=-0.1"),
        ({"max_predictions": 0}, "objective.max_predictions=0"),
        ({"static_draws": -1}, "objective.static_draws=-1"),
    ],
)
def test_wrong_fields_are_refused_by_name(fields, names):
    with pytest.raises(InputError, match=names):
        MaskedLm(**fields)


def test_a_vocabulary_without_mask_is_refused():
    with pytest.raises(InputError, match=r"vocab\.mask=None"):
        MaskedLm().prepare(only_ordinary(1, 8), Vocab(size=40, special=(0,), pad=0), KEY)
