"""Trains the arms of a suite on matched budgets and paired seeds, measures them alike, and writes one report.

python ablate.py --suite=configs/suites/objectives.py --workdir=runs/ablation --seeds=8 --match=flops
python ablate.py --from=runs/bert --from=runs/gpt --workdir=runs/report

Killed and run again with the same command, it goes on where it was: what is done is not done again.
"""

import dataclasses
import time
from pathlib import Path
from typing import TypeVar

from absl import flags

from ablation.choices import minimal_pairs
from ablation.existing import existing
from ablation.plan import Plan, make_plan
from ablation.results import Results
from ablation.study import Study, study_of
from ablation.suite import MATCHINGS, Suite
from ablation.trials import Trainer
from batch import InputError
from evaluation.tables import markdown
from report.publish import publish
from training import flags as command_line

SUITE = flags.DEFINE_string("suite", None, "path.py[:argument], a file that defines get_suite([argument]) -> Suite")
FROM = flags.DEFINE_multi_string("from", None, "folder of a run that exists; several of them are reported on as arms")
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the trials and of the report")
SEEDS = flags.DEFINE_integer("seeds", None, "how many paired seeds; otherwise as the suite says")
MATCH = flags.DEFINE_list("match", [], f"what arms spend alike, of {', '.join(MATCHINGS)}; the first is judged")
PAIRS = flags.DEFINE_string("pairs", None, "minimal pairs in BLiMP's .jsonl: one more yardstick, by phenomenon too")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "check everything, print the budgets, and stop")


Compared = TypeVar("Compared", Suite, Study)


def main(fields: list[tuple[str, str]]) -> None:
    if bool(SUITE.value) == bool(FROM.value):
        raise InputError("--suite and --from: name a suite to run, or runs to report on, and not both.")
    if not WORKDIR.value:
        raise InputError("--workdir: missing; name the folder of the report, as in --workdir=runs/ablation.")
    began, workdir = time.monotonic(), Path(WORKDIR.value)
    study = _report_on(fields) if FROM.value else _run(workdir, fields)
    if study is None:
        return
    print(f"{summary(publish(study, workdir, began))}\n\n{workdir / 'report.html'}")


def _run(workdir: Path, fields: list[tuple[str, str]]) -> Study | None:
    """Trains what the suite lacks; None where only the plan was asked for."""
    suite = command_line.load_value("suite", SUITE.value or "", "get_suite", Suite)
    changes = {"seeds": SEEDS.value} if SEEDS.value is not None else {}
    changes |= {"match": tuple(MATCH.value)} if MATCH.value else {}
    suite = with_pairs(dataclasses.replace(suite, **changes, fields=tuple(fields)), PAIRS.value)
    plan = make_plan(suite, workdir, _quiet)
    print(budgets(plan), flush=True)
    if DRY_RUN.value:
        return None
    trainer = Trainer(_quiet)
    trainer.train([each for own in plan.tuning().values() for each in own.values()])
    conditions = plan.conditions(plan.tuned())
    trainer.train([each for condition in conditions for own in condition.trials.values() for each in own])
    return study_of(Path((SUITE.value or "").partition(".py")[0]).name, plan)


def _report_on(fields: list[tuple[str, str]]) -> Study:
    for flag, given in (("seeds", SEEDS.value), ("match", MATCH.value), ("config", fields), ("dry_run", DRY_RUN.value)):
        if given:
            raise InputError(f"--{flag}: is for a suite that is trained; these runs are as they are.")
    return with_pairs(existing([Path(folder) for folder in FROM.value or ()], _quiet), PAIRS.value)


def with_pairs(given: Compared, path: str | None) -> Compared:
    """The suite or study with a yardstick and a task more. Raises InputError where the file holds no pairs."""
    if path is None:
        return given
    yardsticks = (*given.yardsticks, minimal_pairs(path))
    return dataclasses.replace(given, yardsticks=yardsticks, tasks=(*given.tasks, "pairs"), pairs=path)


def _quiet(line: str) -> None:
    """Nothing: each trial would report the same corpus again."""


def budgets(plan: Plan) -> str:
    """What each arm will spend."""
    rows = []
    for matching, steps in plan.steps.items():
        for arm, count in steps.items():
            cost = plan.costs[arm]
            spent = (cost.tokens, cost.predicted, cost.flops / 1e9)
            rows.append([matching, arm, f"{count:,}", *(f"{count * each:,.0f}" for each in spent)])
    left = [trial for trial in plan.trials if not trial.done]
    head = ["matching", "arm", "steps", "tokens", "predicted", "GFLOP"]
    table = markdown(head, rows, left=("matching", "arm"))
    work = f"{len(left)} of them to be trained: {sum(trial.steps for trial in left):,} steps."
    return f"{table}\n\n{len(plan.trials)} trials, {work}{fine_tuning(plan)}"


def fine_tuning(plan: Plan) -> str:
    """What will be fine-tuned; nothing where no yardstick asks for it."""
    trials = {arm: {own for each in plan.conditions() for own in each.trials[arm]} for arm in plan.experiments}
    seeds = {arm: {own.experiment.seed for own in trials[arm]} for arm in trials}
    rows = []
    for metric, steps in plan.learned.items():
        for arm, each in steps.items():
            runs = len(trials[arm]) + len(seeds[arm])  # from random weights, one serves every matching
            rows.append([metric, arm, f"{len(trials[arm])}", f"{len(seeds[arm])}", f"{runs * each // 2:,}"])
    if not rows:
        return ""
    head = ["fine-tuned on", "arm", "trials", "from random weights", "steps"]
    return f"\n\n{markdown(head, rows, left=('fine-tuned on', 'arm'))}"


def summary(results: Results) -> str:
    """The verdicts, or where there are no claims the means."""
    if results.verdicts:
        rows = [[v.outcome, v.claim, f"{v.value.value:+.4f}", f"{v.adjusted:.3g}"] for v in results.verdicts]
        return markdown(["verdict", "claim", "value", "p, adjusted"], rows, left=("verdict", "claim"))
    unit = {metric.name: metric.unit for metric in results.metrics}
    rows = [
        [each.matching, each.metric, each.arm, f"{each.mean.value:.4f}", unit[each.metric]]
        for each in results.measurements
    ]
    return markdown(
        ["matching", "yardstick", "arm", "mean", "unit"], rows, left=("matching", "yardstick", "arm", "unit")
    )


if __name__ == "__main__":
    command_line.run_with_fields(main)
