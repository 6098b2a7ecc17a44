"""Regret: the optimum has none, ignorance has all that there is, and everybody answers the same questions."""

import dataclasses
import functools
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batch import InputError
from cases import MODELS, build, loud
from data.config import DataConfig
from data.sources import open_source
from data.tokenizer import FIRST_BYTE, Tokenizer
from evaluation.blocks import cut
from evaluation.checkpoints import Checkpoint, Text
from evaluation.likelihood import Options
from evaluation.ngrams import count_ngrams
from evaluation.oracle import documents
from evaluation.passes import Subject
from evaluation.regret import ANY, BOTH, LEFT, answers, best, counted_answers, losses, own_losses
from evaluation.task import Entry, Settings
from evaluation.tasks.regret import regret
from objectives import CausalLm, MaskedLm, PermutationLm
from scoring import tokens
from training.config import Experiment

BYTES = Tokenizer("bytes")
VOCAB = BYTES.vocab
SPEC = "markov:symbols=4,length=8"
LENGTH = 10  # of a block: the start, the symbols, the newline
COUNT = 40  # documents that models are asked about: one number, so that each pass is compiled once
SPECS = {"markov": "markov:symbols=5,length=20", "hmm": "hmm:states=4,length=20", "pcfg": "pcfg:length=9"}
OBJECTIVES = {"gpt": CausalLm(), "bert": MaskedLm(), "xlnet": PermutationLm()}


@functools.cache
def drawn(spec, count, seed=0):
    """Tokens of so many documents of a source."""
    source = open_source(spec)
    ids = FIRST_BYTE + np.frombuffer(source.alphabet.encode(), np.uint8).astype(int)[source.sample(count, seed)]
    found = tokens([(*row, FIRST_BYTE + ord("\n")) for row in ids.tolist()], VOCAB)
    starts = np.isin(np.arange(found.num_tokens), found.documents)
    return dataclasses.replace(found, word_start=starts)  # letters without a space between them


@functools.cache
def asked(spec, count):
    """The same, to be asked about."""
    source = open_source(spec)
    return documents(source, BYTES, cut(drawn(spec, count), VOCAB, source.length + 2), count)


@functools.cache
def subject(name, scale=2.0):
    params = jax.tree.map(lambda leaf: scale * leaf, loud(MODELS[name], VOCAB.size))
    return Subject(MODELS[name], build(MODELS[name], VOCAB.size), params, OBJECTIVES[name], VOCAB)


@functools.cache
def optima(spec, count, part, positions=0):
    return best(asked(spec, count), part, Options(positions=positions), 2)


def lost(name, part, scale=2.0, count=COUNT, positions=0):
    """What a model loses beyond the optimum; None where it is not asked."""
    own = asked(SPEC, count)
    found = answers(subject(name, scale), own, part, Options(positions=positions), 2)
    return None if found is None else losses(found, optima(SPEC, count, part, positions), own)


@pytest.mark.parametrize("part", [LEFT, BOTH, ANY])
@pytest.mark.parametrize("kind", SPECS)
def test_the_optimum_has_no_regret(kind, part):
    own = own_losses(optima(SPECS[kind], 400, part), asked(SPECS[kind], 400))
    assert 0 < own.regret.error < 0.05 and abs(own.regret.value) < 4 * own.regret.error


def test_the_loss_of_the_optimum_is_the_entropy_in_every_order():
    source, own = open_source(SPECS["markov"]), asked(SPECS["markov"], 400)
    in_order, in_orders = (own_losses(optima(SPECS["markov"], 400, part), own) for part in (LEFT, ANY))
    expected = source.entropy / math.log(2) / source.length
    found = in_order.bits
    assert abs(found.value - in_order.regret.value - expected) < 4 * found.error
    assert np.abs(in_order.optimum + in_order.beyond - in_orders.optimum - in_orders.beyond).max() < 1e-9


