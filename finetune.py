"""Fine-tunes a pretrained checkpoint on a task, several seeds of it, beside the same model from random weights.

python finetune.py --workdir=runs/bert --task=sst-2 --data=DIR --seeds=5

Killed and run again with the same command, it goes on where it was; what is finished is not done again.
"""

import json
from pathlib import Path
from typing import Any, get_args

from absl import flags

from batch import InputError
from data.task import Adapt
from finetuning.adaptation import ADAPTATIONS
from finetuning.build import Arm, Recipe, encoded, open_pretrained
from finetuning.choosing import told_of_windows
from finetuning.files import Layout
from finetuning.rates import rates_of
from finetuning.scoring import majority
from finetuning.sources import open_sets
from finetuning.summary import table, values
from finetuning.trials import Trial, Trials, summarize, write_whole
from objectives.tasks import Visibility
from training import flags as command_line
from training.state import num_parameters

WORKDIR = flags.DEFINE_string("workdir", None, "the folder of a pretrained or imported run")
STEP = flags.DEFINE_string("step", "latest", "which checkpoint: latest, best (the least held-out loss), or a step")
TASK = flags.DEFINE_string("task", None, "a task by name (see docs/finetuning.md), or its shape, such as tagging")
DATA = flags.DEFINE_string("data", None, "the folder of its files")
TEXT = flags.DEFINE_list("text", [], "the columns of the texts of a task that is no published one")
LABEL = flags.DEFINE_string("label", None, "the column of its label or tag")
TRAIN = flags.DEFINE_string("train", None, "its training file in the folder, if several have train in their names")
DEV = flags.DEFINE_string("dev", None, "its dev file in the folder, if several have dev in their names")
SEEDS = flags.DEFINE_integer("seeds", 5, "how many seeds: 0, 1, 2 ...", lower_bound=1)
RATES = flags.DEFINE_string("rates", "default", "as in 1e-3,3e-4, of which the best on dev counts; default, or paper")
EPOCHS = flags.DEFINE_integer("epochs", 3, "passes over the training set", lower_bound=1)
SCRATCH = flags.DEFINE_bool("from_scratch", True, "train the same model from random weights too")
SEES = flags.DEFINE_enum("visibility", None, get_args(Visibility), "what a token sees, if not as in pretraining")
ADAPT = flags.DEFINE_enum("adapt", "full", get_args(Adapt), "what is learned with the head; see docs/finetuning.md")
LAYERS = flags.DEFINE_string("layers", "last", "that a frozen trunk is read at: last, a number, last-4, or weighted")
LANGUAGE = flags.DEFINE_float("language_weight", 0.0, "what the next token's loss counts beside the task's, as in GPT")
KEEP = flags.DEFINE_bool("keep_features", True, "of --adapt=frozen: the trunk reads a set once, and not in every epoch")
OUTPUT = flags.DEFINE_string("output", None, "folder of the runs and of results.json, if not WORKDIR/finetune/TASK...")

SETTINGS = (STEP, EPOCHS, ADAPT, LAYERS, SEES, LANGUAGE)
"""Flags that decide what is learned, and how."""


def main(fields: list[tuple[str, str]]) -> None:
    for flag in (WORKDIR, TASK, DATA):
        if not flag.value:
            raise InputError(f"--{flag.name}: missing; give {flags.FLAGS[flag.name].help}.")
    workdir, folder = Path(str(WORKDIR.value)), Path(str(DATA.value))
    pretrained = open_pretrained(workdir, STEP.value)
    layout = Layout(tuple(TEXT.value), LABEL.value, TRAIN.value, DEV.value)
    sets = open_sets(str(TASK.value), folder, layout, print)
    output = Path(OUTPUT.value) if OUTPUT.value else workdir / "finetune" / "-".join([sets.task.name, *unusual()])
    visibility: Any = SEES.value
    adapt: Any = ADAPT.value
    recipe = Recipe(
        pretrained,
        sets,
        str(folder),
        EPOCHS.value,
        adapt,
        visibility,
        fields,
        layers=LAYERS.value,
        keep=KEEP.value,
        language_weight=LANGUAGE.value,
    )
    arms: list[Arm] = ["pretrained", "scratch"] if SCRATCH.value else ["pretrained"]
    rates = rates_of(RATES.value, pretrained.experiment.model.model_dim, ADAPTATIONS[adapt].rate)
    asked = [Trial(arm, rate, seed) for arm in arms for rate in rates for seed in range(SEEDS.value)]
    trials = Trials(recipe, output)
    print(described(trials, asked[0]), flush=True)
    outcomes = trials.run(asked)
    found, baseline = summarize(outcomes), majority(sets)
    told = {"flags": {flag.name: flag.value for flag in SETTINGS}, **values(sets, outcomes, found, baseline)}
    write_whole(output / "results.json", json.dumps(told, indent=2) + "\n")
    if all(outcome.diverged for outcome in outcomes):
        lower = f"--rates={min(rates) / 10:g}"
        raise InputError(f"--rates={RATES.value}: every run diverged; give lower ones, as in {lower}.")
    print(table(sets, found, baseline))


def unusual() -> list[str]:
    """What tells a way to learn a task from the usual one, for the name of its folder."""
    named: list[tuple[Any, str]] = [(ADAPT, ""), (LAYERS, ""), (SEES, "sees-"), (LANGUAGE, "language-")]
    return [f"{begin}{flag.value}" for flag, begin in named if flag.value != flag.default]


def described(trials: Trials, trial: Trial) -> str:
    """The task and the size of what is trained, a fact a line."""
    run, sets = trials.build(trial), trials.recipe.sets
    data, total = run.experiment.data, run.experiment.optimizer.total_steps
    head, learned = num_parameters(run.shapes["task"]), run.learned
    shape = "choices" if data.choices else "classes"
    classes = f", {len(sets.labels)} {shape}" if sets.labels else ""
    examples = f"{len(sets.train):,} examples to learn from and {len(sets.dev):,} to judge by"
    both = [encoded(trials.recipe, name, data) for name in ("train", "dev")] if sets.task.kind == "extraction" else []
    windows = f"{told_of_windows(*both)}\n" if both else ""
    return (
        f"task: {sets.task.name}, {examples}{classes}\n{windows}"
        f"model: {type(run.model).__name__}, {learned:,} of {num_parameters(run.shapes):,} parameters are trained, "
        f"{head:,} of them of the head; "
        f"{total:,} steps, rows of {', '.join(map(str, data.buckets))} tokens"
    )


if __name__ == "__main__":
    command_line.run_with_fields(main)
