"""What is saved comes back bit for bit, is kept as declared, and is refused when it is damaged or foreign."""

import dataclasses
import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import training.manifest
from batch import InputError
from training.checkpoint import Checkpoints
from training.config import OptimizerConfig
from training.manifest import MANIFEST
from training.optimizer import make_optimizer

ROOT = Path(__file__).parents[1]


@struct.dataclass
class ToyMemory:
    hidden: jax.Array
    valid: jax.Array


@struct.dataclass
class ToyState:
    step: jax.Array
    params: dict
    opt_state: object
    memory: ToyMemory | None


def toy(step: int, width: int = 5, bias_correction: bool = False, memory: bool = True) -> ToyState:
    key = jax.random.key(step)
    params = {"layer": {"kernel": jax.random.normal(key, (3, width)), "bias": jnp.full(width, jnp.nan)}}
    opt_state = make_optimizer(OptimizerConfig(bias_correction=bias_correction)).init(params)
    remembered = ToyMemory(jax.random.normal(key, (2, 3)).astype(jnp.bfloat16), jnp.array([True, False]))
    return ToyState(jnp.int32(step), params, opt_state, remembered if memory else None)


def abstract(state: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)


def shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def assert_same_bits(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def saved(workdir: Path, losses: dict[int, float | None], keep: int = 1) -> Checkpoints:
    with Checkpoints(workdir, keep) as checkpoints:
        for step, loss in losses.items():
            checkpoints.save(step, toy(step), None if loss is None else {"loss": loss})
    return Checkpoints(workdir, keep)


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize("bias_correction", [True, False])
def test_what_is_restored_is_what_was_saved_bit_for_bit(tmp_path, bias_correction, memory):
    state = toy(7, bias_correction=bias_correction, memory=memory)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, state)
    step, restored = Checkpoints(tmp_path).restore(abstract(state))
    assert step == 7
    assert_same_bits(restored, state)
    assert_same_bits(Checkpoints(tmp_path).restore_params(7, shapes(state.params)), state.params)


def test_a_state_may_be_donated_while_it_is_saved(tmp_path):
    state = toy(1)
    state = dataclasses.replace(state, params={"kernel": jnp.arange(1 << 22, dtype=jnp.float32)})
    expected = jax.tree.map(lambda leaf: np.array(leaf, copy=True), state)
    donated = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0, tree), donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        target = abstract(state)
        checkpoints.save(1, state)
        for _ in range(3):
            state = donated(state)
        checkpoints.wait()
        assert_same_bits(checkpoints.restore(target)[1], expected)


@pytest.mark.parametrize(
    ("losses", "keep", "kept", "best"),
    [
        ({1: 3.0, 2: 1.0, 3: 2.0, 4: 5.0}, 1, [2, 4], 2),
        ({1: 3.0, 2: 1.0, 3: 2.0, 4: 5.0}, 2, [2, 3, 4], 2),
        ({1: 3.0, 2: None, 3: None}, 1, [1, 3], 1),
        ({1: math.nan, 2: 4.0, 3: math.nan, 4: -math.inf}, 1, [2, 4], 2),
        ({1: math.nan, 2: None}, 1, [2], None),
        ({1: 1.0, 2: 1.0, 3: 1.0}, 1, [1, 3], 1),
        ({1: 3.0, 2: 2.0}, 1, [2], 2),
    ],
)
def test_the_newest_and_the_best_are_kept(tmp_path, losses, keep, kept, best):
    checkpoints = saved(tmp_path, losses, keep)
    assert (checkpoints.steps, checkpoints.latest, checkpoints.best) == (kept, max(losses), best)


def test_the_best_outlives_a_restart(tmp_path):
    saved(tmp_path, {1: 1.0, 2: 2.0})
    assert saved(tmp_path, {3: 3.0, 4: 4.0}).steps == [1, 4]


def test_a_step_is_found_by_name_or_number(tmp_path):
    checkpoints = saved(tmp_path, {10: 1.0, 200: 2.0})
    assert [checkpoints.resolve(which) for which in ("latest", "best", "10")] == [200, 10, 10]
    with pytest.raises(InputError, match=r"--step=11: no such checkpoint.*the steps are 10, 200, or latest, or best"):
        checkpoints.resolve("11")
    with pytest.raises(InputError, match="--step=newest: no such"):
        checkpoints.resolve("newest")
    with pytest.raises(InputError, match=r"--step=best: .* holds no checkpoint"):
        Checkpoints(tmp_path / "nothing").resolve("best")
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(InputError, match=r"no checkpoint in .* has a held-out loss"):
        saved(tmp_path / "unmeasured", {1: None}).resolve("best")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
