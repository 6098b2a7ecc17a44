"""The optimizer and the schedule against arithmetic done by hand in NumPy."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cases
from models import XlnetConfig
from models.parameters import initialize
from training.config import OptimizerConfig
from training.optimizer import decay_mask, learning_rate, make_optimizer, scale_layers

PLAIN = OptimizerConfig(total_steps=10, peak_rate=0.1, warmup_steps=4, weight_decay=0.01, clip=0.0, epsilon=1e-6)

LAYERED = ("layers/mlp/kernel", "layers/mlp/bias")  # the release declares XLNet's segment bias outside of its layers


def rates(config: OptimizerConfig, steps) -> np.ndarray:
    return np.array([learning_rate(config, step) for step in steps])


def parameters() -> dict:
    return {
        "embedding": {"table": jnp.array([[1.0, -2.0], [0.5, 3.0]])},
        "attention": {
            "query": {"kernel": jnp.array([2.0]), "bias": jnp.array([1.0])},
            "content_bias": jnp.array([-1.0]),
        },
        "norm": {"scale": jnp.array([1.0]), "bias": jnp.array([0.5])},
        "layers": {
            "mlp": {
                "kernel": jnp.array([[1.0, 0.3], [-0.5, 2.0], [0.7, -1.0]]),
                "bias": jnp.ones((3, 1)),
            },
            "attention": {"segment_bias": jnp.array([[0.5], [1.5], [-0.5]])},
        },
    }


def gradients(step: int) -> dict:
    generator = np.random.default_rng(step)
    return jax.tree.map(lambda p: jnp.asarray(generator.normal(size=p.shape), jnp.float32), parameters())


def by_hand(config: OptimizerConfig, params: dict, steps: int) -> dict[str, np.ndarray]:
    """AdamW in float64, written from the papers; parameters named by their joined path."""
    values = {name: np.asarray(leaf, np.float64) for name, leaf in named(params).items()}
    first = {name: np.zeros_like(value) for name, value in values.items()}
    second = {name: np.zeros_like(value) for name, value in values.items()}
    for step in range(steps):
        current = {name: np.asarray(leaf, np.float64) for name, leaf in named(gradients(step)).items()}
        norm = np.sqrt(sum(np.sum(g**2) for g in current.values()))
        shrink = min(1.0, config.clip / norm) if config.clip else 1.0
        for name, g in current.items():
            slower = np.array([[config.layer_decay**2], [config.layer_decay], [1]]) if name in LAYERED else 1.0
            g = shrink * g * (slower if config.layer_decay_of == "gradient" else 1.0)
            first[name] = config.beta1 * first[name] + (1 - config.beta1) * g
            second[name] = config.beta2 * second[name] + (1 - config.beta2) * g**2
            m, v, epsilon = first[name], second[name], config.epsilon
            if config.bias_correction:
                m, v = m / (1 - config.beta1 ** (step + 1)), v / (1 - config.beta2 ** (step + 1))
                epsilon /= np.sqrt(1 - config.beta2 ** (step + 1)) if config.epsilon_hat else 1.0
            update = m / (np.sqrt(v) + epsilon)
            if not name.endswith(("/bias", "/scale")):
                update = update + config.weight_decay * values[name]
            warm = min(1.0, (step + (config.warmup == "from_one")) / config.warmup_steps)
            rate = config.peak_rate * warm * (slower if config.layer_decay_of == "rate" else 1.0)
            values[name] = values[name] - rate * update
    return values


def named(tree: Any) -> dict[str, Any]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in jax.tree.leaves_with_path(tree)
    }


def after(config: OptimizerConfig, steps: int) -> dict[str, Any]:
    """The parameters after some updates."""
    optimizer = make_optimizer(config)
    params = parameters()
    state = optimizer.init(params)
    for step in range(steps):
        updates, state = jax.jit(optimizer.update)(gradients(step), state, params)
        params = optax.apply_updates(params, updates)
    return named(params)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"bias_correction": False},
        {"bias_correction": False, "warmup": "from_zero"},
        {"epsilon": 0.1},
        {"epsilon": 0.1, "epsilon_hat": True},
        {"layer_decay": 0.5},
        {"layer_decay": 0.5, "layer_decay_of": "gradient", "epsilon": 0.1},
        {"layer_decay": 0.5, "layer_decay_of": "gradient", "bias_correction": False},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())) or "plain",
)
@pytest.mark.parametrize("clip", [0.0, 0.5, 1000.0])
def test_three_steps_equal_the_arithmetic(fields, clip):
    config = dataclasses.replace(PLAIN, clip=clip, weight_decay=0.3, **fields)
    found = after(config, 3)
    for name, expected in by_hand(config, parameters(), 3).items():  # 1 - beta2**t has 5 digits in float32
        np.testing.assert_allclose(found[name], expected, atol=5e-6, rtol=0, err_msg=name)


def first_update(config: OptimizerConfig, name: str) -> jax.Array:
    optimizer = make_optimizer(config)
    updates, _ = jax.jit(optimizer.update)(gradients(0), optimizer.init(parameters()), parameters())
    return named(updates)[name]


def test_layer_decay_of_the_rate_slows_the_layers_and_of_the_gradient_only_where_epsilon_is_felt():
    """The release scales gradients, of which Adam's update keeps the sign and forgets the size."""
    ratio = {}
    for of, epsilon in (("rate", 1e-12), ("gradient", 1e-12), ("gradient", 1.0)):
        config = dataclasses.replace(PLAIN, layer_decay=0.5, layer_decay_of=of, epsilon=epsilon, clip=1e-3)
        plain = dataclasses.replace(config, layer_decay=1.0)
        ratio[of, epsilon] = first_update(config, LAYERED[1]) / first_update(plain, LAYERED[1])
    decayed, same = [[0.25], [0.5], [1.0]], [[1.0]] * 3
    np.testing.assert_allclose(ratio["rate", 1e-12], decayed, rtol=1e-5)
    np.testing.assert_allclose(ratio["gradient", 1e-12], same, rtol=1e-5)
    np.testing.assert_allclose(ratio["gradient", 1.0], decayed, rtol=2e-3)


