"""What was run, under which conditions, and the results that follow from it."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib import rc_context
from matplotlib.figure import Figure

from ablation.budget import Cost
from ablation.claims import Claim
from ablation.collect import (
    Condition,
    Found,
    curves,
    effects,
    judged,
    ledgers,
    measurements,
    rankings,
    references,
    text_of,
)
from ablation.exhibits import blanks, mask
from ablation.measure import Measurer
from ablation.notes import beside_blind, beside_counts, diverged, lost, too_few_seeds, unasked
from ablation.origin import origin
from ablation.pairing import pairing
from ablation.plan import Plan, size
from ablation.results import Arm, Results, Shown, Tuning, Verdict
from ablation.significance import seeds_needed
from ablation.suite import ALPHA
from ablation.trials import Trial
from ablation.yardsticks import Yardstick
from evaluation.task import Entry, Settings
from evaluation.tasks import TASKS
from training.build import Run
from training.config import Experiment, flat, to_dict

NAMES = {"Bert": "BERT", "Gpt": "GPT", "Xlnet": "XLNet"}
ITEMS = 128
"""Questions of each kind that are shown for the first seed; the yardsticks ask as many as they say."""

Pictures = dict[str, str]
"""SVG by the name of the figure."""


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """Arms that were trained, and what is asked about them."""

    name: str
    question: str
    mode: Literal["canonical", "matched"]
    reference: str
    seeds: tuple[int, ...]
    base: Experiment
    experiments: Mapping[str, Experiment]
    runs: Mapping[str, Run]
    costs: Mapping[str, Cost]
    conditions: Sequence[Condition]  # the first is what claims are about
    yardsticks: Sequence[Yardstick]
    claims: Sequence[Claim] = ()
    tuning: Sequence[Tuning] = ()
    tasks: Sequence[str] = ()
    pairs: str | None = None

    @property
    def trials(self) -> list[Trial]:
        """All trials that are compared, each once."""
        return list(dict.fromkeys(each for own in self.conditions for trials in own.trials.values() for each in trials))

    @property
    def first(self) -> dict[str, Trial]:
        """The first seed of each arm under the first condition, as far as its training came to its end."""
        firsts = {arm: trials[0] for arm, trials in self.conditions[0].trials.items()}
        return {arm: trial for arm, trial in firsts.items() if trial.diverged is None}


def study_of(name: str, plan: Plan) -> Study:
    """The study of a suite whose trials are done."""
    suite, tuning = plan.suite, plan.tuned()
    return Study(
        name=name,
        question=suite.question,
        mode=suite.mode,
        reference=plan.reference,
        seeds=plan.seeds,
        base=suite.base,
        experiments=plan.experiments,
        runs=plan.runs,
        costs=plan.costs,
        conditions=plan.conditions(tuning),
        yardsticks=suite.yardsticks,
        claims=suite.claims,
        tuning=tuning,
        tasks=suite.tasks,
        pairs=suite.pairs,
    )


def results_of(study: Study, measurer: Measurer, seconds: float) -> tuple[Results, Pictures]:
    """Everything that a report shows, and the figures of its tasks."""
    texts = {arm: text_of(run) for arm, run in study.runs.items()}
    found = [Found(condition, study.yardsticks, measurer, texts) for condition in study.conditions]
    first = study.first
    told = [arm for arm in first if texts[arm] == texts[next(iter(first))]]  # only they can be shown side by side
    entries = {arm: _entry(measurer, arm, first[arm]) for arm in told}
    shown, pictures = _shown(study, entries)
    unique = {arm: run.prepared.train.num_tokens for arm, run in study.runs.items()}
    budget_of = references(texts, study.reference)
    needed = seeds_needed(max(len(study.claims), 1), ALPHA)
    results = Results(
        name=study.name,
        question=study.question,
        mode=study.mode,
        seeds=study.seeds,
        alpha=ALPHA,
        seeds_needed=needed,
        matchings=tuple(condition.name for condition in study.conditions),
        arms=tuple(_arm(arm, study) for arm in study.runs),
        metrics=tuple(found[0].metrics.values()),
        ledgers=tuple(each for own in study.conditions for each in ledgers(own, study.costs, unique, budget_of)),
        measurements=tuple(each for own in found for each in measurements(own)),
        effects=tuple(each for own in found for each in effects(own, study.reference, study.claims)),
        verdicts=tuple(_verdicts(study, found)),
        curves=tuple(each for own in study.conditions for each in curves(own, study.costs)),
        rankings=tuple(each for own in found for each in rankings(own)),
        tuning=tuple(study.tuning),
        pairing=pairing(study.runs, [each for own in study.conditions[0].trials.values() for each in own]),
        masks=tuple(mask(arm, run) for arm, run in study.runs.items()),
        blanks=blanks(entries) if entries else (),
        shown=shown,
        notes=(
            *too_few_seeds(len(study.seeds), len(study.claims), needed),
            *diverged(study.conditions),
            *unasked(found[0], study.yardsticks),
            *lost(found, study.yardsticks),
            *beside_counts(found[0], study.yardsticks, entries),
            *beside_blind(found[0], study.yardsticks),
        ),
        origin=origin(seconds),
    )
    return results, pictures


def _verdicts(study: Study, found: Sequence[Found]) -> list[Verdict]:
    """Under the first condition; and where rates were tuned, at each arm's own best ones too."""
    decided = judged(found[0], study.claims, ALPHA)
    if not study.tuning:
        return decided
    again = judged(found[1], study.claims, ALPHA)
    named = [(study.conditions[0].name + ", shared rate", decided), (study.conditions[1].name, again)]
    return [dataclasses.replace(each, statement=f"{each.statement} ({name})") for name, own in named for each in own]


def _arm(name: str, study: Study) -> Arm:
    run, experiment = study.runs[name], study.experiments[name]
    own, base = flat(to_dict(experiment)), flat(to_dict(study.base))
    changes = {field: value for field, value in own.items() if field not in base or base[field] != value}
    kind = type(run.model).__name__
    return Arm(name, NAMES.get(kind, kind), type(experiment.objective).__name__, size(run), changes)


def _entry(measurer: Measurer, arm: str, trial: Trial) -> Entry:
    entry = measurer.entry(trial)
    return dataclasses.replace(entry, checkpoint=dataclasses.replace(entry.checkpoint, label=arm))


def _shown(study: Study, entries: Mapping[str, Entry]) -> tuple[tuple[Shown, ...], Pictures]:
    """What tasks of evaluate.py find of the first seed's models."""
    found: list[Shown] = []
    pictures: Pictures = {}
    for task in study.tasks if entries else ():
        length = min(entry.length for entry in entries.values())
        settings = Settings(length, positions=4, items=ITEMS, pairs=study.pairs)
        asked = TASKS[task].ask(list(entries.values()), settings)
        pictures |= {name: svg(figure) for name, figure in asked.figures.items()}
        found.append(Shown(f"{task}, seed {study.seeds[0]}", asked.tables, tuple(asked.figures)))
    return tuple(found), pictures


def svg(figure: Figure) -> str:
    """The figure as SVG, the same for the same figure."""
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "orderly", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
