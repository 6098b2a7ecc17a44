"""Likelihoods are exact: they add up to one over all texts, and depend on nothing that they must not depend on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import scoring
from batch import InputError, Vocab
from cases import MODELS, build, given, loud, read
from evaluation import likelihood, passes
from evaluation.blocks import cut, emittable, start_token
from evaluation.likelihood import Options, any_order, carried, in_order, left_to_right, mixture, random_order
from evaluation.orders import consistency
from evaluation.passes import Subject, judge
from evaluation.scores import block_sums
from models.flops import forward_flops
from objectives import CausalLm, MaskedLm
from scoring import BOTH_SIDES, ONE_PASS, SIZE, SUBJECTS, VOCAB, WRITTEN, enumerated, subject, texts
from texts import batch_of

ORDERS = [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)]
BLOCKS = cut(texts(), VOCAB, SIZE + 1)


def ranked(order, count):
    """The same order in every block."""
    return np.broadcast_to(np.array([0, *(1 + np.array(order))]), (count, len(order) + 1))


def total(score):
    """What exp(score) adds up to over the blocks."""
    return np.exp(-score.by_block().nats).sum()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", ONE_PASS)
def test_a_likelihood_in_one_pass_sums_to_one_over_all_texts(name, seed):
    score = left_to_right(subject(name, seed), enumerated())
    assert score.normalised and total(score) == pytest.approx(1, abs=1e-5)
    assert np.ptp(score.by_block().nats) > 0.1, "the model is indifferent: the test cannot fail"


@pytest.mark.parametrize("kappa", [1, 2, None])
@pytest.mark.parametrize("name", ["bert-masked", "xlnet-masked"])
def test_the_chain_rule_of_a_masked_model_sums_to_one_for_every_number_of_masks(name, kappa):
    score = left_to_right(subject(name), enumerated(), Options(kappa=kappa))
    assert score.normalised and total(score) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kappa", [1, 3])
def test_a_masked_model_is_shown_what_precedes_a_token_and_that_many_masks(kappa):
    """The row as it reads on paper: start, letters before t, the [MASK]s that fit into the text, and no more."""
    asked, letters = subject("bert-masked"), np.array(WRITTEN)
    log_p = left_to_right(asked, enumerated(), Options(kappa=kappa)).tokens.log_p.reshape(-1, SIZE)
    for t in range(SIZE):
        masks = min(kappa, SIZE - t)
        row = np.concatenate([[2], np.full(t + masks, VOCAB.mask)])
        shown = np.tile(row, (len(letters), 1)).astype(np.int32)
        shown[:, 1 : t + 1] = letters[:, :t]
        _, found = read(asked.config, given(0, shown, [t + 1]), vocab_size=VOCAB.size, params=asked.params)
        within = np.asarray(jax.nn.log_softmax(found[:, 0, 3:]))
        np.testing.assert_allclose(
            log_p[:, t], within[np.arange(len(letters)), letters[:, t] - 3], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", BOTH_SIDES)
def test_every_order_fixed_beforehand_is_a_distribution(name, order):
    score = in_order(subject(name), enumerated(), ranked(order, len(WRITTEN)), "", Options(kappa=2))
    assert score.normalised and total(score) == pytest.approx(1, abs=1e-5)


def test_the_mixture_of_orders_is_a_distribution_and_the_mean_of_their_logarithms_is_none():
    asked, blocks = subject("xlnet-permutation", 1), enumerated()
    scores = [in_order(asked, blocks, ranked(order, len(WRITTEN)), "", Options()) for order in ORDERS]
    assert np.exp(mixture(scores, len(WRITTEN))).sum() == pytest.approx(1, abs=1e-5)
    mean = np.mean([block_sums(score, len(WRITTEN)) for score in scores], axis=0)
    assert np.exp(mean).sum() < 0.99


def test_carried_memory_leaves_a_distribution_over_the_next_block():
    """All documents begin alike, so that every second block is scored after the same memory."""
    before, filler = (3, 5, 4, 4), WRITTEN[:15]  # 96 documents fill the rows, so that none is cut
    blocks = cut(scoring.tokens([(*before, *after) for after in WRITTEN + filler]), VOCAB, SIZE + 1, carried=True)
    for name in ("memory-permutation", "memory-causal"):
        sums = block_sums(carried(subject(name), blocks), blocks.num_blocks).reshape(-1, 2)
        assert np.ptp(sums[:, 0]) < 1e-5
        assert np.exp(sums[: len(WRITTEN), 1]).sum() == pytest.approx(1, abs=1e-5)
        alone = left_to_right(subject(name), cut(scoring.tokens(WRITTEN), VOCAB, SIZE + 1))
        assert np.abs(block_sums(alone, 81) - sums[:81, 1]).max() > 1e-2


@pytest.mark.parametrize("name", ["memory-permutation", "memory-causal"])
def test_a_memory_as_long_as_the_document_reads_on_as_one_long_block(name):
    """Cut in two with memory carried, or in one block: the same number."""
    asked, document = subject(name), scoring.tokens([tuple(np.roll((3, 4, 5, 5, 3, 4, 4, 3), i)) for i in range(16)])
    whole = left_to_right(asked, cut(document, VOCAB, 9))
    parts = carried(asked, cut(document, VOCAB, 5, carried=True))
    np.testing.assert_allclose(parts.tokens.log_p, whole.tokens.log_p, rtol=1e-5, atol=2e-5)
    alone = left_to_right(asked, cut(document, VOCAB, 5))
    assert np.abs(alone.tokens.log_p - whole.tokens.log_p).max() > 1e-2


def test_how_many_rows_are_read_at_once_changes_nothing_where_memory_is_carried():
    blocks, asked = cut(texts(), VOCAB, SIZE + 1, carried=True), subject("memory-permutation")
    one, other = (carried(asked, blocks, Options(batch=size)) for size in (3, 16))
    np.testing.assert_allclose(one.tokens.log_p, other.tokens.log_p, rtol=1e-5, atol=1e-5)


def test_logits_that_are_read_a_few_rows_at_a_time_say_the_same(monkeypatch):
    asked = subject("gpt-causal")
    whole = left_to_right(asked, BLOCKS, Options(batch=9))
    for rows, batch in ((1, 5), (2, 6)):  # another number of rows than elsewhere: the pass is traced anew
        monkeypatch.setattr(passes, "NEAR", rows * SIZE * VOCAB.size)
        parts = left_to_right(asked, BLOCKS, Options(batch=batch))
        np.testing.assert_allclose(parts.tokens.log_p, whole.tokens.log_p, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(parts.tokens.leaked, whole.tokens.leaked, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt-causal", "gpt-backward", "bert-masked", "xlnet-permutation"])
def test_scoring_in_batches_equals_scoring_one_by_one(name):
    one, other = (left_to_right(subject(name), BLOCKS, Options(batch=size)) for size in (1, 7))
    np.testing.assert_allclose(one.tokens.log_p, other.tokens.log_p, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(one.tokens.leaked, other.tokens.leaked, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt-causal", "gpt-backward", "bert-masked", "xlnet-permutation"])
def test_padding_and_neighbors_change_nothing(name):
    """Noise in the padding is not read; a block alone, in a row that just holds it, is scored as among the others."""
    rng, score = np.random.default_rng(0), left_to_right(subject(name), BLOCKS)
    noise = rng.choice(scoring.LETTERS, BLOCKS.tokens.shape).astype(np.int32)
    noisy = dataclasses.replace(BLOCKS, tokens=np.where(BLOCKS.real, BLOCKS.tokens, noise))
    np.testing.assert_array_equal(left_to_right(subject(name), noisy).tokens.log_p, score.tokens.log_p)
    short = np.flatnonzero(BLOCKS.real.sum(axis=1) == 3)[:1]
    fields = {field.name: getattr(BLOCKS, field.name)[short] for field in dataclasses.fields(BLOCKS)}
    alone = type(BLOCKS)(**{key: value[:, :3] if value.ndim == 2 else value for key, value in fields.items()})
    found = left_to_right(subject(name), alone).tokens.log_p
    np.testing.assert_allclose(found, score.tokens.log_p[score.tokens.block == short[0]], atol=1e-5)


@pytest.mark.parametrize("name", ["gpt-causal", "xlnet-causal", "gpt-backward"])
def test_a_causal_score_is_the_models_own_loss_over_what_text_can_hold(name):
    """The loss as trained, on the same rows, plus what renormalization adds."""
    asked, blocks = subject(name), cut(scoring.tokens(WRITTEN[::7]), VOCAB, SIZE + 1)
    rows = blocks.tokens if not asked.backward else np.roll(blocks.tokens, -1, axis=1)
    inputs, targets = asked.objective.prepare(batch_of(rows), VOCAB, jax.random.key(0))
    _, log_p = read(asked.config, inputs, vocab_size=VOCAB.size, params=asked.params)
    log_p, asked_here = np.asarray(log_p, np.float64), np.asarray(targets.weights) > 0
    assert (asked_here.sum(axis=1) == SIZE).all()
    own = np.take_along_axis(log_p, np.asarray(targets.labels)[..., None], axis=2)[..., 0]
    kept = np.exp(log_p[..., 3:]).sum(axis=-1)
    score = left_to_right(asked, blocks)
    np.testing.assert_allclose(score.tokens.log_p, (own - np.log(kept))[asked_here], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(score.tokens.leaked, 1 - kept[asked_here], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt-causal", "xlnet-permutation", "memory-permutation"])
def test_one_pass_equals_a_pass_for_each_token_over_what_precedes_it(name):
    asked = subject(name)
    score = left_to_right(asked, BLOCKS)
    log_p = np.full(BLOCKS.tokens.shape, np.nan)
    for t in range(1, BLOCKS.length):
        until = BLOCKS.real & (np.arange(BLOCKS.length) <= t)
        ranks, fresh = likelihood.natural(BLOCKS), np.ones(BLOCKS.num_blocks, bool)
        (found, _), _ = asked.chain(asked.params, None, fresh, np.where(until, BLOCKS.tokens, 0), until, ranks)
        log_p[:, t] = found[:, t - 1]
    np.testing.assert_allclose(log_p[BLOCKS.scored], score.tokens.log_p, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt-causal", "gpt-backward", "bert-masked", "xlnet-permutation"])
def test_no_term_depends_on_what_comes_later(name):
    """Another last token (another first, read backwards) changes no term but its own."""
    asked, place = subject(name), 0 if SUBJECTS[name][1] == CausalLm(direction="backward") else SIZE - 1
    log_p = left_to_right(asked, enumerated(), Options(kappa=2)).tokens.log_p.reshape(3, 3, 3, 3, SIZE)
    by_last = np.moveaxis(log_p, place, 0)
    others = np.arange(SIZE) != place
    np.testing.assert_allclose(
        by_last[..., others], np.broadcast_to(by_last[:1, ..., others], (3, 3, 3, 3, 3)), atol=1e-5
    )
    assert np.ptp(by_last[..., place], axis=0).max() > 1e-2


@pytest.mark.parametrize("positions", [2, 3])
def test_a_sample_of_positions_is_unbiased_and_knows_its_error(positions):
    """Over many samples of the same text: the mean is the full score, the spread the stated standard error."""
    blocks = cut(scoring.texts(count=6, longest=40), VOCAB, 8)
    asked = subject("bert-masked")
    full = left_to_right(asked, blocks)
    exact, table = full.tokens.nats.sum(), np.full(blocks.scored.shape, np.nan)
    table[blocks.scored] = full.tokens.log_p
    estimates, errors = [], []
    for seed in range(400):
        chosen = likelihood.sampled(blocks, Options(positions=positions, seed=seed))
        tokens = likelihood.token_scores(blocks, table, np.zeros_like(table), chosen)
        score = dataclasses.replace(full, tokens=tokens)
        estimates.append(tokens.nats.sum())
        errors.append(np.sqrt(score.sampling_variance().sum()))
    z = (np.mean(estimates) - exact) / (np.std(estimates) / np.sqrt(len(estimates)))
    assert abs(z) < 4
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(estimates), rel=0.15)


@pytest.mark.parametrize("seed", range(3))
def test_the_sampled_likelihood_agrees_with_the_full_one(seed):
    blocks, asked = cut(scoring.texts(count=8, longest=40), VOCAB, 8), subject("bert-masked")
    full, part = (left_to_right(asked, blocks, Options(positions=k, seed=seed)) for k in (0, 3))
    assert 2 < part.passes <= 3 < full.passes
    error = np.sqrt(part.sampling_variance().sum())
    assert error > 0 and abs(part.tokens.nats.sum() - full.tokens.nats.sum()) < 4 * error
    assert not full.sampling_variance().any()


def test_what_is_sampled_does_not_depend_on_the_other_text():
    whole, alone = texts(), cut(texts(), VOCAB, SIZE + 1)
    chosen = likelihood.sampled(alone, Options(positions=2))
    fewer = cut(dataclasses.replace(whole, documents=whole.documents[:9]), VOCAB, SIZE + 1)
    np.testing.assert_array_equal(likelihood.sampled(fewer, Options(positions=2)), chosen[: fewer.num_blocks])
    assert (chosen.sum(axis=1) == np.minimum(2, alone.scored.sum(axis=1))).all()


def test_random_orders_are_permutations_of_each_block_and_differ():
    first, second = (random_order(BLOCKS, index) for index in (0, 1))
    for ranks in (first, second):
        assert (ranks[:, 0] == 0).all()
        for row, size in zip(ranks, (BLOCKS.source >= 0).sum(axis=1), strict=True):
            assert sorted(row[1 : size + 1]) == list(range(1, size + 1))
    assert (first != second).any()


def test_the_spread_is_that_of_the_orders():
    scores = any_order(subject("xlnet-permutation", 1), BLOCKS, 3)
    found = consistency(scores, BLOCKS.num_blocks)
    assert found.spread > 0.01 and found.mixture < found.mean
    same = consistency((scores[0],) * 3, BLOCKS.num_blocks)
    assert same.spread == pytest.approx(0, abs=1e-9) and same.mixture == pytest.approx(same.mean)


def test_the_spread_of_sampled_orders_is_that_of_the_orders_not_of_the_sample():
    blocks, asked = cut(scoring.texts(count=20, longest=40), VOCAB, 8), subject("bert-masked")
    full, part = (consistency(any_order(asked, blocks, 6, Options(positions=k)), blocks.num_blocks) for k in (0, 4))
    assert part.spread == pytest.approx(full.spread, rel=0.35)
    assert np.isnan(part.mixture) and not np.isnan(full.mixture)


def test_renormalization_leaves_out_what_text_cannot_hold_and_reports_it():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, VOCAB.size)), jnp.float32)
    log_p, leaked = judge(logits, jnp.array([[3, 5]]), VOCAB)
    p = np.asarray(jax.nn.softmax(logits))
    np.testing.assert_allclose(leaked, p[..., :3].sum(axis=-1), rtol=1e-5)
    own = np.array([p[0, 0, 3], p[0, 1, 5]])
    np.testing.assert_allclose(np.exp(log_p)[0], own / p[0, :, 3:].sum(axis=-1), rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "start"),
    [({"end": 2, "cls": 1, "sep": 0}, 2), ({"cls": 1, "sep": 0}, 1), ({"sep": 0}, 0)],
)
def test_a_block_begins_with_the_end_of_a_document_or_else_with_what_there_is(fields, start):
    vocab = Vocab(size=6, special=(0, 1), **fields)
    assert start_token(vocab) == start and not emittable(vocab)[[0, 1, start]].any()


def test_a_vocabulary_without_a_start_is_refused():
    with pytest.raises(InputError, match="no text can begin"):
        start_token(Vocab(size=6, special=()))


def test_blocks_cover_every_letter_once_and_score_no_special():
    text = scoring.tokens([(3, 4, 5, 3, 4), (0, 5), (), (3,)])
    blocks = cut(text, VOCAB, 4)
    assert blocks.tokens.tolist() == [[2, 3, 4, 5], [2, 3, 4, 0], [2, 0, 5, 0], [2, 3, 0, 0]]
    assert blocks.document.tolist() == [0, 0, 1, 3] and blocks.unknown == 1
    assert sorted(blocks.source[blocks.scored]) == [0, 1, 2, 3, 4, 7, 10]
    assert blocks.num_bytes == 7 and blocks.byte_length.sum(axis=1).tolist() == [3, 2, 1, 1]
    on = cut(text, VOCAB, 4, carried=True)
    assert on.tokens[:, 0].tolist() == [2, 5, 2, 2] and on.fresh.tolist() == [True, False, True, True]


@pytest.mark.parametrize("name", ["gpt-causal", "bert-masked", "xlnet-permutation"])
def test_the_cost_of_a_score_is_counted(name):
    asked, blocks = subject(name), enumerated()
    score = left_to_right(asked, blocks)
    masked = name == "bert-masked"
    one = forward_flops(asked.config, 6, 1, SIZE + 1, 1 if masked else SIZE, query_stream=asked.objective.query_stream)
    assert score.passes == (SIZE if masked else 1) and score.flops == score.passes * one


def test_each_question_compiles_once_for_a_shape():
    asked = subject("xlnet-permutation")
    for blocks in (BLOCKS, cut(texts(seed=1), VOCAB, SIZE + 1)):
        any_order(asked, blocks, 2, Options(batch=7))
    assert asked.chain is subject("xlnet-permutation", 1).chain
    before = asked.chain._cache_size()
    left_to_right(subject("xlnet-permutation", 1), cut(texts(seed=2), VOCAB, SIZE + 1), Options(batch=7))
    assert asked.chain._cache_size() == before


def test_an_objective_that_nobody_can_ask_is_refused():
    class Prefix:
        query_stream, reuse, pair_weight, reads = False, None, 0.0, ()

        def prepare(self, batch, vocab, key): ...
        def scales(self, targets): ...
        def loss(self, model, output, targets): ...

    config = MODELS["gpt"]
    with pytest.raises(InputError, match="objective=Prefix"):
        Subject(config, build(config, 6), loud(config, 6), Prefix(), VOCAB)
    with pytest.raises(InputError, match="lacks"):
        Subject(MODELS["bert"], build(MODELS["bert"], 6), None, MaskedLm(), dataclasses.replace(VOCAB, mask=None))


@pytest.mark.parametrize(("fields", "said"), [({"kappa": 0}, "--kappa=0"), ({"positions": 1}, "--positions=1")])
def test_options_that_ask_for_nothing_are_refused(fields, said):
    with pytest.raises(InputError, match=said):
        Options(**fields)
