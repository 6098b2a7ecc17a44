"""The theory of the three objectives, shown by tiny models that are trained here, against sums over all texts.

The models take about a minute to train, so that one Python is enough.
"""

import functools
import itertools

import numpy as np
import pytest

import scoring
from evaluation.batched import silent
from evaluation.blocks import Blocks, cut
from evaluation.likelihood import Options, ask, carried, in_order, left_to_right
from evaluation.pseudo import pseudo_log_likelihood
from evaluation.scores import Score, block_sums
from models import BertConfig, GptConfig, XlnetConfig
from objectives import CausalLm, MaskedLm, PermutationLm
from scoring import SIZE, WRITTEN, enumerated
from tiny_training import Recipe, Trained, entropy, enumerate_source, learned, texts

TRUNK = {"num_layers": 2, "num_heads": 4, "model_dim": 32, "mlp_dim": 64, "initializer_range": 0.2}
TRUNK |= {"dropout_rate": 0.0, "attention_dropout_rate": 0.0}
MASKED = MaskedLm(rate=0.2, mask_share=1.0, random_share=0.0)  # two letters out of nine, else one
PERMUTATION = PermutationLm(predict_one_in=1, spans="token", specials_seen=True)  # all letters, in every order
BERT = Recipe(BertConfig(**TRUNK, max_length=10, pair_head=False), MASKED, length=10, steps=1000, rate=4e-3)
GPT = Recipe(GptConfig(**TRUNK, max_length=5), CausalLm(), length=5, steps=200, rate=6e-3)
XLNET = Recipe(XlnetConfig(**TRUNK), PERMUTATION, length=5, steps=500, rate=6e-3)
MEMORY = XLNET._replace(config=XlnetConfig(**TRUNK, memory_length=8, empty_memory="masked"))

Question = tuple[int, frozenset[int]]
"""A letter that is asked for, and the letters that are shown; all others are hidden."""


def product(length: int, hidden: tuple[int, ...]) -> list[Question]:
    """Each hidden letter given what is shown: what a masked model is trained on."""
    return [(place, frozenset(range(length)) - set(hidden)) for place in hidden]


def chain(length: int, hidden: tuple[int, ...]) -> list[Question]:
    """Each hidden letter given what is shown and the hidden letters before it."""
    return [product(length, hidden[i:])[0] for i in range(len(hidden))]


def bits(p: np.ndarray, questions: list[Question]) -> float:
    """What the questions cost one who knows the source: a sum of conditional entropies."""
    return sum(entropy(p, shown | {place}) - entropy(p, shown) for place, shown in questions)


def total_correlation(p: np.ndarray, hidden: tuple[int, ...]) -> float:
    """What the hidden letters say of each other, given the others: the sum of their entropies minus their joint one."""
    joint = entropy(p, range(p.ndim)) - entropy(p, set(range(p.ndim)) - set(hidden))
    return bits(p, product(p.ndim, hidden)) - joint


def measured(subject: Trained, p: np.ndarray, questions: list[Question]) -> dict[Question, float]:
    """The bits that each question costs a model, on average over the source: every answer, weighted by its p."""
    questions, index, places = list(dict.fromkeys(questions)), np.arange(p.size).reshape(p.shape), np.arange(-1, p.ndim)
    others = [tuple(i for i in range(p.ndim) if i != place and i not in shown) for place, shown in questions]
    rows = [index[tuple(0 if i in hidden else slice(None) for i in range(p.ndim))].reshape(-1) for hidden in others]
    weights = np.concatenate([p.sum(axis=hidden).reshape(-1) for hidden in others])
    which = np.repeat(np.arange(len(questions)), list(map(len, rows)))
    asked = np.array([places == place for place, _ in questions])[which]
    seen = np.array([np.isin(places, [-1, *shown]) for _, shown in questions])[which]  # -1: the start
    visible = lambda block, _: (seen[block], ~seen[block])  # noqa: E731
    log_p, _ = ask(subject, texts(p, np.concatenate(rows)), asked, visible, 1024, silent)
    costs = np.bincount(which, weights * -log_p[asked]) / np.log(2)
    return dict(zip(questions, costs.tolist(), strict=True))


# Likelihoods and pseudo-log-likelihoods of trained models, over the 81 texts of four letters out of three

CHAIN = "markov:order=1,symbols=3,concentration=1,seed=1,length="
SOURCE = enumerate_source(f"{CHAIN}{SIZE}")
LEARNERS = {"gpt-causal": (SOURCE, GPT), "bert-masked": (SOURCE, BERT), "xlnet-permutation": (SOURCE, XLNET)}
LEARNERS["memory-permutation"] = (enumerate_source(f"{CHAIN}9"), MEMORY)  # texts of two windows
WHOLE = tuple(range(SIZE))
BOTH_SIDES = [question for place in WHOLE for question in product(SIZE, (place,))]


