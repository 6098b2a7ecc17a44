"""The switches by which implementations differ: each changes exactly what it should."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, traverse_util

import oracle
from batch import InputError
from cases import LENGTH, MODELS, MODERN, OBJECTIVES, QUICK, SIZE, build, given, loud, prepare, read, text
from configs.shared import TINY
from models import BertConfig, GptConfig, XlnetConfig
from models.flops import forward_flops
from models.layers import ACTIVATIONS, FeedForward, LayerNorm, RmsNorm, over_rms
from models.parameters import Normal, initialize
from models.positions import AbsolutePositions
from training.build import check_fit

BERT, GPT, XLNET = MODELS["bert"], MODELS["gpt"], MODELS["xlnet"]
FAMILIES = {"bert": BERT, "gpt": GPT, "xlnet": XLNET}
TOKENS = np.random.default_rng(0).integers(4, 64, (2, LENGTH)).astype(np.int32)
LATER = np.tile(np.arange(LENGTH) + 1000, (2, 1))  # the same places, counted from elsewhere


def switched(config, **fields):
    return dataclasses.replace(config, **fields)


def shown(config, **fields):
    """The states of every position, read from left to right."""
    inputs = given(np.arange(LENGTH), TOKENS, np.arange(LENGTH), **fields)
    return np.asarray(read(config, inputs)[0].hidden)


def bound(module, seed=0):
    """A module on its own, with random parameters."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: initialize(module, jax.random.key(0)))
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes)
    return nnx.merge(nnx.graphdef(module), params), params


def rescaled(params, parts, factor):
    """The same parameters, but those of the layers' named parts times `factor`."""
    named = lambda path: path[0].key == "layers" and {key.key for key in path} & set(parts)  # noqa: E731
    return jax.tree_util.tree_map_with_path(lambda path, leaf: leaf * factor if named(path) else leaf, params)


def drawn(config):
    """The first values by path."""
    values = initialize(build(config), jax.random.key(0))
    return {path: np.asarray(value) for path, value in traverse_util.flatten_dict(values, sep="/").items()}


# The formulas.


