"""Trains the experiment of a config file.

python train.py --config=configs/xlnet_tiny.py --workdir=runs/x --config.data.corpus=PATH

Killed and run again with the same command, it goes on from the newest checkpoint and ends as if it had never stopped.
"""

from pathlib import Path

from absl import flags

from batch import InputError
from training import flags as command_line
from training.build import build_run
from training.checkpoint import Checkpoints
from training.config import Experiment, to_json
from training.describe import describe, rehearse
from training.initial import initial_params, initial_tokenizer
from training.loop import train
from training.processes import first_before_others, is_first, join
from training.profile import profiled
from training.sharding import check_divisible, make_mesh
from training.workdir import check_identity, stored_tokenizer

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run: checkpoints, records, tokenizer")
PRINT_CONFIG = flags.DEFINE_bool("print_config", False, "print the experiment as it will run, and stop")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "build everything, make one step, say what would happen, and stop")
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0 of several, or auto: docs/scaling.md")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "how many processes train this run")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "which of them this one is, from 0 on")
PROFILE = flags.DEFINE_bool("profile", False, "write a trace of a few steps to WORKDIR/profile")


def main(experiment: Experiment) -> None:
    if PRINT_CONFIG.value:
        print(to_json(experiment))
        return
    if not WORKDIR.value and not DRY_RUN.value:
        raise InputError("--workdir: missing; name the folder of the run, as in --workdir=runs/x.")
    join(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    mesh = make_mesh(experiment.mesh)
    if mesh:
        check_divisible(experiment, mesh)
    report = print if is_first() else lambda *_, **__: None
    workdir = Path(WORKDIR.value) if WORKDIR.value else None
    tokenizer = (stored_tokenizer(workdir) if workdir else None) or initial_tokenizer(experiment)
    with first_before_others("data"):
        run = build_run(experiment, report, tokenizer, mesh)
    if workdir:
        check_identity(workdir, experiment, run.prepared)
    params = None if workdir and Checkpoints(workdir).steps else initial_params(run, report)
    if is_first():
        print(describe(run), flush=True)
    if DRY_RUN.value or workdir is None:
        report(rehearse(run, params))
        return
    with profiled(workdir / "profile", PROFILE.value) as before_step:
        result = train(run, workdir, params=params, before_step=before_step)
    values = result.held_out
    report(
        f"{workdir}: step {experiment.optimizer.total_steps}, held-out loss {values['loss']:.4f} "
        f"(unigram baseline {values['unigram_loss']:.4f}), {result.tokens:,} tokens, {result.predicted:,} predicted"
    )


if __name__ == "__main__":
    command_line.run(main)
