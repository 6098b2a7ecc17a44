"""A mixture: exact shares of every batch, rows as their own objective prepares them, losses that add up."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from batch import InputError
from cases import ALIKE, MODELS, QUICK, ROWS, VOCAB, build, loud, prepare, read, text
from evaluation.curve import KINDS, LEFT, answers, draw_questions
from evaluation.likelihood import Options, any_order, left_to_right
from evaluation.mass import training_mass
from evaluation.passes import Subject
from evaluation.pseudo import pseudo_log_likelihood
from models import GptConfig
from models.parameters import initialize
from objectives import CausalLm, MaskedDiffusion, MaskedLm, MaskedNextToken, Mixture, PermutationLm, Staged
from objectives.mixture import turns
from scoring import VOCAB as LETTERS
from scoring import enumerated
from training.build import check_memory
from training.config import Experiment, from_dict, to_json
from training.corruption import measured_corruption
from training.overrides import override
from training.state import init_state
from training.step import make_train_step

MASKED = MaskedLm(rate=0.34)
PAIRS = MaskedLm(rate=0.34, pair_weight=0.7)


@pytest.mark.parametrize(
    ("shares", "rows", "expected"),
    [
        ((1, 1), 4, [2, 2]),
        ((1, 1), 7, [4, 3]),
        ((15, 1), 32, [30, 2]),
        ((1, 3), 16, [4, 12]),
        ((0.2, 0.3, 0.5), 20, [4, 6, 10]),
        ((1, 1, 1), 64, [21, 22, 21]),
    ],
)
def test_every_batch_holds_exactly_its_shares_and_every_place_meets_every_part(shares, rows, expected):
    mixture = Mixture((CausalLm(), MASKED, MaskedDiffusion())[: len(shares)], shares)
    batch = text(MODELS["bert"])
    many = jax.tree.map(lambda x: np.resize(x, (rows, *x.shape[1:])), batch)
    found = np.stack([mixture.assign(many.replace(epoch=np.full(rows, e, np.int32))) for e in range(rows)])
    for axis in (0, 1):  # over the epochs of a place, over the places of an epoch
        for part, count in enumerate(expected):
            assert ((found == part).sum(axis=axis) == count).all()


def test_parts_take_turns():
    for fractions, rows in (((0.5, 0.5), 12), ((0.25, 0.75), 16), ((0.9, 0.1), 40)):
        part = turns(fractions, rows)
        for i, fraction in enumerate(fractions):
            ahead = np.cumsum(part == i) - fraction * np.arange(1, rows + 1)
            assert abs(ahead).max() < 1, (fractions, i)


MIXTURES = {
    "bert": Mixture((CausalLm(), MaskedNextToken(MASKED), MaskedDiffusion()), (2, 1, 1)),
    "xlnet": Mixture((PermutationLm(predict_one_in=3), CausalLm(), MASKED), (1, 2, 1)),
    "pairs": Mixture((MASKED, PAIRS)),
}
"""By the model that is to serve them; pairs by BERT."""


def part_of(name: str) -> np.ndarray:
    """Which part each row of `text` is of."""
    return np.asarray(MIXTURES[name].assign(text(MODELS["bert"])))


@pytest.mark.parametrize("name", MIXTURES)
def test_a_row_is_prepared_as_its_part_alone_prepares_it(name):
    mixture, model = MIXTURES[name], MODELS["xlnet" if name == "xlnet" else "bert"]
    inputs, targets = prepare(mixture, text(model))
    alone = [prepare(part, text(model)) for part in mixture.parts]
    widest = max(own.predict.shape[1] for own, _ in alone)
    assert inputs.predict.shape == (ROWS, widest) and inputs.query_stream == (name == "xlnet")
    for row, part in enumerate(part_of(name)):
        own, asked = alone[part]
        slots = own.predict.shape[1]
        for field in dataclasses.fields(own):
            if field.name in ("query_stream", "reuse") or getattr(own, field.name) is None:
                continue
            mine, expected = (np.asarray(getattr(each, field.name))[row] for each in (inputs, own))
            np.testing.assert_array_equal(mine[:slots] if field.name == "predict" else mine, expected)
        for field in ("labels", "weights"):
            mine, expected = (np.asarray(getattr(each, field))[row] for each in (targets, asked))
            np.testing.assert_array_equal(mine[:slots], expected)
            assert not mine[slots:].any()


@pytest.mark.parametrize("name", ["bert", "xlnet"])
def test_the_model_reads_a_row_as_it_reads_its_part_alone(name):
    """With a query stream for the blind rows, and the content stream's predictions for the others."""
    mixture, model = MIXTURES[name], MODELS[name]
    together = np.asarray(read(model, prepare(mixture, text(model))[0])[0].hidden)
    for row, part in enumerate(part_of(name)):
        inputs, targets = prepare(mixture.parts[part], text(model))
        used = np.flatnonzero(np.asarray(targets.weights)[row])
        alone = np.asarray(read(model, inputs)[0].hidden)
        np.testing.assert_allclose(together[row, used], alone[row, used], atol=1e-4)


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("balance", ["targets", "shares"])
def test_losses_add_up_over_the_rows_of_each_part(name, balance):
    """Against the log-probabilities of the same pass: by target, or each part's mean by its share."""
    model = dataclasses.replace(MODELS["bert"], pair_head=True) if name == "pairs" else MODELS[name]
    mixture = dataclasses.replace(MIXTURES[name], balance=balance)
    inputs, targets = prepare(mixture, text(model))
    output, log_p = read(model, inputs)
    bound = nnx.merge(nnx.graphdef(build(model)), loud(model))
    losses, metrics = mixture.loss(bound, output, targets)
    scales = mixture.scales(targets)
    nats = -np.take_along_axis(np.asarray(log_p, np.float64), np.asarray(targets.labels)[..., None], axis=2)[..., 0]
    weights = np.asarray(targets.weights, np.float64)
    sums, own = (nats * weights).sum(axis=1), weights.sum(axis=1)
    means = []
    for i, named in enumerate(mixture.names):
        rows = part_of(name) == i
        means.append(sums[rows].sum() / own[rows].sum())
        np.testing.assert_allclose({**losses, **metrics}[f"loss_{named}"].value(), means[-1], rtol=1e-5)
    expected = sums.sum() / own.sum()
    np.testing.assert_allclose({**losses, **metrics}["loss"].value(), expected, rtol=1e-5)
    trained = {key: float(scales[key] * mean.total) for key, mean in losses.items()}
    pair = trained.pop("pair_loss", 0.0)
    assert scales.keys() == losses.keys() and metrics["accuracy"].weight == weights.sum()
    if balance == "shares":
        expected = np.array(mixture.fractions) @ means
    np.testing.assert_allclose(sum(trained.values()), expected, rtol=1e-5)
    assert (pair > 0) == (name == "pairs")


