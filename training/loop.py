"""The only loop: batches in, checkpoints and records out. It waits for the device as late as it can."""

import contextlib
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

from batch import Batch, InputError, Mean
from data.batches import digest
from training.checkpoint import Checkpoints
from training.interrupt import Interrupt, Interrupted
from training.ledger import SPENT, Ledger, Read
from training.lock import locked
from training.metrics import Records, read_records
from training.optimizer import learning_rate
from training.prefetch import prefetch
from training.processes import Silent, is_first
from training.progress import Part, Progress
from training.sharding import place_batch
from training.state import TrainState, abstract_state
from training.step import Record
from training.trainable import Programs, Trainable
from training.workdir import claim


@dataclasses.dataclass(frozen=True)
class Result:
    """How a run ended."""

    state: TrainState
    held_out: dict[str, float]  # after the last step
    tokens: int  # consumed since the run began, padding not counted
    predicted: int  # targets since the run began
    tokens_per_second: float  # of this execution, compilation and evaluations left out; 0 before it can be told


class Diverged(InputError):
    """The loss, the gradient or the parameters are no longer numbers; `found` says at which step and which of them."""

    def __init__(self, found: str, remedy: str):
        super().__init__(f"{found}; {remedy}")
        self.found = found


def train(
    run: Trainable,
    workdir: Path,
    *,
    params: Any = None,
    before_step: Callable[[int], None] = lambda step: None,
    programs: Programs | None = None,
    progress: Part | None = None,
) -> Result:
    """Trains until `optimizer.total_steps`, from the newest checkpoint in `workdir` or else from `params` or the seed.

    Step n is the state after n updates. Every `eval_every` steps, and at the end, what the run measures on held-out
    data is measured, and with it, and every `save_every` steps, a checkpoint is written: the best one is the one with
    the least value of the name that the run says. With `training.patience` a run ends after as many evaluations in
    turn of which none was better than the best. `before_step` is called with the number of updates made so far.
    `programs` are those of a run that differs in its seed alone, compiled there; `progress` is told of the steps
    instead of a line of this run's own. Raises Diverged at the first step whose loss, gradient or new parameters are
    not finite; its state is not saved. With `training.on_nonfinite=skip` a step whose loss or gradient is not finite
    changes nothing but its number, and is counted. Asked by a signal to stop, it finishes its step, saves and raises
    Interrupted; an evaluation that has begun is finished too.
    """
    programs = programs or run.programs()
    total = run.experiment.optimizer.total_steps
    line = contextlib.nullcontext(progress) if progress else Progress(total, workdir.name)
    line = line if is_first() else Silent()
    with Interrupt() as interrupt:
        with line as shown, locked(workdir, shown.warn), checkpoints_of(run, workdir) as checkpoints:
            claim(workdir, run.experiment, run.prepared)
            state, start = starting_state(run, checkpoints, params, programs, shown.warn)
            with Records(workdir, start) if is_first() else Silent() as records:
                if start:
                    shown.note(f"{workdir}: resumed at step {start}")
                ledger = counted_until(workdir, checkpoints, start)
                loop = _Loop(run, programs, checkpoints, records, shown, ledger, interrupt)
                result = loop.go(state, start, before_step)
        if interrupt.asked(total):  # in the last step, or after it
            raise interrupted(workdir, total, total)
    return result


def checkpoints_of(run: Trainable, workdir: Path) -> Checkpoints:
    """The folder's checkpoints, as the run keeps them."""
    return Checkpoints(workdir, keep=run.experiment.training.keep, least=run.least)


def starting_state(
    run: Trainable, checkpoints: Checkpoints, params: Any, programs: Programs, report: Callable[[str], None]
) -> tuple[TrainState, int]:
    """The state to go on from, and its step."""
    batch_size = run.experiment.data.batch_size
    if checkpoints.latest is None:
        return programs.start(run.experiment.seed if params is None else params), 0
    step, state = checkpoints.restore_newest(abstract_state(run.model, run.optimizer, batch_size, run.mesh), report)
    return state, step


def counted_until(workdir: Path, checkpoints: Checkpoints, start: int) -> Ledger:
    """What was spent until the step that a run goes on from.

    A checkpoint from before they were told has a record of its step instead.
    """
    spent = checkpoints.metrics(start) if start else {}
    if start and "tokens" not in spent:
        records = [record for record in read_records(workdir) if "tokens" in record and record["step"] <= start]
        spent = records[-1] if records else {}
    return Ledger.of(spent)


def interrupted(workdir: Path, step: int, total: int) -> Interrupted:
    """What to say of a run that was asked to stop."""
    return Interrupted(f"{workdir}: stopped after step {step} of {total}" + (", which is saved" if step else ""))


