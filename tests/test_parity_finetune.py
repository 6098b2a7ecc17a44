"""A folder of transformers' is imported and fine-tuned as it is; what a frozen trunk hands to the head is theirs.

Conventions of `hidden_states[n]`, and of `--layers=n`: 0 is what enters the first layer, of BERT behind the norm of its
embeddings; n is what layer n returns, of BERT and XLNet behind its norm; the last of GPT-2 is behind the final norm.
"""

import dataclasses
import math

import jax
import numpy as np
import pytest
from flax import nnx

import commands
import folders
import peer
import tasks
from finetuning import sources
from finetuning.build import Recipe, build_task_run, encoded, experiment_of, open_pretrained, start_of
from training.keys import held_out_key

CLASSES = {"bert": "BertForPreTraining", "gpt": "GPT2LMHeadModel", "xlnet": "XLNetLMHeadModel"}
SIDES = {"bert": "right", "gpt": "right", "xlnet": "left"}
FIELDS = [("data.batch_size", "8"), ("data.length", "32"), ("data.shortest", "32")]


@pytest.fixture(scope="module", params=CLASSES)
def imported(request, tmp_path_factory):
    """A family, a model of theirs, and the workdir that convert.py makes of its folder."""
    family, folder = request.param, tmp_path_factory.mktemp("theirs")
    config, fields, tokenizer = folders.THEIRS[CLASSES[family]]
    (folder / "hf").mkdir()
    tokenizer(folder / "hf")
    configured = getattr(peer.transformers, config)(vocab_size=folders.vocab_size(folder / "hf"), **fields)
    model = peer.loud_peer(getattr(peer.transformers, CLASSES[family]), configured)
    model.save_pretrained(folder / "hf")
    done = commands.run("convert.py", f"--from_hf={folder / 'hf'}", f"--workdir={folder / 'run'}")
    assert done.code == 0, done.err
    return family, model, folder / "run"


def test_it_is_fine_tuned_as_it_is(imported, tmp_path, monkeypatch):
    _, _, workdir = imported
    sets = tasks.classification()
    monkeypatch.setitem(sources.SOURCES, "yesno", lambda folder, layout, report: sets)
    arguments = (f"--workdir={workdir}", "--task=yesno", "--data=there", f"--output={tmp_path}", "--seeds=1")
    quick = [f"--config.{name}={value}" for name, value in FIELDS]
    done = commands.run("finetune.py", *arguments, "--epochs=1", "--nofrom_scratch", "--rates=1e-3", *quick)
    assert done.code == 0, done.err
    folder = tmp_path / "pretrained" / "rate-0.001" / "seed-0"
    assert all(math.isfinite(record["loss"]) for record in commands.records(folder))
    lines = (folder / "predictions-dev.tsv").read_text().splitlines()
    assert {line.split("\t")[1] for line in lines[1:]} <= set(sets.labels) and len(lines) == 1 + len(sets.dev)


def build_run(own):
    experiment = experiment_of(own, "pretrained", 1e-3, 0)
    return build_task_run(own, experiment, *(encoded(own, name, experiment.data) for name in ("train", "dev")))


def test_the_features_of_a_frozen_trunk_are_their_hidden_states_at_every_layer(imported):
    """At every real token of rows of several lengths, padded on the side of the family."""
    family, model, workdir = imported
    layers = range(model.config.num_hidden_layers + 1)
    last = Recipe(open_pretrained(workdir, "latest"), tasks.tagging(), adapt="frozen", fields=FIELDS)
    runs = [build_run(dataclasses.replace(last, layers=str(n))) for n in layers]
    batch, graphdefs = runs[0].dev.batch(1), [nnx.graphdef(run.model) for run in runs]
    inputs, _ = runs[0].experiment.objective.prepare(batch, runs[0].vocab, held_out_key())
    with commands.quick():
        params = start_of(last, runs[0])
        ours = jax.jit(lambda params: [nnx.merge(graphdef, params)(inputs).hidden for graphdef in graphdefs])(params)
    real = batch.document > 0
    assert runs[0].dev.pad_side == SIDES[family]
    assert not real.all(axis=1).all() and not real[:, 0 if SIDES[family] == "left" else -1].all(), "there is padding"
    asked = {"attention_mask": peer.tensor(real), "output_hidden_states": True}
    if family != "gpt":
        asked["token_type_ids"] = peer.tensor(batch.segments)
    with peer.torch.no_grad():
        theirs = model(peer.tensor(batch.tokens), **asked).hidden_states
    for n, hidden in zip(layers, ours, strict=True):
        peer.assert_close(hidden, theirs[n], where=real)
        assert all(np.abs(hidden - other)[real].max() > 0.1 for m, other in enumerate(ours) if m != n), "layers differ"
