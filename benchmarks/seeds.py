"""Measures one step of several seeds at once against one after the other, and prints a table in Markdown.

JAX_PLATFORMS=cpu python -m benchmarks.seeds --repeats=10

Seeds of an arm differ in nothing but their numbers, so that `vmap` makes one program of them. Whether that is faster is
a matter of the device: a product whose weights have a seed's axis is many small products.
"""

import dataclasses

import jax
import numpy as np
from absl import app

from batch import Batch
from benchmarks.timing import VOCAB, conditions, interleaved, quartiles
from configs.shared import MINI, TINY, Size, trunk
from models import build_model
from training.config import Experiment
from training.optimizer import make_optimizer
from training.state import make_start
from training.step import make_train_step

SEEDS, STEPS = 8, 4
"""Seeds of an arm, and steps of a timing."""

MICRO = dataclasses.replace(
    TINY,
    trunk=trunk(2, 2, 32, dropout=0.0, initializer_range=0.1),
    data=dataclasses.replace(TINY.data, length=32, batch_size=32),
)
SIZES: dict[str, Size] = {"micro": MICRO, "tiny": TINY, "mini": MINI}


def random_batch(experiment: Experiment, seed: int) -> Batch:
    """A batch of random text."""
    data, rng = experiment.data, np.random.default_rng(seed)
    shape = (data.batch_size, data.length)
    rows = np.arange(data.batch_size, dtype=np.int32)
    return Batch(
        tokens=rng.integers(4, VOCAB.size, shape).astype(np.int32),
        segments=np.zeros(shape, np.int32),
        document=np.ones(shape, np.int32),
        word=np.broadcast_to(np.arange(data.length, dtype=np.int32), shape),
        example=rows,
        epoch=np.zeros_like(rows),
        fresh=np.zeros(data.batch_size, bool),
        summary=np.zeros_like(rows),
    )


def compare(experiment: Experiment) -> str:
    """Milliseconds of a step of all seeds, one after the other and at once, and the quartiles of their ratio."""
    model = build_model(experiment.model, VOCAB.size, precision=experiment.precision, remat=experiment.remat)
    optimizer = make_optimizer(experiment.optimizer)
    step = make_train_step(model, experiment.objective, VOCAB, optimizer)
    start = make_start(model, optimizer, experiment.data.batch_size)
    batches = [jax.device_put(random_batch(experiment, seed)) for seed in range(SEEDS)]
    numbers, batch = np.arange(SEEDS), jax.tree.map(lambda *rows: np.stack(rows), *batches)
    together = jax.jit(jax.vmap(step), donate_argnums=0)
    states, whole = [start(seed) for seed in range(SEEDS)], [jax.vmap(start)(numbers)]

    def in_turn() -> list[jax.Array]:
        for _ in range(STEPS):
            for seed in range(SEEDS):
                states[seed], _ = step(states[seed], batches[seed], seed)
        return [state.step for state in states]

    def at_once() -> jax.Array:
        for _ in range(STEPS):
            whole[0], _ = together(whole[0], batch, numbers)
        return whole[0].step

    times = interleaved([in_turn, at_once])
    one, other = 1000 * np.median(times, axis=0) / STEPS
    return f"{one:,.0f} | {other:,.0f} | {quartiles(times[:, 0] / times[:, 1])}"


def main(_: list[str]) -> None:
    print(f"{conditions()}\n")
    print(f"| model | B | L | D | {SEEDS} seeds in turn, ms | at once, ms | in turn / at once, median (quartiles) |")
    print("|---|---|---|---|---|---|---|")
    for name, size in SIZES.items():
        for model in ("bert", "gpt", "xlnet"):
            experiment = getattr(size, model)()
            shape = f"{experiment.data.batch_size} | {experiment.data.length} | {experiment.model.model_dim}"
            print(f"| {model} {name} | {shape} | {compare(experiment)} |", flush=True)


if __name__ == "__main__":
    app.run(main)
