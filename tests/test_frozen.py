"""Features that are kept on disk: as if the trunk were run, once, and never used where they are not whole."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

import commands
import tasks
from batch import InputError
from finetuning import frozen
from finetuning.build import Recipe, build_task_run, encoded, experiment_of, open_pretrained, start_of
from finetuning.frozen import Frozen, key, write
from finetuning.start import flat
from finetuning.trials import Trial, Trials

FIELDS = {"data.batch_size": "8", "data.shortest": "16", "data.length": "32"}
CHOICE = {"data.batch_size": "8", "data.shortest": "72", "data.length": "24"}


def recipe(family, sets, layers="last", fields=FIELDS, epochs=2):
    pretrained = open_pretrained(tasks.pretrained(family), "latest")
    return Recipe(pretrained, sets, epochs=epochs, adapt="frozen", fields=[*fields.items()], layers=layers, keep=True)


def run_of(own, seed=0, arm="pretrained"):
    experiment = experiment_of(own, arm, 1e-2, seed)
    return build_task_run(own, experiment, *(encoded(own, name, experiment.data) for name in ("train", "dev")))


def learned(run, start, steps):
    """The parameters after some steps, and what the dev set then measures."""
    with commands.quick():
        programs = run.programs()
        state = programs.start(start)
        for step in range(steps):
            state, _ = programs.step(state, run.train.batch(step), 0)
        return jax.tree.map(np.array, flat(state.params)), run.measure(programs, state.params)


def kept(own, run, folder, start):
    """The same run over kept features."""
    sets = {name: encoded(own, name, run.experiment.data) for name in ("train", "dev")}
    with commands.quick():
        found = Frozen(folder).sets(run, sets, lambda: start, lambda line: None)
    return build_task_run(own, run.experiment, found["train"], found["dev"])


@pytest.mark.parametrize(
    ("family", "sets", "layers", "fields", "idle"),
    [
        ("xlnet", tasks.tagging(), "weighted", FIELDS, ()),
        ("bert", tasks.choice(), "last-2", CHOICE, ("task/out/bias",)),
    ],
)
def test_a_head_learns_the_same_from_kept_features(family, sets, layers, fields, idle, tmp_path):
    """But for a bias that a softmax does not see: its gradient is rounding, of which Adam makes steps."""
    own = recipe(family, sets, layers, fields)
    run = run_of(own)
    with commands.quick():
        start = jax.tree.map(np.array, start_of(own, run))
    expected, measured = learned(run, start, 7)
    stored = kept(own, run, tmp_path, start)
    start["tokens"]["table"] *= np.nan  # the trunk is not run
    found, again = learned(stored, start, 7)
    head = {name for name in expected if name.startswith(("task/", "features/"))}
    for name in head - {*idle}:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-6, err_msg=name)
    assert max(np.abs(expected[name] - leaf).max() for name, leaf in flat(start).items() if name in head) > 0.01
    assert again == pytest.approx(measured, abs=1e-5)


def test_another_seed_never_runs_the_trunk_and_a_damaged_file_is_never_read(tmp_path, monkeypatch):
    class Asked(Exception):
        pass

    def asked(run, rows, program, params):
        raise Asked

    sets = dataclasses.replace(tasks.classification(), others={"more": tasks.sentences(5, 3)})
    own = recipe("gpt", sets, epochs=1)
    with commands.quick():
        Trials(own, tmp_path).run([Trial("pretrained", 1e-2, 0)])
        files = {path: path.read_bytes() for path in (tmp_path / "features").iterdir()}
        assert sorted(len(data) for data in files.values()) == [4 * 16 * count + 32 for count in (5, 20, 40)]
        with monkeypatch.context() as patched:
            patched.setattr(frozen, "features", asked)
            (outcome,) = Trials(own, tmp_path).run([Trial("pretrained", 1e-3, 1)])
            folder = tmp_path / outcome.trial.folder
            assert outcome.diverged is None and (folder / "predictions-more.tsv").exists()
            whole = {name: leaf.shape for name, leaf in commands.stored(folder).items()}
            assert "params/tokens/table" in whole, "a checkpoint is whole all the same"
            for damage in (lambda data: data[:-1], lambda data: bytes([data[0] ^ 1]) + data[1:], lambda data: b""):
                path, data = next(iter(files.items()))
                path.write_bytes(damage(data))
                with pytest.raises(Asked):
                    Trials(own, tmp_path).run([Trial("pretrained", 1e-2, 2)])
        told = []
        frozen_again = Frozen(tmp_path / "features")
        run = run_of(own)
        found = frozen_again.sets(
            run,
            {name: encoded(own, name, run.experiment.data) for name in sets.named},
            lambda: start_of(own, run),
            told.append,
        )
    assert {path: path.read_bytes() for path in (tmp_path / "features").iterdir()} == files
    assert len(told) == 2 and told[0].endswith("is damaged; it is computed anew") and "kept" in told[1]
    assert [len(found[name].features) for name in ("train", "dev", "more")] == [40, 20, 5]


def test_the_same_texts_with_other_labels_share_features_and_keep_their_labels(tmp_path):
    own = recipe("gpt", tasks.classification())
    run = run_of(own)
    rows = encoded(own, "dev", run.experiment.data)
    sets = {"dev": rows, "other": dataclasses.replace(rows, label=1 - rows.label)}
    with commands.quick():
        found = Frozen(tmp_path).sets(run, sets, lambda: start_of(own, run), lambda line: None)
    assert len(list(tmp_path.iterdir())) == 1 and {*rows.label} == {0, 1}
    for name, each in sets.items():
        np.testing.assert_array_equal(found[name].label, each.label)


def test_features_are_named_by_all_that_decides_them():
    sets = tasks.tagging()
    changes = [
        {"layers": "weighted"},
        {"layers": "1"},
        {"visibility": "both"},
        {"fields": [*FIELDS.items(), ("precision", "bfloat16")]},
        {"fields": [*(FIELDS | {"data.length": "16"}).items()]},
        {"fields": [*(FIELDS | {"data.shortest": "32"}).items()]},
    ]
    own = recipe("gpt", sets)

    def name(own, of="dev", **how):
        run = run_of(own, **how)
        return key(run, encoded(own, of, run.experiment.data))

    base = name(own)
    assert base == name(own, seed=1) == name(dataclasses.replace(own, epochs=9))
    assert base == name(dataclasses.replace(own, fields=[*FIELDS.items(), ("optimizer.clip", "0.5")]))
    found = [name(dataclasses.replace(own, **change)) for change in changes]
    found += [name(own, of="train"), name(own, arm="scratch"), name(own, arm="scratch", seed=1)]
    found += [name(recipe("xlnet", sets))]
    assert len({base, *found}) == 1 + len(found)


def test_what_the_disk_has_no_room_for_is_refused_and_what_is_cut_short_is_not_there(tmp_path, monkeypatch):
    own = recipe("gpt", tasks.classification())
    free = shutil.disk_usage(tmp_path)._replace(free=3839)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    with pytest.raises(InputError, match="features of train 2,560, dev 1,280 bytes exceed the 3,839 that are free"):
        kept(own, run_of(own), tmp_path, None)

    def cut():
        yield np.ones(3, np.float32)
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"x\.f32: cannot be written .No space left on device.; make room"):
        write(tmp_path / "x.f32", cut())
    assert not list(tmp_path.iterdir())
