"""What tests/test_mesh.py asks of a process with eight devices: trains each model on one of them and on all of them."""

import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import commands
from batch import Mean
from training.build import Run, build_run
from training.config import MeshConfig
from training.sharding import make_mesh, place_batch
from training.state import TrainState

STEPS, LAYERS, ROWS, LENGTH, MEMORY = 3, 3, 32, 20, 12
SMALL = {"num_layers": LAYERS, "num_heads": 4, "model_dim": 24, "mlp_dim": 56}
"""The sizes are such that the shape of an array tells what it is."""

PAIRS = {
    "model": {"pair_head": True, "max_length": LENGTH},
    "objective": {"pair_weight": 1.0},
    "data": {"layout": "pairs", "validation": 0.1},
    "optimizer": {"accumulate": 2},
}
CASES = {
    "bert": (PAIRS, MeshConfig(data=4, fsdp=2)),
    "gpt": ({"model": {"max_length": LENGTH}}, MeshConfig(fsdp=2, tensor=2)),
    "xlnet": ({"model": {"memory_length": MEMORY}, "optimizer": {"accumulate": 2}}, MeshConfig(fsdp=2, tensor=2)),
}


class Trained(NamedTuple):
    """The end of a few steps."""

    state: TrainState
    records: list[dict[str, float]]
    born: dict[str, list[int]]  # what one device holds of each leaf before the first step
    ended: dict[str, list[int]]  # and after the last
    computed: list[str]  # the shape of every array of numbers in a step, forwards and backwards


def trained(run: Run) -> Trained:
    programs, seed = run.programs(), run.experiment.seed
    state, records = programs.start(seed), []
    born, batches = local_shapes(state), [place_batch(run.train.batch(number), run.mesh) for number in range(STEPS)]
    step = programs.step.lower(state, batches[0], seed).compile()
    for batch in batches:
        state, record = step(state, batch, seed)
        values = {name: mean.value() if isinstance(mean, Mean) else float(mean) for name, mean in record.items()}
        records.append(values)
    computed = sorted(set(re.findall(r"f32\[([\d,]+)\]", step.as_text())))
    return Trained(state, records, born, local_shapes(state), computed)


def local_shapes(state: TrainState) -> dict[str, list[int]]:
    """What one device holds of each leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): list(leaf.addressable_shards[0].data.shape) for path, leaf in leaves}


def differences(one: Any, other: Any) -> dict[str, float]:
    """The largest difference of each leaf."""
    far = jax.tree.map(lambda a, b: float(np.abs(np.asarray(a, float) - np.asarray(b, float)).max()), one, other)
    return {jax.tree_util.keystr(path): value for path, value in jax.tree_util.tree_leaves_with_path(far)}


def main(config: Path, model: str) -> None:
    groups, mesh = CASES[model]
    groups = {"data": {}, **groups, "model": {**SMALL, **groups["model"]}}
    groups["data"] = {"batch_size": ROWS, "length": LENGTH, **groups["data"]}
    experiment = commands.experiment(config, model, **groups)
    runs = [build_run(experiment, lambda line: None, mesh=each) for each in (None, make_mesh(mesh))]
    one, several = map(trained, runs)
    far = differences((one.state.params, one.state.memory), (several.state.params, several.state.memory))
    told = [{**each._asdict(), "state": None} for each in (one, several)]
    print(json.dumps({"far": far, "one": told[0], "several": told[1]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
