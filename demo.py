"""BERT, GPT and XLNet side by side: python demo.py trains the three tiny experiments, and reports on them.

They read the same tokens in the same order, with the same tokenizer and trunks of the same width and depth. What may be
compared between them is in the report, and not in the table.
"""

import shutil
from pathlib import Path

from absl import flags

from ablation.existing import existing
from ablation.study import NAMES
from report.publish import publish
from training import flags as command_line
from training.build import Run, build_run
from training.config import Experiment
from training.describe import describe
from training.interrupt import Interrupted
from training.lock import locked
from training.loop import Result, train
from training.overrides import override
from training.state import num_parameters

WORKDIR = flags.DEFINE_string("workdir", "runs/demo", "folder of the three runs; what is in it is trained anew")
STEPS = flags.DEFINE_integer("steps", 0, "updates of each model; 0: as in its config", lower_bound=0)

CONFIGS = ("configs/bert_tiny.py", "configs/gpt_tiny.py", "configs/xlnet_tiny.py")


def main() -> None:
    try:
        compare(Path(WORKDIR.value))
    except Interrupted as stopped:
        print(f"\n{stopped}; the same command trains all three anew")


def compare(workdir: Path) -> None:
    rows = []
    for config in CONFIGS:
        experiment = shortened(command_line.load(str(Path(__file__).parent / config)), STEPS.value)
        run = build_run(experiment, print)
        name = type(run.model).__name__
        folder = workdir / name.lower()
        with locked(folder, print):
            shutil.rmtree(folder, ignore_errors=True)
        print(f"\n{NAMES[name]}\n{describe(run)}", flush=True)
        rows.append(row(NAMES[name], run, train(run, folder), folder))
    print(f"\n{table(rows)}\n\n{NOTES}\n", flush=True)
    publish(existing([Path(row["checkpoints and metrics.jsonl"]) for row in rows], lambda line: None), workdir)
    print(f"\nWhat may be compared, by yardsticks that are the same for all: {workdir / 'report.html'}")


def shortened(experiment: Experiment, steps: int) -> Experiment:
    """The experiment with another number of updates, a tenth of them warm-up."""
    if not steps:
        return experiment
    return override(
        experiment, [("optimizer.total_steps", str(steps)), ("optimizer.warmup_steps", str(max(1, steps // 10)))]
    )


def row(name: str, run: Run, result: Result, folder: Path) -> dict[str, str]:
    """What the table says of one run."""
    loss, baseline = result.held_out["loss"], result.held_out["unigram_loss"]
    return {
        "model": name,
        "objective": type(run.experiment.objective).__name__,
        "parameters": f"{num_parameters(result.state.params):,}",
        "tokens": f"{result.tokens:,}",
        "predicted": f"{result.predicted:,}",
        "held-out loss": f"{loss:.3f}",
        "unigram": f"{baseline:.3f}",
        "gain": f"{baseline - loss:.3f}",
        "tokens/s": f"{result.tokens_per_second:,.0f}",
        "checkpoints and metrics.jsonl": str(folder),
    }


def table(rows: list[dict[str, str]]) -> str:
    """The rows as a Markdown table, which is also readable as it is; numbers are aligned right."""
    lines = []
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    left = ("model", "objective", "checkpoints and metrics.jsonl")
    align = {name: (str.ljust if name in left else str.rjust) for name in rows[0]}
    lines.append(" | ".join(align[name](name, width) for name, width in widths.items()))
    lines.append(" | ".join("-" * width if name in left else "-" * (width - 1) + ":" for name, width in widths.items()))
    lines += [" | ".join(align[name](row[name], width) for name, width in widths.items()) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


NOTES = """\
Losses are in nats per predicted token on held-out text. `unigram` is the loss of token frequencies alone on the same
targets, `gain` the difference. Losses of different objectives answer different questions: do not compare them down the
column. BERT trains without next-sentence prediction here, so that all three read the same streams."""


if __name__ == "__main__":
    command_line.run_command(main)
