"""Whatever a user or a stranger hands in ends in a value or in one sentence: never in a traceback, never in a hang.

`make fuzz` tries 2,000 inputs for each law, drawn anew each time; a failure prints what reproduces it.
"""

import copy
import datetime
import gzip
import json
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
import tensorstore as ts
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from batch import InputError
from cases import MODELS
from data.config import DataConfig
from data.corpus import open_corpus
from data.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from interop.exporting import export
from interop.importing import import_folder
from interop.weights import drawn
from objectives import CausalLm, MaskedLm, PermutationLm
from training.build import check_fit
from training.checkpoint import Checkpoints
from training.config import Experiment, flat, to_dict
from training.flags import parse_experiment
from training.ledger import Ledger
from training.manifest import write_manifest
from training.metrics import read_records
from training.workdir import claim_imported, stored_experiment, stored_identity, stored_tokenizer

EXAMPLES = int(os.environ.get("ORDERLY_FUZZ", "0"))
"""How many inputs each law is tried on, drawn anew each time; 0: a few, always the same."""

fuzzed = settings(
    max_examples=EXAMPLES or 40,
    derandomize=not EXAMPLES,
    database=None,
    deadline=datetime.timedelta(seconds=60),  # a hang, on the slowest machine
    suppress_health_check=list(HealthCheck),
)

LINES = [f"The {word} sat on a mat, not seen by other {word}s. 猫坐在垫子上。" for word in ("cat", "dog", "hen")] * 9

WILD = [b"", b"\0", b"\xff", b"\xed\xa0\x80", b"NaN", b"1e999", b"-1", b"9" * 30, b"null", b"[]", b"{}", b'"', b"\n"]
WILD += [b"true", b"../../escaped", b"[" * 2000, b"0.5", "\u2581".encode(), "\U0010ffff".encode(), b"\xef\xbb\xbf"]


@st.composite
def damaged(draw, original):
    """The bytes after a few cuts, flips and insertions."""
    content = original
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        to = draw(st.integers(at, min(len(content), at + draw(st.sampled_from((0, 1, 9, 10**9))))))
        new = draw(st.one_of(st.sampled_from(WILD), st.binary(max_size=4)))
        content = content[:at] + new + content[to:]
    return content


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.just([]), st.just({}), st.just([[1]])
)
VALUES |= st.lists(st.sampled_from((-1, 0, 1, 3, 5, 2**31, 10**12, 2**63)), min_size=1, max_size=3)


@st.composite
def changed(draw, original):
    """A JSON object with some values replaced, by others of any type, and some fields gone or new, as bytes."""
    content = json.loads(json.dumps(original))
    for _ in range(draw(st.integers(1, 3))):
        at = content
        while True:
            key = draw(st.sampled_from([*at, "new"] if isinstance(at, dict) else range(len(at))))
            inner = at.get(key) if isinstance(at, dict) else at[key]
            if not (isinstance(inner, dict | list) and inner and draw(st.booleans())):
                break
            at = inner
        if draw(st.integers(0, 4)):
            at[key] = copy.deepcopy(draw(VALUES))  # which the next round may change
        elif key in at or isinstance(at, list):
            del at[key]
    return json.dumps(content).encode()


def refused_or(function, *arguments):
    """What the function returns; None where it refuses in one sentence."""
    try:
        return function(*arguments)
    except InputError as error:
        assert str(error).strip()
        return None


FIELDS = sorted(flat(to_dict(parse_experiment(["--config=configs/xlnet_tiny.py"]))))
WORDS = st.one_of(
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["None", "true", "False", "(1, 2)", "[[[", "1e3", "-0", "nan", "inf", "streams", "masked", "{}", ""]
    ),
)


@fuzzed
@given(st.lists(st.tuples(st.one_of(st.sampled_from(FIELDS), st.text(max_size=9)), WORDS), min_size=1, max_size=3))
def test_any_flags_are_an_experiment_or_refused(fields):
    flags = [f"--config.{name}={value}" for name, value in fields]
    if experiment := refused_or(parse_experiment, ["--config=configs/xlnet_tiny.py", *flags]):
        refused_or(check_fit, experiment)


@pytest.mark.parametrize("name", ["corpus.txt", "corpus.jsonl", "corpus.txt.gz"])
def test_any_file_is_a_corpus_or_refused(tmp_path, name):
    text = "\n".join([*LINES, "", *LINES]).encode()
    original = {
        "corpus.txt": text,
        "corpus.jsonl": b"\n".join(json.dumps({"text": line}).encode() for line in LINES),
        "corpus.txt.gz": gzip.compress(text),
    }[name]
    config = DataConfig(str(tmp_path / name), cache=str(tmp_path / "cache"))

    @fuzzed
    @example(b"[" * 10_000)
    @example(b"9" * 5_000)
    @given(st.one_of(damaged(original), st.binary(max_size=40)))
    def law(content):
        (tmp_path / name).write_bytes(content)
        read = refused_or(lambda: list(open_corpus(config).documents()))
        for document in read or ():
            assert document.lines and all(line.strip() and "\n" not in line for line in document.lines)
            document.text.encode()

    law()


