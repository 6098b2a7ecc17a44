"""What arms spend, and how many steps make them spend alike."""

import dataclasses
import math
import time
from collections.abc import Mapping

import jax
import numpy as np

from ablation.suite import Matching
from batch import InputError
from models.flops import training_flops
from objectives import Staged
from training.build import Run
from training.config import Experiment
from training.keys import named_key

TOLERANCE = 0.02
"""Of a budget: an arm that cannot spend it to within so much is not compared."""

BATCHES = 64
"""Batches whose targets are counted, of the whole run."""

ROUNDS, TIMED = 3, 5
"""A step is timed so many times in a round, in which every arm has its turn: what slows the machine, slows all."""

CADENCE = ("eval_every", "save_every")


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one step spends, on average."""

    tokens: float  # read; padding is not counted
    predicted: float  # with a loss
    flops: float
    seconds: float = math.nan  # NaN: not measured

    def of(self, matching: Matching) -> float:
        return {"tokens": self.tokens, "predicted": self.predicted, "flops": self.flops, "walltime": self.seconds}[
            matching
        ]


def step_cost(run: Run) -> Cost:
    """Tokens and targets counted over some batches, operations by formula."""
    experiment, key = run.experiment, named_key(run.experiment.seed, "corruption")
    objective, data = experiment.objective, experiment.data
    prepared = jax.jit(lambda batch: objective.prepare(batch, run.vocab, key))
    total = experiment.optimizer.total_steps
    steps = np.linspace(0, total - 1, min(BATCHES, total)).astype(int)  # evenly, as objectives may change on the way
    batches = [run.train.batch(step) for step in steps.tolist()]
    predicted = [float((prepared(batch)[1].weights > 0).sum()) for batch in batches]
    inputs = jax.eval_shape(lambda batch: objective.prepare(batch, run.vocab, key)[0], batches[0])
    flops = training_flops(
        experiment.model,
        run.vocab.size,
        data.batch_size,
        data.length,
        inputs.predict.shape[1],
        query_stream=inputs.query_stream,
    )
    tokens = [float(np.count_nonzero(batch.document)) for batch in batches]
    return Cost(float(np.mean(tokens)), float(np.mean(predicted)), float(flops))


def timed(runs: Mapping[str, Run]) -> dict[str, float]:
    """Seconds of a step of each run on this device, the median over turns."""
    turns: dict[str, list[float]] = {name: [] for name in runs}
    ready = {}
    for name, run in runs.items():
        programs, batch, seed = run.programs(), jax.device_put(run.train.batch(0)), run.experiment.seed
        ready[name] = [programs.step, programs.step(programs.start(seed), batch, seed)[0], batch, seed]
    for _ in range(ROUNDS):
        for name, (step, state, batch, seed) in ready.items():
            jax.block_until_ready(state.step)
            began = time.perf_counter()
            for _ in range(TIMED):
                state, _ = step(state, batch, seed)
            jax.block_until_ready(state.step)
            turns[name].append((time.perf_counter() - began) / TIMED)
            ready[name][1] = state
    return {name: float(np.median(seconds)) for name, seconds in turns.items()}


def matched_steps(
    costs: Mapping[str, Cost], references: Mapping[str, str], steps: Mapping[str, int], matching: Matching
) -> dict[str, int]:
    """How many steps each arm takes to spend what its reference spends in its own `steps`.

    Raises InputError where an arm cannot, as its steps are too large.
    """
    found = {}
    for arm, cost in costs.items():
        own = steps[references[arm]]
        budget = own * costs[references[arm]].of(matching)
        if not cost.of(matching) > 0:
            raise InputError(f"--match={matching}: the arm {arm} spends none of it; match by something else.")
        found[arm] = max(1, round(budget / cost.of(matching)))
        share = found[arm] * cost.of(matching) / budget
        if abs(share - 1) > TOLERANCE:
            raise InputError(
                f"--match={matching}: the arm {arm} would spend {share:.1%} of the budget in {found[arm]} steps; train "
                f"for more than optimizer.total_steps={own}, or match by something else."
            )
    return found


def rescheduled(experiment: Experiment, steps: int) -> Experiment:
    """The experiment over another number of steps: warm-up, decay, stages and evaluations keep their share of it."""
    optimizer, training = experiment.optimizer, experiment.training
    if steps == optimizer.total_steps:
        return experiment

    def scaled(number: int) -> int:
        return max(1, round(number * steps / optimizer.total_steps)) if number else 0

    decay = min(scaled(optimizer.decay_steps), steps)
    warmup = min(scaled(optimizer.warmup_steps), steps - (decay if optimizer.schedule == "wsd" else 0))
    changes = {"total_steps": steps, "warmup_steps": warmup, "decay_steps": decay}
    cadence = {name: _cadence(getattr(training, name), optimizer.total_steps, steps) for name in CADENCE}
    objective = experiment.objective
    if isinstance(objective, Staged):
        objective = dataclasses.replace(objective, until=tuple(map(scaled, objective.until)))
    return dataclasses.replace(
        experiment,
        objective=objective,
        optimizer=dataclasses.replace(optimizer, **changes),
        training=dataclasses.replace(training, **cadence),
    )


def _cadence(every: int, before: int, after: int) -> int:
    """As many times in the new number of steps as in the old, the last one at the end."""
    return -(-after // max(1, round(before / every)))


def check_parameters(sizes: Mapping[str, int], most: float = 0.01) -> None:
    """Raises InputError where arms of a matched comparison differ by more than `most` in parameters."""
    small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    more = (sizes[large] - sizes[small]) / sizes[small]
    if more > most:
        raise InputError(
            f"arm {large}: has {sizes[large]:,} parameters and {small} {sizes[small]:,}, {more:.1%} more; in a matched "
            f"comparison they agree to within {most:.0%}: change a width, or set mode='canonical'."
        )
