"""Tokenizing in parts: the same for any parts and processes, gone on with after a stop, in bounded memory."""

import dataclasses
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from batch import InputError
from data import parts, prepare
from data.building import alone
from data.corpus import Document
from data.parts import tokenize
from data.shards import open_tokens
from data.splits import SPLITS
from data.tokenizer import train_tokenizer

WORDS = tuple("the cat sat on a mat and was not seen by any other cats 我们 去 吃饭 。".split())  # noqa: SIM905


def documents(count=200, seed=0):
    draw = random.Random(seed)
    lines = [tuple(" ".join(draw.choices(WORDS, k=9)) + "." for _ in range(1 + i % 5)) for i in range(count)]
    return [(draw.choice(SPLITS), Document(str(i), each)) for i, each in enumerate(lines)]


def size(pieces):
    return sum(document.num_bytes for _, document in pieces)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a tokenizer."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer("unigram", 300, [line for _, each in documents() for line in each.lines]).save(folder)
    return folder


def tokenized(folder, pieces, tokenizer, watch=lambda done: None):
    folder.mkdir(exist_ok=True)
    tokenize(folder, pieces, size(pieces), tokenizer, watch)
    return {split: open_tokens(folder / split) for split in SPLITS}


def same(one, other):
    return all(
        np.array_equal(getattr(one[split], field.name), getattr(other[split], field.name))
        for split in SPLITS
        for field in dataclasses.fields(one[split])
    )


def test_parts_and_processes_change_nothing(tmp_path, saved, monkeypatch):
    pieces, told = documents(), []
    whole = tokenized(tmp_path / "whole", pieces, saved)
    monkeypatch.setattr(parts, "PART", size(pieces) // 9)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    cut = tokenized(tmp_path / "cut", pieces, saved, told.append)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    shared = tokenized(tmp_path / "shared", pieces, saved)
    assert same(whole, cut) and same(whole, shared)
    assert 8 <= len(told) <= 10 and sum(told) == size(pieces)
    assert {path.name for path in (tmp_path / "cut").iterdir()} == set(SPLITS)


def test_a_stopped_run_goes_on_where_it_stopped(tmp_path, saved, monkeypatch):
    pieces, write = documents(), parts.write_part
    whole = tokenized(tmp_path / "whole", pieces, saved)
    monkeypatch.setattr(parts, "PART", size(pieces) // 9)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    written = []

    def stopping(folder, *rest):
        written.append(folder.name)
        if len(written) == 5:
            (folder.with_name(f".{folder.name}") / "train").mkdir(parents=True)  # what a kill leaves
            raise KeyboardInterrupt
        write(folder, *rest)

    monkeypatch.setattr(parts, "write_part", stopping)
    with pytest.raises(KeyboardInterrupt):
        tokenized(tmp_path / "stopped", pieces, saved)
    again = tokenized(tmp_path / "stopped", pieces, saved)
    assert same(whole, again)
    assert len(written) == len(set(written)) + 1 and written.count("4") == 2


def test_an_interrupted_join_is_made_anew(tmp_path, saved, monkeypatch):
    pieces, join = documents(), parts.join_tokens
    whole = tokenized(tmp_path / "whole", pieces, saved)

    def stopping(folder, *rest):
        if folder.name == "test":
            raise KeyboardInterrupt
        join(folder, *rest)

    monkeypatch.setattr(parts, "join_tokens", stopping)
    with pytest.raises(KeyboardInterrupt):
        tokenized(tmp_path / "stopped", pieces, saved)
    monkeypatch.setattr(parts, "join_tokens", join)
    monkeypatch.setattr(parts, "write_part", None)  # nothing is tokenized twice
    assert same(whole, tokenized(tmp_path / "stopped", pieces, saved))


def _die(*_):
    os._exit(9)


def test_a_process_that_is_killed_is_said_and_nothing_is_lost(tmp_path, saved, monkeypatch):
    pieces, write = documents(), parts.write_part
    monkeypatch.setattr(parts, "PART", size(pieces) // 9)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(parts, "write_part", _die)
    with pytest.raises(OSError, match=r"a process that tokenizes was killed"):
        tokenized(tmp_path / "killed", pieces, saved)
    monkeypatch.setattr(parts, "write_part", write)
    assert same(tokenized(tmp_path / "killed", pieces, saved), tokenized(tmp_path / "whole", pieces, saved))


def test_a_full_disk_keeps_what_is_done(tmp_path, monkeypatch):
    lines = "\n\n".join(document.text for _, document in documents())
    (tmp_path / "corpus.txt").write_text(lines)
    config = prepare.DataConfig(str(tmp_path / "corpus.txt"), tokenizer="bytes", cache=str(tmp_path / "cache"))
    join = parts.join_tokens

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parts, "join_tokens", full)
    with pytest.raises(InputError, match=r"data.cache=.*No space left on device.*the same command goes on"):
        prepare.prepare(config, print)
    monkeypatch.setattr(parts, "join_tokens", join)
    monkeypatch.setattr(parts, "write_part", None)
    assert prepare.prepare(config, print).train.num_documents
    assert not list((tmp_path / "cache").glob(".*"))


LOCKED = """
import pathlib, sys, time
from data.building import alone
with alone(pathlib.Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_ends_with_its_process(tmp_path):
    folder, heard = tmp_path / "folder", []
    with subprocess.Popen([sys.executable, "-c", LOCKED, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"

        def report(line):
            heard.append(line)
            other.kill()

        with alone(folder, report):
            assert heard == ["another process is at work on folder; waiting for it"]


LIMITED = """
import pathlib, resource, sys
from data.config import DataConfig
from data.prepare import prepare
status = pathlib.Path("/proc/self/status").read_text()
held = 1024 * int(status.partition("VmSize:")[2].split()[0])
resource.setrlimit(resource.RLIMIT_AS, (held + int(sys.argv[3]), held + int(sys.argv[3])))
made = prepare(DataConfig(sys.argv[1], tokenizer="bytes", cache=sys.argv[2]), lambda line: None)
print(made.train.num_bytes + made.validation.num_bytes + made.test.num_bytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="address space is told by Linux only")
def test_a_large_corpus_is_prepared_in_little_memory(tmp_path):
    """64 MB of text: beside the maps of the tokens, 4 bytes for each of text, there is room for as much as the text."""
    draw, total = np.random.default_rng(0), 0
    words = np.array([word.encode() for word in WORDS], object)
    with (tmp_path / "corpus.txt").open("wb") as file:
        while total < 64e6:
            lines = [b" ".join(row) for row in words[draw.integers(len(words), size=(4000, 30))]]
            total += file.write(b"\n".join(lines) + b"\n\n")
    room = 5 * total
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "corpus.txt"), str(tmp_path / "cache"), str(room)],
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},  # each thread's arena would reserve address space
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0.95 * total
