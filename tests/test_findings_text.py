"""The findings on text: bags of tokens against what is known of their sources, and the suite that claims them."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from ablation.budget import step_cost
from ablation.findings import topics
from ablation.significance import seeds_needed
from ablation.suite import ALPHA, Suite, check
from configs.suites import findings_text
from corpora import VOCAB as PLACES
from corpora import random_corpus
from data.batches import open_stream
from data.config import DataConfig
from data.pairs import build_pairs, documents_of
from data.prepare import prepare
from evaluation.batched import silent
from evaluation.checkpoints import Checkpoint, Text
from evaluation.passes import Subject
from evaluation.task import Entry
from models import XlnetConfig, build_model
from models.parameters import initialize
from objectives import MaskedLm
from training.build import build_run
from training.config import Experiment
from training.heldout import held_out, make_eval_step

PAIRED = DataConfig(layout="pairs", length=24, batch_size=8)


# What words decide


def pairs_by(label: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[topics.Pairs, topics.Pairs]:
    """What is seen, three quarters of the pairs, and what is asked."""
    cut = 3 * len(label) // 4
    return topics.Pairs(first[:cut], second[:cut], label[:cut]), topics.Pairs(first[cut:], second[cut:], label[cut:])


def test_where_the_topic_decides_words_decide_as_often_as_bayes_rule_does():
    """Each token on its own is in both segments more often if B continues A: Bayes' rule is a logistic regression."""
    rng, count, tokens = np.random.default_rng(0), 12_000, 20
    shared = np.stack([rng.uniform(0.1, 0.4, tokens), rng.uniform(0.02, 0.1, tokens)])
    label = rng.integers(2, size=count)
    both, alone, whose = rng.random((3, count, tokens))
    common, single = both < shared[label], alone < 0.3
    pairs = common | (single & (whose < 0.5)), common | (single & (whose >= 0.5))
    odds = np.where(common, np.log(shared[1] / shared[0]), np.log((1 - shared[1]) / (1 - shared[0]))).sum(axis=1)
    best = ((odds > 0) == label)[3 * count // 4 :].mean()
    found = topics.by_words(*pairs_by(label, *pairs)).mean()
    assert 0.8 < best < 0.95 and abs(found - best) < 0.02


def test_of_exchangeable_segments_words_decide_the_order_by_chance():
    rng, count = np.random.default_rng(0), 8000
    topic = rng.random((count, 1, 30)) ** 3  # each pair has tokens of its own, both segments alike
    first, second = np.moveaxis(rng.random((count, 2, 30)) < topic, 1, 0)
    found = topics.by_words(*pairs_by(rng.integers(2, size=count), first, second))
    assert abs(found.mean() - 0.5) < 4 * 0.5 / math.sqrt(len(found))


def test_words_decide_the_order_where_openings_have_a_word_of_their_own():
    rng, count = np.random.default_rng(0), 2000
    label, sides = rng.integers(2, size=count), rng.random((2, count, 30)) < 0.2
    sides[label, np.arange(count), 7], sides[1 - label, np.arange(count), 7] = True, False
    assert topics.by_words(*pairs_by(label, *sides)).mean() > 0.98


@pytest.mark.parametrize("held", [False, True])
def test_bags_are_the_tokens_of_both_segments_without_specials_and_padding(held):
    corpus = random_corpus(documents=13, sentences=6, words=5)
    stream = open_stream(PAIRED, corpus, PLACES, seed=0, held_out=held)
    found = topics.bags(map(stream.batch, range(stream.steps_per_epoch)), PLACES)
    table = list(build_pairs(PAIRED, documents_of(corpus, ended=True), np.random.default_rng([0, 0, 1])))
    assert len(found.label) == len(table) // 8 * 8 + (len(table) % 8 if held else 0) and len(table) % 8
    expected = {
        (frozenset(corpus.tokens[p.a_start : p.a_stop]), frozenset(corpus.tokens[p.b_start : p.b_stop]), p.label)
        for p in table
    }
    sets = [
        (frozenset(np.flatnonzero(a)), frozenset(np.flatnonzero(b)), int(label))
        for a, b, label in zip(*found, strict=True)
    ]
    assert (set(sets) == expected) if held else (set(sets) <= expected and len(set(sets)) == len(sets))
    assert {label for *_, label in sets} == {0, 1}


# A model of real text


@pytest.fixture(scope="module")
def entry(tmp_path_factory) -> Entry:
    """A model that has learned nothing, and documents of six topics, each of which has four letters of its own."""
    folder = tmp_path_factory.mktemp("text")
    lines = np.random.default_rng(0)
    documents = []
    for number in range(60):
        letters = list("abcdefghijklmnopqrstuvwx"[number % 6 :: 6])
        documents.append("\n".join("".join(lines.choice(letters, 6)) for _ in range(12)))
    (folder / "text.txt").write_text("\n\n".join(documents))
    data = dataclasses.replace(PAIRED, corpus=str(folder / "text.txt"), tokenizer="bytes", cache=str(folder / "cache"))
    data = dataclasses.replace(data, validation=0.3, test=0.0)
    prepared = prepare(data, lambda line: None)
    config = XlnetConfig(
        num_layers=1, num_heads=2, model_dim=8, mlp_dim=16, dropout_rate=0.0, pair_head=True, initializer_range=0.5
    )
    experiment = Experiment(config, MaskedLm(pair_weight=1.0), data)
    model = build_model(config, prepared.vocab.size, precision="float32", remat="none")
    subject = Subject(config, model, initialize(model, jax.random.key(0)), experiment.objective, prepared.vocab)
    checkpoint = Checkpoint(folder, 0, experiment, prepared.tokenizer, subject)
    return Entry(checkpoint, Text(prepared.validation, prepared.train), 24)


def test_the_model_is_right_as_often_as_its_own_evaluation_says(entry):
    subject = entry.checkpoint.subject
    stream = topics.opened(entry.checkpoint.experiment, entry.text.tokens, subject.vocab, held_out=True)
    found = topics.by_model(subject, map(stream.batch, range(stream.steps_per_epoch)))
    step = make_eval_step(subject.model, subject.objective, subject.vocab, np.zeros(subject.vocab.size, np.float32))
    values = held_out(step, subject.model, subject.params, stream, 8)
    assert found.mean() == pytest.approx(values["pair_accuracy"]) and len(found) == len(
        topics.bags(map(stream.batch, range(stream.steps_per_epoch)), subject.vocab).label
    )
    assert len(found) % 8, "the last batch has padding"


def test_both_are_asked_of_the_same_pairs_and_words_know_the_topic(entry, monkeypatch):
    monkeypatch.setattr(topics, "PAIRS", 400)
    found = topics.decided_pairs("next").measure(entry, silent)
    assert found[topics.of_words("next").name].weight.sum() == found[topics.of_model("next").name].weight.sum() > 40
    assert found[topics.of_words("next").name].value > 0.75  # of a random B every sixth is of the same topic


def test_pairs_are_asked_of_those_who_learned_to_decide_them_and_two_tasks_apart():
    """Metrics whose items differ are not compared: each has a yardstick of its own."""
    experiments = check(findings_text.get_suite())
    for task, arm in (("next", findings_text.NEXT), ("order", findings_text.ORDER)):
        asks = [each for each, experiment in experiments.items() if topics.decides_pairs(experiment, task)]
        assert asks == [arm]
        assert {metric.name for metric in topics.decided_pairs(task).metrics} <= set(findings_text.get_suite().metrics)


# The suite


@pytest.fixture(scope="module")
def suite() -> Suite:
    return findings_text.get_suite()


def test_the_suite_has_the_seeds_that_its_claims_need(suite):
    assert suite.seeds == seeds_needed(len(suite.claims), ALPHA) and suite.match == ("none",)
    assert len({each.text for each in suite.claims}) == len(suite.claims)
    assert not any(each.expected for each in suite.claims), "text has no closed forms"


def test_arms_differ_in_their_objective_their_steps_and_what_pairs_need(suite):
    experiments = check(suite)
    base = experiments[findings_text.CAUSAL]
    for arm, own in experiments.items():
        paired = arm.startswith("pairs")
        assert own.data.corpus == base.data.corpus and own.data.validation == base.data.validation
        assert dataclasses.replace(own.model, pair_head=False) == base.model and own.model.pair_head == paired
        assert paired or own.data == base.data
        share = own.optimizer.total_steps / base.optimizer.total_steps
        assert own.optimizer.warmup_steps == round(share * base.optimizer.warmup_steps)


def test_arms_that_spend_alike_do_so_by_their_own_count(suite, tmp_path):
    """Within a part in a hundred, counted over batches of a made-up text."""
    fields = (("data.corpus", "markov:symbols=8,length=29,documents=4000"), ("data.cache", str(tmp_path)))
    experiments = check(dataclasses.replace(suite, fields=fields))

    def spent(arm: str, what: str) -> float:
        own = experiments[arm]
        return own.optimizer.total_steps * getattr(step_cost(build_run(own, lambda line: None)), what)

    some = findings_text.SIXTH
    assert spent(findings_text.BY_STEP, "tokens") == pytest.approx(spent(some, "tokens"))
    assert spent(findings_text.BY_OPERATION, "flops") == pytest.approx(spent(some, "flops"), rel=0.01)
    assert spent(findings_text.BY_TARGET, "predicted") == pytest.approx(spent(some, "predicted"), rel=0.01)
    for arm, share in ((findings_text.ENOUGH, 2 / 3), (findings_text.TOO_FEW, 1 / 5)):
        assert spent(arm, "tokens") == pytest.approx(share * spent(findings_text.CAUSAL, "tokens"), rel=0.01)
