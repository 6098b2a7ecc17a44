"""convert.py end to end: what goes out comes back the same, and what cannot go says why."""

import json
import shutil

import numpy as np
import pytest
import safetensors.numpy

import commands
from batch import InputError
from data.config import DataConfig
from data.tokenizer import Tokenizer, load_tokenizer
from evaluation.checkpoints import open_checkpoint
from interop.config_export import to_config
from models import BertConfig, GptConfig, XlnetConfig
from objectives import CausalLm, MaskedLm, PermutationLm
from training.checkpoint import Checkpoints
from training.config import Experiment
from training.workdir import stored_experiment

MODELS = ("bert", "gpt", "xlnet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("convert")
    commands.write_config(folder)
    return folder


@pytest.fixture(scope="module")
def exported(folder):
    """A short run of each model, and what went out of it."""
    found = {}
    for name in MODELS:
        run = commands.experiment(folder / "tiny.py", name, optimizer={"total_steps": 2})
        commands.trained(run, folder / name)
        done = commands.run("convert.py", f"--to_hf={folder}/{name}_hf", f"--workdir={folder}/{name}")
        assert done.code == 0, done.err
        found[name] = folder / f"{name}_hf"
    return found


def params(workdir):
    return {name: leaf for name, leaf in commands.stored(workdir).items() if name.startswith("params/")}


def digests(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def convert(*arguments):
    return commands.run("convert.py", *arguments)


@pytest.mark.parametrize("name", MODELS)
def test_a_run_comes_back_as_it_went(exported, folder, name):
    back = folder / f"{name}_back"
    done = convert(f"--from_hf={exported[name]}", f"--workdir={back}")
    assert done.code == 0, done.err
    there, here = params(folder / name), params(back)
    assert there.keys() == here.keys() and all(np.array_equal(there[path], here[path]) for path in there)
    assert stored_experiment(back) == stored_experiment(folder / name)
    assert load_tokenizer(back / "tokenizer").digest == load_tokenizer(folder / name / "tokenizer").digest


@pytest.mark.parametrize("name", MODELS)
def test_what_came_in_goes_out_as_it_was(exported, folder, name):
    back, again = folder / f"{name}_in", folder / f"{name}_out"
    assert convert(f"--from_hf={exported[name]}", f"--workdir={back}").code == 0
    assert convert(f"--to_hf={again}", f"--workdir={back}").code == 0
    there, here = digests(exported[name]), digests(again)
    assert there.keys() == here.keys()
    assert all(there[file] == here[file] for file in there if file != "README.md")  # which tells the step


@pytest.mark.parametrize("name", MODELS)
def test_an_imported_run_is_evaluated_like_any_other(exported, folder, name):
    back = folder / f"{name}_evaluated"
    assert convert(f"--from_hf={exported[name]}", f"--workdir={back}").code == 0
    own = commands.run("evaluate.py", f"--workdir={folder / name}", "--step=latest")
    done = commands.run("evaluate.py", f"--workdir={back}")
    assert done.code == 0, done.err
    assert [line for line in done.out.splitlines() if line.startswith("  ")] == [
        line for line in own.out.splitlines() if line.startswith("  ")
    ]


def test_nothing_is_written_where_the_description_of_an_imported_run_says(exported, folder, monkeypatch):
    hf, back, named = folder / "strangers_hf", folder / "strangers", folder / "named"
    shutil.copytree(exported["gpt"], hf)
    values = json.loads((hf / "orderly.json").read_text())
    values["data"]["cache"] = str(folder / "theirs")
    (hf / "orderly.json").write_text(json.dumps(values))
    monkeypatch.setattr(DataConfig, "cache", str(folder / "ours"))
    assert convert(f"--from_hf={hf}", f"--workdir={back}").code == 0
    done = commands.run("evaluate.py", f"--workdir={back}")
    assert done.code == 0, done.err
    assert not (folder / "theirs").exists() and (folder / "ours").is_dir()
    assert open_checkpoint(back, "latest").experiment.data.cache == str(folder / "ours")
    assert convert(f"--from_hf={hf}", f"--workdir={named}", f"--config.data.cache={folder}/mine").code == 0
    assert open_checkpoint(named, "latest").experiment.data.cache == f"{folder}/mine"


def test_training_goes_on_from_an_imported_run(exported, folder):
    back = folder / "continued_from"
    assert convert(f"--from_hf={exported['bert']}", f"--workdir={back}").code == 0
    config = f"--config={folder}/tiny.py:bert"
    done = commands.run(
        "train.py",
        config,
        f"--config.init_from={back}",
        f"--workdir={folder}/went_on",
        "--config.optimizer.total_steps=3",
    )
    assert done.code == 0, done.err


def test_fields_of_the_experiment_can_be_set_while_importing(exported, folder):
    back = folder / "fields"
    arguments = ["--config.data.length=8", "--config.objective.rate=0.3"]
    assert convert(f"--from_hf={exported['bert']}", f"--workdir={back}", *arguments).code == 0
    found = stored_experiment(back)
    assert found.data.length == 8 and isinstance(found.objective, MaskedLm) and found.objective.rate == 0.3


SIZE = {"num_layers": 1, "num_heads": 2, "model_dim": 8, "mlp_dim": 8}


@pytest.mark.parametrize(
    ("model", "objective", "complaint"),
    [
        (XlnetConfig(**SIZE), MaskedLm(), "objective=MaskedLm with model=XlnetConfig: no class"),
        (XlnetConfig(**SIZE), CausalLm(), "objective=CausalLm with model=XlnetConfig: no class"),
        (GptConfig(**SIZE), MaskedLm(), "objective=MaskedLm with model=GptConfig: no class"),
        (GptConfig(**SIZE), CausalLm(direction="backward"), "objective.direction=backward"),
        (BertConfig(**SIZE), CausalLm(), "model.pair_head=True"),
        (XlnetConfig(**SIZE, pair_head=True), PermutationLm(), "model.pair_head=True"),
        (BertConfig(**SIZE, norm="rms"), MaskedLm(), "model.norm=rms"),
        (BertConfig(**SIZE, norm_position="pre"), MaskedLm(), "model.norm_position=pre"),
        (GptConfig(**SIZE, norm_position="post"), CausalLm(), "model.norm_position=post"),
        (GptConfig(**SIZE, gated=True), CausalLm(), "model.gated=True"),
        (GptConfig(**SIZE, qk_norm=True), CausalLm(), "model.qk_norm=True"),
        (GptConfig(**SIZE, positions="rotary"), CausalLm(), "model.positions=rotary"),
        (BertConfig(**SIZE, num_segments=0), MaskedLm(), "model.num_segments=0"),
        (XlnetConfig(**SIZE, relative_segments=False), PermutationLm(), "model.relative_segments=False"),
        (XlnetConfig(**SIZE, tied_biases=True), PermutationLm(), "model.tied_biases=True"),
    ],
)
def test_what_hugging_face_lacks_is_refused_by_name(model, objective, complaint):
    vocab = Tokenizer("bytes").vocab
    with pytest.raises(InputError, match="--to_hf") as error:
        to_config(Experiment(model, objective), vocab, vocab.size)
    assert complaint in str(error.value)


def change(file, **values):
    found = json.loads(file.read_text())
    found.update({k: v for k, v in values.items() if v is not None})
    file.write_text(json.dumps({k: v for k, v in found.items() if values.get(k, 0) is not None}))


def config(**values):
    return lambda folder: change(folder / "config.json", **values)


def drop_tensor(folder):
    file = folder / "model.safetensors"
    tensors = safetensors.numpy.load_file(file)
    tensors.pop("bert.embeddings.LayerNorm.weight")
    safetensors.numpy.save_file(tensors, file)


def cut(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def written(name, text):
    return lambda folder: (folder / name).write_text(text)


def removed(name):
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (removed("config.json"), "holds no config.json"),
        (written("config.json", "{"), "cannot be read"),
        (written("config.json", "[]"), "not an object"),
        (config(model_type="llama"), "model_type=llama: not supported; these are: bert (BertForPreTraining"),
        (config(architectures=["BertForSequenceClassification"]), "architectures=BertForSequenceClassification"),
        (config(hidden_size=32), "config.json says"),
        (config(num_hidden_layers=3), "bert.encoder.layer.2.attention.output.LayerNorm.bias is missing"),
        (config(hidden_size=None), "hidden_size is missing"),
        (config(hidden_act="mish"), "hidden_act=mish"),
        (config(hidden_act=[["gelu"]]), "hidden_act=[['gelu']]: not one of"),
        (config(layer_norm_eps=1e-5), "layer_norm_eps=1e-05"),
        (config(position_embedding_type="relative_key"), "position_embedding_type=relative_key"),
        (config(vocab_size=300), "config.json says [300"),
        (config(vocab_size="many"), "vocab_size=many"),
        (config(vocab_size=20), "config.json says [20"),
        (config(hidden_size="wide"), "hidden_size=wide"),
        (removed("model.safetensors"), "holds no model.safetensors"),
        (cut, "damaged or cut short"),
        (drop_tensor, "bert.embeddings.LayerNorm.weight is missing"),
        (written("tokenizer.json", "{"), "tokenizer"),
    ],
)
def test_a_folder_that_does_not_fit_is_one_sentence(exported, tmp_path, damage, complaint):
    shutil.copytree(exported["bert"], tmp_path / "hf")
    damage(tmp_path / "hf")
    done = convert(f"--from_hf={tmp_path}/hf", f"--workdir={tmp_path}/run")
    assert complaint in done.sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--workdir: missing"),
        (["--workdir={w}"], "--from_hf, --to_hf: give one"),
        (["--workdir={w}", "--from_hf={w}", "--to_hf={w}"], "--from_hf, --to_hf: give one"),
        (["--workdir={w}", "--from_hf={w}/none"], "holds no config.json"),
        (["--workdir={w}/none", "--to_hf={w}/x"], "holds no experiment.json"),
        (["--workdir={w}/bert", "--to_hf={w}/gpt"], "not an empty folder"),
        (["--workdir={w}/bert", "--to_hf={w}/new", "--step=7"], "no such checkpoint"),
        (["--workdir={w}/bert", "--to_hf={w}/tiny.py/x"], "cannot be written"),
        (["--workdir={w}/bert", "--from_hf={w}/bert_hf"], "already holds a run"),
        (["--workdir={w}/new", "--from_hf={w}/bert_hf", "--config.model.num_layers=7"], "is missing"),
        (["--workdir={w}/new", "--from_hf={w}/bert_hf", "--config.model.depth=7"], "depth"),
        (["--workdir={w}/new", "--from_hf={w}/bert_hf", "--config=x.py"], "--config"),
        (["--workdir={w}/bert", "--to_hf={w}/new", "--config.seed=7"], "--config.seed"),
    ],
)
def test_arguments_that_cannot_work_are_one_sentence(exported, folder, arguments, complaint):
    assert exported
    done = convert(*(argument.format(w=folder) for argument in arguments))
    assert complaint in done.sentence
    assert not (folder / "new").exists() and not list(folder.glob(".*-*"))


def test_missing_heads_can_be_allowed_and_are_told(exported, tmp_path):
    """BertModel holds the trunk and the pooler."""
    shutil.copytree(exported["bert"], tmp_path / "hf")
    file = tmp_path / "hf/model.safetensors"
    tensors = safetensors.numpy.load_file(file)
    trunk = {k.removeprefix("bert."): v for k, v in tensors.items() if k.startswith("bert.")}
    safetensors.numpy.save_file(trunk, file)
    done = convert(f"--from_hf={tmp_path}/hf", f"--workdir={tmp_path}/run")
    assert "cls.predictions.bias is missing" in done.sentence
    done = convert(f"--from_hf={tmp_path}/hf", f"--workdir={tmp_path}/run", "--allow_missing=cls.*")
    assert done.code == 0 and "note: cls.predictions.bias is missing; drawn anew" in done.out
    assert Checkpoints(tmp_path / "run").steps == [0]
