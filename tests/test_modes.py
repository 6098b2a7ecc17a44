"""Flax's two modes, the one of today and the one announced for tomorrow, give the same numbers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import commands

SCRIPT = """
import json, sys
import flax
import jax
from training.build import build_run
from training.flags import load
from training.state import init_state

losses = {"modes": [bool(flax.config.nnx_graph_mode), bool(flax.config.nnx_graph_updates)]}
for model in ("bert", "gpt", "xlnet"):
    run = build_run(load(f"{sys.argv[1]}:{model}"), lambda line: None)
    state, step = init_state(run.model, run.optimizer, 4, run.experiment.seed), run.train_step()
    losses[model] = []
    for number in range(3):
        state, record = step(state, run.train.batch(number), run.experiment.seed)
        losses[model].append(record["loss"].value().hex())
    losses[model].append(sum(float(abs(leaf).sum()) for leaf in jax.tree.leaves(state.params)).hex())
print(json.dumps(losses))
"""


def found_in(config: Path, mode: str) -> dict[str, Any]:
    environment = os.environ | {
        "NNX_GRAPH_MODE": mode,
        "NNX_GRAPH_UPDATES": mode,
        "PYTHONPATH": str(commands.ROOT),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    arguments = [sys.executable, "-c", SCRIPT, str(config)]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_both_modes_give_identical_losses_and_parameters(tmp_path):
    """One after the other: what the first has compiled, the second need not, unless it differs."""
    config = commands.write_config(tmp_path)
    found = [found_in(config, mode) for mode in ("true", "false")]
    assert [each.pop("modes") for each in found] == [[True, True], [False, False]]
    assert found[0] == found[1] and set(found[0]) == {"bert", "gpt", "xlnet"}
