"""Runs that exist already, as the arms of a report: nothing is trained, nothing was matched, nothing was claimed."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ablation.budget import step_cost
from ablation.choices import cloze_tokens, cloze_words
from ablation.collect import Condition, text_of
from ablation.study import Study
from ablation.trials import Report, Trial, by_arm, check_slugs, open_trial
from ablation.yardsticks import likelihood
from batch import InputError
from evaluation.figures import short
from training.checkpoint import Checkpoints
from training.workdir import opened_experiment

AS_RUN = "as run"

TASKS = ("curve",)

YARDSTICKS = (likelihood(positions=4), cloze_words(), cloze_tokens(64))


def existing(workdirs: Sequence[Path], report: Report) -> Study:
    """A study of runs; those that differ in their seed alone are one arm.

    Raises InputError where a folder holds no finished run, and where an arm has other seeds than the first.
    """
    trials = [_trial(workdir) for workdir in workdirs]
    names = short([str(workdir) for workdir in workdirs])
    groups: dict[object, str] = {}
    named = []
    for each, name in zip(trials, names, strict=True):
        arm = groups.setdefault(dataclasses.replace(each.experiment, seed=0), name)
        named.append(dataclasses.replace(each, arm=arm))
    arms = by_arm(named)
    check_slugs(list(arms))
    first = next(iter(arms.values()))
    seeds = tuple(trial.seed for trial in first)
    for arm, own in arms.items():
        if tuple(trial.seed for trial in own) != seeds:
            raise InputError(
                f"--from={own[0].folder}: {arm} has the seeds {', '.join(str(trial.seed) for trial in own)}, and the "
                f"first arm has {', '.join(map(str, seeds))}; give runs of the same seeds."
            )
    runs = {arm: open_trial(own[0], report) for arm, own in arms.items()}
    for arm, run in runs.items():
        if text_of(run) != text_of(runs[first[0].arm]):
            raise InputError(
                f"--from={arms[arm][0].folder}: does not read the text of {first[0].folder} in the same tokens, so "
                "that they have no items in common; compare them with evaluate.py."
            )
    return Study(
        name=" · ".join(arms),
        question="Runs as they are, side by side.",
        mode="canonical",
        reference=first[0].arm,
        seeds=seeds,
        base=first[0].experiment,
        experiments={arm: own[0].experiment for arm, own in arms.items()},
        runs=runs,
        costs={arm: step_cost(run) for arm, run in runs.items()},
        conditions=(Condition(AS_RUN, arms),),
        yardsticks=YARDSTICKS,
        tasks=TASKS,
    )


def _trial(workdir: Path) -> Trial:
    experiment = opened_experiment(workdir)
    latest = Checkpoints(workdir).latest
    if latest != experiment.optimizer.total_steps:
        at = f"at step {latest or 0} of {experiment.optimizer.total_steps}"
        raise InputError(f"--from={workdir}: its run is {at}; run its command again until it ends.")
    return Trial("", experiment, workdir)
