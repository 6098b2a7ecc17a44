"""The plan of a suite: everything that can be known, and refused, before anything is trained."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path

from ablation.budget import Cost, check_parameters, matched_steps, step_cost, timed
from ablation.collect import Condition, references, text_of
from ablation.results import Tuning
from ablation.suite import Matching, Suite, check
from ablation.trials import Report, Trial, check_slugs, open_trial, trial
from batch import InputError
from models.parameters import abstract_params
from training.build import Run
from training.config import Experiment
from training.metrics import read_records
from training.state import num_parameters

TIMES = "seconds.json"
"""Seconds of a step of each arm, measured once: a suite that goes on keeps the steps that follow from them."""

BEST = "own best rates"


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A suite in a folder, with what its arms need and spend."""

    suite: Suite
    workdir: Path
    experiments: Mapping[str, Experiment]
    runs: Mapping[str, Run]  # of the first seed
    costs: Mapping[str, Cost]  # of a step
    steps: Mapping[Matching, Mapping[str, int]]
    learned: Mapping[str, Mapping[str, int]]  # steps of fine-tuning that a trial of each arm is asked by, by metric

    @property
    def reference(self) -> str:
        return self.suite.reference or next(iter(self.suite.arms))

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(range(self.suite.base.seed, self.suite.base.seed + self.suite.seeds))

    @property
    def trials(self) -> list[Trial]:
        """All that is known to be trained before rates are tuned; one that serves two matchings is named once."""
        conditions = [each for condition in self.conditions() for own in condition.trials.values() for each in own]
        return list(dict.fromkeys([*(each for own in self.tuning().values() for each in own.values()), *conditions]))

    def tuning(self) -> dict[str, dict[float, Trial]]:
        """The first seed of each arm at each rate, the shared one included; nothing where there is nothing to tune."""
        if not self.suite.rates:
            return {}
        steps = self.steps[self.suite.match[0]]
        rates = {arm: sorted({*self.suite.rates, own.optimizer.peak_rate}) for arm, own in self.experiments.items()}
        return {
            arm: {rate: trial(self.workdir, arm, own, steps[arm], self.seeds[0], rate) for rate in rates[arm]}
            for arm, own in self.experiments.items()
        }

    def tuned(self) -> list[Tuning]:
        """What each rate gave each arm, by the held-out loss of its own objective."""
        found = []
        for arm, trials in self.tuning().items():
            loss = {rate: _last_loss(each) for rate, each in trials.items()}
            best = min(loss, key=loss.__getitem__)
            shared = self.experiments[arm].optimizer.peak_rate
            found.append(Tuning(arm, tuple(loss), tuple(loss.values()), best, shared))
        return found

    def conditions(self, tuned: list[Tuning] | None = None) -> list[Condition]:
        """Each matching at the shared rate; and, once rates are `tuned`, the first of them at each arm's own."""
        spent = {each: "" if each == "none" else each for each in self.suite.match}
        found = [Condition(each, self._trials(each, {}), spent[each]) for each in self.suite.match]
        if tuned:
            first, best = self.suite.match[0], {each.arm: each.best for each in tuned}
            found.insert(1, Condition(f"{first}, {BEST}", self._trials(first, best), spent[first]))
        return found

    def _trials(self, matching: Matching, rates: Mapping[str, float]) -> dict[str, list[Trial]]:
        steps = self.steps[matching]
        return {
            arm: [trial(self.workdir, arm, own, steps[arm], seed, rates.get(arm)) for seed in self.seeds]
            for arm, own in self.experiments.items()
        }


def make_plan(suite: Suite, workdir: Path, report: Report) -> Plan:
    """Checks a suite and everything it needs. Raises InputError with the arm, the field and the remedy."""
    experiments = check(suite)
    check_slugs(list(suite.arms))
    runs = {arm: _open(workdir, arm, own, suite.base.seed, report) for arm, own in experiments.items()}
    if suite.mode == "matched":
        check_parameters({arm: size(run) for arm, run in runs.items()})
    texts = {arm: text_of(run) for arm, run in runs.items()}
    for each in suite.claims:
        if each.other is not None and texts[each.one] != texts[each.other]:
            raise InputError(
                f"claim {each.text!r}: {each.one} and {each.other} do not read the same text in the same tokens, and "
                "have no items in common; compare arms of one data.corpus and tokenizer."
            )
    costs = {arm: step_cost(run) for arm, run in runs.items()}
    if "walltime" in suite.match:
        seconds = _times(workdir, runs, report)
        costs = {arm: dataclasses.replace(cost, seconds=seconds[arm]) for arm, cost in costs.items()}
    budget_of = references(texts, suite.reference or next(iter(suite.arms)))
    own = {arm: experiment.optimizer.total_steps for arm, experiment in experiments.items()}
    steps: dict[Matching, dict[str, int]] = {
        matching: own if matching == "none" else matched_steps(costs, budget_of, own, matching)
        for matching in suite.match
    }
    plan = Plan(suite, workdir, experiments, runs, costs, steps, _learned(suite, runs))
    for each in plan.trials:
        if each.folder.exists():
            open_trial(each, report)  # what is there is this trial, or it is refused
    return plan


def size(run: Run) -> int:
    """The parameters of a run's model."""
    return num_parameters(abstract_params(run.model))


def _open(workdir: Path, arm: str, experiment: Experiment, seed: int, report: Report) -> Run:
    try:
        return open_trial(Trial(arm, dataclasses.replace(experiment, seed=seed), workdir / "none"), report)
    except InputError as error:
        raise InputError(f"arm {arm}: {error}") from None


def _learned(suite: Suite, runs: Mapping[str, Run]) -> dict[str, dict[str, int]]:
    """What yardsticks that fine-tune will take. Raises InputError where an arm cannot learn the task of one."""
    found: dict[str, dict[str, int]] = {}
    for yardstick in suite.yardsticks:
        if yardstick.steps is None:
            continue
        for arm, run in runs.items():
            try:
                steps = yardstick.steps(run.experiment, run.prepared.tokenizer)
            except InputError as error:
                raise InputError(f"arm {arm}: {error}") from None
            found.setdefault(yardstick.metrics[0].name, {})[arm] = steps
    return found


def _times(workdir: Path, runs: Mapping[str, Run], report: Report) -> dict[str, float]:
    """The seconds that were measured here before, or those measured now."""
    file = workdir / TIMES
    if file.exists():
        seconds = json.loads(file.read_text())
        if all(isinstance(seconds.get(arm), float) for arm in runs):
            return {arm: seconds[arm] for arm in runs}
        raise InputError(f"{file}: does not hold the seconds of these arms; delete it, or use another --workdir.")
    report("timing a step of each arm")
    seconds = timed(runs)
    workdir.mkdir(parents=True, exist_ok=True)
    building = workdir / f"{TIMES}.tmp"
    building.write_text(json.dumps(seconds, indent=1))
    os.replace(building, file)
    return seconds


def _last_loss(trial: Trial) -> float:
    """The held-out loss after the last step; infinite where there is none."""
    found = [each["loss"] for each in read_records(trial.folder) if "split" in each and each["step"] == trial.steps]
    return float(found[-1]) if found and trial.diverged is None else float("inf")
