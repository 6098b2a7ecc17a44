"""What the user can get wrong ends in one sentence with field, value and remedy, and changes nothing that is saved."""

import gzip
import hashlib
import json
import shutil

import pytest

import commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A config, corpora to be refused, and a finished run of one step, `run`."""
    folder = tmp_path_factory.mktemp("bad_input")
    commands.write_config(folder)
    (folder / "empty.txt").write_text("\n \n\n")
    (folder / "nul.txt").write_bytes(b"some text\nand \0 more\n")
    (folder / "latin.txt").write_bytes("a line\ncafé\n".encode("latin-1"))
    (folder / "cut.txt.gz").write_bytes(gzip.compress(b"text " * 1000)[:-20])
    (folder / "small.txt").write_text("One line.\n\nAnother.\n\nA third.\n")
    (folder / "one.txt").write_text(commands.text(documents=1, sentences=400))
    (folder / "no_text").mkdir()
    (folder / "broken.jsonl").write_text('{"text": "a"}\n{"text": \n')
    (folder / "other.txt").write_text(commands.text(seed=1))
    short = ["--config.optimizer.total_steps=1", "--config.optimizer.warmup_steps=0"]
    done = commands.run("train.py", f"--config={folder}/tiny.py:gpt", f"--workdir={folder}/run", *short)
    assert done.code == 0, done.err
    return folder


def files(workdir):
    """Every file of a folder and the digest of what it holds."""
    return {
        str(path.relative_to(workdir)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(workdir.rglob("*"))
        if path.is_file()
    }


def refused(folder, model, *fields):
    """The sentence with which a new run is refused; nothing is left of the run."""
    arguments = [f"--config.{field.replace('FOLDER', str(folder))}" for field in fields]
    config = f"--config={folder}/tiny.py:{model}"
    sentence = commands.run("train.py", config, f"--workdir={folder}/new", *arguments).sentence
    assert not (folder / "new").exists()
    return sentence


FIELDS = [
    ("bert", ["model.num_layer=3"], ["model.num_layer", "unknown", "did you mean", "model.num_layers"]),
    ("bert", ["optimiser.total_steps=3"], ["optimiser", "did you mean", "optimizer"]),
    ("bert", ["model.num_layers=many"], ["model.num_layers=many", "an integer"]),
    ("bert", ["data.layout=stream"], ["data.layout=stream", "one of windows, streams, pairs"]),
    ("bert", ["model=gpt"], ["model=gpt", "a group"]),
    ("gpt", ["model.num_heads=3"], ["model.num_heads=3", "divide", "model.model_dim=16"]),
    ("gpt", ["optimizer.accumulate=3"], ["optimizer.accumulate=3", "divide", "data.batch_size=4"]),
    ("gpt", ["optimizer.warmup_steps=13"], ["optimizer.warmup_steps=13", "optimizer.total_steps=12"]),
    ("gpt", ["data.length=2"], ["data.length=2", "at least 4"]),
    ("gpt", ["data.validation=0"], ["data.validation=0", "above 0"]),
    ("gpt", ["data.validation=0.7", "data.test=0.6"], ["data.validation=0.7", "data.test=0.6", "below 1"]),
    ("gpt", ["training.save_every=0"], ["training.save_every=0", "at least 1"]),
    ("gpt", ["init_from=FOLDER/nowhere"], ["init_from=", "nowhere", "name the workdir"]),
]

CORPORA = [
    ("gpt", ["data.corpus=FOLDER/empty.txt"], ["data.corpus=", "empty.txt", "no text"]),
    ("gpt", ["data.corpus=FOLDER/nowhere"], ["data.corpus=", "nowhere", "no such file or folder"]),
    ("gpt", ["data.corpus=FOLDER/*.nothing"], ["data.corpus=", "no file matches"]),
    ("gpt", ["data.corpus=FOLDER/no_text"], ["data.corpus=", "no_text", "holds no text"]),
    ("gpt", ["data.corpus=FOLDER/nul.txt"], ["nul.txt", "binary", "byte 14"]),
    ("gpt", ["data.corpus=FOLDER/latin.txt"], ["latin.txt", "not UTF-8", "0xe9 at byte 10"]),
    ("gpt", ["data.corpus=FOLDER/cut.txt.gz"], ["cut.txt.gz", "damaged gzip"]),
    ("gpt", ["data.corpus=FOLDER/broken.jsonl"], ["line 2", "broken.jsonl", "not JSON"]),
    ("gpt", ["data.corpus=FOLDER/small.txt"], ["data.batch_size=4", "data.length=16", "64 tokens", "more text"]),
    ("gpt", ["data.tokenizer=unigram", "data.vocab_size=9000"], ["data.vocab_size=9000", "at most", "more text"]),
    ("gpt", ["data.tokenizer=bpe", "data.vocab_size=100"], ["data.vocab_size=100", "data.tokenizer=bytes"]),
    (
        "bert",
        ["data.corpus=FOLDER/one.txt", "data.layout=pairs", "model.pair_head=true", "objective.pair_weight=1"],
        ["data.pair_task=next", "1 document", "give more documents"],
    ),
]

FITS = [
    ("gpt", ["data.directions=both"], ["data.directions=both", "GptConfig", "XlnetConfig"]),
    ("bert", ["data.length=17"], ["data.length=17", "model.max_length=16"]),
    ("bert", ["objective.pair_weight=1"], ["objective.pair_weight=1.0", "model.pair_head=True"]),
    (
        "bert",
        ["objective.pair_weight=1", "model.pair_head=true"],
        ["objective.pair_weight=1.0", "data.layout=streams", "data.layout=pairs"],
    ),
    ("xlnet", ["data.layout=windows"], ["model.memory_length=8", "data.layout=windows", "data.layout=streams"]),
    ("xlnet", ["data.layout=pairs"], ["model.memory_length=8", "data.layout=pairs"]),
    ("xlnet", ["objective.reuse=16"], ["objective.reuse=16", "below data.length=16"]),
    ("xlnet", ["objective.num_predict=17"], ["objective.num_predict=17", "data.length=16"]),
    ("gpt", ["objective.reuse=8", "data.layout=windows"], ["objective.reuse=8", "data.layout=windows"]),
    ("bert", ["objective.rate=1.5"], ["objective.rate=1.5", "at most 1"]),
]


@pytest.mark.parametrize(("model", "fields", "said"), FIELDS + CORPORA + FITS, ids=lambda value: str(value[0])[:40])
def test_bad_input_is_refused_in_one_sentence(folder, model, fields, said):
    sentence = refused(folder, model, *fields)
    assert all(part in sentence for part in said), sentence


@pytest.mark.parametrize(
    ("model", "other", "said"),
    [
        ("bert", "xlnet", ["PermutationLm", "BertConfig", "query stream", "use XlnetConfig"]),
        ("gpt", "xlnet", ["PermutationLm", "GptConfig", "query stream", "use XlnetConfig"]),
        ("xlnet", "backward", ["objective.direction=backward", "model.memory_length=0"]),
    ],
)
def test_an_objective_that_the_model_cannot_serve_is_refused(folder, model, other, said):
    path = folder / f"{model}_{other}.py"
    objective = "CausalLm(direction='backward')" if other == "backward" else "SIZE.xlnet().objective"
    path.write_text(
        f"{(folder / 'tiny.py').read_text()}\n\n"
        "import dataclasses\nfrom objectives import CausalLm\n\n\n"
        f"def get_config():\n    return dataclasses.replace(SIZE.{model}(), objective={objective})\n"
    )
    sentence = commands.run("train.py", f"--config={path}", f"--workdir={folder}/new").sentence
    assert all(part in sentence for part in said), sentence


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("train.py", ["--workdir=x"], ["--config", "missing"]),
        ("train.py", ["--config=FOLDER/tiny.py:gpt"], ["--workdir", "missing"]),
        ("train.py", ["--config=FOLDER/tini.py"], ["no such file", "did you mean", "tiny.py"]),
        ("train.py", ["--config=FOLDER/tiny.py:gpt", "seed=3"], ["seed=3", "unexpected argument"]),
        ("train.py", ["--config=FOLDER/tiny.py:gpt", "--wokdir=x"], ["wokdir", "workdir"]),
        ("evaluate.py", [], ["--workdir", "missing"]),
        ("evaluate.py", ["--workdir=FOLDER/nowhere"], ["nowhere", "experiment.json", "name the workdir"]),
        ("evaluate.py", ["--workdir=FOLDER/run", "--step=7"], ["--step=7", "the steps are 1"]),
        ("evaluate.py", ["--workdir=FOLDER/run", "--step=last"], ["--step=last", "latest, or best"]),
        ("evaluate.py", ["--workdir=FOLDER/run", "--split=train"], ["--split=train", "validation|test"]),
        ("demo.py", ["--steps=-1"], ["--steps=-1"]),
    ],
)
def test_a_wrong_argument_is_refused_in_one_sentence(folder, script, arguments, said):
    sentence = commands.run(script, *(argument.replace("FOLDER", str(folder)) for argument in arguments)).sentence
    assert all(part in sentence for part in said), sentence


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (["model.num_layers=3"], ["model.num_layers is 2 there and 3 here"]),
        (["optimizer.total_steps=40"], ["optimizer.total_steps is 1 there and 40 here"]),
        (["seed=1"], ["seed is 0 there and 1 here"]),
        (["data.corpus=FOLDER/other.txt"], ["corpus_digest"]),
        (["data.tokenizer=unigram", "data.vocab_size=300"], ["data.tokenizer is bytes there and unigram here"]),
    ],
)
@pytest.mark.parametrize("how", ["train", "dry_run"])
def test_a_workdir_of_another_experiment_is_left_as_it_is(folder, fields, said, how):
    arguments = ["optimizer.total_steps=1", "optimizer.warmup_steps=0", *fields]
    arguments = [f"--config.{field.replace('FOLDER', str(folder))}" for field in arguments]
    before = files(folder / "run")
    config, workdir = f"--config={folder}/tiny.py:gpt", f"--workdir={folder}/run"
    sentence = commands.run("train.py", config, workdir, f"--dry_run={how == 'dry_run'}", *arguments).sentence
    assert all(part in sentence for part in [*said, "another experiment", "choose another workdir"]), sentence
    assert files(folder / "run") == before


@pytest.mark.parametrize("where", ["corpus.txt", "corpus.txt/run"])
def test_a_workdir_that_cannot_be_written_is_refused(folder, where):
    done = commands.run("train.py", f"--config={folder}/tiny.py:gpt", f"--workdir={folder}/{where}")
    assert "--workdir=" in done.sentence and "cannot be written" in done.sentence


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of the finished run, to be damaged."""
    return shutil.copytree(folder / "run", tmp_path / "copy")


