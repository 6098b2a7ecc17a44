"""From what trials recorded and yardsticks found to the results that a report shows."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from ablation.bootstrap import crossed, ratios
from ablation.budget import Cost
from ablation.claims import Claim, verdicts
from ablation.measure import Measurer
from ablation.results import Curve, Effect, Ledger, Measurement, Ranking, Verdict
from ablation.significance import sign_flip
from ablation.trials import Trial
from ablation.yardsticks import Yardstick
from training.build import Run
from training.metrics import read_records

MOST = 5
"""Arms of which each is compared with each; of more, each is compared with the reference and as claims say."""

Values = tuple[Float64[np.ndarray, "S U"], Float64[np.ndarray, "S U"]]
"""Totals and weights of each seed and item."""


@dataclasses.dataclass(frozen=True)
class Condition:
    """Under which arms are compared: what they spend alike, at which rates."""

    name: str  # "flops", or "flops, own best rates"
    trials: Mapping[str, Sequence[Trial]]  # of each arm, by seed
    spent: str = ""  # what all spend alike; "": nothing was matched


def text_of(run: Run) -> tuple[str, str, float]:
    """What decides which items a run is asked: arms for whom it differs have none in common."""
    prepared = run.prepared
    return prepared.corpus_digest, prepared.tokenizer_digest, run.experiment.data.validation


def references(texts: Mapping[str, tuple[str, str, float]], reference: str) -> dict[str, str]:
    """The arm whose budget each has: the suite's where they read its text, else the first that reads theirs."""
    first = {texts[reference]: reference}
    for arm, text in texts.items():
        first.setdefault(text, arm)
    return {arm: first[text] for arm, text in texts.items()}


class Found:
    """What the yardsticks found of the arms under one condition."""

    def __init__(
        self,
        condition: Condition,
        yardsticks: Sequence[Yardstick],
        measurer: Measurer,
        texts: Mapping[str, tuple[str, str, float]],
    ):
        """`texts`: of each arm, by `text_of`; only arms of one text are compared."""
        self.condition, self.texts, self._measurer = condition, texts, measurer
        self._of = {metric.name: yardstick for yardstick in yardsticks for metric in yardstick.metrics}
        self.metrics = {metric.name: metric for yardstick in yardsticks for metric in yardstick.metrics}

    def arms(self, metric: str) -> list[str]:
        """The arms that can be asked."""
        asks = self._of[metric].asks
        return [arm for arm, trials in self.condition.trials.items() if asks(trials[0].experiment)]

    def values(self, metric: str, arm: str) -> Values:
        """Totals and weights; NaN for a seed whose trial diverged."""
        found = [self._measurer.items(trial, self._of[metric]).get(metric) for trial in self.condition.trials[arm]]
        size = max((len(each.total) for each in found if each), default=0) or self._size(metric)
        rows = [(each.total, each.weight) if each else (np.full(size, np.nan), np.ones(size)) for each in found]
        return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])

    def _size(self, metric: str) -> int:
        sizes = [
            len(found[metric].total)
            for trials in self.condition.trials.values()
            for trial in trials
            if metric in (found := self._measurer.items(trial, self._of[metric]))
        ]
        return max(sizes, default=1)


def measurements(found: Found) -> list[Measurement]:
    """Each arm by each metric."""
    return [
        Measurement(found.condition.name, arm, metric, tuple(ratios(*values).tolist()), crossed(*values))
        for metric in found.metrics
        for arm in found.arms(metric)
        for values in [found.values(metric, arm)]
    ]


def effects(found: Found, reference: str, claims: Sequence[Claim]) -> list[Effect]:
    """What each arm has more than others, by each metric."""
    claimed = {(each.metric, frozenset((each.one, each.other))) for each in claims}
    pairs = []
    for metric in found.metrics:
        arms = found.arms(metric)
        for one, other in itertools.combinations(arms, 2):
            wanted = len(arms) <= MOST or reference in (one, other) or (metric, frozenset((one, other))) in claimed
            if wanted and found.texts[one] == found.texts[other]:
                pairs.append((metric, one, other))
    return [_effect(found, *pair) for pair in pairs]


