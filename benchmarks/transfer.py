"""What pretraining is worth to tasks: BERT, GPT and XLNet, each pretrained and from scratch, paired by seed.

python -m benchmarks.transfer --data=DIR --workdir=runs/transfer

Pretrains the three on the text in DIR, fine-tunes each on every task that has a set there, and writes a table, a figure
and results.json. Killed and run again with the same command, it goes on where it was; what is finished is not done
again. What is fixed before the run (which sets, how many examples, how a learning rate is chosen) is in
`transfer_tasks` and `transfer_runs`.
"""

import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags

from ablation.origin import origin
from ablation.results import Origin
from ablation.significance import seeds_needed
from batch import InputError
from benchmarks import transfer_table
from benchmarks.transfer_runs import FAMILIES, SCALES, Course, Plan, compare, pretrain, stages
from benchmarks.transfer_table import ALPHA, Comparison, Row
from benchmarks.transfer_tasks import TASKS, Real, find_tasks
from evaluation.tables import markdown
from finetuning.rates import rates_of
from finetuning.task import Sets
from finetuning.trials import write_whole
from report.svg import drawn
from training import flags as command_line
from training.interrupt import Interrupted
from training.lock import locked
from training.progress import Progress, duration

DATA = flags.DEFINE_string("data", None, "the folder that holds a folder for each set, and one for each text")
WORKDIR = flags.DEFINE_string("workdir", "runs/transfer", "folder of all runs, and of table.md and results.json")
MODEL = flags.DEFINE_enum("model", "mini", list(SCALES), "the size of the models; tiny is for a look")
STEPS = flags.DEFINE_integer("steps", 0, "of pretraining; 0: as many as the size has", lower_bound=0)
UPDATES = flags.DEFINE_integer("updates", 256, "of a fine-tuning, of 16 examples each", lower_bound=1)
SEEDS = flags.DEFINE_integer("seeds", 0, "paired seeds; 0: as few as can decide every row of the table", lower_bound=0)
RATES = flags.DEFINE_string("rates", "1e-3,3e-4,1e-4", "of which each arm has the best on a part of the training set")
CHOSEN = flags.DEFINE_list("tasks", [], f"some of {', '.join(task.name for task in TASKS)}; none given: all")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "read the sets, say what would be trained, and stop")

FEWEST_SEEDS = 6

SECONDS = "seconds.json"


def main(fields: list[tuple[str, str]]) -> None:
    if not DATA.value:
        raise InputError("--data: missing; name the folder of the sets, as in make finetune DATA=DIR.")
    tasks = find_tasks(Path(DATA.value), chosen(CHOSEN.value), print)
    plan = planned(tasks, Path(DATA.value), fields)
    print(described(plan, tasks), flush=True)
    if DRY_RUN.value:
        return
    try:
        with locked(plan.workdir, print):
            told, comparisons = run(plan, tasks)
            print(written(plan, told, comparisons))
    except Interrupted as stopped:
        print(f"{stopped}; the same command goes on", flush=True)


def chosen(names: Sequence[str]) -> list[Real]:
    """The tasks of these names, all for none. Raises InputError for another name."""
    known = {task.name: task for task in TASKS}
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"--tasks={','.join(names)}: {unknown[0]} is none; there are {', '.join(known)}.")
    return [known[name] for name in names or known]


def planned(tasks: Mapping[Real, Sets], data: Path, fields: Sequence[tuple[str, str]]) -> Plan:
    """What the flags say."""
    scale = SCALES[MODEL.value or "mini"]
    return Plan(
        data=data,
        workdir=Path(str(WORKDIR.value)),
        scale=scale,
        steps=STEPS.value or scale.steps,
        updates=UPDATES.value,
        rates=rates_of(RATES.value, scale.size.trunk["model_dim"]),
        seeds=SEEDS.value or max(FEWEST_SEEDS, seeds_needed(len(tasks) * len(FAMILIES), ALPHA)),
        fields=fields,
    )


