"""Folders cross over whole: transformers loads what we write, we load what it writes, and both compute the same."""

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

import commands
import folders
import peer
from batch import Inputs
from interop.importing import import_folder
from interop.tensors import read_tensors
from models import build_model
from models.parameters import abstract_params
from training.checkpoint import Checkpoints
from training.workdir import stored_experiment, stored_tokenizer

TEXT = "The river runs 河 past\tthe old house. 1,234 boats!"
AUTO = {"bert": "AutoModelForMaskedLM", "gpt": "AutoModelForCausalLM", "xlnet": "XLNetLMHeadModel"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crossing")
    commands.write_config(folder)
    return folder


def window(tokens: np.ndarray, *, causal: bool, blind: bool) -> Inputs:
    """All tokens of one row: left to right, or all at once; the query stream is blind to its own token."""
    length = len(tokens)
    index = np.arange(length, dtype=np.int32)[None]
    return Inputs(
        tokens=jax.numpy.asarray(tokens[None]),
        segments=jax.numpy.zeros((1, length), np.int32),
        document=jax.numpy.ones((1, length), np.int32),
        position=jax.numpy.asarray(index),
        order=jax.numpy.asarray(index if causal else 0 * index),
        predict=jax.numpy.asarray(index),
        blind=jax.numpy.asarray([blind]),
        summary=jax.numpy.zeros(1, np.int32),
        query_stream=blind,
    )


def our_logits(workdir, tokens, *, causal):
    """What the newest checkpoint says of each position of one row."""
    experiment, checkpoints = stored_experiment(workdir), Checkpoints(workdir)
    model = build_model(experiment.model, stored_tokenizer(workdir).vocab.size)
    params = checkpoints.restore_params(checkpoints.resolve("latest"), abstract_params(model))
    model = nnx.merge(nnx.graphdef(model), jax.tree.map(jax.numpy.asarray, params))
    output = model(window(tokens, causal=causal, blind=False))
    return np.asarray(model.logits(output.hidden))


@pytest.fixture(scope="module")
def runs(folder):
    """A short run of each model, of a BERT that learned sentence pairs and of one that reads left to right."""
    causal = commands.experiment(folder / "tiny.py", "gpt").objective
    pairs = {
        "data": {"layout": "pairs", "validation": 0.3},
        "model": {"pair_head": True},
        "objective": {"pair_weight": 1.0},
    }
    changed = {"bert": {}, "gpt": {}, "xlnet": {"model": {"memory_length": 0}, "data": {"layout": "windows"}}}
    found = {}
    for name, (model, groups) in {
        **{model: (model, groups) for model, groups in changed.items()},
        "pairs": ("bert", pairs),
        "causal": ("bert", {}),
    }.items():
        run = commands.experiment(folder / "tiny.py", model, optimizer={"total_steps": 2}, **groups)
        if name == "causal":
            run = run.__class__(run.model, causal, run.data, run.optimizer, run.training)
        commands.trained(run, folder / name)
        done = commands.run("convert.py", f"--to_hf={folder}/{name}_hf", f"--workdir={folder}/{name}")
        assert done.code == 0, done.err
        found[name] = folder / name
    return found


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("bert", "AutoModelForMaskedLM"),
        ("pairs", "BertForPreTraining"),
        ("pairs", "AutoModelForMaskedLM"),
        ("causal", "AutoModelForCausalLM"),
        ("gpt", "AutoModelForCausalLM"),
        ("xlnet", "XLNetLMHeadModel"),
    ],
)
def test_transformers_loads_our_folder_and_computes_the_same(runs, name, cls):
    workdir = runs[name]
    model, info = getattr(peer.transformers, cls).from_pretrained(
        f"{workdir}_hf", output_loading_info=True, attn_implementation="eager"
    )
    assert not info["missing_keys"] and not info["mismatched_keys"]
    assert not info["unexpected_keys"] or (name == "pairs" and cls == "AutoModelForMaskedLM")
    tokenizer = stored_tokenizer(workdir)
    assert tokenizer is not None
    tokens = tokenizer.encode("The river runs.")[:16].astype(np.int32)
    output = model.eval()(peer.tensor(tokens[None]))
    theirs = output.prediction_logits if cls == "BertForPreTraining" else output.logits
    ours = our_logits(workdir, tokens, causal=name in ("gpt", "causal"))
    peer.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["bert", "gpt", "xlnet"])
def test_our_tokenizer_works_as_an_auto_tokenizer(runs, name):
    theirs = peer.transformers.AutoTokenizer.from_pretrained(f"{runs[name]}_hf")
    ours = stored_tokenizer(runs[name])
    assert ours is not None
    ids = theirs(TEXT, add_special_tokens=False)["input_ids"]
    assert ids == ours.encode(TEXT).tolist()
    assert theirs.decode(ids) == TEXT


