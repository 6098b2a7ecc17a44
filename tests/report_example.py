"""Results of an ablation that nobody ran: every part of a report has something to show, and nothing is trained."""

import dataclasses
import io
import math
from typing import Any

import numpy as np

from ablation.results import (
    Arm,
    Blank,
    Curve,
    Effect,
    Interval,
    Ledger,
    Mask,
    Measurement,
    Metric,
    Origin,
    Pairing,
    Ranking,
    Results,
    Shown,
    Tuning,
    Verdict,
)
from evaluation.figures import blank
from evaluation.tables import markdown

NAN = math.nan
SEEDS = 8
MATCHINGS = ("tokens", "predicted", "FLOPs")
NAMES = ("BERT", "GPT", "XLNet")

METRICS = (
    Metric("left to right", "bits/byte", "less", "The likelihood of held-out text, each token from those before it."),
    Metric("cloze", "accuracy", "more", "The share of words that are found again, given both sides of their sentence."),
    Metric("pseudo", "pseudo-bits/byte", "less", "Each token from all others, which is no likelihood."),
)

ARMS = (
    Arm("BERT", "BERT", "MaskedLm", 1_204_736, {"objective.share": 0.15, "objective.kind": "masked"}),
    Arm("GPT", "GPT", "CausalLm", 1_204_224, {"objective.kind": "causal", "optimizer.peak_rate": 0.001}),
    Arm("XLNet", "XLNet", "PermutationLm", 1_336_832,
        {"objective.kind": "permutation", "objective.predicted": 1 / 6, "model.memory_length": 0}),
)  # fmt: skip

# Means of the arms by each metric; under "FLOPs" GPT and XLNet change places from left to right.
_MEANS = {
    ("tokens", "left to right"): (2.31, 1.92, 1.98),
    ("predicted", "left to right"): (2.11, 1.93, 1.97),
    ("FLOPs", "left to right"): (2.28, 1.99, 1.95),
    ("tokens", "cloze"): (0.412, 0.287, 0.418),
    ("predicted", "cloze"): (0.455, 0.288, 0.431),
    ("FLOPs", "cloze"): (0.420, 0.287, 0.401),
    ("tokens", "pseudo"): (1.71, NAN, 1.69),
    ("predicted", "pseudo"): (1.62, NAN, 1.66),
    ("FLOPs", "pseudo"): (1.70, NAN, 1.72),
}


def example(seeds: int = SEEDS, **changes: Any) -> Results:
    """A suite of three arms by three yardsticks under three matchings, with so many seeds."""
    measurements, effects = _measured(seeds)
    results = Results(
        name="bert-gpt-xlnet",
        question="Does an objective that sees both sides learn more from the same text?",
        mode="matched",
        seeds=tuple(range(seeds)),
        alpha=0.05,
        seeds_needed=7,
        matchings=MATCHINGS,
        arms=ARMS,
        metrics=METRICS,
        ledgers=tuple(_ledger(matching, arm) for matching in MATCHINGS for arm in NAMES),
        measurements=measurements,
        effects=effects,
        verdicts=_verdicts(effects) if seeds > 1 else (),
        curves=tuple(_curve(matching, arm, seeds) for matching in MATCHINGS for arm in NAMES),
        rankings=_rankings(),
        tuning=tuple(_tuning(i, name) for i, name in enumerate(NAMES)),
        pairing=Pairing(
            streams=(("BERT", "GPT", "XLNet"),),
            stream_steps=1200,
            parameters=(
                ("BERT", "GPT", 1_202_000, 1_204_736, 1_204_224),
                ("GPT", "XLNet", 987_904, 1_204_224, 1_336_832),
            ),
            own={"BERT": ("head/bias", "head/norm/scale"), "GPT": (), "XLNet": ("layers/attention/distance",)},
        ),
        masks=tuple(_mask(name) for name in NAMES),
        blanks=_blanks(),
        shown=(Shown("Calibration", (_table(),), ("reliability",)),),
        notes=("XLNet's memory is off, so that every arm reads the same windows.",),
        origin=Origin(
            command="python ablate.py --suite=objectives \\\n  --seeds=8 --output=runs/objectives",
            commit="0123abcd+",
            date="2026-03-14",
            environment={"Python": "3.11.7", "jax": "0.10.2", "device": "2 CPU cores"},
            seconds=5025.3,
        ),
    )
    return dataclasses.replace(results, **changes)