def described(plan: Plan, tasks: Mapping[Real, Sets]) -> str:
    """The tasks and the work, a fact a line."""
    lines = [
        f"{task.name}: {len(sets.train):,} examples to learn from, {len(sets.dev):,} to judge by, "
        f"{' and '.join(sets.task.metrics)}, pretrained on {task.text} text"
        for task, sets in tasks.items()
    ]
    rates = ", ".join(f"{rate:g}" for rate in plan.rates)
    lines += [f"{plan.steps:,} steps of pretraining; {plan.updates} updates, {plan.seeds} seeds, rates {rates}"]
    return "\n".join(lines)


def run(plan: Plan, tasks: Mapping[Real, Sets]) -> tuple[list[dict[str, Any]], list[Comparison]]:
    """Trains what is not trained yet. Returns what pretraining gave, and a comparison for each task and family."""
    with Progress(plan.work(tasks), "transfer") as progress:
        course, comparisons = Course(progress, plan.workdir / SECONDS), []
        texts = dict.fromkeys(task.text for task in tasks)
        told = [pretrain(plan, text, family, course) for text in texts for family in FAMILIES]
        for task, sets in tasks.items():
            for family in FAMILIES:
                comparisons.append(found := compare(plan, task, sets, family, course))
                means = {arm: f"{100 * found.mean(arm):.1f}" for arm in found.scores}
                progress.note(f"{task.name}, {found.family}: " + ", ".join(f"{arm} {m}" for arm, m in means.items()))
                jax.clear_caches()  # what was compiled for it is of no more use
    return told, comparisons


def written(plan: Plan, told: Sequence[Mapping[str, Any]], comparisons: Sequence[Comparison]) -> str:
    """Writes table.md, the figure and results.json, and returns the page."""
    rows, spent = transfer_table.judged(comparisons), stages(plan.workdir / SECONDS)
    source = dataclasses.replace(
        origin(sum(each["seconds"] for each in spent.values())),
        command=shlex.join(["python", "-m", "benchmarks.transfer", *sys.argv[1:]]),
    )
    svg, png = drawn(transfer_table.figure(rows))
    write_whole(plan.workdir / "differences.svg", svg)
    (plan.workdir / "differences.png").write_bytes(png)
    result = {
        **dataclasses.asdict(source),
        "stages": spent,
        "pretraining": list(told),
        "updates": plan.updates,
        "seeds": plan.seeds,
        "rates": list(plan.rates),
        "rows": transfer_table.values(rows),
    }
    write_whole(plan.workdir / "results.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    page = paged(plan, told, rows, source, spent)
    write_whole(plan.workdir / "table.md", page + "\n")
    return f"{page}\n\n{plan.workdir / 'table.md'}"


def paged(
    plan: Plan, told: Sequence[Mapping[str, Any]], rows: Sequence[Row], source: Origin, spent: Mapping[str, Any]
) -> str:
    """Both tables, and what they were made with."""
    commits = sorted({commit for each in spent.values() for commit in each["commits"]})
    where = f"{source.environment['device']}, {source.environment['CPU cores']} cores"
    return "\n\n".join(
        (
            f"`{source.command}` (commit {', '.join(commits)}; {where}, jax {source.environment['jax']}; "
            f"{duration(source.seconds)})",
            pretraining_table(told, spent),
            transfer_table.table(rows),
            f"{transfer_table.counted(rows)} {plan.seeds} seeds, {plan.updates} updates.",
        )
    )


def pretraining_table(told: Sequence[Mapping[str, Any]], spent: Mapping[str, Any]) -> str:
    """A line for each model: what it read, and what it learned; losses of different models do not compare."""
    cells = [
        [
            each["model"],
            each["text"],
            f"{each['step']:,}",
            f"{each['tokens']:,}",
            *(f"{float(each[name]):.3f}" for name in ("loss", "unigram_loss")),
            duration(spent.get(f"pretraining {each['model']} on {each['text']} text", {"seconds": 0})["seconds"]),
        ]
        for each in told
    ]
    head = ["model", "text", "steps", "tokens", "held-out loss", "unigram", "time"]
    return markdown(head, cells, left=("model", "text"))


if __name__ == "__main__":
    command_line.run_with_fields(main)