def test_any_damaged_file_is_named_and_nothing_is_restored(tmp_path, damage):
    checkpoints = saved(tmp_path, {1: 1.0, 2: 2.0})
    original = tmp_path / "original"
    shutil.copytree(checkpoints.folder / "2", original)
    manifest = (original / MANIFEST).read_text()
    names = [line.split("  ")[1] for line in manifest.splitlines()]
    assert len(names) > 5
    for name in names:
        damage(checkpoints.folder / "2" / name)
        with pytest.raises(InputError, match=rf"{name} is damaged or missing; delete .*/2 or pass --step=1\."):
            checkpoints.restore(abstract(toy(2)))
        with pytest.raises(InputError, match="is damaged or missing"):
            checkpoints.restore_params(2, shapes(toy(2).params))
        shutil.copytree(original, checkpoints.folder / "2", dirs_exist_ok=True)
    assert_same_bits(checkpoints.restore(abstract(toy(2)))[1], toy(2))
    assert_same_bits(checkpoints.restore(abstract(toy(1)), 1)[1], toy(1))


def test_the_manifest_lists_every_file_that_is_read_and_is_itself_required(tmp_path):
    folder = saved(tmp_path, {1: 1.0}).folder / "1"
    listed = {line.split("  ")[1] for line in (folder / MANIFEST).read_text().splitlines()}
    state = {str(file.relative_to(folder)) for file in (folder / "state").rglob("*") if file.is_file()}
    assert listed == state | {"metrics.json"}
    assert subprocess.run(["sha256sum", "-c", MANIFEST], cwd=folder, capture_output=True).returncode == 0
    (folder / MANIFEST).unlink()
    with pytest.raises(InputError, match=r"SHA256SUMS is damaged or missing; delete .*/1\."):
        Checkpoints(tmp_path).restore(abstract(toy(1)))


def cut_manifest(folder: Path) -> None:
    lines = (folder / MANIFEST).read_text().splitlines(keepends=True)
    (folder / MANIFEST).write_text("".join(lines[:-1]))


def add_file(folder: Path) -> None:
    (folder / "state" / "more").write_text("data")


def largest(folder: Path) -> Path:
    return max(filter(Path.is_file, (folder / "state").rglob("*")), key=lambda file: file.stat().st_size)