def pictures() -> dict[str, str]:
    """The SVGs of the figures that the example shows, drawn as other modules draw them."""
    figure = blank(1, 2, width=3.0, height=2.4)
    for axes in figure.axes:
        axes.plot([0, 1], [0, 1], label="GPT")
        axes.fill_between([0, 1], [0, 0.5], [0.2, 1.0], alpha=0.2)
        axes.set_title("reliability")
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return {"reliability": text.getvalue()}


def poisoned(value: Any, poison: str) -> Any:
    """The same with `poison` behind every text that data may hold; equal texts stay equal, so that references hold."""
    if isinstance(value, Results | Shown | Metric | Verdict):
        closed = {"mode", "better", "outcome", "tables"}  # a task's Markdown is read as such
        own = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return type(value)(**{name: one if name in closed else poisoned(one, poison) for name, one in own.items()})
    if dataclasses.is_dataclass(value):
        return type(value)(
            **{field.name: poisoned(getattr(value, field.name), poison) for field in dataclasses.fields(value)}
        )
    if isinstance(value, tuple):
        return tuple(poisoned(one, poison) for one in value)
    if isinstance(value, dict):
        return {poisoned(name, poison): poisoned(one, poison) for name, one in value.items()}
    return value + poison if isinstance(value, str) else value


def everything_but(*parts: str) -> Results:
    """The example without the content of some parts."""
    empty = {"pairing": Pairing((), 0, (), {})}
    return example(**{part: empty.get(part, ()) for part in parts})


def _measured(seeds: int) -> tuple[tuple[Measurement, ...], tuple[Effect, ...]]:
    """Values of each seed around the means, and the differences of the same seeds."""
    rng, measurements, effects = np.random.default_rng(0), [], []
    for (matching, metric), means in _MEANS.items():
        common = rng.normal(0, 0.02, seeds)
        own = {arm: mean + common + rng.normal(0, 0.004, seeds) for arm, mean in zip(NAMES, means, strict=True)}
        own = {arm: values for arm, values in own.items() if not np.isnan(values).any()}
        for arm, values in own.items():
            measurements.append(Measurement(matching, arm, metric, tuple(map(float, values)), _interval(values)))
        for one, other in (("GPT", "BERT"), ("XLNet", "BERT"), ("GPT", "XLNet")):
            if one in own and other in own:
                difference = own[one] - own[other]
                p = 2 / 2**seeds if abs(np.sign(difference).sum()) == seeds else 0.5
                by_seed = tuple(map(float, difference))
                effects.append(Effect(matching, metric, one, other, by_seed, _interval(difference), p))
    return tuple(measurements), tuple(effects)


def _interval(values: np.ndarray) -> Interval:
    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, NAN, NAN)
    half = 2.6 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def _verdicts(effects: tuple[Effect, ...]) -> tuple[Verdict, ...]:
    first, second, third = effects[0], effects[4], effects[2]
    return (
        Verdict("A causal model predicts text from the left better than a masked one.", "left to right: GPT < BERT",
                "PASS", first.mean, first.by_seed, first.p, 0.0234, "All 8 seeds agree, and the interval excludes 0."),
        Verdict("Permutations find words as well as masks do.", "cloze: XLNet > BERT",
                "FAIL", second.mean, second.by_seed, second.p, 0.0234, "The interval lies on the other side of 0."),
        Verdict("GPT and XLNet differ from left to right.", "left to right: GPT < XLNet",
                "INCONCLUSIVE", Interval(-0.004, -0.011, 0.003), third.by_seed, 0.7266, 0.7266, "5 of 8 seeds agree."),
        Verdict("The uniform distribution costs log2(V).", "closed: uniform = log2(V)",
                "PASS", Interval(0.0, NAN, NAN), (), NAN, NAN, "Equal to 1e-12.", expected=True),
        Verdict("Memory helps.", "left to right: XLNet < XLNet without memory",
                "NO VERDICT", Interval(NAN, NAN, NAN), (), NAN, NAN, "The suite has no such arm."),
    )  # fmt: skip


