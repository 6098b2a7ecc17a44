"""Weights go to Hugging Face's names and back without losing a bit or a tensor."""

import io
import json
import pickle
import zipfile

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from batch import InputError
from cases import build, loud
from interop.names import rows
from interop.tensors import read_tensors, write_tensors
from interop.weights import to_params, to_tensors
from models import BertConfig, GptConfig, XlnetConfig
from models.parameters import initialize

V = 31
SIZE = {"num_layers": 2, "num_heads": 2, "model_dim": 8, "mlp_dim": 12}
MODELS = {
    "bert": BertConfig(**SIZE, max_length=10),
    "bert without pairs": BertConfig(**SIZE, max_length=10, pair_head=False),
    "bert untied": BertConfig(**SIZE, max_length=10, tied=False),
    "gpt": GptConfig(**SIZE, max_length=10),
    "gpt untied": GptConfig(**SIZE, max_length=10, tied=False),
    "xlnet": XlnetConfig(**SIZE),
    "xlnet untied": XlnetConfig(**SIZE, tied=False),
}


def equal(a, b) -> bool:
    flat, other = (traverse_util.flatten_dict(tree, sep="/") for tree in (a, b))
    return flat.keys() == other.keys() and all(np.array_equal(flat[name], other[name]) for name in flat)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_come_back_bit_for_bit(name):
    config = MODELS[name]
    params = jax.tree.map(np.asarray, loud(config, V))
    back, notes = to_params(to_tensors(params, config), config, V)
    assert equal(params, back) and not notes


@pytest.mark.parametrize("name", MODELS)
def test_the_table_names_every_parameter_once(name):
    config = MODELS[name]
    params = jax.eval_shape(lambda: initialize(build(config, V), jax.random.key(0)))
    ours = [path for row in rows(config) for path in row.ours]
    assert sorted(ours) == sorted(traverse_util.flatten_dict(params, sep="/"))


@pytest.mark.parametrize("name", ["bert", "gpt", "xlnet"])
def test_whatever_does_not_fit_is_named(name):
    config = MODELS[name]
    tensors = to_tensors(jax.tree.map(np.asarray, loud(config, V)), config)
    gone, bent = sorted(tensors)[3], sorted(tensors)[5]
    broken = {k: v for k, v in tensors.items() if k != gone} | {bent: np.zeros((3, 1)), "stray.weight": np.zeros(2)}
    if isinstance(config, BertConfig):  # and names without the trunk's prefix are told with it
        broken = {k.removeprefix("bert.") if k.startswith("bert.") else k: v for k, v in broken.items()}
    with pytest.raises(InputError) as error:
        to_params(broken, config, V)
    for complaint in (f"{gone} is missing", f"{bent} is [3, 1]", "stray.weight is not a tensor of this model"):
        assert complaint in str(error.value)


@pytest.mark.parametrize("name", ["bert", "gpt", "xlnet"])
def test_what_is_allowed_to_miss_is_drawn_and_the_rest_is_read(name):
    config = MODELS[name]
    params = jax.tree.map(np.asarray, loud(config, V))
    tensors = to_tensors(params, config)
    layered = next(row for row in rows(config) if "{n}" in row.theirs and len(row.ours) == 1)
    gone, whole = layered.theirs.replace("{n}", "1"), layered.ours[0]
    del tensors[gone]
    back, notes = to_params({**tensors, "stray": np.zeros(2)}, config, V, allow=[gone, "str*"], seed=3)
    assert [note.split()[0] for note in notes] == sorted([gone, "stray"])
    found, original = (traverse_util.flatten_dict(tree, sep="/") for tree in (back, params))
    drawn = traverse_util.flatten_dict(initialize(build(config, V), jax.random.key(3)), sep="/")[whole]
    assert np.array_equal(found[whole][0], original[whole][0]) and np.array_equal(found[whole][1], drawn[1])
    assert all(np.array_equal(found[path], original[path]) for path in original if path != whole)