@pytest.mark.parametrize("model", ["bert", "gpt", "xlnet"])
def test_layer_decay_slows_exactly_what_the_release_declares_inside_of_layers(model):
    config = cases.MODELS[model]
    params = jax.eval_shape(lambda: initialize(cases.build(config), jax.random.key(0)))
    ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), params)
    scaled, _ = scale_layers(0.5).update(ones, optax.EmptyState())
    untouched = {name for name, leaf in named(scaled).items() if (leaf == 1).all()}
    outside = {f"layers/attention/{name}" for name in ("content_bias", "distance_bias", "segment_bias", "segment")}
    expected = {name for name in named(ones) if not name.startswith("layers/")}
    assert untouched == expected | (outside if isinstance(config, XlnetConfig) else set())
    for name in named(ones).keys() - untouched:
        assert [float(leaf.min()) for leaf in named(scaled)[name]] == [0.25, 0.5, 1.0]
        assert [float(leaf.max()) for leaf in named(scaled)[name]] == [0.25, 0.5, 1.0]


def test_the_first_update_without_correction_is_larger_by_the_known_factor():
    # (1 - beta1) / sqrt(1 - beta2) = 3.162 times the corrected one
    sizes = {}
    for bias_correction in (True, False):
        config = dataclasses.replace(PLAIN, bias_correction=bias_correction, weight_decay=0.0, epsilon=1e-12)
        optimizer = make_optimizer(config)
        updates, _ = optimizer.update(gradients(0), optimizer.init(parameters()), parameters())
        sizes[bias_correction] = float(optax.tree.norm(updates))
    assert sizes[False] / sizes[True] == pytest.approx(0.1 / np.sqrt(0.001), rel=1e-4)


def test_exactly_biases_and_norm_scales_are_not_decayed():
    assert named(decay_mask(parameters())) == {
        "embedding/table": True,
        "attention/query/kernel": True,
        "attention/query/bias": False,
        "attention/content_bias": True,
        "norm/scale": False,
        "norm/bias": False,
        "layers/mlp/kernel": True,
        "layers/mlp/bias": False,
        "layers/attention/segment_bias": True,
    }


