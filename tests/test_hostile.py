"""What comes from others is data: nothing of it runs, nothing is read elsewhere, no size is believed."""

import ast
import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

import commands
from batch import InputError
from cases import build
from data.config import DataConfig
from data.released import ReleasedTokenizer
from data.rules import MOST_TOKENS
from data.tokenizer import Tokenizer, load_tokenizer
from interop.importing import import_folder
from interop.tensors import read_tensors
from models import BertConfig
from models.parameters import initialize
from objectives import MaskedLm
from training.config import Experiment, to_dict
from training.workdir import claim_imported, stored_identity

ROOT = Path(__file__).parents[1]
DEEP = "[" * 100_000
HUGE = 10**15


def export_small(folder):
    """A Hugging Face folder of a tiny BERT, as we write it."""
    from interop.exporting import export

    tokenizer, model = Tokenizer("bytes"), BertConfig(1, 1, 2, 2, 0.0, 0.0, max_length=4)
    params = jax.tree.map(np.asarray, initialize(build(model, tokenizer.vocab.size), jax.random.key(0)))
    data = DataConfig(corpus="theirs.txt", length=4)
    folder.mkdir()
    export(Experiment(model, MaskedLm(), data), params, tokenizer, 1, folder)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "hf"
    export_small(folder)
    return folder


@pytest.fixture
def hf(exported, tmp_path):
    """A copy to be made hostile."""
    folder = tmp_path / "hf"
    folder.mkdir()
    for file in exported.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def change(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "max_position_embeddings")


@pytest.mark.parametrize("field", [*SIZES, "type_vocab_size", "num_attention_heads"])
@pytest.mark.parametrize("value", [HUGE, -HUGE, 1e400, "9", [9], {}])
def test_no_size_of_a_config_is_believed(hf, field, value):
    change(hf / "config.json", **{field: value})
    (hf / "orderly.json").unlink()
    with pytest.raises(InputError):
        import_folder(hf, allow=["*"])


@pytest.mark.parametrize("field", ["mem_len", "clamp_len", "d_head", "reuse_len"])
@pytest.mark.parametrize("value", [HUGE, "9", 1.5, [9]])
def test_no_length_of_an_xlnet_config_is_believed(hf, field, value):
    config = {"model_type": "xlnet", "n_layer": 1, "n_head": 1, "d_model": 2, "d_inner": 2, "vocab_size": 262}
    (hf / "config.json").write_text(json.dumps({**config, field: value}))
    with pytest.raises(InputError, match=field):
        import_folder(hf, allow=["*"])


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [DEEP, '{"a":' * 100_000, "[]", "3", "\x00", '{"a": ' + "9" * 5000 + "}"])
def test_json_that_is_made_to_harm_is_one_sentence(hf, name, content):
    for own in ("orderly.json", "orderly_tokenizer.model"):
        (hf / own).unlink()
    (hf / name).write_text(content)
    with pytest.raises(InputError):
        import_folder(hf)


@pytest.mark.parametrize("content", [DEEP, "[]", '{"model": []}', '{"data": 3}', '{"model": {"type": "os.system"}}'])
def test_a_description_of_ours_that_is_none_is_passed_over(hf, content):
    (hf / "orderly.json").write_text(content)
    assert import_folder(hf).experiment.data.corpus == DataConfig.corpus


@pytest.mark.parametrize("name", ["config.json", "orderly.json", "model.safetensors", "tokenizer.json", "other"])
def test_what_would_be_read_for_ever_is_not_begun(hf, name):
    (hf / name).unlink(missing_ok=True)
    (hf / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match=f"{name} is neither a file nor a folder; remove it"):
        import_folder(hf)
    (hf / name).unlink()
    os.mkfifo(hf / name)
    with pytest.raises(InputError, match=f"{name} is neither a file nor a folder; remove it"):
        import_folder(hf)


