"""Known sources: their posteriors are those of the definition, and their text is drawn from them."""

import functools
import itertools

import numpy as np
import pytest

from batch import InputError
from data.config import DataConfig
from data.corpus import open_corpus
from data.shards import open_tokens, tokens_writer
from data.sources import is_source, open_source, written
from data.tokenizer import FIRST_BYTE, Tokenizer

TINY = {
    "markov": "markov:symbols=3,length=4,seed=1",
    "markov of order 2": "markov:order=2,symbols=2,length=5,seed=2",
    "markov longer than its text": "markov:order=4,symbols=2,length=3",
    "hmm": "hmm:states=2,symbols=3,length=4,concentration=0.5",
    "hmm of one state": "hmm:states=1,symbols=2,length=4",
    "pcfg": "pcfg:nonterminals=3,symbols=2,length=5",
}
LONG = ["markov:order=2,symbols=6,length=30", "hmm:states=6,length=30", "pcfg:length=12"]


def markov_p(source, x):
    """By the chain rule, from the eigenvector of the histories' transitions."""
    V, k = source.symbols, source.order
    histories = list(itertools.product(range(V), repeat=k))
    table = {h: source.transition[i] for i, h in enumerate(histories)}
    step = np.array([[table[a][b[-1]] if a[1:] == b[:-1] else 0 for b in histories] for a in histories])
    values, vectors = np.linalg.eig(step.T)
    start = np.real(vectors[:, np.argmax(np.real(values))])
    p = sum(s for h, s in zip(histories, start / start.sum(), strict=True) if h[: len(x)] == x[:k])
    return p * np.prod([table[x[t - k : t]][x[t]] for t in range(k, len(x))])


def hmm_p(source, x):
    """The sum over all paths of states."""
    S, T = source.states, source.transition
    start = np.linalg.lstsq(np.vstack([T.T - np.eye(S), np.ones(S)]), np.eye(S + 1)[-1], rcond=None)[0]
    return sum(
        start[path[0]]
        * np.prod([T[a, b] for a, b in itertools.pairwise(path)])
        * np.prod([source.emission[s, v] for s, v in zip(path, x, strict=True)])
        for path in itertools.product(range(S), repeat=len(x))
    )


def pcfg_weight(source, x, label=0):
    """The sum over all trees of the products of their rules."""
    if len(x) == 1:
        return source.emission[label, x[0]]
    return sum(
        source.binary[label, b, c] * pcfg_weight(source, x[:cut], b) * pcfg_weight(source, x[cut:], c)
        for cut in range(1, len(x))
        for b, c in itertools.product(range(source.nonterminals), repeat=2)
    )


@functools.cache
def enumerated(name):
    """A tiny source, all of its strings, and their probabilities by definition."""
    source = open_source(TINY[name])
    strings = list(itertools.product(range(source.symbols), repeat=source.length))
    by_definition = {"markov": markov_p, "hmm": hmm_p, "pcfg": pcfg_weight}[name.split()[0]]
    p = np.array([by_definition(source, x) for x in strings])
    return source, np.array(strings), p / p.sum() if "pcfg" in name else p


@functools.cache
def patterns(name):
    """Every string with every choice of what is shown; the probability of what is shown by adding up."""
    _, strings, p = enumerated(name)
    masks = np.array(list(itertools.product([False, True], repeat=strings.shape[1])))
    symbols, shown = np.repeat(strings, len(masks), axis=0), np.tile(masks, (len(strings), 1))
    alike = ((strings[None] == symbols[:, None]) | ~shown[:, None]).all(axis=2)
    return symbols, shown, alike @ p, alike


@pytest.mark.parametrize("name", TINY)
def test_the_probability_of_what_is_shown_is_that_of_all_strings_that_agree(name):
    source, _, p = enumerated(name)
    symbols, shown, expected, _ = patterns(name)
    assert abs(p.sum() - 1) < 1e-12
    assert np.abs(np.exp(source.log_p(symbols, shown)) - expected).max() < 1e-9


