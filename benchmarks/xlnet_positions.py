"""Measures both forms of XLNet's distances side by side, and prints a table in Markdown.

python -m benchmarks.xlnet_positions --repeats=20
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from flax import nnx

from batch import Batch, Inputs
from benchmarks.timing import VOCAB, Timed, conditions, interleaved, quartiles
from configs.shared import MINI, TINY
from models import XlnetConfig, build_model
from models.parameters import initialize
from models.visibility import every_row
from models.xlnet import Xlnet
from objectives import PermutationLm
from training.config import Experiment
from training.optimizer import make_optimizer
from training.state import init_state
from training.step import make_train_step

WHAT = flags.DEFINE_enum("what", "all", ["all", "layer", "step"], "one attention layer, or whole training steps")

Form = Literal["shift", "factored"]
FORMS: tuple[Form, ...] = ("shift", "factored")
NO_DROPOUT: dict[str, Any] = {"dropout_rate": 0.0, "attention_dropout_rate": 0.0}


@dataclasses.dataclass(frozen=True)
class Size:
    """A batch of B rows of L tokens and P query rows, a memory of M, a width of D in H heads."""

    rows: int
    length: int
    memory: int
    predict: int
    dim: int
    heads: int


LAYERS = (
    Size(32, 64, 32, 11, 128, 4),  # tiny
    Size(32, 64, 0, 0, 128, 4),
    Size(8, 128, 64, 21, 256, 4),  # mini
    Size(4, 256, 128, 43, 512, 8),  # small
    Size(4, 64, 640, 0, 512, 8),  # a short window with a long memory, as Transformer-XL is evaluated
    Size(1, 512, 384, 85, 768, 12),  # base
)
STEPS = {"tiny": TINY, "mini": MINI}


def layer(size: Size, form: Form) -> Timed:
    """Forward and backward pass of one attention layer on random rows that all see each other."""
    trunk: dict[str, Any] = {"num_layers": 1, "num_heads": size.heads, "model_dim": size.dim, "mlp_dim": size.dim}
    config = XlnetConfig(**trunk, **NO_DROPOUT, memory_length=size.memory, distance_form=form)
    model, inputs = build_model(config, VOCAB.size), inputs_of(size)
    assert isinstance(model, Xlnet)
    params = jax.tree.map(lambda x: x[0], initialize(model, jax.random.key(0))["layers"]["attention"])
    graphdef, memory, rows = nnx.graphdef(model.layers.attention), model.init_memory(size.rows), every_row(inputs)
    rows = jnp.concatenate([rows, inputs.predict], axis=1) if inputs.query_stream else rows

    def loss(params, x, context):
        view = model.view(inputs, rows, memory, None)
        return jnp.sin(nnx.merge(graphdef, params)(x, context, view)[0]).sum()

    rng = np.random.default_rng(0)
    draw = lambda count: jnp.asarray(rng.normal(size=(size.rows, count, size.dim)), jnp.float32)  # noqa: E731
    x, context = draw(rows.shape[1]), draw(size.memory + size.length)
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    return lambda: gradient(params, x, context)


def inputs_of(size: Size) -> Inputs:
    """What a view of random rows needs to know."""
    rng, shape = np.random.default_rng(0), (size.rows, size.length)
    predict = jnp.asarray(rng.integers(0, size.length, (size.rows, max(size.predict, 1))), jnp.int32)
    return Inputs(
        tokens=jnp.zeros(shape, jnp.int32),
        segments=jnp.asarray(rng.integers(0, 2, shape), jnp.int32),
        document=jnp.ones(shape, jnp.int32),
        position=jnp.zeros(shape, jnp.int32),
        order=jnp.zeros(shape, jnp.int32),
        predict=predict,
        blind=jnp.ones(size.rows, bool),
        summary=jnp.zeros(size.rows, jnp.int32),
        query_stream=size.predict > 0,
    )


def step(experiment: Experiment, form: Form) -> Timed:
    """One training step of the whole model, without dropout, on one random batch."""
    e = experiment
    config = dataclasses.replace(e.model, **NO_DROPOUT, distance_form=form)
    model, optimizer = build_model(config, VOCAB.size), make_optimizer(e.optimizer)
    batch = random_batch(e.data.batch_size, e.data.length)
    state = init_state(model, optimizer, e.data.batch_size, 0)
    train_step = make_train_step(model, PermutationLm(), VOCAB, optimizer)

    def run() -> Any:
        nonlocal state
        state, record = train_step(state, batch, 0)  # the step consumes the state
        return record

    return run


def random_batch(rows: int, length: int) -> Batch:
    """One document in each row, every token a word."""
    tokens = np.random.default_rng(0).integers(4, VOCAB.size, (rows, length)).astype(np.int32)
    zeros = np.zeros(rows, np.int32)
    return Batch(
        tokens=tokens,
        segments=np.zeros_like(tokens),
        document=np.ones_like(tokens),
        word=np.broadcast_to(np.arange(length, dtype=np.int32), tokens.shape),
        example=np.arange(rows, dtype=np.int32),
        epoch=zeros,
        fresh=np.zeros(rows, bool),
        summary=zeros,
    )


def compare(runs: dict[Form, Timed]) -> str:
    """Median milliseconds of each form, and the quartiles of their ratio over the repeats."""
    times = interleaved([runs[form] for form in FORMS])
    shift, factored = 1000 * np.median(times, axis=0)
    return f"{shift:.1f} | {factored:.1f} | {quartiles(times[:, 1] / times[:, 0])}"


def main(_: list[str]) -> None:
    print(f"{conditions()}\n")
    print("| what | B | L | M | P | D | H | shift, ms | factored, ms | factored / shift, median (quartiles) |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    if WHAT.value in ("all", "layer"):
        for size in LAYERS:
            shape = " | ".join(map(str, (size.rows, size.length, size.memory, size.predict, size.dim, size.heads)))
            result = compare({form: layer(size, form) for form in FORMS})
            print(f"| one layer | {shape} | {result} |", flush=True)
    if WHAT.value in ("all", "step"):
        for name, shared in STEPS.items():
            e = shared.xlnet()
            predict = sum(count for _, count in PermutationLm().halves(e.data.length))
            sizes = (e.data.batch_size, e.data.length, e.model.memory_length, predict)
            shape = " | ".join(map(str, (*sizes, e.model.model_dim, e.model.num_heads)))
            result = compare({form: step(e, form) for form in FORMS})
            print(f"| training step, {name} | {shape} | {result} |", flush=True)


if __name__ == "__main__":
    app.run(main)