def test_names_of_old_releases_are_understood():
    """Endings gamma and beta, no prefix, copies of tied tensors, buffers."""
    bert, gpt = MODELS["bert"], MODELS["gpt"]
    params = jax.tree.map(np.asarray, loud(bert, V))
    tensors = to_tensors(params, bert)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    old["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
    old["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"]
    old["bert.embeddings.position_ids"] = np.arange(10)[None]
    assert equal(to_params(old, bert, V)[0], params)
    params = jax.tree.map(np.asarray, loud(gpt, V))
    bare = {name.removeprefix("transformer."): tensor for name, tensor in to_tensors(params, gpt).items()}
    bare["h.0.attn.bias"] = np.tril(np.ones((1, 1, 10, 10), np.uint8))
    bare["h.0.attn.masked_bias"] = np.float32(-1e4)
    assert equal(to_params(bare, gpt, V)[0], params)


def test_a_tied_tensor_that_differs_from_its_original_is_refused():
    config = MODELS["xlnet"]
    tensors = to_tensors(jax.tree.map(np.asarray, loud(config, V)), config)
    with pytest.raises(InputError, match=r"lm_loss.weight differs from transformer.word_embedding.weight"):
        to_params({**tensors, "lm_loss.weight": tensors["transformer.word_embedding.weight"] + 1}, config, V)


def test_shards_hold_together_what_one_file_holds(tmp_path):
    config = MODELS["bert"]
    tensors = to_tensors(jax.tree.map(np.asarray, loud(config, V)), config)
    write_tensors(tensors, tmp_path, largest=2000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2 and not (tmp_path / "model.safetensors").exists()
    assert equal(read_tensors(tmp_path), tensors)
    next(tmp_path.glob("model-00002*")).unlink()
    with pytest.raises(InputError, match=r"model-00002.* is missing"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("cut", [0, 5, 40, -1])
def test_a_cut_file_is_one_sentence(tmp_path, cut):
    safetensors.numpy.save_file({"x": np.arange(100.0)}, tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:cut])
    with pytest.raises(InputError, match="damaged or cut short"):
        read_tensors(tmp_path)


def test_bfloat16_widens_exactly(tmp_path):
    import ml_dtypes

    config = MODELS["gpt"]
    tensors = to_tensors(jax.tree.map(np.asarray, loud(config, V)), config)
    narrow = {name: tensor.astype(ml_dtypes.bfloat16) for name, tensor in tensors.items()}
    safetensors.numpy.save_file(narrow, tmp_path / "model.safetensors")
    back, _ = to_params(read_tensors(tmp_path), config, V)
    again = to_tensors(back, config)
    assert all(np.array_equal(again[name].astype(ml_dtypes.bfloat16), narrow[name]) for name in narrow)


@pytest.mark.parametrize("name", ["tf_model.h5", "bert_model.ckpt.index", "flax_model.msgpack"])
def test_checkpoints_of_other_frameworks_are_refused_with_a_remedy(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match="save_pretrained"):
        read_tensors(tmp_path)


class Evil:
    """What a pickle can do to whoever loads it."""

    def __reduce__(self):
        return (print, ("owned",))


def archive(value) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(value))
    return out.getvalue()


def test_a_pickle_may_build_tensors_and_nothing_else(tmp_path, capsys):
    (tmp_path / "pytorch_model.bin").write_bytes(archive({"x": Evil()}))
    with pytest.raises(InputError, match=r"asks for builtins.print"):
        read_tensors(tmp_path)
    assert "owned" not in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["not a zip", "cut", "no program", "other values"])
def test_a_damaged_pickle_is_one_sentence(tmp_path, damage):
    whole = archive({"x": 1})
    (tmp_path / "pytorch_model.bin").write_bytes(
        {
            "not a zip": b"\x80\x02}q\x00.",
            "cut": whole[:-30],
            "no program": whole.replace(b"data.pkl", b"date.pkl"),
            "other values": whole,
        }[damage]
    )
    with pytest.raises(InputError):
        read_tensors(tmp_path)


def test_an_index_that_names_nothing_is_damaged(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weights": {}}))
    with pytest.raises(InputError, match="damaged"):
        read_tensors(tmp_path)