@pytest.mark.parametrize(
    "fields",
    [
        {"norm_position": "pre", "activation": "silu"},
        {"norm": "rms", "gated": True, "num_segments": 0},
        {"qk_norm": True, "positions": "rotary"},
        {"positions": "sinusoidal", "tied": False},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_bert_equals_its_formulas_under_each_switch(fields):
    config, batch = switched(BERT, **fields), text(BERT)
    inputs, _ = prepare(OBJECTIVES["masked"], batch)
    output, log_p = read(config, inputs, capture=("layers",))
    params = jax.tree.map(np.asarray, loud(config))
    for b in (0, 2):  # two documents; padding on both sides
        row, doc = jax.tree.map(lambda x, b=b: np.asarray(x)[b], inputs), batch.document[b]
        layers = oracle.bert(params, row, config, lambda i, j, doc=doc: doc[i] == doc[j] != 0)
        np.testing.assert_allclose(output.layers[:, b], layers, atol=1e-4)
        last = oracle.norm(layers[-1], params["final_norm"], 1e-12) if "final_norm" in params else layers[-1]
        head, table = params["head"], params.get("output", params["tokens"])["table"]
        x = oracle.ACTIVATIONS[config.activation](oracle.linear(last[row.predict], head["transform"]))
        logits = oracle.norm(x, head["norm"], 1e-12) @ table.T + head["bias"]
        np.testing.assert_allclose(log_p[b], jax.nn.log_softmax(logits), atol=2e-4)


def test_post_norm_gpt_is_the_first_gpt():
    config, batch = switched(GPT, norm_position="post"), text(GPT)
    inputs, _ = prepare(OBJECTIVES["causal"], batch)
    output, _ = read(config, inputs, capture=("layers",))
    row, doc = jax.tree.map(lambda x: np.asarray(x)[0], inputs), batch.document[0]
    params = jax.tree.map(np.asarray, loud(config))
    layers = oracle.gpt(params, row, config, lambda i, j: doc[i] == doc[j] != 0 and j <= i)
    np.testing.assert_allclose(output.layers[:, 0], layers, atol=1e-4)
    np.testing.assert_allclose(output.hidden[0], layers[-1][row.predict], atol=1e-4)
    kernels = [drawn(switched(config, model_dim=64))[f"layers/{name}/kernel"] for name in ("attention/out", "mlp/down")]
    np.testing.assert_allclose([kernel.std() for kernel in kernels], 0.02, rtol=0.05)


# The parameters.


NORMS = ("layers/attention_norm", "layers/mlp_norm")
PARAMETERS = [
    ("bert", {"norm": "rms"}, {f"{n}/bias" for n in (*NORMS, "norm", "head/norm")}, set()),
    ("gpt", {"norm": "rms"}, {f"{n}/bias" for n in (*NORMS, "norm")}, set()),
    ("xlnet", {"norm": "rms"}, {f"{n}/bias" for n in NORMS}, set()),
    ("bert", {"norm_position": "pre"}, set(), {"final_norm/scale", "final_norm/bias"}),
    ("gpt", {"norm_position": "post"}, {"norm/scale", "norm/bias"}, set()),
    ("xlnet", {"norm_position": "pre"}, set(), {"norm/scale", "norm/bias"}),
    ("bert", {"positions": "sinusoidal"}, {"positions/table"}, set()),
    ("gpt", {"positions": "rotary"}, {"positions/table"}, set()),
    ("bert", {"num_segments": 0}, {"segments/table"}, set()),
    ("xlnet", {"relative_segments": False}, {f"layers/attention/{n}" for n in ("segment", "segment_bias")}, set()),
    *((n, {"gated": True}, set(), {"layers/mlp/gate/kernel", "layers/mlp/gate/bias"}) for n in FAMILIES),
    *((n, {"qk_norm": True, "activation": "silu"}, set(), set()) for n in FAMILIES),
    *((n, {"tied": False}, set(), {"output/table"}) for n in FAMILIES),
]


@pytest.mark.parametrize(
    ("name", "fields", "gone", "new"),
    PARAMETERS,
    ids=[f"{name}-{'-'.join(fields)}" for name, fields, _, _ in PARAMETERS],
)
def test_a_switch_adds_and_removes_its_own_parameters_and_redraws_no_other(name, fields, gone, new):
    before, after = drawn(FAMILIES[name]), drawn(switched(FAMILIES[name], **fields))
    assert before.keys() - after.keys() == gone and after.keys() - before.keys() == new
    for path in before.keys() & after.keys():
        writes = "norm_position" in fields and path in ("layers/attention/out/kernel", "layers/mlp/down/kernel")
        factor = math.sqrt(2 * SIZE["num_layers"]) if writes and name == "gpt" else 1  # GPT-2's residual writers
        np.testing.assert_allclose(after[path], factor * before[path], rtol=1e-6 if factor != 1 else 0, err_msg=path)


# Norms.


def test_rms_ignores_the_scale_of_what_it_reads_and_layer_norm_its_shift_as_well():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 16)), jnp.float32)
    rms, _ = bound(RmsNorm(16, 1e-12))
    layer, _ = bound(LayerNorm(16, 1e-12))
    np.testing.assert_allclose(rms(5 * x), rms(x), atol=1e-5)
    np.testing.assert_allclose(layer(5 * x + 3), layer(x), atol=1e-5)
    assert np.abs(np.asarray(rms(x + 3) - rms(x))).max() > 0.1
    np.testing.assert_allclose(over_rms(jnp.array([[3.0, 4.0]]), 0.5), np.array([[3, 4]]) / math.sqrt(13), rtol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("position", ["pre", "post"])
def test_pre_norm_blocks_that_write_nothing_leave_what_they_read_as_it_is(name, position):
    config = switched(FAMILIES[name], norm_position=position)
    params = rescaled(loud(config), ("out", "down"), 0)
    inputs = given(np.arange(LENGTH), TOKENS, np.arange(LENGTH))
    output, _ = read(config, inputs, params=params, capture=("layers",))
    same = [np.array_equal(layer, output.layers[0]) for layer in output.layers]
    assert all(same) == (position == "pre")
    if position == "pre":
        last = {key: np.asarray(value) for key, value in params["final_norm" if name == "bert" else "norm"].items()}
        expected = oracle.norm(np.asarray(output.layers[0], np.float64), last, 1e-5 if name == "gpt" else 1e-12)
        np.testing.assert_allclose(output.hidden, expected, atol=1e-4)


@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_a_pre_norm_memory_keeps_what_layers_read_before_the_norm_and_equals_a_longer_window(norm):
    whole = switched(XLNET, norm=norm, norm_position="pre")
    config = switched(whole, memory_length=LENGTH, empty_memory="masked")
    tokens = np.concatenate([TOKENS, TOKENS[:, ::-1]], axis=1)
    first = given(np.arange(LENGTH), tokens[:, :LENGTH], [0])
    one, _ = read(config, first, capture=("layers",))
    np.testing.assert_array_equal(one.memory.hidden, one.layers[:-1])
    predict = np.array([0, 5, 11])
    two, _ = read(config, given(np.arange(LENGTH), tokens[:, LENGTH:], predict), one.memory)
    longer, _ = read(whole, given(np.arange(2 * LENGTH), tokens, predict + LENGTH))
    np.testing.assert_allclose(two.hidden, longer.hidden, atol=2e-4)


# The feed-forward block.


def test_a_gate_lets_through_what_its_activation_says():
    config = GptConfig(**SIZE, gated=True, activation="relu")
    module, params = bound(FeedForward(config, up=Normal(1.0), down=Normal(1.0), precision="float32"))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(1, 3, 16)), jnp.float32)
    host = jax.tree.map(np.asarray, params)
    gate = lambda bias: {"kernel": params["gate"]["kernel"] * 0, "bias": jnp.full((32,), bias)}  # noqa: E731
    through = lambda bias, x: nnx.merge(nnx.graphdef(module), {**params, "gate": gate(bias)})(x)  # noqa: E731
    np.testing.assert_array_equal(through(-1.0, x), np.broadcast_to(params["down"]["bias"], x.shape))
    straight = oracle.linear(oracle.linear(np.asarray(x), host["up"]), host["down"])
    np.testing.assert_allclose(through(1.0, x), straight, atol=1e-4)


