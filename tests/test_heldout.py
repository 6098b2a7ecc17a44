"""Held-out loss: the objective's own, on text that is hidden as in training, and the same whenever it is measured."""

import jax
import numpy as np
import pytest

from cases import CASES, VOCAB, Case, build, loud, read, text
from objectives import MaskedLm
from training.heldout import make_eval_step
from training.keys import held_out_key

BERT = Case(CASES["bert-masked"].model, MaskedLm(rate=0.34, mask_share=1.0, random_share=0.0))
SURPRISE = np.linspace(1, 2, VOCAB.size).astype(np.float32)


def evaluate(case):
    step = make_eval_step(build(case.model), case.objective, VOCAB, SURPRISE)
    return jax.tree.map(np.asarray, step(loud(case.model), None, text(case.model))[0])


def test_held_out_text_is_hidden_as_the_objective_hides_it():
    inputs, targets = BERT.objective.prepare(text(BERT.model), VOCAB, held_out_key())
    used = np.asarray(targets.weights) > 0
    assert (np.take_along_axis(np.asarray(inputs.tokens), np.asarray(inputs.predict), axis=1)[used] == VOCAB.mask).all()
    _, log_p = read(BERT.model, inputs)
    surprise = -np.take_along_axis(np.asarray(log_p), np.asarray(targets.labels)[..., None], axis=2)[..., 0]
    found = evaluate(BERT)
    np.testing.assert_allclose(found["loss"].total / found["loss"].weight, surprise[used].mean(), rtol=1e-5)
    np.testing.assert_allclose(found["unigram_loss"].total, SURPRISE[np.asarray(targets.labels)[used]].sum(), rtol=1e-5)


@pytest.mark.parametrize("name", ["bert", "xlnet"])
def test_two_evaluations_hide_the_same(name):
    case = BERT if name == "bert" else CASES["xlnet-permutation"]
    jax.tree.map(np.testing.assert_array_equal, evaluate(case), evaluate(case))