@fuzzed
@given(st.text())
def test_any_text_comes_back_from_its_tokens(text):
    for tokenizer in (Tokenizer("bytes"), trained()):
        assert tokenizer.decode(tokenizer.encode(text)) == text


TRAINED: list[Tokenizer] = []


def trained():
    if not TRAINED:
        TRAINED.append(train_tokenizer("unigram", 290, LINES))
    return TRAINED[0]


def fuzz_folder(original: Path, scratch: Path, names, read):
    """The law that a folder, one file of it damaged, is read or refused."""

    @fuzzed
    @given(st.data())
    def law(data):
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(original, scratch)
        name = data.draw(st.sampled_from(names))
        content, kinds = (original / name).read_bytes(), []
        if name.endswith(".json"):
            kinds = [changed(json.loads(content))]
        (scratch / name).write_bytes(data.draw(st.one_of(damaged(content), *kinds)))
        refused_or(read, scratch)
        assert not list(scratch.parent.glob("escaped*"))

    law()


def test_any_stored_tokenizer_is_read_or_refused(tmp_path):
    trained().save(tmp_path / "whole")
    fuzz_folder(tmp_path / "whole", tmp_path / "scratch", ["tokenizer.json", "tokenizer.model"], load_tokenizer)


def test_any_workdir_is_read_or_refused(tmp_path):
    claim_imported(tmp_path / "run", Experiment(MODELS["xlnet"], CausalLm()), trained())
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": "nan"}\n')

    def read(folder):
        for each in (stored_experiment, stored_identity, stored_tokenizer, read_records):
            refused_or(each, folder)

    fuzz_folder(tmp_path / "run", tmp_path / "scratch", ["experiment.json", "metrics.jsonl"], read)


def test_any_checkpoint_is_read_or_refused(tmp_path):
    """Whoever made it hostile wrote its digests, too; what is read has the shapes and types that were asked for."""
    state = {"params": {"kernel": jnp.ones((3, 5)), "bias": jnp.zeros(5)}, "step": jnp.int32(1)}
    with Checkpoints(tmp_path / "whole") as checkpoints:
        checkpoints.save(1, state, {"loss": 1.0, "tokens": 3, "stream": "ab"})
    original, scratch = tmp_path / "whole/checkpoints/1", tmp_path / "run/checkpoints/1"
    names = sorted(path.relative_to(original).as_posix() for path in original.rglob("*") if path.is_file())
    arrays = [f"params.{name}/{key}" for name in ("kernel", "bias") for key in (".zarray", "0.0", "0")]
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)

    def rewrite(data, name):
        file = scratch / name
        kinds = [damaged(file.read_bytes())]
        if file.read_bytes().startswith(b"{"):
            kinds.append(changed(json.loads(file.read_bytes())))
        file.write_bytes(data.draw(st.one_of(kinds)))

    def rewrite_array(data, key):
        """What zarr says of an array, or its numbers, in a store that is itself whole."""
        store = ts.KvStore.open({"driver": "ocdbt", "base": f"file://{scratch}/state/"}).result()
        if content := store.read(key).result().value:
            kinds = [damaged(content), changed(json.loads(content))] if key.endswith("y") else [damaged(content)]
            store.write(key, data.draw(st.one_of(kinds))).result()

    @fuzzed
    @given(st.data())
    def law(data):
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(original, scratch)
        if data.draw(st.booleans()):
            rewrite_array(data, data.draw(st.sampled_from(arrays)))
        else:
            rewrite(data, data.draw(st.sampled_from(names)))
        write_manifest(scratch)
        found = Checkpoints(tmp_path / "run")
        Ledger.of(found.metrics(1))
        assert found.best in (None, 1)
        refused_or(found.restore_params, 1, abstract["params"])
        if read := refused_or(found.restore, abstract):
            described = lambda leaf: (leaf.shape, leaf.dtype)  # noqa: E731
            assert jax.tree.map(described, read[1]) == jax.tree.map(described, abstract)

    law()


@pytest.mark.parametrize(("name", "objective"), [("bert", MaskedLm()), ("gpt", CausalLm()), ("xlnet", PermutationLm())])
def test_any_folder_is_imported_or_refused(tmp_path, name, objective):
    config, folder, tokenizer = MODELS[name], tmp_path / "whole", trained()
    folder.mkdir()
    params = jax.device_get(drawn(config, tokenizer.vocab.size, 0))
    export(Experiment(config, objective), params, tokenizer, 1, folder)
    names = sorted(path.name for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".model"))
    fuzz_folder(folder, tmp_path / "scratch", names, import_folder)