def test_only_the_rows_of_its_part_have_the_pair_loss():
    mixture = MIXTURES["pairs"]
    _, targets = prepare(mixture, text(MODELS["bert"]))
    np.testing.assert_array_equal(targets.task_weights, part_of("pairs") == 1)
    assert mixture.pair_weight == 0.7
    np.testing.assert_allclose(mixture.scales(targets)["pair_loss"], 0.7 / 2, rtol=1e-6)
    assert mixture.names == ("masked_lm_1", "masked_lm_2")
    assert MIXTURES["bert"].names == ("causal_lm", "masked_next_token", "masked_diffusion")


def trained(objective, steps: int = 2):
    """State and records after some steps on one batch, and how often the step was compiled."""
    config = MODELS["gpt"]
    model, optimizer = build(config), optax.sgd(0.1)
    params = jax.jit(lambda key: initialize(model, key), compiler_options=QUICK)(jax.random.key(0))
    step = jax.jit(make_train_step(model, objective, VOCAB, optimizer), compiler_options=ALIKE)
    state = init_state(model, optimizer, ROWS, 0, params)
    records = []
    for _ in range(steps):
        state, record = step(state, text(config), 0)
        records.append(record)
    return state, records, step._cache_size()


def test_a_mixture_of_one_part_is_that_part_bit_for_bit():
    (one, records, count), (other, same, _) = trained(Mixture((MASKED,), balance="shares")), trained(MASKED)
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    for record, expected in zip(records, same, strict=True):
        jax.tree.map(np.testing.assert_array_equal, {name: record[name] for name in expected}, expected)
    assert count == 1


def subject(objective) -> Subject:
    config = MODELS["xlnet"]
    return Subject(config, build(config, 6), loud(config, 6, 2), objective, LETTERS)


