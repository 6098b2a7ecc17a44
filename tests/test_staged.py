"""Stages: which objective each step trains on, by its number alone, through one compilation."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from batch import InputError
from cases import MODELS, QUICK, ROWS, VOCAB, build, prepare, text
from corpora import VOCAB as WORDS
from corpora import random_corpus
from data.batches import Numbered, open_stream
from data.config import DataConfig
from evaluation.passes import Subject
from models import GptConfig
from models.parameters import initialize
from objectives import CausalLm, MaskedDiffusion, MaskedLm, MaskedNextToken, Mixture, Staged
from scoring import VOCAB as LETTERS
from training.config import Experiment
from training.state import init_state
from training.step import make_train_step

CAUSAL, MASKED = CausalLm(), MaskedLm(rate=0.34)
BIPHASIC = Staged((CAUSAL, MASKED), (3,))
TRIPHASIC = Staged((MASKED, Mixture((CAUSAL, MaskedNextToken(MASKED))), MaskedDiffusion()), (2, 5))


def at(step: int | None, seed: int = 0):
    """The rows as a step reads them; as held-out text where it is None."""
    batch = text(MODELS["gpt"], seed)
    return batch.replace(step=None if step is None else np.full(ROWS, step, np.int32))


def assert_same(staged, plain) -> None:
    """The same rows are shown and asked, up to predictions that are not used."""
    (inputs, targets), (own, asked) = staged, plain
    slots = own.predict.shape[1]
    assert not np.asarray(targets.weights)[:, slots:].any()
    cut = lambda x: np.asarray(x)[:, :slots]  # noqa: E731
    np.testing.assert_array_equal(cut(targets.weights), asked.weights)
    np.testing.assert_array_equal(cut(targets.labels), asked.labels)
    jax.tree.map(np.testing.assert_array_equal, inputs.replace(predict=cut(inputs.predict)), own)


@pytest.mark.parametrize("step", range(8))
def test_a_stage_ends_exactly_before_its_step(step):
    stage = 0 if step < 2 else 1 if step < 5 else 2
    assert_same(prepare(TRIPHASIC, at(step)), prepare(TRIPHASIC.parts[stage], at(step)))
    assert_same(prepare(BIPHASIC, at(step)), prepare(CAUSAL if step < 3 else MASKED, at(step)))


def test_held_out_text_is_asked_as_in_the_last_stage():
    assert_same(prepare(BIPHASIC, at(None)), prepare(MASKED, at(None)))
    assert_same(prepare(TRIPHASIC, at(None)), prepare(MaskedDiffusion(), at(None)))
    backwards = Staged((MASKED, CAUSAL), (3,))
    asked = [Subject(MODELS["gpt"], build(MODELS["gpt"], 6), None, each, LETTERS) for each in (BIPHASIC, backwards)]
    assert [(each.one_pass, each.any_order) for each in asked] == [(False, True), (True, False)]


def run(objective, steps: range, state=None, step=None):
    """States after each of the steps, which read other rows each, and the compiled step."""
    config = MODELS["gpt"]
    model, optimizer = build(config), optax.adam(1e-2)
    step = step or make_train_step(model, objective, VOCAB, optimizer)
    if state is None:
        params = jax.jit(lambda key: initialize(model, key), compiler_options=QUICK)(jax.random.key(0))
        state = init_state(model, optimizer, ROWS, 0, params)
    states, losses = [], []
    for number in steps:
        state, record = step(state, at(number, seed=number), 0)
        states.append(jax.tree.map(np.asarray, state))
        losses.append({name: mean.value() for name, mean in record.items() if name.startswith("loss")})
    return states, losses, step


def test_one_program_trains_all_stages_and_goes_on_in_the_middle_as_if_never_stopped():
    states, losses, step = run(BIPHASIC, range(6))
    for stop in (2, 3, 4):  # within the first stage, between the two, within the second
        again, same, _ = run(BIPHASIC, range(stop, 6), jax.tree.map(jax.numpy.asarray, states[stop - 1]), step)
        jax.tree.map(np.testing.assert_array_equal, again, states[stop:])
        assert repr(same) == repr(losses[stop:])
    assert step._cache_size() == 1
    for number, loss in enumerate(losses):
        one, other = ("causal_lm", "masked_lm") if number < 3 else ("masked_lm", "causal_lm")
        assert loss["loss"] == loss[f"loss_{one}"] and np.isnan(loss[f"loss_{other}"])


@pytest.mark.parametrize("layout", ["windows", "streams", "pairs"])
def test_batches_of_training_know_their_step_and_held_out_ones_have_none(layout):
    config = DataConfig(layout=layout, length=16, batch_size=4)
    corpus = random_corpus(documents=12, sentences=5, words=7)
    stream = open_stream(config, corpus, WORDS, seed=0)
    numbered = Numbered(stream)
    assert numbered.steps_per_epoch == stream.steps_per_epoch
    for step in (0, 7, numbered.steps_per_epoch + 1):
        for rows in (slice(None), slice(1, 3)):
            batch, plain = numbered.batch(step, rows), stream.batch(step, rows)
            np.testing.assert_array_equal(batch.step, np.full(len(plain.tokens), step))
            jax.tree.map(np.testing.assert_array_equal, batch.replace(step=None), plain)
    assert open_stream(config, corpus, WORDS, seed=0, held_out=True).batch(0).step is None


@pytest.mark.parametrize("until", [(), (0,), (3, 4)])
def test_stages_that_do_not_follow_each_other_are_refused(until):
    with pytest.raises(InputError, match=r"objective\.until=.*must be 1 increasing numbers"):
        dataclasses.replace(BIPHASIC, until=until)


def test_stages_must_increase_and_the_last_must_begin_in_the_run():
    with pytest.raises(InputError, match=r"objective\.until=\(5, 5\): must be 2 increasing"):
        dataclasses.replace(TRIPHASIC, until=(5, 5))
    with pytest.raises(InputError, match=r"objective\.until=\(1000,\).*optimizer\.total_steps=1000"):
        Experiment(GptConfig(), Staged((CAUSAL, MASKED), (1000,)))
    Experiment(GptConfig(), Staged((CAUSAL, MASKED), (999,)))