class Knows(Subject):
    """A model that has learned all there is of a source: what it is asked, it asks the source."""

    def told(self, tokens, shown, target):
        source = open_source(SPEC)
        symbols = np.clip(tokens[:, 1 : source.length + 1] - FIRST_BYTE - ord("a"), 0, source.symbols - 1)
        place = np.clip(target - 1, 0, source.length - 1)
        p = source.posteriors(symbols, shown[:, 1 : source.length + 1], place)
        return np.log(p[np.arange(len(p)), symbols[np.arange(len(p)), place]])

    def single_judged(self, by):
        def single(params, tokens, shown, hidden, target):
            assert (shown.sum(axis=1) + hidden.sum(axis=1) == LENGTH).all()
            return jnp.asarray(self.told(tokens, shown, target)), jnp.zeros(len(target))

        return single

    def chain_judged(self, by, reads=None):
        def chain(params, memory, fresh, tokens, real, ranks):
            target = np.tile(np.arange(1, LENGTH), len(tokens))
            rank = np.repeat(ranks if self.any_order else np.tile(np.arange(LENGTH), (len(tokens), 1)), LENGTH - 1, 0)
            earlier = rank < rank[np.arange(len(target)), target][:, None]
            log_p = self.told(np.repeat(tokens, LENGTH - 1, 0), earlier, target).reshape(len(tokens), -1)
            return (jnp.asarray(log_p), jnp.zeros(log_p.shape)), memory

        return chain


@pytest.mark.parametrize("positions", [0, 3])
@pytest.mark.parametrize("part", [LEFT, BOTH, ANY])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_model_that_knows_the_source_has_no_regret_in_any_document(name, part, positions):
    own, model = asked(SPEC, COUNT), subject(name)
    knowing = Knows(model.config, model.model, None, model.objective, VOCAB)
    found = answers(knowing, own, part, Options(positions=positions), 2)
    if found is not None:
        assert np.abs(losses(found, optima(SPEC, COUNT, part, positions), own).beyond).max() < 1e-5  # float32


@pytest.mark.parametrize("kind", SPECS)
def test_seeing_both_sides_is_worth_something(kind):
    own = asked(SPECS[kind], 400)
    bits = [own_losses(optima(SPECS[kind], 400, part), own).bits.value for part in (LEFT, ANY, BOTH)]
    assert bits[0] > bits[2] + 0.05 and abs(bits[0] - bits[1]) < 1e-9


@pytest.mark.parametrize("part", [LEFT, BOTH, ANY])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_ignorance_costs_what_there_is_to_know(name, part):
    """A model without weights gives all letters alike."""
    found = lost(name, part, scale=0.0)
    if found is None:
        assert (name, part) == ("gpt", ANY)
        return
    assert abs(found.bits.value - math.log2(4)) < 1e-6
    expected = math.log2(4) - own_losses(optima(SPEC, COUNT, part), asked(SPEC, COUNT)).bits.value
    assert abs(found.regret.value - expected) < 1e-6 and found.regret.low > 0
    by_bayes = (name, part) == ("gpt", BOTH)
    assert math.isnan(found.leaked) if by_bayes else abs(found.leaked - (1 - 4 / VOCAB.size)) < 1e-6


@pytest.mark.parametrize("name", ["gpt", "bert"])
def test_a_sample_of_positions_is_of_the_same_for_the_optimum(name):
    """Ignorance loses as much everywhere, so that its bits are those of all positions, to the last digit."""
    found = lost(name, BOTH, scale=0.0, positions=3)
    assert abs(found.bits.value - 2) < 1e-6
    full, sampled = (lost(name, BOTH, positions=positions).regret for positions in (0, 3))
    assert abs(full.value - sampled.value) < 4 * sampled.error


@pytest.mark.parametrize("part", [LEFT, BOTH])
def test_bigrams_of_much_text_are_nearly_the_source(part):
    own = asked(SPEC, 200)
    found = {}
    for order in (1, 2):
        ngrams = count_ngrams(drawn(SPEC, 20_000, 1), own.vocab, order, LENGTH)
        own_answers = counted_answers(ngrams, own, part, Options())
        assert counted_answers(ngrams, own, ANY, Options()) is None
        found[order] = losses(own_answers, optima(SPEC, 200, part), own)
    assert found[2].regret.value < 0.005 < 0.1 < found[1].regret.low
    assert found[1].minus(found[2]).low > 0