@pytest.mark.parametrize("name", TINY)
def test_every_posterior_is_that_of_the_enumeration(name):
    source, strings, p = enumerated(name)
    symbols, shown, total, alike = patterns(name)
    for place in range(source.length):
        asked = ~shown[:, place]
        is_symbol = strings[:, place][:, None] == np.arange(source.symbols)
        expected = (alike[asked] * p) @ is_symbol / total[asked, None]
        at = np.full(len(symbols), place)
        found = source.posteriors(symbols, shown, at)
        assert np.abs(found[asked] - expected).max() < 1e-9
        hidden = source.posteriors(symbols, shown & (np.arange(source.length) != place), at)
        assert np.abs(found - hidden).max() < 1e-12  # a place does not tell of itself


@pytest.mark.parametrize("name", [name for name in TINY if "markov" in name])
def test_the_entropy_of_a_markov_source_is_that_of_the_enumeration(name):
    source, _, p = enumerated(name)
    assert abs(source.entropy + (p * np.log(p)).sum()) < 1e-9


@pytest.mark.parametrize("name", TINY)
def test_samples_have_the_frequencies_of_the_source(name):
    source, _, p = enumerated(name)
    count = 20_000
    number = source.sample(count, 3) @ source.symbols ** np.arange(source.length)[::-1]
    found = np.bincount(number, minlength=len(p))
    often = p * count >= 10
    z = (found - p * count) / np.sqrt(count * p * (1 - p))
    assert often.sum() > 3 and np.abs(z[often]).max() < 4
    assert found[~often].sum() <= 5 * (p[~often].sum() * count + 1)


@pytest.mark.parametrize("spec", LONG)
def test_the_chain_rule_gives_one_total_in_every_order(spec):
    source, rng = open_source(spec), np.random.default_rng(0)
    strings = source.sample(4, 0)
    total = source.log_p(strings, np.ones_like(strings, bool))
    for order in (np.arange(source.length), rng.permutation(source.length), rng.permutation(source.length)):
        rank = np.argsort(order)
        place = np.tile(np.arange(source.length), len(strings))
        symbols = np.repeat(strings, source.length, axis=0)
        shown = rank[None] < rank[place][:, None]
        p = source.posteriors(symbols, shown, place)
        assert np.abs(p.sum(axis=1) - 1).max() < 1e-12
        chain = np.log(p[np.arange(len(place)), symbols[np.arange(len(place)), place]])
        assert np.abs(chain.reshape(len(strings), -1).sum(axis=1) - total).max() < 1e-9


def test_the_loss_of_long_samples_is_the_closed_entropy():
    source = open_source("markov:order=2,symbols=8,length=500")
    strings = source.sample(200, 0)
    loss = -source.log_p(strings, np.ones_like(strings, bool))
    assert abs(loss.mean() - source.entropy) < 4 * loss.std(ddof=1) / np.sqrt(len(loss))


@pytest.mark.parametrize("spec", LONG)
def test_the_answer_does_not_depend_on_the_other_questions(spec):
    source, rng = open_source(spec), np.random.default_rng(1)
    strings = source.sample(50, 0)
    shown, place = rng.random(strings.shape) < rng.random((50, 1)), rng.integers(source.length, size=50)
    together = source.posteriors(strings, shown, place)
    alone = [source.posteriors(strings[i : i + 1], shown[i : i + 1], place[i : i + 1])[0] for i in range(0, 50, 7)]
    assert np.abs(together[::7] - np.stack(alone)).max() < 1e-12


def opened(tmp_path, spec):
    return open_corpus(DataConfig(corpus=spec, cache=str(tmp_path / "cache")))


SMALL = "markov:symbols=5,length=20,documents=30"


def test_a_corpus_is_the_sample_of_its_source_a_line_a_document(tmp_path):
    source = open_source(SMALL)
    documents = list(opened(tmp_path, SMALL).documents())
    assert [document.lines for document in documents] == [(line,) for line in written(source, source.sample(30, 0))]
    assert all(set(document.lines[0]) <= set("abcde") for document in documents)


