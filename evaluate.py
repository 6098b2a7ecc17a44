"""Measures checkpoints on held-out text: their own objective, or tasks that may be compared between objectives.

python evaluate.py --workdir=runs/x --step=best
python evaluate.py --workdir=runs/bert --workdir=runs/gpt --tasks=likelihood,pseudo --output=eval
"""

import json
from pathlib import Path
from typing import Any

from absl import flags

from batch import InputError
from evaluation.checkpoints import (
    Checkpoint,
    Text,
    common_length,
    given_texts,
    held_out_texts,
    open_checkpoint,
)
from evaluation.figures import save
from evaluation.task import Entry, Settings
from evaluation.tasks import TASKS, check_tasks
from models.parameters import abstract_params
from training import flags as command_line
from training.build import build_run
from training.checkpoint import Checkpoints
from training.heldout import held_out
from training.progress import Progress
from training.workdir import check_corpus, opened_experiment, stored_tokenizer

WORKDIR = flags.DEFINE_multi_string("workdir", None, "folder of a run; several of them are compared, with --tasks")
STEP = flags.DEFINE_string("step", "latest", "which checkpoint: latest, best (the least held-out loss), or a step")
SPLIT = flags.DEFINE_enum("split", "validation", ["validation", "test"], "which held-out text")
TASK = flags.DEFINE_list("tasks", [], f"of {', '.join(TASKS)}; without, each run's own objective")
TEXT = flags.DEFINE_string("text", None, "a file, a folder or a glob of text to use instead of a held-out split")
PAIRS = flags.DEFINE_string("pairs", None, "minimal pairs in BLiMP's .jsonl or .jsonl.gz: a file, folder or glob")
PROBE = flags.DEFINE_string("probe", None, "a file of labeled words or sentences, for the task probe")
OUTPUT = flags.DEFINE_string("output", None, "folder that eval.json and the figures are written to")
LENGTH = flags.DEFINE_integer("length", 0, "tokens of a block; 0: the shortest window of training", lower_bound=0)
KAPPA = flags.DEFINE_multi_string("kappa", ["all"], "[MASK]s that a masked model sees from the asked token on, or all")
POSITIONS = flags.DEFINE_integer(
    "positions", 16, "tokens of a block that a model is asked for that needs a pass for each; 0: all", lower_bound=0
)
ITEMS = flags.DEFINE_integer(
    "items", 256, "questions of cloze and of each point of curve; documents of regret", lower_bound=2
)
ORDERS = flags.DEFINE_integer("orders", 2, "random factorization orders; 0: none", lower_bound=0)


def main() -> None:
    check_tasks(TASK.value)
    if not WORKDIR.value:
        raise InputError("--workdir: missing; name the folder of a run, as in --workdir=runs/x.")
    if TASK.value:
        compare([Path(workdir) for workdir in WORKDIR.value])
        return
    for name in ("text", "output"):
        if flags.FLAGS[name].value is not None:
            raise InputError(f"--{name}={flags.FLAGS[name].value}: is for tasks; name some, as in --tasks=likelihood.")
    for workdir in WORKDIR.value:
        own_objective(Path(workdir))


def own_objective(workdir: Path) -> None:
    """Prints a run's own loss on its held-out text."""
    experiment = opened_experiment(workdir)
    step = Checkpoints(workdir).resolve(STEP.value)
    if SPLIT.value == "test" and not experiment.data.test:
        raise InputError("--split=test: the run has data.test=0.0 and kept no such text; use --split=validation.")
    run = build_run(experiment, print, stored_tokenizer(workdir))
    check_corpus(workdir, run.prepared)
    params = Checkpoints(workdir).restore_params(step, abstract_params(run.model))
    stream, batch_size = run.held_out(SPLIT.value), experiment.data.batch_size
    with Progress(stream.steps_per_epoch, "evaluating") as progress:
        watch = lambda done, total: progress.update(done)  # noqa: E731
        values = held_out(run.eval_step(), run.model, params, stream, batch_size, watch=watch)
    print(f"{workdir}, step {step}, {SPLIT.value} split, {type(experiment.objective).__name__}")
    for name, value in values.items():
        print(f"  {name:15} {value:,.0f}" if name == "targets" else f"  {name:15} {value:.6f}")


