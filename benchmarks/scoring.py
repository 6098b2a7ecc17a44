"""Measures the likelihood of a text against the forward passes that it needs at least, and prints a table in Markdown.

python -m benchmarks.scoring --repeats=20

A causal or a permutation model scores every token of a block in one pass. Beyond the pass itself there are the
normalization over the vocabulary, the way of the blocks to the device and back, and the bookkeeping.
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import app
from flax import nnx

from batch import Inputs
from benchmarks.timing import VOCAB, Timed, conditions, interleaved, quartiles
from configs.shared import MINI, TINY
from evaluation.blocks import Blocks
from evaluation.likelihood import Options, left_to_right
from evaluation.passes import Subject
from models import build_model
from models.parameters import initialize
from training.config import Experiment

ROWS, PASSES = 64, 8
"""Blocks of a pass, and passes of a timing."""
SIZES = {"tiny": TINY, "mini": MINI}


def subject_of(experiment: Experiment) -> Subject:
    """The experiment's model with its initial weights."""
    model = build_model(experiment.model, VOCAB.size, precision=experiment.precision)
    params = jax.jit(lambda key: initialize(model, key))(jax.random.key(0))
    return Subject(experiment.model, model, params, experiment.objective, VOCAB)


def random_blocks(length: int) -> Blocks:
    """Full blocks of random text."""
    rng, shape = np.random.default_rng(0), (ROWS * PASSES, length)
    tokens = rng.integers(4, VOCAB.size, shape).astype(np.int32)
    tokens[:, 0] = VOCAB.cls or 0
    source = np.arange(tokens.size, dtype=np.int64).reshape(shape)
    source[:, 0] = -1
    return Blocks(
        tokens=tokens,
        source=source,
        scored=source >= 0,
        byte_length=(source >= 0).astype(np.int32),
        word=source,
        document=np.arange(len(tokens)),
        fresh=np.ones(len(tokens), bool),
    )


def forward(subject: Subject, blocks: Blocks) -> Timed:
    """The same passes up to the logits, on tokens that are on the device already."""
    graphdef, blind = nnx.graphdef(subject.model), subject.any_order
    place = jnp.broadcast_to(jnp.arange(blocks.length)[None], (ROWS, blocks.length))
    predict = place[:, 1:] - (0 if blind else 1)

    @jax.jit
    def logits(params, tokens):
        inputs = Inputs(
            tokens=tokens,
            segments=jnp.zeros_like(tokens),
            document=jnp.ones_like(tokens),
            position=place,
            order=place,
            predict=predict,
            blind=jnp.full(ROWS, blind),
            summary=jnp.zeros(ROWS, jnp.int32),
            query_stream=blind,
        )
        model = nnx.merge(graphdef, params)
        return model.logits(model(inputs).hidden)

    parts = [jnp.asarray(part) for part in np.split(blocks.tokens, PASSES)]

    def run() -> list[jax.Array]:
        return [jax.block_until_ready(logits(subject.params, part)) for part in parts]

    return run


def compare(experiment: Experiment) -> str:
    """Tokens a second of both, and the quartiles of their ratio."""
    subject, blocks = subject_of(experiment), random_blocks(experiment.data.length)
    score = lambda: left_to_right(subject, blocks, Options(batch=ROWS)).tokens.log_p  # noqa: E731
    times = interleaved([forward(subject, blocks), score])
    passed, scored = blocks.tokens.size / np.median(times, axis=0)
    return f"{passed:,.0f} | {scored:,.0f} | {quartiles(times[:, 0] / times[:, 1])}"


def main(_: list[str]) -> None:
    print(f"{conditions()}\n")
    print("| model | B | L | D | forward, tokens/s | likelihood, tokens/s | likelihood / forward, median (quartiles) |")
    print("|---|---|---|---|---|---|---|")
    for name, size in SIZES.items():
        for model in ("gpt", "xlnet"):
            experiment = getattr(size, model)()
            shape = f"{ROWS} | {experiment.data.length} | {experiment.model.model_dim}"
            print(f"| {model} {name} | {shape} | {compare(experiment)} |", flush=True)


if __name__ == "__main__":
    app.run(main)