class _Loop:
    """One execution of `train`."""

    def __init__(
        self,
        run: Trainable,
        programs: Programs,
        checkpoints: Checkpoints,
        records: Records | Silent,
        progress: Progress | Part | Silent,
        ledger: Ledger,
        interrupt: Interrupt,
    ):
        experiment = run.experiment
        self.run, self.programs, self.config = run, programs, experiment.training
        self.optimizer, self.total = experiment.optimizer, experiment.optimizer.total_steps
        self.checkpoints, self.records, self.progress, self.ledger = checkpoints, records, progress, ledger
        self.step, self.interrupt = programs.step, interrupt

    def go(self, state: TrainState, start: int, before_step: Callable[[int], None]) -> Result:
        values: dict[str, float] = {}
        pending: tuple[int, Read, Record] | None = None
        steps = range(start, start if self.gives_up(start) else self.total)
        with contextlib.closing(prefetch(self.read, steps)) as batches:
            for done, (batch, read) in enumerate(batches, start):
                if self.interrupt.asked(done):
                    self.leave(done, state, pending)
                before_step(done)
                state, record = self.step(state, batch, self.run.experiment.seed)
                if pending:
                    self.account(*pending)  # of the step before: the device is already busy with this one
                pending = done + 1, read, record
                if self.saves(done + 1):
                    self.account(*pending)
                    pending = None
                    values = self.milestone(done + 1, state)
                    if self.gives_up(done + 1):
                        break
        values = values or self.evaluate(state)  # resumed after its last step
        ledger = self.ledger
        return Result(state, values, ledger.tokens, ledger.predicted, ledger.tokens_per_second)

    def read(self, step: int) -> tuple[Batch, Read]:
        """A batch on the device, and what is known of its tokens. Runs in the data thread."""
        batch = self.run.train.batch(step)
        return place_batch(batch, self.run.mesh), Read(digest(batch), int(np.count_nonzero(batch.document)))

    def evaluates(self, step: int) -> bool:
        return step % self.config.eval_every == 0 or step == self.total

    def saves(self, step: int) -> bool:
        return self.evaluates(step) or step % self.config.save_every == 0

    def gives_up(self, step: int) -> bool:
        """Whether the last `patience` evaluations until this step were all no better than the best before them.

        It follows from the checkpoints alone, so that a run that is resumed ends where it would have ended.
        """
        if not self.config.patience or not step:
            return False
        self.checkpoints.wait()
        best, every = self.checkpoints.best, self.config.eval_every
        return best is not None and step // every - best // every >= self.config.patience

    def account(self, step: int, read: Read, record: Record) -> None:
        """Waits for a step's numbers, counts them and, where a record is due, writes it."""
        fetched = jax.device_get(record)
        values = {name: mean.value() if isinstance(mean, Mean) else float(mean) for name, mean in fetched.items()}
        skipped = bool(values.pop("skipped", 0.0))
        self.ledger.add(read, int(values.pop("targets")), skipped)
        finite = {name: math.isfinite(values[name]) for name in ("loss", "gradient_norm", "parameter_norm")}
        finite["loss"] |= not fetched["loss"].weight  # without targets there is no loss
        if skipped:
            finite |= dict.fromkeys(("loss", "gradient_norm"), True)
        if not all(finite.values()):
            raise self.divergence(step, {name: values[name] for name in finite if not finite[name]})
        told = {name: getattr(self.ledger, name) for name in ("tokens_per_second", "skipped")}
        self.progress.update(step, loss=values["loss"], **{name: value for name, value in told.items() if value})
        if step % self.config.log_every == 0 or step == 1 or self.saves(step):
            counted = SPENT if self.config.on_nonfinite == "skip" else SPENT[:-1]
            spent = {name: getattr(self.ledger, name) for name in counted}
            rate = {"learning_rate": float(learning_rate(self.optimizer, step - 1))}
            clock = {"seconds": self.ledger.seconds, "tokens_per_second": self.ledger.tokens_per_second}
            self.records.write(step, {**values, **rate, **spent, **clock})

    def divergence(self, step: int, values: dict[str, float]) -> Diverged:
        self.checkpoints.wait()
        latest, found = self.checkpoints.latest, ", ".join(f"{name}={value}" for name, value in values.items())
        kept = "no checkpoint was written before it" if latest is None else f"the checkpoint of step {latest} is kept"
        return Diverged(
            f"step {step}: not finite any more ({found})",
            f"{kept}; lower optimizer.peak_rate={self.optimizer.peak_rate}, warm up longer, or clip, in a new workdir.",
        )

    def milestone(self, step: int, state: TrainState) -> dict[str, float]:
        """Evaluates if it is time, then saves. The record comes first, so that no checkpoint is without its record."""
        values = self.evaluate(state) if self.evaluates(step) else {}
        if values:
            self.records.write(step, values, split="validation")
            self.progress.note(f"{self.checkpoints.folder.parent.name}: step {step}, {self.run.note(values)}")
        self.checkpoints.save(step, state, {**values, **self.ledger.spent})
        self.ledger.since = None
        return values

    def leave(self, step: int, state: TrainState, pending: tuple[int, Read, Record] | None) -> NoReturn:
        """Saves, where a step came after the last save. A record is written where one is due, and nowhere else."""
        if pending:
            self.account(*pending)
            self.checkpoints.save(step, state, self.ledger.spent)
        raise interrupted(self.checkpoints.folder.parent, step, self.total)

    def evaluate(self, state: TrainState) -> dict[str, float]:
        return self.run.measure(self.programs, state.params)