@pytest.mark.parametrize("spec", ["markov:documents=3,symbols=62", "hmm:documents=3", "pcfg:documents=3"])
def test_a_symbol_is_a_token_and_a_document_a_sentence_of_one_word(tmp_path, spec):
    source, tokenizer = open_source(spec), Tokenizer("bytes")
    with tokens_writer(tmp_path / "tokens", tokenizer) as writer:
        for document in opened(tmp_path, spec).documents():
            writer.add(document)
    tokens = open_tokens(tmp_path / "tokens")
    assert tokens.num_documents == tokens.num_sentences == 3
    rows = np.asarray(tokens.tokens).reshape(3, source.length + 2)
    assert bytes((rows[:, :-1] - FIRST_BYTE).astype(np.uint8).ravel()).decode().split("\n")[0] in set(
        written(source, source.sample(3, 0))
    )
    assert np.asarray(tokens.word_start).reshape(rows.shape)[:, 1:-2].sum() == 0


def test_a_corpus_is_a_function_of_its_name(tmp_path):
    first = opened(tmp_path / "a", SMALL).digest
    assert opened(tmp_path / "b", "markov:documents=30,length=20,symbols=5,order=1").digest == first
    others = [opened(tmp_path / "a", f"{SMALL},{field}").digest for field in ("seed=1", "concentration=0.3")]
    assert len({first, *others}) == 3
    assert len(list((tmp_path / "a" / "cache").glob("markov-*.txt"))) == 3


TABLES = {"markov": ["transition"], "hmm": ["transition", "emission"], "pcfg": ["binary", "emission"]}


@pytest.mark.parametrize("kind", TABLES)
def test_another_seed_is_another_source(kind):
    one, other = (open_source(f"{kind}:seed={seed}") for seed in (0, 1))
    assert one != other
    assert not any(np.allclose(getattr(one, table), getattr(other, table)) for table in TABLES[kind])
    assert (one.sample(9, 0) != one.sample(9, 1)).any() and (one.sample(9, 0) == one.sample(9, 0)).all()
    assert open_source(f"{kind}:documents=5") == one  # more or less text of one source


BAD = {
    "markov:orders=1": ["orders=1 is no field of markov", "order=NUMBER"],
    "markov:order": ["order is no field"],
    "markov:order=one": ["order=one must be a whole number"],
    "markov:order=1.5": ["order=1.5 must be a whole number"],
    "markov:order=1,order=2": ["order is given twice"],
    "markov:order=0": ["order=0", "from 1 to"],
    "markov:order=4,symbols=16": ["order=4", "histories"],
    "markov:symbols=1": ["symbols=1", "from 2 to 62"],
    "markov:symbols=63": ["symbols=63", "from 2 to 62"],
    "markov:seed=-1": ["seed=-1"],
    "markov:documents=2": ["documents=2", "from 3"],
    "hmm:states=0": ["states=0"],
    "hmm:concentration=nan": ["concentration=nan"],
    "hmm:concentration=-1": ["concentration=-1"],
    "pcfg:length=1": ["length=1", "from 2 to 64"],
    "pcfg:nonterminals=1000": ["nonterminals=1000"],
    "markov:symbols=2,length=4": ["copies", "larger length"],
    "markof:symbols=2": ["no such file or folder", "markov:symbols=16"],
}


@pytest.mark.parametrize("spec", BAD)
def test_a_source_that_cannot_be_is_refused_in_one_sentence(tmp_path, spec):
    with pytest.raises(InputError) as error:
        opened(tmp_path, spec)
    message = str(error.value)
    assert message.startswith(f"data.corpus={spec}: ") and message.endswith(".") and "\n" not in message
    assert all(part in message for part in BAD[spec]), message


def test_only_names_of_known_kinds_are_sources():
    assert all(map(is_source, ("markov:", "hmm:states=3", "pcfg:")))
    assert not any(map(is_source, ("docstrings", "markov", "C:/text.txt", "texts/markov:1.txt")))
    with pytest.raises(InputError, match=r"is no known source; name one of markov:, hmm:, pcfg:"):
        open_source("docstrings")