def safe(header, data=b"", size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def tensor(shape, start, stop, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    "content",
    [
        safe(b"{}", size=2**64 - 1),
        safe(b"{}", size=2**40),
        safe({"x": tensor([HUGE], 0, 8)}, bytes(8)),
        safe({"x": tensor([2**32, 2**32], 0, 0)}),
        safe({"x": tensor([2], 0, 2**60)}, bytes(8)),
        safe({"x": tensor([2], -8, 0)}, bytes(8)),
        safe({"x": tensor([2], 8, 0)}, bytes(8)),
        safe({"x": tensor([2], 0, 8), "y": tensor([2], 0, 8)}, bytes(8)),
        safe({"x": tensor([2], 0, 8, "OBJECT")}, bytes(8)),
        safe({"x": 3}),
        safe(DEEP.encode()),
        safe(b"\xff\xfe"),
    ],
    ids=lambda content: content[8:40],
)
def test_a_header_that_promises_what_the_file_has_not_is_refused(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="damaged or cut short"):
        read_tensors(tmp_path)


def test_the_name_of_a_tensor_is_no_path(hf):
    tensors = safetensors.numpy.load_file(hf / "model.safetensors")
    safetensors.numpy.save_file({**tensors, "../../stolen": np.zeros(1)}, hf / "model.safetensors")
    with pytest.raises(InputError, match="stolen is not a tensor of this model"):
        import_folder(hf)
    assert not list(hf.parent.rglob("stolen*"))


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "..", "a/b.safetensors", "config.json", 3, None]
)
def test_an_index_may_name_files_of_its_folder_alone(tmp_path, name):
    (tmp_path / "hf").mkdir()
    safetensors.numpy.save_file({"x": np.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "hf/model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
    with pytest.raises(InputError, match="which is no file of this folder"):
        read_tensors(tmp_path / "hf")


def archive(program, *, compression=zipfile.ZIP_STORED, **entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        file.writestr("archive/data.pkl", program)
        for name, content in entries.items():
            file.writestr(f"archive/data/{name}", content)
    return out.getvalue()


class Stored:
    """Pickled as torch pickles a tensor of `count` numbers, shown in a shape."""

    def __init__(self, size, stride, count=2):
        self.size, self.stride, self.count = size, stride, count


class TorchPickler(pickle._Pickler):  # the one in C has no hook for names
    def save_stored(self, value):
        self.write(b"ctorch._utils\n_rebuild_tensor_v2\n(")
        self.save_pers(("storage", None, "x", "cpu", value.count))
        for argument in (0, value.size, value.stride):
            self.save(argument)
        self.write(b"tR")

    def save_pers(self, pid):
        self.write(b"(")
        self.save("storage")
        self.write(b"ctorch\nFloatStorage\n")
        for part in pid[2:]:
            self.save(part)
        self.write(b"tQ")

    dispatch = {**pickle._Pickler.dispatch, Stored: save_stored}  # noqa: RUF012


def torch_pickle(value):
    out = io.BytesIO()
    TorchPickler(out, 2).dump(value)
    return out.getvalue()


def test_an_honest_archive_is_read(tmp_path):
    numbers = np.arange(2, dtype=np.float32)
    (tmp_path / "pytorch_model.bin").write_bytes(archive(torch_pickle({"x": Stored((2,), (1,))}), x=numbers.tobytes()))
    np.testing.assert_array_equal(read_tensors(tmp_path)["x"], numbers)


@pytest.mark.parametrize(
    "content",
    [
        archive(torch_pickle({"x": Stored((HUGE,), (0,))}), x=bytes(8)),
        archive(torch_pickle({"x": Stored((HUGE,), (1,))}), x=bytes(8)),
        archive(torch_pickle({"x": Stored((2,), (-1,))}), x=bytes(8)),
        archive(torch_pickle({"x": Stored((2,), (1,))}), compression=zipfile.ZIP_DEFLATED, x=bytes(10**6)),
        archive(b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"."),
        archive(b"\x80\x02" + b"(" * 1000 + b"l" * 2000 + b"."),
    ],
    ids=["repeated", "beyond", "backwards", "bomb", "promised bytes", "nested"],
)
def test_an_archive_that_promises_what_it_has_not_is_refused(tmp_path, content):
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(InputError, match="damaged or cut short"):
        read_tensors(tmp_path)


def words(count):
    return "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(count))]).encode()


@pytest.mark.parametrize("token", [HUGE, -1, MOST_TOKENS, "9", None])
def test_no_id_of_a_token_is_believed(token):
    files = {"vocab.txt": words(10), "added_tokens.json": json.dumps({"<new>": token}).encode()}
    with pytest.raises(InputError):
        ReleasedTokenizer(files, 30)


@pytest.mark.parametrize("size", [HUGE, 0, -1, "9", None])
def test_no_size_of_a_stored_tokenizer_is_believed(tmp_path, size):
    ReleasedTokenizer({"vocab.txt": words(10)}, 15).save(tmp_path)
    change(tmp_path / "tokenizer.json", size=size)
    with pytest.raises(InputError):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("kind", ["unigram", "os.system", "../released", 3, None, {}])
def test_a_stored_tokenizer_of_no_kind_or_of_no_model_is_refused(tmp_path, kind):
    Tokenizer("bytes").save(tmp_path)
    model = b"\x0a\xff\xff\xff\xff\x0f" + bytes(100)
    (tmp_path / "tokenizer.model").write_bytes(model)
    specials = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[END]")
    digest = hashlib.sha256(json.dumps([kind, specials]).encode() + model).hexdigest()
    change(tmp_path / "tokenizer.json", kind=kind, digest=digest)
    with pytest.raises(InputError):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", [DEEP, "[]", '{"experiment": {"model": []}, "identity": {}}'])
def test_an_experiment_file_that_is_made_to_harm_is_one_sentence(tmp_path, content):
    (tmp_path / "experiment.json").write_text(content)
    assert "is damaged" in commands.run("evaluate.py", f"--workdir={tmp_path}").sentence


def test_a_digest_that_is_no_text_is_that_of_no_corpus(tmp_path):
    claim_imported(tmp_path, Experiment(BertConfig(), MaskedLm()), Tokenizer("bytes"))
    values = json.loads((tmp_path / "experiment.json").read_text())
    change(tmp_path / "experiment.json", identity={**values["identity"], "corpus_digest": []})
    assert stored_identity(tmp_path)["corpus_digest"] == "[]"


def test_an_experiment_is_of_our_classes_alone():
    values = to_dict(Experiment(BertConfig(), MaskedLm()))
    from training.config import from_dict

    for kind in ("os.system", "Experiment", "object", 3, None):
        for group in ("model", "objective"):
            with pytest.raises(InputError, match="unknown"):
                from_dict({**values, group: {**values[group], "type": kind}})


def calls_and_imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).split(".")[0]
        elif isinstance(node, ast.Call):
            yield f"{ast.unparse(node.func)}()"
            yield from (f"{keyword.arg}=" for keyword in node.keywords if keyword.arg == "allow_pickle")


def test_nothing_unpickles_or_executes_but_where_it_is_meant():
    """A pickle of torch is read by a reader of five names; a config file that the user names is Python."""
    dangerous = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "eval()", "exec()", "allow_pickle="}
    dangerous |= {"spec.loader.exec_module()", "os.system()", "runpy"}
    outside = {"tests", "benchmarks", "build", "runs"}
    files = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in outside]
    files = [path for path in files if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)]
    found = {(str(path.relative_to(ROOT)), use) for path in files for use in dangerous & set(calls_and_imports(path))}
    assert found == {
        ("interop/pickled.py", "pickle"),
        ("interop/tensors.py", "pickle"),  # its exception
        ("training/flags.py", "spec.loader.exec_module()"),
    }