def _rankings() -> tuple[Ranking, ...]:
    found = []
    for (matching, name), means in _MEANS.items():
        metric = next(one for one in METRICS if one.name == name)
        pairs = [(mean, arm) for mean, arm in zip(means, NAMES, strict=True) if not math.isnan(mean)]
        pairs.sort(reverse=metric.better == "more")
        found.append(Ranking(matching, name, tuple(arm for _, arm in pairs), tuple(mean for mean, _ in pairs)))
    return tuple(found)


def _ledger(matching: str, arm: str) -> Ledger:
    steps = {"tokens": 1200, "predicted": {"BERT": 8000, "GPT": 1200, "XLNet": 7200}[arm],
             "FLOPs": {"BERT": 1200, "GPT": 1210, "XLNet": 830}[arm]}[matching]  # fmt: skip
    tokens = steps * 4096.0
    predicted = tokens * {"BERT": 0.15, "GPT": 1.0, "XLNet": 1 / 6}[arm]
    flops = tokens * 6 * 1.2e6 * (1.45 if arm == "XLNet" else 1.0)
    return Ledger(matching, arm, steps, tokens, predicted, flops, NAN if arm == "XLNet" else steps * 0.11, 2.5e6,
                  1.0 if matching == "tokens" else 0.987)  # fmt: skip


def _curve(matching: str, arm: str, seeds: int) -> Curve:
    ledger, rng = _ledger(matching, arm), np.random.default_rng(NAMES.index(arm))
    at = np.linspace(0, 1, 13)
    baseline, floor = 6.1, {"BERT": 3.9, "GPT": 3.6, "XLNet": 3.8}[arm]
    shape = floor + (baseline + 2 - floor) * np.exp(-6 * at)
    loss = shape + rng.normal(0, 0.08, (seeds, len(at)))
    values = [tuple((at * size).tolist()) for size in (ledger.tokens, ledger.predicted, ledger.flops)]
    return Curve(matching, arm, tuple((at * ledger.steps).astype(int).tolist()), *values,
                 tuple(map(tuple, loss.tolist())), baseline)  # fmt: skip


def _tuning(index: int, arm: str) -> Tuning:
    rates = (3e-4, 1e-3, 3e-3, 1e-2)
    loss = tuple(4.0 + 0.1 * index + 0.2 * (math.log10(rate / 1e-3) - 0.2 * index) ** 2 for rate in rates)
    return Tuning(arm, rates, (*loss[:3], NAN if index == 0 else loss[3]), 1e-3 if index < 2 else 3e-3, 1e-3)


def _mask(arm: str) -> Mask:
    tokens = ("▁the", "▁cat", "▁sat", "▁on", "▁a", "▁mat", ".", "▁it", "▁slept", "[END]")
    size = len(tokens)
    if arm == "GPT":
        predicts = tuple((i, tokens[i + 1]) for i in range(size - 1))
        return Mask(arm, tokens, np.tril(np.ones((size, size), bool)), None, predicts)
    if arm == "BERT":
        hidden = tuple("[MASK]" if i in (2, 5) else token for i, token in enumerate(tokens))
        return Mask(arm, hidden, np.ones((size, size), bool), None, ((2, "▁sat"), (5, "▁mat")))
    order = np.random.default_rng(1).permutation(size)
    last = tuple(sorted(int(i) for i in np.argsort(order)[-2:]))
    query = order[None, :] < order[list(last), None]
    return Mask(arm, tokens, order[None, :] <= order[:, None], query, tuple((i, tokens[i]) for i in last))


def _blanks() -> tuple[Blank, ...]:
    answers = {
        "BERT": (("▁sat", 0.412), ("▁lay", 0.233), ("▁was", 0.071)),
        "GPT": (("▁was", 0.301), ("▁is", 0.144), ("▁sat", 0.052)),
        "XLNet": (("▁sat", 0.367), ("▁was", 0.210), ("▁slept", 0.098)),
    }
    truth = {"BERT": 0.412, "GPT": 0.052, "XLNet": 0.367}
    rare = {arm: (("猫", 0.5), ("\n", 0.25)) for arm in NAMES}
    return (
        Blank("The cat ", "▁sat", " on a mat, and slept there until the evening.", answers, truth),
        Blank("A token of another script: ", "猫", ".", rare, dict.fromkeys(NAMES, 0.5)),
    )


def _table() -> str:
    rows = [["BERT", "256", "0.031"], ["GPT", "256", "0.044"], ["XLNet", "256", "-"]]
    return markdown(["model", "questions", "ECE"], rows, left=("model",))