def test_silu_has_its_numbers():
    np.testing.assert_allclose(
        ACTIVATIONS["silu"](jnp.array([-1.0, 0.0, 2.0])), [-0.26894142, 0, 1.76159416], atol=1e-6
    )


# Attention.


@pytest.mark.parametrize("name", ["gpt", "xlnet"])
def test_with_qk_norm_the_size_of_queries_and_keys_changes_nothing(name):
    """XLNet's u is added to a query of size 1, and so has a size of its own."""
    inputs = given(np.arange(LENGTH), TOKENS, np.arange(LENGTH))
    for qk_norm in (True, False):
        config = switched(FAMILIES[name], qk_norm=qk_norm)
        states = read(config, inputs)[0].hidden
        for part in ("query", "key", "content_bias") if name == "xlnet" else ("query", "key"):
            params = rescaled(loud(config), [part], 7)
            moved = np.abs(np.asarray(read(config, inputs, params=params)[0].hidden - states)).max()
            assert moved < 1e-3 if qk_norm and part != "content_bias" else moved > 0.1


def test_rotary_attention_knows_differences_of_positions_only():
    rotary = switched(GPT, positions="rotary")
    once, twice = np.tile(np.arange(LENGTH), (2, 1)), np.tile(2 * np.arange(LENGTH), (2, 1))
    np.testing.assert_allclose(shown(rotary, position=LATER), shown(rotary, position=once), atol=1e-3)
    assert np.abs(shown(rotary, position=twice) - shown(rotary, position=once)).max() > 0.1
    added = switched(GPT, positions="sinusoidal")
    assert np.abs(shown(added, position=LATER) - shown(added, position=once)).max() > 0.1


def test_sinusoids_are_sines_then_cosines_beside_embeddings_times_the_root_of_their_width():
    module, _ = bound(AbsolutePositions(switched(GPT, positions="sinusoidal"), Normal(1.0)))
    added = np.asarray(module(jnp.zeros((1, 3, 16)), jnp.array([[0, 1, 5000]])))[0]
    np.testing.assert_array_equal(added[0], [0] * 8 + [1] * 8)
    np.testing.assert_allclose(added[1], oracle.sinusoid(1, 16), atol=1e-6)
    np.testing.assert_allclose(added[2], oracle.sinusoid(5000, 16), atol=1e-3)
    ones = np.asarray(module(jnp.ones((1, 1, 16)), jnp.array([[0]])))[0, 0]
    np.testing.assert_allclose(ones, [4] * 8 + [5] * 8, rtol=1e-6)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
def test_only_a_learned_table_has_a_longest_window(positions):
    short, long = (GptConfig(**SIZE, positions=positions, max_length=n) for n in (LENGTH, LENGTH + 1))
    sizes = [{path: value.shape for path, value in drawn(config).items()} for config in (short, long)]
    assert (sizes[0] == sizes[1]) == (positions != "learned")
    experiment = dataclasses.replace(TINY.gpt(), model=short)
    if positions == "learned":
        with pytest.raises(InputError, match=rf"data.length={TINY.data.length}: exceeds model.max_length={LENGTH}"):
            check_fit(experiment)
    else:
        check_fit(experiment)
        assert np.isfinite(shown(short, position=LATER)).all()


