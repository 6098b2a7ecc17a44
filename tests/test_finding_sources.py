"""The sources of the findings: posteriors, entropies and mutual information are those of the enumeration."""

import functools
import itertools

import numpy as np
import pytest

from batch import InputError
from data.sources import Source, open_source
from data.sources.facts import Facts

TINY = {
    "coupled": "coupled:symbols=2,contexts=2,most=0.6,groups=1",
    "two pairs": "coupled:symbols=2,contexts=2,most=1,groups=2",
    "echo": "echo:symbols=2,period=2,share=0.7,length=6",
    "echo of nothing": "echo:symbols=3,period=9,length=4",
    "facts": "facts:facts=3,letters=2,both=0.34,groups=1",
    "lexicon": "lexicon:words=2,groups=1",
}


def coupled_p(source, x):
    """By the definition: a context, a symbol, and whether it is repeated."""
    V, C, p = source.symbols, source.contexts, 1.0
    for context, a, b in x.reshape(-1, 3):
        if not (context >= V and a < V and b < V):
            return 0.0
        repeat = source.most * (context - V) / (C - 1)
        p *= 1 / C / V * (repeat * (a == b) + (1 - repeat) / V)
    return p


def echo_p(source, x):
    """By the definition, from left to right."""
    p = 1.0
    for t, symbol in enumerate(x):
        repeated = t >= source.period and x[t - source.period] == symbol
        share = source.share if t >= source.period else 0.0
        p *= share * repeated + (1 - share) / source.symbols
    return p


def facts_p(source, x):
    """The share of the sentences that say it."""
    both = round(source.both * source.facts)
    told = np.column_stack([source.names, source.attributes])
    back = np.column_stack([source.attributes, source.names])[:both]
    forward, backward = source.markers
    p = sum((x[0] == forward) * (x[1:] == row).all() * (0.5 if i < both else 1) for i, row in enumerate(told))
    return (p + sum((x[0] == backward) * (x[1:] == row).all() * 0.5 for row in back)) / source.facts


def lexicon_p(source, x):
    """Zipf's law for either word."""
    share = 1 / np.arange(1, source.words + 1)
    share = share / share.sum()
    long = [i for i, word in enumerate(source.long) if (x[1:] == word).all()]
    return share[x[0]] * share[long[0]] if x[0] < source.words and long else 0.0


BY_DEFINITION = {"coupled": coupled_p, "echo": echo_p, "facts": facts_p, "lexicon": lexicon_p}


@functools.cache
def enumerated(name):
    """The possible strings of a tiny source, and their probabilities by definition."""
    source = open_source(TINY[name])
    strings = np.array(list(itertools.product(range(len(source.alphabet)), repeat=source.length)))
    by_definition = BY_DEFINITION[TINY[name].partition(":")[0]]
    p = np.array([by_definition(source, x) for x in strings])
    return source, strings[p > 0], p[p > 0]


@pytest.mark.parametrize("name", TINY)
def test_what_is_shown_has_the_probability_of_all_strings_that_agree_with_it(name):
    source, strings, p = enumerated(name)
    assert isinstance(source, Source) and abs(p.sum() - 1) < 1e-12
    for mask in itertools.product([False, True], repeat=source.length):
        shown = np.tile(np.array(mask), (len(strings), 1))
        alike = ((strings[None] == strings[:, None]) | ~shown[:, None]).all(axis=2)
        assert np.abs(np.exp(source.log_p(strings, shown)) - alike @ p).max() < 1e-12


@pytest.mark.parametrize("name", TINY)
def test_every_posterior_is_that_of_the_enumeration(name):
    source, strings, p = enumerated(name)
    for mask, place in itertools.product(itertools.product([False, True], repeat=source.length), range(source.length)):
        shown, at = np.tile(np.array(mask), (len(strings), 1)), np.full(len(strings), place)
        others = shown & (np.arange(source.length) != place)
        alike = ((strings[None] == strings[:, None]) | ~others[:, None]).all(axis=2) * p
        expected = alike @ (strings[:, place][:, None] == np.arange(len(source.alphabet)))
        found = source.posteriors(strings, shown, at)  # a place does not tell of itself
        assert np.abs(found - expected / alike.sum(axis=1, keepdims=True)).max() < 1e-12


