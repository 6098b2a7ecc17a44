"""The model of a task: a checkpoint's trunk under a head, whose scores depend on the example alone."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx, traverse_util

import cases
import commands
import tasks
from batch import InputError
from data.task import TaskData
from finetuning.encoding import encode_labeled, encode_tagged
from finetuning.run import make_predict, predict
from finetuning.start import (
    check_reads,
    num_task_parameters,
    starting_params,
    task_model,
    without_memory,
)
from finetuning.stream import HeldOutExamples, padded
from finetuning.templates import template_of
from models import build_model
from models.parameters import initialize
from objectives import Classification, Regression, Tagging
from training.keys import held_out_key
from training.restored import stored_params
from training.sharding import param_specs
from training.state import init_state, num_parameters

VOCAB = tasks.TOKENIZER.vocab
DATA = TaskData(task="yesno", labels=("no", "yes"), length=40, batch_size=3, shortest=40)
FAMILIES = ("bert", "gpt", "xlnet")


@pytest.fixture(autouse=True)
def quickly():
    with commands.quick():
        yield


@functools.cache
def model_of(family, outputs=2, summary=True, dropout=0.0):
    config = dataclasses.replace(
        without_memory(tasks.CONFIGS[family]), dropout_rate=dropout, attention_dropout_rate=dropout
    )
    pooled = summary and template_of(config).pooled
    return task_model(config, VOCAB.size, outputs, pooled=pooled, precision="float32", remat="cheap")


def shapes_of(model):
    return jax.eval_shape(lambda: initialize(model, jax.random.key(0)))


def leaves(params):
    return traverse_util.flatten_dict(params, sep="/")


@functools.cache
def loud(family, outputs=2, summary=True):
    """Parameters at which every dependence is visible."""
    rng = np.random.default_rng(0)
    shapes = shapes_of(model_of(family, outputs, summary))
    return jax.tree_util.tree_map_with_path(lambda path, value: cases.redraw(path, value, rng), shapes)


OBJECTIVE = {"bert": Classification(), "gpt": Classification("left"), "xlnet": Classification()}


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_its_side_the_bucket_and_the_other_rows_change_no_score(family):
    template, examples = template_of(tasks.CONFIGS[family]), tasks.sentences(7, 0, texts=2)
    program, params = make_predict(model_of(family), OBJECTIVE[family], VOCAB), loud(family)

    def scores(side, shortest, first=0):
        data, own = dataclasses.replace(DATA, shortest=shortest), examples[first:]
        encoded = encode_labeled(own, DATA.labels, tasks.TOKENIZER, template, DATA.length)
        stream = HeldOutExamples(data, encoded, side, VOCAB.pad)
        used = {stream.batch(step).tokens.shape[1] for step in range(stream.steps_per_epoch)}
        assert used == set(data.buckets), "every bucket is used"
        means, found = predict(program, params, stream)
        return np.array(found), means["loss"]

    expected, loss = scores(template.pad, 40)
    assert np.ptp(expected, axis=0).min() > 0.1, "examples differ"
    for how in (("left", 40), ("right", 40), ("left", 28), ("right", 28)):
        found, own = scores(*how)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=str(how))
        assert own == pytest.approx(loss, rel=1e-5)
    found, _ = scores(template.pad, 40, first=1)
    np.testing.assert_allclose(found, expected[1:], rtol=1e-5, atol=1e-5, err_msg="in other company")


@pytest.mark.parametrize("family", FAMILIES)
def test_words_are_scored_alike_on_either_side_of_the_padding(family):
    template, sets = template_of(tasks.CONFIGS[family]), tasks.tagging(train=5)
    encoded = encode_tagged(sets.train, sets.labels, tasks.TOKENIZER, template, DATA.length)
    objective = Tagging("left" if family == "gpt" else "both")
    program, params = make_predict(model_of(family, 2, False), objective, VOCAB), loud(family, 2, False)
    found = [predict(program, params, HeldOutExamples(DATA, encoded, side, VOCAB.pad))[1] for side in ("left", "right")]
    for row, one, other in zip(encoded.rows, *found, strict=True):
        assert one.shape == (len(row.tokens), 2)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_gpt_is_causal_and_with_the_mask_removed_it_is_not():
    encoded = encode_tagged(
        tasks.tagging(train=1).train, ("O", "X"), tasks.TOKENIZER, template_of(tasks.CONFIGS["gpt"]), 40
    )
    batch = padded(DATA, encoded, np.array([0]), 0, "right", VOCAB.pad)
    changed = batch.replace(tokens=np.where(np.arange(batch.tokens.shape[1]) == 3, 40, batch.tokens).astype(np.int32))
    for visibility, same in (("left", True), ("both", False)):
        program = make_predict(model_of("gpt", 2, False), Tagging(visibility), VOCAB)
        one, other = (program(loud("gpt", 2, False), each)[1][0] for each in (batch, changed))
        assert np.allclose(one[:3], other[:3], atol=1e-6) == same
        assert not np.allclose(one[3:], other[3:], atol=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("outputs", "summary"), [(3, True), (1, True), (5, False)])
def test_a_head_has_the_size_of_its_formula_and_the_trunk_has_nothing_of_pretraining(family, outputs, summary):
    config = without_memory(tasks.CONFIGS[family])
    names = leaves(shapes_of(model_of(family, outputs, summary)))
    before = leaves(shapes_of(build_model(config, VOCAB.size)))
    pooled = summary and family != "gpt"
    head = {name for name in names if name.startswith("task/")}
    assert sum(names[name].size for name in head) == num_task_parameters(16, outputs, pooled=pooled)
    assert num_task_parameters(16, outputs, pooled=pooled) == 17 * outputs + (17 * 16 if pooled else 0)
    gone = {name for name in before if name.split("/")[0] in ("head", "pair_head", "query", "bias", "output")}
    assert names.keys() - head == before.keys() - gone and (gone or family == "gpt")
    assert num_parameters(names) == sum(before[name].size for name in before.keys() - gone) + sum(
        names[name].size for name in head
    )
    assert param_specs(names).keys() == names.keys(), "a mesh knows where each lies"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_that_is_decayed_is_learned_too(family):
    encoded = encode_labeled(
        tasks.sentences(3, 0, texts=2), DATA.labels, tasks.TOKENIZER, template_of(tasks.CONFIGS[family]), 40
    )
    batch = padded(DATA, encoded, np.arange(3), 0, template_of(tasks.CONFIGS[family]).pad, VOCAB.pad)
    model, objective = model_of(family), OBJECTIVE[family]
    graphdef = nnx.graphdef(model)

    def loss(params):
        inputs, targets = objective.prepare(batch, VOCAB, held_out_key())
        bound = nnx.merge(graphdef, params)
        losses, _ = objective.loss(bound, bound(inputs), targets)
        return losses["loss"].total

    gradients = leaves(jax.jit(jax.grad(loss))(loud(family)))
    idle = [name for name, gradient in gradients.items() if not np.abs(gradient).max() > 0]
    assert not [name for name in idle if not name.endswith("key/bias")], "of keys' biases the softmax knows nothing"


def test_losses_are_those_of_the_definition_and_unknown_labels_count_nothing():
    template = template_of(tasks.CONFIGS["bert"])
    examples = [*tasks.sentences(2, 0), dataclasses.replace(tasks.sentences(1, 5)[0], label=None)]
    encoded = encode_labeled(examples, DATA.labels, tasks.TOKENIZER, template, 40)
    batch = padded(DATA, encoded, np.arange(3), 0, "right", VOCAB.pad)
    means, scores = make_predict(model_of("bert"), Classification(), VOCAB)(loud("bert"), batch)
    logits, labels = np.asarray(scores)[:2, 0], encoded.label[:2]
    expected = -np.asarray(jax.nn.log_softmax(logits))[np.arange(2), labels]
    assert encoded.label[2] == -1 and float(means["loss"].weight) == 2
    assert float(means["loss"].total) == pytest.approx(expected.sum(), rel=1e-5)
    assert float(means["accuracy"].total) == (logits.argmax(axis=1) == labels).sum()

    numbers = [dataclasses.replace(each, label=text) for each, text in zip(examples, ("1.5", "-2", None), strict=True)]
    encoded = encode_labeled(numbers, (), tasks.TOKENIZER, template, 40)
    batch = padded(DATA, encoded, np.arange(3), 0, "right", VOCAB.pad)
    means, scores = make_predict(model_of("bert", 1), Regression(), VOCAB)(loud("bert", 1), batch)
    errors = np.asarray(scores)[:2, 0, 0] - [1.5, -2]
    assert float(means["loss"].weight) == 2
    assert float(means["loss"].total) == pytest.approx((errors**2).sum(), rel=1e-5)
    assert float(means["absolute_error"].total) == pytest.approx(np.abs(errors).sum(), rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_starts_from_the_checkpoint_under_a_head_that_its_seed_draws(family):
    workdir = tasks.pretrained(family)
    stored = leaves(stored_params(workdir, 0))
    model, config = model_of(family), without_memory(tasks.CONFIGS[family])
    seeded = lambda seed, **fields: leaves(  # noqa: E731
        starting_params(model, config, dataclasses.replace(DATA, **fields), seed, workdir, 0)
    )
    one, again, other = seeded(0), seeded(0, reinitialized=1), seeded(1)
    assert one.keys() == leaves(shapes_of(model)).keys()
    whole = leaves(init_state(model, optax.identity(), 1, 0).params)
    for name, value in one.items():
        if not name.startswith("task/"):
            np.testing.assert_array_equal(value, stored[name])
        elif name.startswith("task/out/") or family == "xlnet":
            np.testing.assert_array_equal(value, whole[name], "as the run from the seed alone begins")
        else:
            np.testing.assert_array_equal(value, stored[name.replace("task", "pair_head")])
    assert not np.array_equal(one["task/out/kernel"], other["task/out/kernel"])
    for name, value in again.items():
        if name.startswith("layers/"):
            np.testing.assert_array_equal(value[0], stored[name][0])
            np.testing.assert_array_equal(value[1], whole[name][1])
        else:
            np.testing.assert_array_equal(value, one[name])


def test_a_checkpoint_of_another_trunk_and_rows_that_a_model_cannot_read_are_refused():
    workdir, config = tasks.pretrained("bert"), tasks.CONFIGS["bert"]
    wide = dataclasses.replace(config, mlp_dim=48)
    model = task_model(wide, VOCAB.size, 2, pooled=True, precision="float32", remat="cheap")
    with pytest.raises(InputError, match=r"is \[.*\], expected \[.*\]; name the workdir of a whole run"):
        starting_params(model, wide, DATA, 0, workdir, 0)
    for data, texts, said in (
        (dataclasses.replace(DATA, length=65), 1, r"data.length=65: exceeds model.max_length=64"),
        (DATA, 3, r"model.num_segments=2: .* 3 texts has 3 segments"),
        (dataclasses.replace(DATA, reinitialized=3), 1, r"data.reinitialized=3: the model has 2 layers"),
    ):
        with pytest.raises(InputError, match=said):
            check_reads(config, data, texts)
    check_reads(without_memory(tasks.CONFIGS["xlnet"]), dataclasses.replace(DATA, length=4000), 7)


def test_dropout_of_the_head_is_drawn_anew_from_the_key_and_absent_without_one():
    head = nnx.merge(nnx.graphdef(model_of("bert", dropout=0.5)), loud("bert")).task
    hidden = jnp.asarray(np.random.default_rng(0).normal(size=(4, 1, 16)), jnp.float32)
    one, again, other = (head(hidden, key=jax.random.key(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one, again) and not np.allclose(one, other)
    np.testing.assert_allclose(head(hidden), head.out(jnp.tanh(head.pooler(hidden))), rtol=1e-6)