def _effect(found: Found, metric: str, one: str, other: str) -> Effect:
    mine, theirs = found.values(metric, one), found.values(metric, other)
    by_seed = ratios(*mine) - ratios(*theirs)
    p = sign_flip(by_seed)
    return Effect(found.condition.name, metric, one, other, tuple(by_seed.tolist()), crossed(*mine, theirs), p)


def rankings(found: Found) -> list[Ranking]:
    """The arms by each metric, the best first, without those that have no number or read another text."""
    ranked = []
    for name, metric in found.metrics.items():
        arms = [arm for arm in found.arms(name) if found.texts[arm] == found.texts[found.arms(name)[0]]]
        means = {arm: float(ratios(*found.values(name, arm)).mean()) for arm in arms}
        known = [arm for arm, mean in means.items() if np.isfinite(mean)]
        order = sorted(known, key=lambda arm: means[arm] if metric.better == "less" else -means[arm])
        ranked.append(Ranking(found.condition.name, name, tuple(order), tuple(means[arm] for arm in order)))
    return ranked


def judged(found: Found, claims: Sequence[Claim], alpha: float) -> list[Verdict]:
    """What became of the claims under a condition."""
    return list(verdicts(claims, found.values, found.metrics, alpha)) if claims else []


def curves(condition: Condition, costs: Mapping[str, Cost]) -> list[Curve]:
    """The held-out loss of each arm while it learned, at the steps that all of its seeds have."""
    found = []
    for arm, trials in condition.trials.items():
        held_out = [{each["step"]: each for each in read_records(trial.folder) if "split" in each} for trial in trials]
        spent = {each["step"]: each for each in read_records(trials[0].folder) if "split" not in each}
        steps = sorted(set.intersection(*map(set, held_out)) & set(spent))
        if steps:
            found.append(
                Curve(
                    matching=condition.name,
                    arm=arm,
                    steps=tuple(steps),
                    tokens=tuple(float(spent[step]["tokens"]) for step in steps),
                    predicted=tuple(float(spent[step]["predicted"]) for step in steps),
                    flops=tuple(step * costs[arm].flops for step in steps),
                    loss=tuple(tuple(float(own[step]["loss"]) for step in steps) for own in held_out),
                    baseline=float(held_out[0][steps[-1]]["unigram_loss"]),
                )
            )
    return found


def ledgers(
    condition: Condition, costs: Mapping[str, Cost], unique: Mapping[str, int], budget_of: Mapping[str, str]
) -> list[Ledger]:
    """What each arm has spent, on average over its seeds, as its records say; `budget_of`: of `references`."""
    spent = {arm: _spent(arm, trials, costs[arm], unique[arm], condition) for arm, trials in condition.trials.items()}
    if not condition.spent:
        return list(spent.values())
    budgets = {arm: _of(spent[budget_of[arm]], condition.spent) for arm in spent}
    return [dataclasses.replace(each, share=_of(each, condition.spent) / budgets[arm]) for arm, each in spent.items()]


def _spent(arm: str, trials: Sequence[Trial], cost: Cost, unique: int, condition: Condition) -> Ledger:
    last = [[each for each in read_records(trial.folder) if "tokens" in each][-1:] for trial in trials]
    ends = [record[0] for record in last if record]
    mean = lambda values: float(np.mean(values)) if values else float("nan")  # noqa: E731
    seconds = [end["tokens"] / end["tokens_per_second"] for end in ends if end["tokens_per_second"]]
    return Ledger(
        matching=condition.name,
        arm=arm,
        steps=trials[0].steps,
        tokens=mean([end["tokens"] for end in ends]),
        predicted=mean([end["predicted"] for end in ends]),
        flops=trials[0].steps * cost.flops,
        seconds=mean(seconds) if condition.spent != "walltime" else trials[0].steps * cost.seconds,
        unique=float(unique),
        share=float("nan"),
    )


def _of(ledger: Ledger, matching: str) -> float:
    return getattr(ledger, "seconds" if matching == "walltime" else matching)