# Embeddings and head.


@pytest.mark.parametrize("name", FAMILIES)
def test_an_untied_head_scores_against_its_own_table(name):
    inputs, tied = given(np.arange(LENGTH), TOKENS, [2, 7]), loud(FAMILIES[name])
    expected, untied = read(FAMILIES[name], inputs)[1], switched(FAMILIES[name], tied=False)
    for order in (np.arange(64), np.roll(np.arange(64), 5)):  # tokens that change places in the table of the head
        params = tied | {"output": {"table": tied["tokens"]["table"][order]}}
        params |= {"head": tied["head"] | {"bias": tied["head"]["bias"][order]}} if name == "bert" else {}
        params |= {"bias": tied["bias"][order]} if name == "xlnet" else {}
        np.testing.assert_allclose(read(untied, inputs, params=params)[1], expected[..., order], atol=1e-5)


def test_the_gradient_of_a_tied_table_is_the_sum_of_its_two_uses():
    tied, untied = GPT, switched(GPT, tied=False)
    inputs, params = given(np.arange(LENGTH), TOKENS, [2, 7]), loud(GPT)

    def gradient(config, params):
        graphdef = nnx.graphdef(build(config))

        def loss(params):
            model = nnx.merge(graphdef, params)
            return jax.nn.log_softmax(model.logits(model(inputs).hidden))[..., 7].mean()

        return jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)(params)

    one, together = gradient(tied, params)
    two, apart = gradient(untied, {**params, "output": params["tokens"]})
    np.testing.assert_allclose(one, two, rtol=1e-6)
    uses = [np.asarray(apart[part]["table"]) for part in ("tokens", "output")]
    assert all(np.abs(use).max() > 1e-3 for use in uses)
    np.testing.assert_allclose(together["tokens"]["table"], sum(uses), atol=1e-5)


@pytest.mark.parametrize(
    ("config", "without"), [(BERT, {"num_segments": 0}), (XLNET, {"relative_segments": False})], ids=["bert", "xlnet"]
)
def test_without_segments_they_make_no_difference(config, without):
    halves = {"segments": np.tile(np.arange(LENGTH) // 6, (2, 1)).astype(np.int32)}
    off = switched(config, **without)
    np.testing.assert_array_equal(shown(off, **halves), shown(off))
    assert np.abs(shown(config, **halves) - shown(config)).max() > 0.1


# What is refused, and what is counted.


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: GptConfig(num_heads=2, model_dim=6, positions="rotary"),
            "model.positions=rotary: .*num_heads=2 gives 3",
        ),
        (lambda: BertConfig(num_segments=-1), "model.num_segments=-1: must be at least 0"),
    ],
)
def test_a_switch_that_cannot_be_is_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


def test_pairs_are_refused_by_a_table_of_too_few_segments_and_not_by_a_model_without_one():
    def experiment(num_segments):
        model = BertConfig(**SIZE, max_length=64, num_segments=num_segments)
        data = dataclasses.replace(TINY.data, layout="pairs")
        return dataclasses.replace(TINY.bert(), model=model, data=data)

    with pytest.raises(InputError, match=r"model\.num_segments=1: pairs of data\.pair_format=bert have 2 segments"):
        check_fit(experiment(1))
    check_fit(experiment(0))
    check_fit(experiment(2))


def test_operations_are_counted_with_the_gate_and_without_the_segments():
    count = lambda config: forward_flops(config, 64, 2, 12, 4, query_stream=False)  # noqa: E731
    positions = 2 * 12 * SIZE["num_layers"]
    for config in FAMILIES.values():
        assert count(switched(config, gated=True)) - count(config) == positions * 2 * 16 * 32
        same = {"norm": "rms", "qk_norm": True, "tied": False, "norm_position": "pre"}
        assert count(switched(config, **same)) == count(config)
    assert count(XLNET) - count(switched(XLNET, relative_segments=False)) == positions * 2 * 2 * 16


def test_the_modern_models_turn_every_switch_that_models_share():
    shared = {field.name for field in dataclasses.fields(GptConfig)} & {f.name for f in dataclasses.fields(XlnetConfig)}
    for name in ("gpt_modern", "xlnet_modern"):
        plain = type(MODELS[name])()
        left = {f for f in shared - SIZE.keys() if getattr(MODELS[name], f) == getattr(plain, f)}
        assert left <= {"initializer_range", *({"norm_position"} if name == "gpt_modern" else ())}
    assert set(MODERN) <= shared