def test_a_mixture_is_asked_each_question_by_the_first_part_that_can_answer_it():
    causal, masked, permuted = (subject(each) for each in (CausalLm(), MaskedLm(), PermutationLm()))
    blocks = enumerated()
    mixed = subject(Mixture((MaskedLm(), CausalLm())))
    assert mixed.one_pass and mixed.any_order and not mixed.backward
    same = lambda one, other: jax.tree.map(np.testing.assert_array_equal, one.tokens.log_p, other.tokens.log_p)  # noqa: E731
    same(left_to_right(mixed, blocks), left_to_right(causal, blocks))
    same(pseudo_log_likelihood(mixed, blocks), pseudo_log_likelihood(masked, blocks))
    for one, other in zip(any_order(mixed, blocks, 2), any_order(masked, blocks, 2), strict=True):
        same(one, other)
        assert (one.context, one.passes, one.flops) == (other.context, other.passes, other.flops)
    questions = draw_questions(blocks, len(blocks.tokens))
    one, two, three = (answers(each, blocks, questions, 64).bits for each in (mixed, causal, masked))
    left = questions.kind == KINDS.index(LEFT)
    np.testing.assert_array_equal(one, np.where(left, two, three))
    both = subject(Mixture((CausalLm(), PermutationLm())))
    same(left_to_right(both, blocks), left_to_right(causal, blocks))
    same(any_order(both, blocks, 1)[0], any_order(permuted, blocks, 1)[0])
    assert any_order(both, blocks, 1)[0].passes == 1
    assert left_to_right(both, blocks).flops < left_to_right(permuted, blocks).flops


def test_a_mixture_with_a_backward_part_reads_backward_in_one_pass_only():
    blocks, mixed = enumerated(), subject(Mixture((CausalLm(direction="backward"), MaskedLm())))
    assert left_to_right(mixed, blocks).name == "right to left"
    assert left_to_right(mixed, blocks).context == "the block after it"
    assert any_order(mixed, blocks, 1, Options(kappa=1))[0].context.startswith("the block before it")


def test_training_mass_is_that_of_the_parts_by_their_rows_and_that_of_the_last_stage():
    blocks, parts = enumerated(), (CausalLm(), MaskedDiffusion())
    mass = training_mass(Mixture((CausalLm(), MaskedNextToken(MaskedLm(rate=0.5))), (3, 1)), LETTERS, blocks)
    asked = 3 * 4 * training_mass(CausalLm(), LETTERS, blocks)  # each row asks for its 4 tokens; or for 2 of 5
    asked += 2 * training_mass(MaskedNextToken(MaskedLm(rate=0.5)), LETTERS, blocks)
    np.testing.assert_allclose(mass, asked / asked.sum(), rtol=1e-6)
    staged = training_mass(Staged(parts, (3,)), LETTERS, blocks)
    np.testing.assert_array_equal(staged, training_mass(parts[1], LETTERS, blocks))


@dataclasses.dataclass(frozen=True)
class Two:
    """A stream of two batches."""

    steps_per_epoch = 2

    def batch(self, step: int, rows: slice = slice(None)):
        return text(MODELS["bert"], seed=step)


def test_the_measured_corruption_is_that_of_the_tokens_asked_for():
    hiding = MaskedLm(rate=0.34, mask_share=1.0, random_share=0.0)
    for hidden in (MaskedNextToken(hiding), Mixture((hiding, MaskedNextToken(hiding)))):
        assert measured_corruption(hidden, Two(), VOCAB, seed=0)["shown_as_mask"] == 1
    found = measured_corruption(Mixture((CausalLm(), MaskedNextToken(hiding))), Two(), VOCAB, seed=0)
    counts = []
    for step in range(2):
        _, targets = prepare(Mixture((CausalLm(), MaskedNextToken(hiding))), Two().batch(step))
        counts.append((np.asarray(targets.weights) > 0).sum(axis=1))
    total = np.sum(counts, axis=0)
    np.testing.assert_allclose(found["shown_as_mask"], total[1::2].sum() / total.sum(), rtol=0.1)
    assert found["shown_as_mask"] + found["shown_as_is"] == pytest.approx(1) and found["shown_as_random"] == 0


def test_a_batch_too_small_for_all_parts_has_those_that_it_has_room_for():
    """As where one row is shown: an experiment is refused whose batches leave a part out."""
    mixture = Mixture((CausalLm(), MASKED), (3, 1))
    one = jax.tree.map(lambda x: x[:1], text(MODELS["bert"]))
    assert mixture.assign(one).tolist() == [0]
    mixture.check(4, 1)


