"""A suite: one question, the arms that differ in nothing but it, how they are measured, and what is claimed."""

import dataclasses
import math
from typing import Literal, get_args

from ablation.change import Arms, changed
from ablation.claims import Claim, check_claims
from ablation.results import Metric
from ablation.yardsticks import Yardstick
from batch import InputError
from evaluation.tasks import check_tasks
from models import MODELS
from objectives import Objective
from training.config import Experiment

Matching = Literal["tokens", "predicted", "flops", "walltime", "none"]
"""What arms spend alike: tokens read, tokens predicted, floating-point operations, seconds on this device; or nothing:
each takes the steps that its experiment says."""

MATCHINGS: tuple[Matching, ...] = get_args(Matching)

ALPHA = 0.05
"""Probability that any verdict of a suite is wrong, at most."""


@dataclasses.dataclass(frozen=True)
class Suite:
    """A comparison. Everything that is not in an arm's change is the same for all arms.

    The steps of `base` are the reference arm's; those of the others follow from the matching. The claims are about the
    first matching; rankings are reported under each.
    """

    question: str
    base: Experiment
    arms: Arms
    yardsticks: tuple[Yardstick, ...]
    claims: tuple[Claim, ...] = ()
    match: tuple[Matching, ...] = ("tokens",)
    reference: str = ""  # the arm whose budget all have that read its text; "": the first
    seeds: int = 8
    mode: Literal["canonical", "matched"] = "canonical"  # matched: one trunk, parameters within 1 %
    rates: tuple[float, ...] = ()  # peak rates that each arm is tuned over, beside the base's
    tasks: tuple[str, ...] = ()  # of evaluate.py, shown for the runs of the first seed
    pairs: str | None = None  # minimal pairs in BLiMP's form, which the task pairs reads
    fields: tuple[tuple[str, str], ...] = ()  # set in every arm, as on the command line

    @property
    def metrics(self) -> dict[str, Metric]:
        return {metric.name: metric for yardstick in self.yardsticks for metric in yardstick.metrics}

    def experiments(self) -> dict[str, Experiment]:
        """The experiment of each arm.

        Raises InputError on a change that cannot be made, and on a field that an arm changes and all should have.
        """
        found = {}
        for arm, change in self.arms.items():
            for given, _ in self.fields:
                if given in change:
                    raise InputError(f"--config.{given}: is what the arm {arm} changes; leave it to the suite.")
            try:
                found[arm] = changed(self.base, {**change, **dict(self.fields)})
            except InputError as error:
                raise InputError(f"arm {arm}: {error}") from None
            _check_kinds(arm, found[arm], self.base)
        return found


def check(suite: Suite) -> dict[str, Experiment]:
    """The experiments of a suite that can be run. Raises InputError on one that cannot, before anything is."""
    if not suite.arms:
        raise InputError("suite: has no arms; name at least one.")
    if suite.seeds < 1:
        raise InputError(f"--seeds={suite.seeds}: must be at least 1.")
    if not suite.yardsticks:
        raise InputError("suite: has no yardsticks; name what its arms are compared by.")
    if suite.reference and suite.reference not in suite.arms:
        raise InputError(f"suite: its reference {suite.reference} is no arm; it is one of {', '.join(suite.arms)}.")
    for matching in suite.match:
        if matching not in MATCHINGS:
            raise InputError(f"--match={matching}: unknown; it is one of {', '.join(MATCHINGS)}.")
    if not suite.match or len(set(suite.match)) < len(suite.match):
        raise InputError("--match: name each matching once, and at least one.")
    if any(not (math.isfinite(rate) and rate > 0) for rate in suite.rates):
        raise InputError(f"suite: rates={suite.rates}: peak rates are positive numbers.")
    names = [metric.name for yardstick in suite.yardsticks for metric in yardstick.metrics]
    if twice := [name for name in suite.metrics if names.count(name) > 1]:
        raise InputError(f"suite: two yardsticks measure {twice[0]}, and one name is one number; leave one out.")
    check_tasks(suite.tasks)
    for task, given in (("pairs", suite.pairs), ("probe", None)):
        if task in suite.tasks and given is None:
            raise InputError(f"suite: its task {task} reads a file that it has not; leave it out of tasks.")
    experiments = suite.experiments()
    check_claims(suite.claims, list(suite.arms), suite.metrics, lambda metric, arm: asked(suite, metric, arm))
    return experiments


def asked(suite: Suite, metric: str, arm: str) -> bool:
    """Whether an arm can be asked what a metric measures."""
    experiment = suite.experiments()[arm]
    return any(yardstick.asks(experiment) for yardstick in suite.yardsticks if metric in _names(yardstick))


def _names(yardstick: Yardstick) -> list[str]:
    return [metric.name for metric in yardstick.metrics]


def _check_kinds(arm: str, experiment: Experiment, base: Experiment) -> None:
    if type(experiment.model) not in MODELS:
        raise InputError(f"arm {arm}: model={type(experiment.model).__name__}: is no model.")
    if not isinstance(experiment.objective, Objective):
        raise InputError(f"arm {arm}: objective={type(experiment.objective).__name__}: is no objective.")
    if experiment.seed != base.seed:
        raise InputError(f"arm {arm}: seed={experiment.seed}: seeds are the suite's, the same for all arms.")
