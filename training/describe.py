"""What a run is about to do, in words and numbers, before it does it."""

import time
from typing import Any

import jax

from data.report import DataReport, describe_data
from models.flops import training_flops
from training.build import Run
from training.corruption import measured_corruption
from training.keys import named_key
from training.sharding import place_batch
from training.state import TrainState, abstract_state, init_state, num_parameters


def describe(run: Run) -> str:
    """The data report and the size of the model, one fact a line."""
    return "\n".join([f"corpus: {run.prepared.description}", str(data_report(run)), model_line(run)])


def data_report(run: Run) -> DataReport:
    """What the run will read, with a warning wherever that would mislead."""
    experiment = run.experiment
    corruption = measured_corruption(experiment.objective, run.train, run.vocab, seed=experiment.seed)
    return describe_data(
        experiment.data,
        run.prepared.splits,
        run.train,
        run.vocab,
        total_steps=experiment.optimizer.total_steps,
        corruption=corruption,
    )


def model_line(run: Run) -> str:
    """Parameters and floating-point operations of one step."""
    experiment, state = run.experiment, abstract(run)
    inputs = jax.eval_shape(
        lambda batch: experiment.objective.prepare(batch, run.vocab, named_key(0, "corruption"))[0], run.train.batch(0)
    )
    flops = training_flops(
        experiment.model,
        run.vocab.size,
        experiment.data.batch_size,
        experiment.data.length,
        inputs.predict.shape[1],
        query_stream=inputs.query_stream,
    )
    return (
        f"model: {type(run.model).__name__}, {num_parameters(state.params):,} parameters; one step: "
        f"{flops / 1e9:,.1f} GFLOP, {experiment.data.batch_size * experiment.data.length:,} positions"
    )


def abstract(run: Run) -> TrainState:
    """Shapes and types of the run's state."""
    batch_size, seed = run.experiment.data.batch_size, run.experiment.seed
    return jax.eval_shape(lambda: init_state(run.model, run.optimizer, batch_size, seed))


def rehearse(run: Run, params: Any = None) -> str:
    """Compiles the step and runs it twice, the second time against the clock: its loss, its time, its memory.

    It starts from `params`, or from the seed, as the run would.
    """
    experiment = run.experiment
    batch = place_batch(run.train.batch(0), run.mesh)
    began = time.monotonic()
    shapes = abstract_state(run.model, run.optimizer, experiment.data.batch_size, run.mesh)
    compiled = run.train_step().lower(shapes, batch, experiment.seed).compile()
    compiling = time.monotonic() - began
    state = run.programs().start(experiment.seed if params is None else params)
    state, record = jax.block_until_ready(compiled(state, batch, experiment.seed))
    began = time.monotonic()
    jax.block_until_ready(compiled(state, batch, experiment.seed))
    seconds = time.monotonic() - began
    memory, loss = compiled.memory_analysis(), record["loss"].value()
    kept, temporary = memory.argument_size_in_bytes / 2**20, memory.temp_size_in_bytes / 2**20
    sizes = f"{kept:,.0f} MiB of state and batch, {temporary:,.0f} MiB of temporaries"
    total = experiment.optimizer.total_steps
    return (
        f"first step: loss {loss:.3f}, {compiling:.1f} s of compiling, then {seconds:.2f} s a step; {sizes}\n"
        f"the whole run: {total:,} steps, {total * experiment.data.batch_size * experiment.data.length:,} positions, "
        f"about {total * seconds / 60:,.1f} minutes on this device"
    )