DAMAGES = {
    "truncated": lambda folder: truncate(largest(folder)),
    "one bit": lambda folder: flip(largest(folder)),
    "missing": lambda folder: largest(folder).unlink(),
    "empty": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
    "empty but for its manifest": lambda folder: (shutil.rmtree(folder), folder.mkdir(), (folder / MANIFEST).touch()),
    "manifest": lambda folder: (folder / MANIFEST).write_text(""),
    "cut manifest": cut_manifest,
    "added file": add_file,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_run_goes_on_from_the_newest_step_that_is_whole(tmp_path, damage):
    checkpoints, said = saved(tmp_path, {1: 1.0, 2: 2.0, 3: None, 4: 4.0}, keep=4), []
    for step in (3, 4):
        damage(checkpoints.folder / str(step))
    step, state = checkpoints.restore_newest(abstract(toy(2)), said.append)
    assert step == 2 and checkpoints.steps == [1, 2]
    assert_same_bits(state, toy(2))
    assert len(said) == 2
    for number, line in zip((4, 3), said, strict=True):
        assert line.startswith(f"{checkpoints.folder / str(number)}/") and "damaged or missing" in line
        assert line.endswith(f"step {number} is set aside as {number}.damaged")
        assert (checkpoints.folder / f"{number}.damaged").is_dir()
    assert saved(tmp_path, {3: 3.0, 4: 3.0}, keep=4).steps == [1, 2, 3, 4]
    damage(checkpoints.folder / "4")  # again: the new one takes the place of the old
    assert checkpoints.restore_newest(abstract(toy(2)), said.append)[0] == 3


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_where_no_step_is_whole_the_newest_damage_is_named_with_the_remedy(tmp_path, damage):
    checkpoints = saved(tmp_path, {1: 1.0, 2: 2.0}, keep=2)
    for step in (1, 2):
        damage(checkpoints.folder / str(step))
    before = sorted(checkpoints.folder.rglob("*"))
    with pytest.raises(
        InputError, match=rf"^{checkpoints.folder}/2/.*: is damaged or missing, and no older .*delete it"
    ):
        checkpoints.restore_newest(abstract(toy(2)), pytest.fail)
    assert sorted(checkpoints.folder.rglob("*")) == before


def test_what_is_saved_beside_a_state_is_read_again(tmp_path):
    checkpoints = saved(tmp_path, {1: math.inf})
    assert checkpoints.metrics(1) == {"loss": "inf"}
    for content in ("[]", "{", '"text"'):
        (checkpoints.folder / "1" / "metrics.json").write_text(content)
        assert checkpoints.metrics(1) == {} and checkpoints.best is None


def test_a_state_of_another_experiment_is_refused_by_name(tmp_path):
    checkpoints = saved(tmp_path, {1: 1.0})

    def refusal(target: ToyState) -> str:
        with pytest.raises(InputError) as caught:
            checkpoints.restore(abstract(target))
        return str(caught.value)

    assert r"params.layer.bias is float32[5], expected float32[6]" in refusal(toy(1, width=6))
    assert "memory.hidden is not of this experiment" in refusal(toy(1, memory=False))
    state = toy(1)
    message = refusal(dataclasses.replace(state, params={"other": jnp.zeros(1)}))
    assert "params.other is missing" in message and "params.layer.kernel is not of this experiment" in message
    assert "step is int32[], expected float32[]" in refusal(dataclasses.replace(state, step=jnp.float32(1)))
    assert "opt_state.1.mu" in refusal(toy(1, bias_correction=True))


def test_saving_a_step_that_is_not_new_is_refused(tmp_path):
    saved(tmp_path, {5: 1.0})
    with Checkpoints(tmp_path) as checkpoints:
        for step in (3, 5):
            with pytest.raises(InputError, match=f"step {step}: .* already holds step 5"):
                checkpoints.save(step, toy(step))
    assert_same_bits(Checkpoints(tmp_path).restore(abstract(toy(5)))[1], toy(5))


def test_what_a_killed_save_left_is_ignored_and_then_removed(tmp_path):
    checkpoints = saved(tmp_path, {1: 1.0})
    for step in (2, 3):
        leftover = checkpoints.folder / f"{step}.orbax-checkpoint-tmp"
        shutil.copytree(checkpoints.folder / "1", leftover)
    assert (checkpoints.steps, checkpoints.resolve("latest")) == ([1], 1)
    checkpoints.restore(abstract(toy(1)))
    assert len(list(checkpoints.folder.iterdir())) == 3  # reading removes nothing
    saved(tmp_path, {2: 2.0})
    assert sorted(folder.name for folder in checkpoints.folder.iterdir()) == ["1", "2"]
    assert_same_bits(checkpoints.restore(abstract(toy(2)))[1], toy(2))


SAVER = """
import sys
import jax.numpy as jnp
from training.checkpoint import Checkpoints

with Checkpoints(sys.argv[1]) as checkpoints:
    for step in range(1, 10_000):
        checkpoints.save(step, {"params": {"kernel": jnp.full(1 << 20, step, jnp.float32)}}, {"loss": 1 / step})
        print(step, flush=True)
"""


def test_a_run_killed_at_any_moment_leaves_a_whole_newest_step(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    target = {"params": {"kernel": jnp.zeros(1 << 20)}}
    command = [sys.executable, "-c", SAVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 5:
                break
        time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    step, restored = Checkpoints(tmp_path).restore(abstract(target))
    assert step >= 4
    np.testing.assert_array_equal(restored["params"]["kernel"], step)


def test_what_is_no_step_of_ours_is_passed_over(tmp_path):
    checkpoints = saved(tmp_path, {1: 1.0})
    for name in ("\u00b2", "02", "3.damaged", "-4"):
        (checkpoints.folder / name).mkdir()
    assert checkpoints.steps == [1]


@pytest.mark.parametrize("loss", ["text", [1.0], {}, None, 10**400])
def test_a_loss_that_is_no_number_is_never_the_best(tmp_path, loss):
    checkpoints = saved(tmp_path, {1: 1.0, 2: 2.0}, keep=2)
    (checkpoints.folder / "1" / "metrics.json").write_text(json.dumps({"loss": loss}))
    assert checkpoints.best == 2


def test_a_file_that_the_disk_does_not_give_back_is_damaged(tmp_path, monkeypatch):
    checkpoints, digest = saved(tmp_path, {1: 1.0, 2: 2.0}, keep=2), training.manifest._digest

    def fails(file):
        if "2" in file.relative_to(checkpoints.folder).parts:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return digest(file)

    monkeypatch.setattr(training.manifest, "_digest", fails)
    said = []
    assert checkpoints.restore_newest(abstract(toy(1)), said.append)[0] == 1 and len(said) == 1
