"""Yardsticks give, item by item, the numbers that evaluate.py gives of the same questions."""

import numpy as np
import pytest

import commands
from ablation.choices import cloze_tokens, cloze_words, minimal_pairs
from ablation.measure import Measurer
from ablation.trials import Trial
from ablation.yardsticks import any_other, carried_memory, likelihood, random_orders, regret, two_sided
from evaluation.blocks import cut
from evaluation.curve import drawn_blocks
from evaluation.likelihood import Options, any_order, carried, left_to_right
from evaluation.pseudo import pseudo_log_likelihood
from evaluation.regret import BOTH, LEFT
from evaluation.statistics import bits_per_byte

BLOCKS = 24
SOURCE = "markov:symbols=4,length=14,documents=400"


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """A briefly trained model of each kind, on the text of a known source."""
    folder = tmp_path_factory.mktemp("yardsticks")
    config, found = commands.write_config(folder), {}
    for name in ("gpt", "bert", "xlnet"):
        own = {"data": {"corpus": SOURCE, "validation": 0.1}}
        experiment = commands.experiment(config, name, **own)
        commands.trained(experiment, folder / name)
        found[name] = Measurer(16, lambda line: None).entry(Trial(name, experiment, folder / name))
    return found


def measured(yardstick, entry):
    """Values by metric, after the items have been checked against the metrics' names."""
    assert yardstick.asks(entry.checkpoint.experiment)
    found = yardstick.measure(entry, lambda done, total: None)
    assert list(found) == [metric.name for metric in yardstick.metrics]
    return {name: items.value for name, items in found.items()}


@pytest.mark.parametrize("name", ["gpt", "bert", "xlnet"])
def test_likelihoods_are_those_of_the_drawn_blocks(entries, name):
    entry = entries[name]
    text, options = drawn_blocks(entry.blocks, BLOCKS), Options(positions=3)
    expected = bits_per_byte(left_to_right(entry.checkpoint.subject, text, options)).value
    found = measured(likelihood(positions=3, blocks=BLOCKS), entry)
    assert found["left to right"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["bert", "xlnet"])
def test_other_orders_and_both_sides_are_those_of_the_drawn_blocks(entries, name):
    subject = entries[name].checkpoint.subject
    text = drawn_blocks(entries[name].blocks, BLOCKS)
    orders = [bits_per_byte(score).value for score in any_order(subject, text, 2)]
    found = measured(random_orders(orders=2, blocks=BLOCKS), entries[name])
    assert found["any order"] == pytest.approx(np.mean(orders), rel=1e-6)
    both = bits_per_byte(pseudo_log_likelihood(subject, text, Options(positions=4))).value
    assert measured(two_sided(positions=4, blocks=BLOCKS), entries[name])["two-sided"] == pytest.approx(both, rel=1e-6)


def test_memory_is_carried_through_the_whole_text(entries):
    subject = entries["xlnet"].checkpoint.subject
    blocks = cut(entries["xlnet"].text.tokens, subject.vocab, 16, carried=True)
    expected = bits_per_byte(carried(subject, blocks)).value
    assert measured(carried_memory(), entries["xlnet"])["memory carried"] == pytest.approx(expected, rel=1e-6)


def test_who_cannot_be_asked_is_not(entries):
    experiments = {name: entry.checkpoint.experiment for name, entry in entries.items()}
    assert [name for name, own in experiments.items() if any_other(own)] == ["bert", "xlnet"]
    assert [name for name, own in experiments.items() if carried_memory().asks(own)] == ["gpt", "xlnet"]


@pytest.mark.parametrize("name", ["gpt", "bert", "xlnet"])
def test_nobody_is_better_than_the_source_by_more_than_luck(entries, name):
    found = measured(regret(items=32), entries[name])
    assert list(found) == [f"regret, {LEFT}", f"regret, {BOTH}"] and min(found.values()) > -0.05
    assert found[f"regret, {LEFT}"] < 2.5, "uniform letters cost 2 bits"


@pytest.mark.parametrize("yardstick", [cloze_tokens(32), cloze_words(32)], ids=["tokens", "words"])
def test_items_are_the_same_for_all_models(entries, yardstick):
    found = {name: yardstick.measure(entry, lambda done, total: None) for name, entry in entries.items()}
    for metric in yardstick.metrics:
        sizes = {len(own[metric.name].total) if own else 0 for own in found.values()}
        assert len(sizes) == 1
        for own in found.values():
            if own:
                low, high = (0, np.inf) if metric.unit == "nats" else (0, 1)
                assert ((own[metric.name].total >= low) & (own[metric.name].total <= high)).all()


def test_minimal_pairs_are_told_by_their_likelihood_and_known_by_their_content(entries, tmp_path):
    path, pair = tmp_path / "pairs.jsonl", '{{"sentence_good": "{}", "sentence_bad": "{}", "UID": "x"}}\n'
    path.write_text(pair.format("abcd", "dcba"))
    one = minimal_pairs(str(path))
    forward = measured(one, entries["gpt"])["minimal pairs"]
    path.write_text(pair.format("dcba", "abcd"))
    other = minimal_pairs(str(path))
    assert forward + measured(other, entries["gpt"])["minimal pairs"] == 1 and one.key != other.key
