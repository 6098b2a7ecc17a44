"""What an ablation found, as plain values: its report is a function of these and of nothing else."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool

from training.metrics import json_value

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "NO VERDICT"]


@dataclasses.dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval; NaN where it has none."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Metric:
    """What a yardstick measures, the same for all arms that can be asked."""

    name: str  # "left to right"
    unit: str  # "bits/byte", "accuracy", "nats"
    better: Literal["less", "more"]
    meaning: str  # one sentence: what it is, of what text, predicted from what


@dataclasses.dataclass(frozen=True)
class Arm:
    """One thing that is compared, and in what it differs from the base of the suite."""

    name: str
    model: str  # "BERT", "GPT", "XLNet"
    objective: str  # "MaskedLm"
    parameters: int
    changes: dict[str, Any]  # dotted field of the experiment: its value here, where it is not the base's


@dataclasses.dataclass(frozen=True)
class Ledger:
    """What a run spends. `share` is its part of the budget that arms were matched by, 1 if it is met exactly."""

    matching: str
    arm: str
    steps: int
    tokens: float  # read, padding not counted
    predicted: float  # with a loss
    flops: float  # forward and backward, by the formulas of models/flops.py
    seconds: float  # of the steps alone; NaN where not known
    unique: float  # tokens of the training text
    share: float

    @property
    def epochs(self) -> float:
        return self.tokens / self.unique


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One arm by one yardstick: a value for each seed, their mean, and an interval over seeds and items."""

    matching: str
    arm: str
    metric: str
    by_seed: tuple[float, ...]
    mean: Interval


@dataclasses.dataclass(frozen=True)
class Effect:
    """What `one` has more than `other`, paired by seed and by item."""

    matching: str
    metric: str
    one: str
    other: str
    by_seed: tuple[float, ...]
    mean: Interval
    p: float  # two-sided exact sign-flip test over seeds, not corrected


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A claim that was written before the run, and what became of it."""

    claim: str  # its words
    statement: str  # what is tested, as a formula: "left to right: gpt < bert"
    outcome: Outcome
    value: Interval  # of what the claim is about
    by_seed: tuple[float, ...]
    p: float  # of the test that decides, not corrected
    adjusted: float  # by Holm's method within the suite
    reason: str  # one sentence
    expected: bool = False  # a closed form, which must PASS
    unit: str = ""  # of the value


@dataclasses.dataclass(frozen=True)
class Curve:
    """The held-out loss of an arm while it learned, by its own objective; a row of `loss` is a seed."""

    matching: str
    arm: str
    steps: tuple[int, ...]
    tokens: tuple[float, ...]
    predicted: tuple[float, ...]
    flops: tuple[float, ...]
    loss: tuple[tuple[float, ...], ...]  # nats a target
    baseline: float  # the unigrams' loss on the same targets


@dataclasses.dataclass(frozen=True)
class Ranking:
    """The arms by one yardstick under one matching, the best first, with the means that put them there."""

    matching: str
    metric: str
    arms: tuple[str, ...]
    means: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What each peak rate gave an arm: the held-out loss of its own objective, compared with no other arm's."""

    arm: str
    rates: tuple[float, ...]
    loss: tuple[float, ...]
    best: float
    shared: float


@dataclasses.dataclass(frozen=True)
class Pairing:
    """What arms have in common by construction, checked."""

    streams: tuple[tuple[str, ...], ...]  # groups of arms that read the same tokens at every step
    stream_steps: int  # steps whose digest was compared
    parameters: tuple[
        tuple[str, str, int, int, int], ...
    ]  # arm, other arm; parameters shared, of the one, of the other
    own: dict[str, tuple[str, ...]]  # arm: paths of parameters that not all arms have with these initial values


@dataclasses.dataclass(frozen=True, eq=False)
class Mask:
    """Who sees whom in one row that an arm's objective prepared: rows are queries, columns are keys."""

    arm: str
    tokens: tuple[str, ...]  # as shown to the model
    content: Bool[np.ndarray, "L L"]
    query: Bool[np.ndarray, "P L"] | None  # of the query stream's rows, where there is one
    predicts: tuple[tuple[int, str], ...]  # position that is predicted from, and the token that is asked for there


@dataclasses.dataclass(frozen=True)
class Blank:
    """A place of the held-out text that every arm was asked for, with the likeliest answers of each."""

    before: str
    truth: str
    after: str
    answers: dict[str, tuple[tuple[str, float], ...]]  # arm: token and probability, the likeliest first
    truth_probability: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a task of evaluate.py says of the first seed's runs: Markdown, and figures as names of SVG files."""

    title: str
    tables: tuple[str, ...]
    figures: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Origin:
    """How to get these results again."""

    command: str
    commit: str  # "" where the code is not in a repository; ends in "+" where files were changed
    date: str
    environment: dict[str, str]  # "Python": "3.11.7", "jax": ..., "device": ...
    seconds: float  # of the whole suite, as far as it was run without a break


@dataclasses.dataclass(frozen=True)
class Results:
    """All of it. Everything but `origin` and times is a function of the suite and its data."""

    name: str
    question: str
    mode: Literal["canonical", "matched"]
    seeds: tuple[int, ...]
    alpha: float
    seeds_needed: int  # with fewer, no claim of the suite can be decided
    matchings: tuple[str, ...]  # the first is what the claims are about
    arms: tuple[Arm, ...]
    metrics: tuple[Metric, ...]
    ledgers: tuple[Ledger, ...]
    measurements: tuple[Measurement, ...]
    effects: tuple[Effect, ...]
    verdicts: tuple[Verdict, ...]
    curves: tuple[Curve, ...]
    rankings: tuple[Ranking, ...]
    tuning: tuple[Tuning, ...]
    pairing: Pairing
    masks: tuple[Mask, ...]
    blanks: tuple[Blank, ...]
    shown: tuple[Shown, ...]
    notes: tuple[str, ...]  # what a reader must know: "one seed: no verdicts", "GPT is worse than the 5-gram"
    origin: Origin


def to_json(results: Results) -> str:
    """The results as JSON; a NaN is the text "nan"."""
    return json.dumps(_plain(results), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(name): _plain(own) for name, own in value.items()}
    if isinstance(value, np.ndarray):
        return value.astype(int).tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(own) for own in value]
    return json_value(value)