@pytest.mark.parametrize("name", TINY)
def test_samples_have_the_frequencies_of_the_source(name):
    source, strings, p = enumerated(name)
    count, base = 20_000, len(source.alphabet) ** np.arange(source.length)
    number, found = np.unique(source.sample(count, 3) @ base, return_counts=True)
    assert set(number) <= set((strings @ base).tolist())  # nothing that cannot be
    often = dict(zip(number.tolist(), found.tolist(), strict=True))
    counts = np.array([often.get(key, 0) for key in (strings @ base).tolist()])
    z = (counts - p * count) / np.sqrt(count * p * (1 - p))
    assert np.abs(z[p * count >= 10]).max() < 4.5


def entropy(p):
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


@pytest.mark.parametrize("most", [0.0, 0.6, 1.0])
def test_the_information_of_a_pair_is_what_its_entropies_leave(most):
    source = open_source(f"coupled:symbols=3,contexts=4,most={most}")
    for context, information in enumerate(source.information):
        p = np.zeros((3, 3))
        own = source.table.rows[:, 0] == source.symbols + context
        p[tuple(source.table.rows[own, 1:].T)] = source.table.p[own] * source.contexts
        assert information == pytest.approx(entropy(p.sum(0)) + entropy(p.sum(1)) - entropy(p.ravel()), abs=1e-12)


def test_the_entropy_of_an_echo_is_that_of_a_symbol_after_its_period():
    source = open_source("echo:symbols=5,period=2,share=0.7,length=6")
    strings = source.sample(1, 0)
    p = source.posteriors(strings, np.arange(6)[None] < 4, np.array([4]))
    assert source.entropy == pytest.approx(entropy(p[0]), abs=1e-12)
    nothing = source.posteriors(strings, np.arange(6)[None] < 2, np.array([1]))
    assert np.allclose(nothing, 1 / 5)  # less than a period of context


def test_groups_and_words_have_the_entropy_of_their_tables():
    source = open_source("lexicon:words=5")
    assert source.table.entropy == pytest.approx(2 * source.entropy) == pytest.approx(2 * entropy(source.frequency))
    short, long = (source.table.rows[:, 0], source.table.rows[:, 1])
    for word in range(5):  # each kind in turn has the frequency of the rank
        assert source.table.p[short == source.short[word]].sum() == pytest.approx(source.frequency[word])
        assert source.table.p[long == source.long[word, 0]].sum() == pytest.approx(source.frequency[word])
    assert len(np.unique(np.concatenate([source.short, source.long.ravel()]))) == 20  # each piece is of one word


def test_most_facts_are_told_in_one_direction_and_all_are_told_as_often():
    source = Facts(facts=10, letters=4, both=0.2)
    backward = source.table.rows[source.table.rows[:, 0] == source.markers[1]]
    assert len(backward) == 2 and source.one_way.tolist() == list(range(2, 10))
    assert (backward == np.column_stack([[source.markers[1]] * 2, source.attributes[:2], source.names[:2]])).all()
    for fact in range(10):
        of = (np.sort(source.table.rows[:, 1:]) == np.sort([*source.names[fact], *source.attributes[fact]])).all(axis=1)
        assert source.table.p[of].sum() == pytest.approx(0.1)
    for part in (source.names, source.attributes):
        assert len(np.unique(part, axis=0)) == 10
    assert not set(source.names.ravel()) & set(source.attributes.ravel())


@pytest.mark.parametrize("kind", ["coupled", "echo", "facts", "lexicon"])
def test_the_corpora_of_the_findings_are_written_with_letters_alone(kind):
    source = open_source(f"{kind}:")
    assert len(set(source.alphabet)) == len(source.alphabet) and source.alphabet.isalnum()
    assert source.sample(20, 0).max() < len(source.alphabet) and source.sample(3, 0).shape == (3, source.length)
    assert (source.sample(9, 0) != source.sample(9, 1)).any() and (source.sample(9, 0) == source.sample(9, 0)).all()


BAD = {
    "coupled:symbols=1": "symbols=1",
    "coupled:contexts=1": "contexts=1",
    "coupled:most=1.5": "most=1.5",
    "echo:share=1": "share=1.0",
    "echo:period=0": "period=0",
    "facts:facts=5,letters=2": "facts=5: must be from 2 to 4",
    "lexicon:words=16": "words=16",
}


@pytest.mark.parametrize("spec", BAD)
def test_a_source_that_cannot_be_is_refused_in_one_sentence(spec):
    with pytest.raises(InputError, match=BAD[spec]) as error:
        open_source(spec)
    assert str(error.value).startswith(f"data.corpus={spec}: ") and str(error.value).endswith(".")
