"""The commands, run in this process, and a tiny experiment for them: seconds from start to end."""

import contextlib
import dataclasses
import io
import json
import os
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import flags

from training.build import build_run
from training.checkpoint import Checkpoints
from training.config import Experiment
from training.flags import load
from training.loop import Result, train
from training.metrics import deterministic

ROOT = Path(__file__).parents[1]

CONFIG = """
from configs.shared import Size, trunk
from data.config import DataConfig
from training.config import OptimizerConfig, TrainingConfig

SIZE = Size(
    trunk=trunk(2, 2, 16, dropout=0.1, initializer_range=0.06),
    data=DataConfig(corpus={corpus!r}, cache={cache!r}, layout="streams", tokenizer="bytes", length=16, batch_size=4),
    optimizer=OptimizerConfig(total_steps=12, warmup_steps=2),
    training=TrainingConfig(log_every=1, eval_every=5, save_every=3, keep=99),
)


def get_config(model):
    return getattr(SIZE, model)()
"""
"""Files of experiments are Python; this one, `tiny.py:bert`, stands for those that users write."""

FROM_TERMINAL = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

WORDS = ("the", "a", "of", "and", "river", "stone", "boat", "light", "water", "old", "house", "tree", "sings", "runs")
OWN_FLAGS = (
    *("workdir", "print_config", "dry_run", "profile", "step", "split", "steps", "config"),
    *("from_hf", "to_hf", "allow_missing"),
    *("tasks", "text", "output", "length", "kappa", "positions", "orders", "items", "pairs", "probe"),
    *("suite", "from", "seeds", "match"),
    *("coordinator", "num_processes", "process_id"),
    *("task", "data", "label", "train", "dev", "rates", "epochs", "from_scratch", "visibility"),
    *("adapt", "layers", "keep_features"),
    *("model", "updates"),
    "language_weight",
)


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one sentence that a refusal is."""
        assert self.code == 1, f"exit {self.code}\n{self.out}\n{self.err}"
        error = self.err.splitlines()[-1]
        assert error.startswith("error: ") and "Traceback" not in self.err and "\n\n" not in self.err
        assert sum(line.startswith("error: ") for line in self.err.splitlines()) == 1
        assert error.endswith((".", "?")) or error.startswith("error: flag --"), error  # absl's own have no full stop
        return error.removeprefix("error: ")


def text(documents: int = 30, sentences: int = 8, seed: int = 0) -> str:
    """Documents of random sentences with blank lines between them."""
    rng = np.random.default_rng(seed)
    sentence = lambda: " ".join(rng.choice(WORDS, rng.integers(4, 9))).capitalize() + "."  # noqa: E731
    return "\n".join("".join(f"{sentence()}\n" for _ in range(sentences)) for _ in range(documents))


def write_config(folder: Path) -> Path:
    """A config file beside a corpus and a cache of its own; name an experiment as `f"{path}:bert"`."""
    (folder / "corpus.txt").write_text(text())
    path = folder / "tiny.py"
    path.write_text(CONFIG.format(corpus=str(folder / "corpus.txt"), cache=str(folder / "cache")))
    return path


def experiment(config: Path, name: str, /, **groups: dict[str, Any]) -> Experiment:
    """The tiny experiment of the model `name`, with fields of its groups replaced."""
    base = load(f"{config}:{name}")
    changed = {group: dataclasses.replace(getattr(base, group), **fields) for group, fields in groups.items()}
    return dataclasses.replace(base, **changed)


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """Compiles without optimization, which is nearly all of what a tiny run costs."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def run(script: str, *arguments: str) -> Done:
    """Runs a script of the root with these arguments, without the seconds that a new process takes to import."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv = mock.patch.object(sys, "argv", [str(ROOT / script), *arguments])
    with quick(), argv, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        finally:
            for name in set(OWN_FLAGS) & set(flags.FLAGS):
                delattr(flags.FLAGS, name)
            flags.FLAGS.unparse_flags()
    return Done(code, out.getvalue(), err.getvalue())


def trained(experiment: Experiment, workdir: Path, **options: Any) -> Result:
    """Trains an experiment in `workdir`, as train.py does."""
    with quick():
        return train(build_run(experiment, lambda line: None), workdir, **options)


def start(script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Starts a script of the root in a process of its own, as from a terminal, though Ctrl-C may be ignored here."""
    return subprocess.Popen(
        [sys.executable, "-c", FROM_TERMINAL, str(ROOT / script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"} | environment,
    )


def finish(process: subprocess.Popen[str]) -> Done:
    """Waits for a process."""
    out, err = process.communicate()
    return Done(process.returncode, out, err)


def records(workdir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, as they are."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def stored(workdir: Path, step: int | None = None) -> dict[str, np.ndarray]:
    """Every leaf of a checkpoint, under its path, as Orbax alone reads it."""
    step = Checkpoints(workdir).latest if step is None else step
    with ocp.PyTreeCheckpointer() as reader, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is read back to where it was saved from
        state = reader.restore(workdir.absolute() / "checkpoints" / str(step) / "state")
    return {name: np.asarray(leaf) for name, leaf in ocp.tree.to_flat_dict(state, sep="/").items()}


def assert_same_run(one: Path, other: Path) -> None:
    """The same checkpoints, leaf by leaf and bit by bit, and the same records but for their wall-clock fields."""
    steps = Checkpoints(one).steps
    assert steps == Checkpoints(other).steps
    for step in steps:
        leaves, others = stored(one, step), stored(other, step)
        assert leaves.keys() == others.keys()
        for name, leaf in leaves.items():
            assert leaf.dtype == others[name].dtype
            np.testing.assert_array_equal(leaf, others[name], err_msg=f"{name} of step {step}")
    assert list(map(deterministic, records(one))) == list(map(deterministic, records(other)))