@functools.cache
def learner(name: str) -> Trained:
    return learned(*LEARNERS[name])


def total(score: Score) -> float:
    """What exp(score) adds up to over the texts."""
    return float(np.exp(-score.by_block().nats).sum())


def cost(score: Score, p: np.ndarray = SOURCE) -> np.ndarray:
    """Bits of each letter of a text, on average over the source whose texts were scored."""
    return -(p.reshape(-1) @ score.tokens.log_p.reshape(p.size, p.ndim)) / np.log(2)


def ordered(subject: Trained, blocks: Blocks, ranks: tuple[int, ...]) -> Score:
    """The likelihood in one order, given as the ranks of the letters."""
    return in_order(subject, blocks, np.tile((0, *ranks), (blocks.num_blocks, 1)), "", Options())


def likelihoods(name: str) -> list[Score]:
    """From left to right with every number of [MASK]s, and in another order, as far as these differ for the model."""
    subject, blocks = learner(name), enumerated()
    kappas = (None,) if subject.one_pass else (None, 1, 2)
    scores = [left_to_right(subject, blocks, Options(kappa=kappa)) for kappa in kappas]
    return scores + ([ordered(subject, blocks, (4, 2, 1, 3))] if subject.any_order else [])


@pytest.mark.parametrize("name", LEARNERS)
def test_every_likelihood_of_a_trained_model_sums_to_one_over_all_texts(name):
    for score in likelihoods(name):
        assert score.normalised and total(score) == pytest.approx(1, abs=1e-5)


def test_carried_memory_of_a_trained_model_leaves_a_distribution_over_the_next_block():
    """All documents begin alike, so that every second block is scored after the same memory; none is cut in two."""
    documents = scoring.tokens([(3, 5, 4, 3, *after) for after in WRITTEN + WRITTEN[:15]])
    blocks = cut(documents, scoring.VOCAB, SIZE + 1, carried=True)
    score = carried(learner("memory-permutation"), blocks)
    after = block_sums(score, blocks.num_blocks)[1 : 2 * len(WRITTEN) : 2]
    assert score.normalised and np.exp(after).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_trained_model_needs_hardly_more_than_the_entropy_of_its_source(name):
    """And nobody needs less (Gibbs). Uniform guesses need a third more, so that the weights above were trained."""
    least = entropy(SOURCE, WHOLE)
    assert 1.3 * least < SIZE * np.log2(3)
    assert least < cost(left_to_right(learner(name), enumerated())).sum() < 1.03 * least


def pseudo_log_probabilities() -> np.ndarray:
    """The pseudo-log-likelihood of every text by the source itself: each letter given all others."""
    return np.sum([np.log(SOURCE / SOURCE.sum(axis=place, keepdims=True)) for place in WHOLE], axis=0)


@pytest.mark.parametrize("name", ["bert-masked", "xlnet-permutation"])
def test_no_pseudo_log_likelihood_sums_to_one_not_even_that_of_the_source(name):
    """The source's adds up to 2.37; a model that has learned it must be off by half as much at least."""
    off = np.exp(pseudo_log_probabilities()).sum() - 1
    score = pseudo_log_likelihood(learner(name), enumerated())
    assert SOURCE.sum() == pytest.approx(1, abs=1e-9) and off > 1
    assert not score.normalised and total(score) - 1 > off / 2


def two_sided(name: str) -> float:
    """Bits of a text, each letter given all others, asked as the model was trained: as the last of an order."""
    subject, blocks = learner(name), enumerated()
    if not subject.one_pass:
        return cost(pseudo_log_likelihood(subject, blocks)).sum()
    last = lambda place: tuple(SIZE if i == place else i + (i < place) for i in WHOLE)  # noqa: E731
    return sum(cost(ordered(subject, blocks, last(place)))[place] for place in WHOLE)


@pytest.mark.parametrize("name", ["bert-masked", "xlnet-permutation"])
def test_pseudo_perplexity_is_below_perplexity_for_one_and_the_same_model(name):
    """E10. Both sides of a letter say more than one, to the source itself and to all who have learned it."""
    pppl, ppl = (2 ** (bits(SOURCE, asked) / SIZE) for asked in (BOTH_SIDES, chain(SIZE, WHOLE)))
    assert pppl == pytest.approx(np.exp(-(SOURCE * pseudo_log_probabilities()).sum() / SIZE), rel=1e-9)
    assert ppl == pytest.approx(2 ** (entropy(SOURCE, WHOLE) / SIZE), rel=1e-9) and pppl < 0.9 * ppl
    subject, blocks = learner(name), enumerated()
    own = [2 ** (cost(scorer(subject, blocks)).sum() / SIZE) for scorer in (pseudo_log_likelihood, left_to_right)]
    assert pppl < own[0] < own[1] and ppl < own[1]
    assert 2 ** (two_sided(name) / SIZE) == pytest.approx(pppl, rel=0.03) and own[1] == pytest.approx(ppl, rel=0.03)