def both(folder, workdir):
    """The sentences of evaluation and of the same training command."""
    same = ["--config.optimizer.total_steps=1", "--config.optimizer.warmup_steps=0"]
    yield commands.run("evaluate.py", f"--workdir={workdir}").sentence
    yield commands.run("train.py", f"--config={folder}/tiny.py:gpt", f"--workdir={workdir}", *same).sentence


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"experiment": 3, "identity": {}}', "\x00", None])
def test_a_damaged_experiment_file_is_named(folder, copy, content):
    file = copy / "experiment.json"
    file.write_text(file.read_text()[:100] if content is None else content)
    before = files(copy)
    for sentence in both(folder, copy):
        assert "experiment.json" in sentence and "is damaged" in sentence and "restore it" in sentence
    assert files(copy) == before


@pytest.mark.parametrize(
    ("group", "field", "value"),
    [("model", "num_layers", "two"), ("model", "type", "Nothing"), ("data", "no_such", 1), (None, "model", None)],
)
def test_an_experiment_file_with_fields_that_do_not_exist_is_refused(copy, group, field, value):
    file = copy / "experiment.json"
    values = json.loads(file.read_text())
    (values["experiment"][group] if group else values["experiment"])[field] = value
    file.write_text(json.dumps(values))
    assert commands.run("evaluate.py", f"--workdir={copy}").sentence


