"""Arms as changes of one experiment: typed, checked, and combined without losing or doubling any."""

import itertools

import pytest

from ablation.change import chain, changed, product, sweep, zipped
from batch import InputError
from configs.shared import TINY
from models import XlnetConfig
from objectives import CausalLm, MaskedLm
from training.overrides import override

BASE = TINY.bert()


def test_an_empty_change_is_the_base():
    assert changed(BASE, {}) == BASE


def test_groups_are_replaced_before_their_fields():
    one = changed(BASE, {"objective.rate": 0.3, "objective": MaskedLm(mask_share=1.0, random_share=0.0)})
    assert one.objective == MaskedLm(rate=0.3, mask_share=1.0, random_share=0.0)


def test_fields_that_are_valid_only_together_are_set_together():
    wanted = {"optimizer.warmup_steps": 900, "optimizer.total_steps": 1000}
    assert BASE.optimizer.total_steps < 900
    for order in itertools.permutations(wanted.items()):
        assert changed(BASE, dict(order)).optimizer.warmup_steps == 900


def test_a_change_is_what_the_command_line_would_make_of_it():
    change = {"optimizer.peak_rate": 3e-4, "data.isolate": True, "objective.unit": "word", "objective.reuse": None}
    assert changed(BASE, change) == override(BASE, [(field, str(value)) for field, value in change.items()])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"objective.rtae": 0.3}, r"objective.rtae: unknown field; did you mean objective.rate\?"),
        ({"objectiv": MaskedLm()}, "objectiv: is no group of an experiment; MaskedLm can be .*objective"),
        ({"optimizer.total_steps": 1.5}, "optimizer.total_steps=1.5: must be an integer"),
        ({"data": CausalLm()}, "data=CausalLm: must be DataConfig"),
        ({"objective.rate": 1.5}, "objective.rate=1.5: must be above 0"),
        ({"model": XlnetConfig(**TINY.trunk), "model.max_length": 64}, "model.max_length"),
    ],
)
def test_what_cannot_be_changed_is_refused_in_one_sentence(change, sentence):
    with pytest.raises(InputError, match=sentence) as error:
        changed(BASE, change)
    assert "--config" not in str(error.value)


RATES, SEEDS = sweep("objective.rate", (0.1, 0.2), "rate {}"), sweep("optimizer.peak_rate", (1e-3, 2e-3, 3e-3), "at {}")


def test_a_product_holds_every_pair_once():
    arms = product(RATES, SEEDS)
    pairs = [(arm["objective.rate"], arm["optimizer.peak_rate"]) for arm in arms.values()]
    assert pairs == list(itertools.product((0.1, 0.2), (1e-3, 2e-3, 3e-3)))
    assert next(iter(arms)) == "rate 0.1, at 0.001"


def test_zipped_sweeps_go_together():
    arms = zipped(RATES, sweep("optimizer.peak_rate", (1e-3, 2e-3), "at {}"))
    assert list(arms.values()) == [
        {"objective.rate": 0.1, "optimizer.peak_rate": 1e-3},
        {"objective.rate": 0.2, "optimizer.peak_rate": 2e-3},
    ]


def test_chained_families_follow_each_other():
    assert list(chain(RATES, {"base": {}})) == ["rate 0.1", "rate 0.2", "base"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: zipped(RATES, SEEDS), "sweeps of 2, 3 arms cannot be zipped"),
        (lambda: product(RATES, sweep("objective.rate", (0.5,))), "which another factor changes too"),
        (lambda: chain(RATES, RATES), "two are called rate 0.1"),
        (lambda: sweep("objective.rate", (0.1, 0.2), "rate"), "two are called rate"),
    ],
)
def test_an_algebra_that_would_lose_an_arm_is_refused(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()