def compare(workdirs: list[Path]) -> None:
    """Prints the tables of the tasks, and writes what is in them."""
    asked_with = {
        "kappas": tuple(map(kappa, KAPPA.value)),
        "positions": POSITIONS.value,
        "orders": ORDERS.value,
        "items": ITEMS.value,
        "pairs": PAIRS.value,
        "probe": PROBE.value,
    }
    check_files(TASK.value)
    output = writable(OUTPUT.value)
    checkpoints = [open_checkpoint(workdir, STEP.value) for workdir in workdirs]
    settings = Settings(common_length(checkpoints, LENGTH.value), **asked_with)
    texts, values = read_texts(checkpoints)
    entries = [Entry(*each, settings.length) for each in zip(checkpoints, texts, strict=True)]
    values |= {"length": settings.length, "kappas": KAPPA.value, "positions": settings.positions}
    values["checkpoints"] = [
        {"workdir": each.name, "step": each.step, "objective": type(each.experiment.objective).__name__}
        for each in checkpoints
    ]
    for entry in entries:
        print(describe(entry, values.get("text")))
    for task in TASK.value:
        found = TASKS[task].ask(entries, settings)
        values[task] = found.values
        print(f"\n{task}\n" + "".join(f"\n{table}\n" for table in found.tables), flush=True)
        if output:  # task by task: what a later one runs into costs nothing that is done
            save(found.figures, output)
            (output / "eval.json").write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")


def read_texts(checkpoints: list[Checkpoint]) -> tuple[list[Text] | list[None], dict[str, Any]]:
    """The text of each checkpoint and what it is called; none where no task reads it."""
    if not any(TASKS[task].reads_text for task in TASK.value):
        return [None] * len(checkpoints), {}
    if TEXT.value:
        return given_texts(checkpoints, TEXT.value, print), {"text": TEXT.value}
    return held_out_texts(checkpoints, SPLIT.value, print), {"text": f"{SPLIT.value} split"}


def describe(entry: Entry, text: str | None) -> str:
    """One line: which checkpoint is asked about how much text."""
    name = f"{entry.name}, step {entry.checkpoint.step}"
    if text is None:
        return name
    blocks = entry.blocks
    return (
        f"{name}: {text}, {blocks.num_documents:,} documents in {blocks.num_blocks:,} blocks of {blocks.length} tokens"
        + (f", {blocks.num_bytes:,} bytes" if entry.lossless else ", which do not decode to the text: no bytes")
        + (f"; {blocks.unknown:,} unknown tokens are seen and not scored" if blocks.unknown else "")
    )


def check_files(tasks: list[str]) -> None:
    """Raises InputError where a task lacks its file, or a file its task."""
    for task in ("pairs", "probe"):
        given = flags.FLAGS[task].value
        if task in tasks and not given:
            raise InputError(f"--tasks={task}: asks what a file says; name one with --{task}=FILE.")
        if given and task not in tasks:
            raise InputError(f"--{task}={given}: no task reads it; add {task} to --tasks.")


def kappa(text: str) -> int | None:
    """The number of [MASK]s that a flag gives; None for all."""
    if text == "all":
        return None
    if not text.isdigit() or not int(text):
        raise InputError(f"--kappa={text}: must be a number from 1 on, or all.")
    return int(text)


def writable(folder: str | None) -> Path | None:
    """The folder, made if need be. Raises InputError where it cannot be."""
    if folder is None:
        return None
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output={folder}: cannot be written ({error.strerror}); name another folder.") from error
    return Path(folder)


if __name__ == "__main__":
    command_line.run_command(main)