@dataclasses.dataclass(frozen=True, eq=False)
class Known(Checkpoint):
    """A checkpoint without a folder; its first weights are compiled elsewhere."""

    is_trained: bool = True  # type: ignore[misc]

    def untrained(self):
        return dataclasses.replace(self.subject, params=jax.tree.map(lambda leaf: leaf / 10, self.subject.params))


def entry(name, corpus=SPEC, tokenizer="bytes", text=SPEC, length=LENGTH):
    data = DataConfig(corpus=corpus, tokenizer=tokenizer, length=LENGTH)
    experiment = Experiment(MODELS[name], OBJECTIVES[name], data)
    checkpoint = Known(Path("runs") / name, 0, experiment, BYTES, subject(name))
    return Entry(checkpoint, Text(drawn(text, COUNT + 5), drawn(SPEC, 200, 1)), length)


def settings(**fields):
    return Settings(**{"length": LENGTH, "positions": 3, "orders": 2, "items": COUNT} | fields)


def test_the_task_asks_everybody_what_they_know():
    entries = [entry(name) for name in OBJECTIVES]
    found = regret(entries, settings())
    json.dumps(found.values, allow_nan=False)
    scores = {(row["model"], row["slice"]): row["regret"] for row in found.values["scores"]}
    everybody = {"optimum", *(f"runs/{name}" for name in OBJECTIVES)}
    counting = {"n-grams, unigram", "n-grams, 5-gram"}
    untrained = {f"runs/{name}, random weights" for name in OBJECTIVES}
    rows = {part: {model for model, own in scores if own == part} for part in (LEFT, BOTH, ANY)}
    assert rows == {LEFT: everybody | counting | untrained, BOTH: everybody | counting, ANY: everybody}
    assert [key for key, score in scores.items() if score is None] == [("runs/gpt", ANY)]
    for part in (LEFT, BOTH):
        for row in found.values["differences"]:
            if row["slice"] == part:
                expected = scores[row["model"], part]["value"] - scores[row["minus"], part]["value"]
                assert abs(row["bits_per_symbol"]["value"] - expected) < 1e-9
    assert found.values["documents"] == COUNT and "not asked" in found.tables[1]
    assert list(found.figures) == ["regret"]
    assert len(regret(entries[:1], settings(orders=0)).tables) == 2


REFUSED = {
    "no source": ({"corpus": "docstrings"}, ["runs/gpt", "data.corpus=docstrings", "markov:"]),
    "pieces": ({"tokenizer": "unigram"}, ["runs/gpt", "data.tokenizer=unigram", "bytes"]),
    "other letters": ({"text": "markov:symbols=9,length=8"}, ["--text", "8 letters out of abcd"]),
    "longer documents": ({"text": "markov:symbols=4,length=9", "length": 11}, ["--text", "none of the source's"]),
    "documents in two blocks": ({"text": "markov:symbols=4,length=17"}, ["--text", "none of the source's"]),
    "shorter documents": ({"text": "markov:symbols=4,length=7"}, ["--text", "none of the source's"]),
    "short blocks": ({"length": LENGTH - 1}, ["--length=9", "set --length=10"]),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_has_no_optimum_is_refused_in_one_sentence(why):
    fields, parts = REFUSED[why]
    with pytest.raises(InputError) as error:
        regret([entry("gpt", **fields)], settings(length=fields.get("length", LENGTH)))
    message = str(error.value)
    assert message.endswith(".") and "\n" not in message and all(part in message for part in parts), message


def test_checkpoints_of_two_sources_are_not_compared():
    with pytest.raises(InputError, match=r"runs/bert: its data.corpus=.* is another source than that of runs/gpt"):
        regret([entry("gpt"), entry("bert", corpus=f"{SPEC},seed=1")], settings())