def test_clipping_scales_the_gradient_and_not_the_decay():
    config = dataclasses.replace(PLAIN, clip=1e-3, weight_decay=0.5, epsilon=1.0)
    optimizer = make_optimizer(config)
    params = parameters()
    updates, _ = optimizer.update(gradients(0), optimizer.init(params), params)
    decay = -learning_rate(config, 0) * 0.5 * params["attention"]["query"]["kernel"]
    np.testing.assert_allclose(named(updates)["attention/query/kernel"], decay, rtol=2e-3)
    assert float(jnp.abs(named(updates)["norm/scale"]).max()) < 1e-3 * float(learning_rate(config, 0))


def test_the_optimizer_uses_the_rate_of_each_step():
    config = dataclasses.replace(PLAIN, weight_decay=1.0)
    optimizer = make_optimizer(config)
    params = {"kernel": jnp.ones(1)}
    state = optimizer.init(params)
    for step in range(10):
        updates, state = optimizer.update({"kernel": jnp.zeros(1)}, state, params)
        np.testing.assert_allclose(named(updates)["kernel"], -learning_rate(config, step), rtol=1e-6)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd"])
def test_a_schedule_starts_at_a_share_of_the_peak_and_ends_at_the_end_rate(schedule):
    config = OptimizerConfig(100, 0.02, 10, schedule=schedule, end_rate=0.25, decay_steps=30)
    assert learning_rate(config, 0) == pytest.approx(0.02 / 10, rel=1e-6)
    assert learning_rate(config, 100) == pytest.approx(0.005, rel=1e-6)
    assert learning_rate(config, 500) == pytest.approx(0.005, rel=1e-6)
    after = rates(config, range(9, 101))
    assert after[0] == after[1] == np.float32(0.02)  # no drop where the warm-up ends
    assert np.all(np.diff(after) <= 0)
    assert np.abs(np.diff(after)).max() < 0.02 / 10


def test_constant_stays_at_the_peak_and_wsd_until_its_decay():
    constant = OptimizerConfig(100, 0.02, 10, schedule="constant", end_rate=0.25)
    stable = OptimizerConfig(100, 0.02, 10, schedule="wsd", decay_steps=30)
    assert set(rates(constant, range(9, 120))) == {np.float32(0.02)}
    assert set(rates(stable, range(9, 71))) == {np.float32(0.02)}
    assert learning_rate(stable, 85) == pytest.approx(0.01, rel=1e-5)


def test_cosine_and_linear_are_halfway_in_the_middle():
    for schedule in ("linear", "cosine"):
        assert learning_rate(OptimizerConfig(110, 0.02, 10, schedule=schedule), 60) == pytest.approx(0.01, rel=1e-5)


def test_no_warmup_begins_at_the_peak_and_only_warmup_ends_there():
    assert learning_rate(OptimizerConfig(10, 0.5, 0), 0) == 0.5
    assert learning_rate(OptimizerConfig(10, 0.5, 10), 9) == 0.5


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_releases_start_at_rate_zero_and_bert_drops_where_the_warm_up_ends(schedule):
    released = OptimizerConfig(1000, 0.02, 100, warmup="from_zero", schedule=schedule)
    np.testing.assert_allclose(rates(released, range(101)), 0.02 * np.arange(101) / 100, rtol=1e-6)
    np.testing.assert_allclose(
        rates(released, range(100, 1001)), rates(dataclasses.replace(released, warmup="from_one"), range(100, 1001))
    )
    bert = dataclasses.replace(released, decay_from="start")
    share = np.arange(100, 1001) / 1000
    expected = 1 - share if schedule == "linear" else (1 + np.cos(np.pi * share)) / 2
    np.testing.assert_allclose(rates(bert, range(100)), rates(released, range(100)))
    np.testing.assert_allclose(rates(bert, range(100, 1001)), 0.02 * expected, rtol=1e-5, atol=1e-9)
    assert learning_rate(bert, 99) > learning_rate(bert, 100) < 0.02


def test_the_rate_is_the_same_inside_jit():
    config = OptimizerConfig(1_000_000, 1e-4, 10_000, schedule="cosine", end_rate=0.1)
    compiled = jax.jit(lambda step: learning_rate(config, step))
    for step in (0, 9_999, 10_000, 123_456, 999_999):
        np.testing.assert_allclose(compiled(jnp.int32(step)), learning_rate(config, step), rtol=1e-6)