# What independent predictions lose: the mutual information of what is predicted

LETTERS, SAME = 8, (0.0, 0.5, 0.9)
PAIRS = np.stack([rho * np.eye(LETTERS) / LETTERS + (1 - rho) / LETTERS**2 for rho in SAME]) / len(SAME)
"""Texts `context a b`: a is uniform; b is a with the probability that the context says, and uniform otherwise."""

BAND = {"rel": 0.1, "abs": 0.05}
"""How far an information may be off. What is measured is the information, plus what the product costs above its own
optimum, minus what the chain costs above its: the errors of a model that has not quite learned its source."""


@functools.cache
def pair_learner(recipe: Recipe) -> Trained:
    return learned(PAIRS, recipe)


def after_context(which: int) -> np.ndarray:
    """The source behind one of its contexts."""
    return np.where(np.arange(len(SAME))[:, None, None] == which, PAIRS * len(SAME), 0.0)


@pytest.mark.parametrize("which", range(len(SAME)), ids=map(str, SAME))
def test_two_letters_that_are_masked_together_cost_their_mutual_information_more(which):
    """E1 (Yang et al. 2019, section 2.6): predicted independently, a and b cost 2 log V, however alike they are."""
    p, at_once, in_turn = after_context(which), product(3, (1, 2)), chain(3, (1, 2))
    information = 2 * np.log2(LETTERS) - entropy(p, (1, 2))
    assert total_correlation(p, (1, 2)) == pytest.approx(information, abs=1e-9)
    found = measured(pair_learner(BERT), p, at_once + in_turn)
    independent, joint = (sum(found[question] for question in asked) for asked in (at_once, in_turn))
    assert independent == pytest.approx(2 * np.log2(LETTERS), abs=BAND["abs"])
    assert independent - joint == pytest.approx(information, **BAND)


@pytest.mark.parametrize("which", range(len(SAME)), ids=map(str, SAME))
def test_a_permutation_model_loses_no_mutual_information(which):
    """E1. One pass gives the joint entropy in either order; only the first letters of both orders lose as much."""
    p, blocks, subject = after_context(which), texts(PAIRS), pair_learner(XLNET)
    a_first, b_first = (cost(ordered(subject, blocks, ranks), p) for ranks in ((1, 2, 3), (1, 3, 2)))
    information = 2 * np.log2(LETTERS) - entropy(p, (1, 2))
    for joint in (a_first[1:].sum(), b_first[1:].sum()):
        assert 2 * np.log2(LETTERS) - joint == pytest.approx(information, **BAND)
    assert a_first[1] + b_first[2] == pytest.approx(2 * np.log2(LETTERS), abs=BAND["abs"])


BINARY = enumerate_source("markov:order=1,symbols=2,concentration=1,seed=11,length=9")
RATES = (0.15, 0.3, 0.5, 0.9)


def hidden_sets(rate: float) -> list[tuple[int, ...]]:
    """Sets of letters that MaskedLm hides at a rate, all of which are equally likely; 24 where there are more."""
    sets = list(itertools.combinations(range(BINARY.ndim), MaskedLm(rate=rate).slots(BINARY.ndim + 1)))
    return [sets[i] for i in np.random.default_rng(0).permutation(len(sets))[:24]]


def test_what_independent_predictions_lose_grows_with_the_mask_rate():
    """E2. Bits a hidden letter between product and chain: the total correlation of what is hidden, given the rest."""
    hidden, size = [hidden_sets(rate) for rate in RATES], BINARY.ndim
    questions = [q for sets in hidden for each in sets for q in product(size, each) + chain(size, each)]
    found = measured(learned(BINARY, BERT), BINARY, questions)

    def lost(each: tuple[int, ...]) -> float:
        return sum(found[q] for q in product(size, each)) - sum(found[q] for q in chain(size, each))

    gaps = [sum(map(lost, sets)) / sum(map(len, sets)) for sets in hidden]
    theory = [sum(total_correlation(BINARY, each) for each in sets) / sum(map(len, sets)) for sets in hidden]
    assert theory == sorted(theory) and gaps == sorted(gaps)
    np.testing.assert_allclose(gaps, theory, rtol=BAND["rel"])
