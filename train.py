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
from training.profile import profiled
from training.workdir import check_identity, stored_tokenizer

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run: checkpoints, records, tokenizer")
PRINT_CONFIG = flags.DEFINE_bool("print_config", False, "print the experiment as it will run, and stop")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "build everything, make one step, say what would happen, and stop")
PROFILE = flags.DEFINE_bool("profile", False, "write a trace of a few steps to WORKDIR/profile")


def main(experiment: Experiment) -> None:
    if PRINT_CONFIG.value:
        print(to_json(experiment))
        return
    if not WORKDIR.value and not DRY_RUN.value:
        raise InputError("--workdir: missing; name the folder of the run, as in --workdir=runs/x.")
    workdir = Path(WORKDIR.value) if WORKDIR.value else None
    tokenizer = (stored_tokenizer(workdir) if workdir else None) or initial_tokenizer(experiment)
    run = build_run(experiment, print, tokenizer)
    if workdir:
        check_identity(workdir, experiment, run.prepared)
    params = None if workdir and Checkpoints(workdir).steps else initial_params(run, print)
    print(describe(run), flush=True)
    if DRY_RUN.value or workdir is None:
        print(rehearse(run, params))
        return
    with profiled(workdir / "profile", PROFILE.value) as before_step:
        result = train(run, workdir, params=params, before_step=before_step)
    values = result.held_out
    print(
        f"{workdir}: step {experiment.optimizer.total_steps}, held-out loss {values['loss']:.4f} "
        f"(unigram baseline {values['unigram_loss']:.4f}), {result.tokens:,} tokens, {result.predicted:,} predicted"
    )


if __name__ == "__main__":
    command_line.run(main)