NESTED = Staged((MaskedLm(unit="span"), Mixture((CausalLm(), MaskedNextToken(MASKED)), (1.0, 3.0))), (20,))


@pytest.mark.parametrize("objective", [*MIXTURES.values(), NESTED, MaskedNextToken(PAIRS)], ids=str)
def test_an_experiment_is_read_back_from_its_json(objective):
    experiment = Experiment(GptConfig(), objective)
    read_back = from_dict(json.loads(to_json(experiment)))
    assert read_back == experiment and hash(read_back) == hash(experiment)


def test_an_inner_objective_of_another_name_is_refused():
    values = json.loads(to_json(Experiment(GptConfig(), NESTED)))
    assert values["objective"]["parts"][1]["parts"][1]["hiding"]["type"] == "MaskedLm"
    values["objective"]["parts"][1]["parts"][0]["type"] = "GptConfig"
    with pytest.raises(InputError, match=r"objective\.type=GptConfig: unknown; it is one of CausalLm"):
        from_dict(values)


def test_fields_of_parts_are_set_by_the_number_of_the_part():
    experiment = Experiment(GptConfig(), NESTED)
    changed = override(experiment, [("objective.parts.1.parts.1.hiding.rate", "0.5"), ("objective.until", "30")])
    assert changed.objective.parts[1].parts[1].hiding.rate == 0.5 and changed.objective.until == (30,)
    assert changed.objective.parts[0] == NESTED.parts[0]
    for field, said in (
        ("objective.parts", "objective.parts is a group"),
        ("objective.parts.0", "objective.parts.0 is a group"),
        ("objective.parts.2.rate", "--config.objective.parts.2: unknown field; it is one of 0, 1"),
        ("objective.parts.0.rat", "did you mean --config.objective.parts.0.rate"),
        ("objective.until.0", "has no fields"),
    ):
        with pytest.raises(InputError, match=said):
            override(experiment, [(field, "0.5")])


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Mixture(()), r"objective\.parts=\(\)"),
        (lambda: Mixture((CausalLm(), MASKED), (1,)), r"objective\.shares=\(1,\): must be 2 numbers"),
        (lambda: Mixture((CausalLm(), MASKED), (1, 0)), r"objective\.shares=\(1, 0\)"),
        (lambda: Mixture((CausalLm(reuse=4), MASKED)), r"objective\.reuse: is 4 of CausalLm, None of MaskedLm"),
        (lambda: Mixture((PAIRS, MaskedNextToken(PAIRS))), r"objective\.pair_weight: is above 0 in several"),
        (lambda: Mixture((CausalLm(), Mixture((MASKED,)))), "a Mixture is of plain objectives"),
        (lambda: Experiment(GptConfig(), Mixture((CausalLm(), MASKED), (99, 1))), "batch_size=16 rows a part"),
        (lambda: Experiment(GptConfig(), Staged((MASKED, Mixture((CausalLm(),) * 17)), (3,))), "batch_size=16 rows"),
    ],
)
def test_what_cannot_be_mixed_is_refused(made, said):
    with pytest.raises(InputError, match=said):
        made()


BACKWARD = Mixture((MASKED, CausalLm(direction="backward")))


def test_a_memory_and_a_backward_part_are_refused():
    experiment = Experiment(MODELS["xlnet_memory"], BACKWARD)
    streams = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, layout="streams"))
    with pytest.raises(InputError, match=r"objective\.direction=backward: a memory"):
        check_memory(streams)
    check_memory(dataclasses.replace(streams, objective=Mixture((MASKED, CausalLm()))))


def test_scores_of_unused_slots_are_selected_out():
    mixture = MIXTURES["bert"]
    inputs, targets = prepare(mixture, text(MODELS["bert"]))
    output, _ = read(MODELS["bert"], inputs)
    bound = nnx.merge(nnx.graphdef(build(MODELS["bert"])), loud(MODELS["bert"]))
    used = np.asarray(targets.weights)[..., None] > 0
    spoiled = output.replace(hidden=jnp.where(used, output.hidden, jnp.nan))
    one, other = (mixture.loss(bound, each, targets)[0]["loss"].value() for each in (output, spoiled))
    assert one == other