@pytest.mark.parametrize("cls", folders.THEIRS)
@pytest.mark.parametrize("sharded", [False, True])
def test_what_transformers_wrote_comes_in_and_goes_out_bit_for_bit(folder, tmp_path, cls, sharded):
    config, fields, tokenizer = folders.THEIRS[cls]
    hf, run, out = tmp_path / "hf", tmp_path / "run", tmp_path / "out"
    hf.mkdir()
    tokenizer(hf)
    size = folders.vocab_size(hf)
    configured = getattr(peer.transformers, config)(vocab_size=size, **fields)
    model = peer.loud_peer(getattr(peer.transformers, cls), configured)
    model.save_pretrained(hf, max_shard_size="8KB" if sharded else "1GB")
    data = [f"--config.data.corpus={folder}/corpus.txt", f"--config.data.cache={folder}/cache"]
    short = ["--config.data.length=16", "--config.data.batch_size=4", "--config.data.validation=0.3"]
    done = commands.run("convert.py", f"--from_hf={hf}", f"--workdir={run}", *data, *short)
    assert done.code == 0, done.err
    evaluated = commands.run("evaluate.py", f"--workdir={run}")
    assert evaluated.code == 0 and "loss" in evaluated.out, evaluated.err
    done = commands.run("convert.py", f"--to_hf={out}", f"--workdir={run}")
    assert done.code == 0, done.err
    there = {k: v for file in sorted(hf.glob("*.safetensors")) for k, v in safetensors.numpy.load_file(file).items()}
    here = safetensors.numpy.load_file(out / "model.safetensors")
    assert there.keys() == here.keys()
    assert all(np.array_equal(there[name], here[name]) and there[name].dtype == here[name].dtype for name in there)
    again = getattr(peer.transformers, cls).from_pretrained(out, attn_implementation="eager").eval()
    tokens = peer.tensor(np.arange(10, 20)[None])
    first, second = model(tokens), again(tokens)
    answers = ("prediction_logits", "seq_relationship_logits") if cls == "BertForPreTraining" else ("logits",)
    assert all(peer.torch.equal(first[answer], second[answer]) for answer in answers)
    ids = peer.transformers.AutoTokenizer.from_pretrained(out)(TEXT, add_special_tokens=False)["input_ids"]
    ours = stored_tokenizer(run)
    assert ours is not None and ids == ours.encode(TEXT).tolist()


def test_an_old_pickle_is_the_same_checkpoint(tmp_path):
    hf = tmp_path / "hf"
    hf.mkdir()
    folders.vocab_txt(hf)
    configured = peer.transformers.BertConfig(vocab_size=folders.vocab_size(hf), **folders.BERT)
    model = peer.loud_peer(peer.transformers.BertForMaskedLM, configured)
    model.save_pretrained(hf)
    expected = import_folder(hf).params
    (hf / "model.safetensors").unlink()
    peer.torch.save(model.state_dict(), hf / "pytorch_model.bin")
    jax.tree.map(np.testing.assert_array_equal, import_folder(hf).params, expected)


def test_bert_without_heads_needs_leave(tmp_path):
    hf = tmp_path / "hf"
    hf.mkdir()
    folders.vocab_txt(hf)
    configured = peer.transformers.BertConfig(vocab_size=folders.vocab_size(hf), **folders.BERT)
    peer.loud_peer(peer.transformers.BertModel, configured).save_pretrained(hf)
    done = commands.run("convert.py", f"--from_hf={hf}", f"--workdir={tmp_path}/run")
    assert "cls.predictions.bias is missing" in done.sentence
    done = commands.run("convert.py", f"--from_hf={hf}", f"--workdir={tmp_path}/run", "--allow_missing=cls.*")
    assert done.code == 0, done.err


def test_a_pickle_holds_what_torch_saved(tmp_path):
    torch = peer.torch
    base = torch.arange(24.0).reshape(4, 6)
    saved = {
        "whole": base,
        "view": base[1:3, ::2],
        "turned": base.T,
        "half": base.half(),
        "bfloat": base.bfloat16(),
        "long": torch.arange(3),
        "parameter": torch.nn.Parameter(base[0]),
        "none": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
    }
    torch.save(saved, tmp_path / "pytorch_model.bin")
    read = read_tensors(tmp_path)
    assert read.keys() == saved.keys()
    for name, value in saved.items():
        assert np.array_equal(read[name].astype(np.float32), value.detach().float().numpy())
        assert read[name].shape == tuple(value.shape)
