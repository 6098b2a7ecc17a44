"""A checkpoint whose digests agree with what is wrong in it is refused in a sentence: Orbax would believe it."""

import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore as ts

from batch import InputError
from training.checkpoint import Checkpoints
from training.manifest import write_manifest

HUGE = 10**12
DEEP = b"[" * 100_000
STATE = {
    "params": {"kernel": jnp.arange(15.0).reshape(3, 5), "bias": jnp.ones(5)},
    "opt_state": [{"mu": jnp.full((3, 5), 2.0)}],
    "step": jnp.int32(2),
}
ABSTRACT = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), STATE)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A workdir with the checkpoints of two steps."""
    workdir = tmp_path_factory.mktemp("stored")
    with Checkpoints(workdir, keep=2) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, {**STATE, "step": jnp.int32(step)})
    return workdir


@pytest.fixture
def run(whole, tmp_path):
    """A copy, the newest step of which is to be made hostile."""
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def state_of(run):
    return run / "checkpoints" / "2" / "state"


def opened(run):
    return ts.KvStore.open({"driver": "ocdbt", "base": f"file://{state_of(run)}/"}).result()


def write(run, key, content):
    """Writes what stands under a key of the store of all arrays, None for nothing, and the digests of all that."""
    opened(run).write(key, content).result()
    write_manifest(run / "checkpoints" / "2")


def describe(run, **changes):
    """Writes what zarr says of one array."""
    key = "params.kernel/.zarray"
    write(run, key, json.dumps({**json.loads(opened(run).read(key).result().value), **changes}))


def rewrite(run, name, content):
    """Writes one file of the state, and the digests of all."""
    (state_of(run) / name).write_bytes(content)
    write_manifest(run / "checkpoints" / "2")


def refusals(run):
    """What is said by every way to read the newest step."""
    checkpoints, said = Checkpoints(run), []
    for read in (lambda: checkpoints.restore(ABSTRACT), lambda: checkpoints.restore_params(2, ABSTRACT["params"])):
        with pytest.raises(InputError) as caught:
            read()
        said.append(str(caught.value))
    assert all(str(run) in each and "\n" not in each and len(each) < 1000 for each in said), said
    return said


def assert_saved(state, step):
    saved = {**STATE, "step": np.int32(step)}
    assert jax.tree.structure(state) == jax.tree.structure(saved)
    jax.tree.map(np.testing.assert_array_equal, state, saved)


def test_what_was_saved_is_read(run):
    step, state = Checkpoints(run).restore(ABSTRACT)
    assert step == 2
    assert_saved(state, 2)
    params = Checkpoints(run).restore_params(2, ABSTRACT["params"])
    jax.tree.map(np.testing.assert_array_equal, params, STATE["params"])


SIZES = {
    "shape": ({"shape": [HUGE, 5]}, rf"params.kernel is float32\[{HUGE}, 5\], expected float32\[3, 5\]"),
    "pieces": ({"chunks": [HUGE, 5]}, rf"params.kernel is float32\[3, 5\] in pieces of \[{HUGE}, 5\], expected"),
    "both": ({"shape": [HUGE, 5], "chunks": [HUGE, 5]}, rf"is float32\[{HUGE}, 5\], expected"),
    "a little more": ({"chunks": [4, 5]}, r"in pieces of \[4, 5\]"),
    "rank": ({"shape": [15], "chunks": [15]}, r"is float32\[15\], expected"),
    "empty": ({"shape": [0, 5]}, r"is float32\[0, 5\] in pieces of \[3, 5\], expected"),
    "type": ({"dtype": "<f8"}, r"is float64\[3, 5\], expected"),
}


@pytest.mark.parametrize(("changes", "sentence"), SIZES.values(), ids=SIZES)
def test_no_size_that_a_checkpoint_names_is_believed(run, changes, sentence):
    describe(run, **changes)
    for said in refusals(run):
        assert "is of another experiment: params.kernel" in said
    with pytest.raises(InputError, match=sentence):
        Checkpoints(run).restore(ABSTRACT)


def test_a_size_that_is_agreed_on_fits_into_the_machine(run):
    """Whoever writes a checkpoint writes its experiment, too; what both agree on would be allocated."""
    describe(run, shape=[HUGE, HUGE], chunks=[1, 1])
    agreed = {**ABSTRACT["params"], "kernel": jax.ShapeDtypeStruct((HUGE, HUGE), jnp.float32)}
    with pytest.raises(InputError, match=f"has parameters of {4 * HUGE**2 + 20:,} bytes, and this machine a memory"):
        Checkpoints(run).restore_params(2, agreed)


ODD = {
    "shape": {"shape": "3 5"},
    "negative": {"shape": [-3, 5]},
    "beyond": {"shape": [2**63, 5]},
    "no pieces": {"chunks": [0, 5]},
    "objects": {"dtype": "|O"},
    "fields": {"dtype": [["a", "<f4"], ["b", "<f4"]]},
    "filter": {"filters": [{"id": "pickle"}]},
    "compressor": {"compressor": {"id": "os.system"}},
    "format": {"zarr_format": 9},
}


@pytest.mark.parametrize("changes", ODD.values(), ids=ODD)
def test_an_array_that_zarr_cannot_be_is_one_sentence(run, changes):
    describe(run, **changes)
    for said in refusals(run):
        assert "state cannot be read (" in said and said.endswith("/2 or pass --step=1.")


def test_names_in_the_store_are_those_of_the_experiment(run):
    honest = opened(run).read("params.kernel/.zarray").result().value
    for name in ("../../../escaped", "/etc/escaped", "params.escaped", "escaped"):
        write(run, f"{name}/.zarray", honest)
        with pytest.raises(InputError, match=f"{name} is not of this experiment"):
            Checkpoints(run).restore(ABSTRACT)
        write(run, f"{name}/.zarray", None)
    assert_saved(Checkpoints(run).restore(ABSTRACT)[1], 2)
    write(run, "params.kernel/.zarray", None)
    assert all("params.kernel is missing" in said for said in refusals(run))


@pytest.mark.parametrize("content", [None, b"", b"numbers", bytes(60)], ids=repr)
def test_numbers_that_are_missing_or_cut_are_refused(run, content):
    write(run, "params.kernel/0.0", content)
    assert all("state cannot be read (" in said for said in refusals(run))


def test_numbers_that_unfold_to_more_than_was_asked_for_are_refused(run):
    """Nothing but zeros, ten million of them in a few hundred bytes."""
    metadata = {"dtype": "|u1", "shape": [10**7], "chunks": [10**7], "compressor": {"id": "zstd", "level": 3}}
    spec = {"driver": "zarr", "kvstore": "memory://", "metadata": metadata, "store_data_equal_to_fill_value": True}
    bomb = ts.open(spec, create=True).result()
    bomb.write(np.zeros(10**7, np.uint8)).result()
    write(run, "params.kernel/0.0", bomb.kvstore.read("0").result().value)
    assert all("state cannot be read (" in said for said in refusals(run))


def files(run):
    return sorted(path.relative_to(state_of(run)).as_posix() for path in state_of(run).rglob("*") if path.is_file())


@pytest.mark.parametrize("content", [b"", b"{}", DEEP, b"\xff\0", None], ids=lambda content: repr(content)[:9])
def test_each_file_that_is_made_to_harm_is_refused_or_makes_no_difference(run, whole, content):
    for name in files(run):
        if content is None:
            (state_of(run) / name).unlink()
            write_manifest(run / "checkpoints" / "2")
        else:
            rewrite(run, name, content)
        try:
            assert_saved(Checkpoints(run).restore(ABSTRACT)[1], 2)
            params = Checkpoints(run).restore_params(2, ABSTRACT["params"])
            jax.tree.map(np.testing.assert_array_equal, params, STATE["params"])
        except InputError as error:
            assert "state cannot be read (" in str(error) or "is of another experiment" in str(error)
        shutil.copytree(whole, run, dirs_exist_ok=True)


@pytest.mark.parametrize("name", ["SHA256SUMS", "metrics.json", "state/_METADATA", "state/more"])
def test_a_pipe_is_not_waited_for(run, name):
    file = run / "checkpoints" / "2" / name
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    assert Checkpoints(run).metrics(2) == {}
    for said in refusals(run):
        assert f"{file} is damaged or missing" in said


def test_a_run_goes_on_from_the_newest_step_that_can_be_read(run):
    rewrite(run, "manifest.ocdbt", b"{}")
    said = []
    step, state = Checkpoints(run).restore_newest(ABSTRACT, said.append)
    assert step == 1
    assert_saved(state, 1)
    assert len(said) == 1 and said[0].startswith(f"{state_of(run)}: cannot be read (")
    assert said[0].endswith("; step 2 is set aside as 2.damaged")


def test_a_step_of_another_experiment_is_not_set_aside(run):
    describe(run, shape=[HUGE, 5])
    with pytest.raises(InputError, match="is of another experiment"):
        Checkpoints(run).restore_newest(ABSTRACT, pytest.fail)
    assert Checkpoints(run).steps == [1, 2]


@pytest.mark.parametrize("content", [DEEP, b"[]", b'{"commit_timestamp_nsecs": "x"}', b'{"metrics": 3}'])
def test_what_orbax_tells_itself_beside_a_state_stops_no_save(run, content):
    for step in (1, 2):
        (run / "checkpoints" / str(step) / "_CHECKPOINT_METADATA").write_bytes(content)
    with Checkpoints(run) as checkpoints:
        checkpoints.save(3, STATE)
    assert_saved(Checkpoints(run).restore(ABSTRACT)[1], 2)
