"""Measures a checkpoint's own objective on held-out text.

python evaluate.py --workdir=runs/x --step=best
"""

from pathlib import Path

from absl import flags

from batch import InputError
from training import flags as command_line
from training.build import build_run
from training.checkpoint import Checkpoints
from training.heldout import held_out
from training.progress import Progress
from training.workdir import check_corpus, stored_experiment, stored_tokenizer

WORKDIR = flags.DEFINE_string("workdir", None, "folder of a run")
STEP = flags.DEFINE_string("step", "latest", "which checkpoint: latest, best (the least held-out loss), or a step")
SPLIT = flags.DEFINE_enum("split", "validation", ["validation", "test"], "which held-out text")


def main() -> None:
    if not WORKDIR.value:
        raise InputError("--workdir: missing; name the folder of a run, as in --workdir=runs/x.")
    workdir = Path(WORKDIR.value)
    experiment = stored_experiment(workdir)
    step = Checkpoints(workdir).resolve(STEP.value)
    if SPLIT.value == "test" and not experiment.data.test:
        raise InputError("--split=test: the run has data.test=0.0 and kept no such text; use --split=validation.")
    run = build_run(experiment, print, stored_tokenizer(workdir))
    check_corpus(workdir, run.prepared)
    params = Checkpoints(workdir).restore_params(step)
    stream, batch_size = run.held_out(SPLIT.value), experiment.data.batch_size
    with Progress(stream.steps_per_epoch, "evaluating") as progress:
        watch = lambda done, total: progress.update(done)  # noqa: E731
        values = held_out(run.eval_step(), run.model, params, stream, batch_size, watch=watch)
    print(f"{workdir}, step {step}, {SPLIT.value} split, {type(experiment.objective).__name__}")
    for name, value in values.items():
        print(f"  {name:15} {value:,.0f}" if name == "targets" else f"  {name:15} {value:.6f}")


if __name__ == "__main__":
    command_line.run_command(main)