def test_a_damaged_checkpoint_is_named_and_kept(folder, copy):
    largest = max((copy / "checkpoints" / "1" / "state").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    before = files(copy)
    for sentence in both(folder, copy):
        assert str(largest) in sentence and "delete" in sentence
    assert files(copy) == before


def test_a_missing_tokenizer_is_named(folder, copy):
    (copy / "tokenizer" / "tokenizer.json").unlink()
    for sentence in both(folder, copy):
        assert "tokenizer" in sentence and "cannot be read" in sentence


def test_a_token_beyond_the_vocabulary_is_refused(folder, tmp_path):
    shutil.copytree(folder / "cache", tmp_path / "cache")
    for tokens in tmp_path.glob("cache/tokens-*/train/tokens.bin"):
        content = bytearray(tokens.read_bytes())
        content[10:12] = (300).to_bytes(2, "little")
        tokens.write_bytes(content)
    sentence = refused(folder, "gpt", f"data.cache={tmp_path / 'cache'}")
    assert "token id 300 is not below the vocabulary size 262" in sentence and "delete the folder" in sentence


def test_a_run_whose_rate_is_absurd_stops_before_it_saves_anything(folder):
    workdir = folder / "diverged"
    fields = ["--config.optimizer.peak_rate=1e30", "--config.training.save_every=1"]
    done = commands.run("train.py", f"--config={folder}/tiny.py:gpt", f"--workdir={workdir}", *fields)
    for part in ("step 1:", "not finite", "no checkpoint was written", "optimizer.peak_rate=1e+30"):
        assert part in done.sentence
    assert not (workdir / "checkpoints").exists()


def test_the_real_commands_refuse_with_exit_code_1(folder):
    """As processes of their own: nothing of a library stands beside the sentence."""
    typo = commands.start("train.py", f"--config={folder}/tiny.py:gpt", "--config.sed=3")
    nothing = commands.start("evaluate.py", f"--workdir={folder}/nowhere")
    done = commands.finish(typo)
    assert (done.code, done.err) == (1, "error: --config.sed: unknown field; did you mean --config.seed?\n")
    done = commands.finish(nothing)
    assert done.code == 1 and done.err == f"error: {done.sentence}\n" and not done.out
