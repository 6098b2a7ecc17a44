"""Corpora in stores: the text that the same files are here, fetched once, and one sentence where there is none."""

import functools
import gzip
import http.server
import json
import socket
import threading

import pytest

import commands
from batch import InputError
from data import remote
from data.config import DataConfig
from data.corpus import open_corpus
from data.prepare import prepare

fsspec = pytest.importorskip("fsspec")

FILES = {
    "a.txt": b"one\n\ntwo\n",
    "a/b.md": "三\n".encode(),
    "a-b.txt.gz": gzip.compress(b"four\n\nfive\n", mtime=0),
    "sub/c.jsonl": (json.dumps({"text": "six\nseven"}) + "\n").encode(),
    "e.txt/f.md": b"a folder may be called like a file\n",
    "sub/.hidden/d.txt": b"no\n",
    "sub/image.png": b"\x89PNG\0",
}


@pytest.fixture
def store(tmp_path):
    """The same files in the folder `here` and at memory://there."""
    system = fsspec.filesystem("memory")
    for name, content in FILES.items():
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        system.pipe(f"/there/{name}", content)
    yield system
    system.rm("/there", recursive=True)


def opened(tmp_path, corpus, report=lambda line: None):
    return open_corpus(DataConfig(corpus=str(corpus), cache=str(tmp_path / "cache")), report)


@pytest.mark.parametrize("named", ["", "/", "/a.txt", "/*.txt*", "/sub/*.jsonl", "/**/*.[tjm]*", "/sub"])
def test_a_store_holds_the_corpus_that_the_same_files_are(tmp_path, store, named):
    here, there = opened(tmp_path, f"{tmp_path}/here{named}"), opened(tmp_path, f"memory://there{named}")
    assert list(there.documents()) == list(here.documents())
    assert there.digest == here.digest
    copies = tmp_path / "cache" / "remote"
    if len(here.files) > 1:  # as a folder, the copies are the corpus too
        assert opened(tmp_path, next(copies.iterdir())).digest == here.digest


def test_a_corpus_is_fetched_once_and_again_when_it_changes(tmp_path, store, monkeypatch):
    told, got, get = [], [], type(store).get_file
    monkeypatch.setattr(type(store), "get_file", lambda self, *given: (got.append(given[0]), get(self, *given)))
    config = DataConfig("memory://there/*.txt*", tokenizer="bytes", cache=str(tmp_path / "cache"))
    first = prepare(config, told.append)
    assert prepare(config, told.append).corpus_digest == first.corpus_digest
    assert sorted(got) == ["/there/a-b.txt.gz", "/there/a.txt"]
    assert sum(line.startswith("fetching memory://there") for line in told) == 1
    store.pipe("/there/a.txt", b"one\n\nTWO\n")
    assert prepare(config, told.append).corpus_digest != first.corpus_digest


def test_a_file_is_there_as_a_whole_or_not_at_all(tmp_path, store, monkeypatch):
    get = type(store).get_file

    def stopping(self, path, copy):
        get(self, path, copy)
        if path.endswith("a.txt"):
            with open(copy, "wb") as file:
                file.write(b"on")
            raise KeyboardInterrupt

    monkeypatch.setattr(type(store), "get_file", stopping)
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path, "memory://there")
    got = []
    monkeypatch.setattr(type(store), "get_file", lambda self, *given: (got.append(given[0]), get(self, *given)))
    assert opened(tmp_path, "memory://there").digest == opened(tmp_path, tmp_path / "here").digest
    assert "/there/a-b.txt.gz" not in got and "/there/a.txt" in got  # in the order in which they are read
    assert not list((tmp_path / "cache").rglob(".begun"))


def test_a_file_that_arrives_short_is_refused(tmp_path, store, monkeypatch):
    monkeypatch.setattr(type(store), "get_file", lambda self, path, copy: open(copy, "wb").close())
    with pytest.raises(InputError, match=r"data.corpus=memory://there/a.txt: a.txt arrived with 0 of 9 bytes; run"):
        opened(tmp_path, "memory://there/a.txt")


def failing(error):
    def call(*_, **__):
        raise error

    return call


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        ("info", PermissionError("Forbidden"), ["data.corpus=", "PermissionError: Forbidden", "credentials"]),
        ("info", RuntimeError("a\nb"), ["data.corpus=", "RuntimeError: a b", "network"]),
        ("get_file", OSError(28, "No space left on device"), ["data.cache=", "No space left", "goes on"]),
        ("get_file", TimeoutError(), ["data.corpus=", "TimeoutError", "network"]),
    ],
)
def test_what_goes_wrong_is_said_in_one_sentence(tmp_path, store, monkeypatch, function, error, said):
    monkeypatch.setattr(type(store), function, failing(error))
    with pytest.raises(InputError) as raised:
        opened(tmp_path, "memory://there/a.txt")
    message = str(raised.value)
    assert message.endswith(".") and "\n" not in message
    assert all(part in message for part in said), message


@pytest.mark.parametrize(
    ("corpus", "said"),
    [
        ("memory://nowhere/a.txt", ["no such file or folder"]),
        ("memory://there/*.nothing", ["nothing there is text", "a glob"]),
        ("memory://there/sub/.hidden", ["no such file or folder"]),
        ("nothing://there", ["Protocol not known: nothing"]),
    ],
)
def test_a_store_without_the_corpus_is_refused(tmp_path, corpus, said):
    with pytest.raises(InputError) as raised:
        opened(tmp_path, corpus)
    message = str(raised.value)
    assert message.startswith(f"data.corpus={corpus}: ") and all(part in message for part in said), message


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(fsspec, "url_to_fs", failing(ImportError("Install s3fs to access S3")))
    with pytest.raises(InputError, match=r"\(Install s3fs to access S3\); pip install -e '.\[remote\]'\.$"):
        opened(tmp_path, "s3://bucket/a.txt")


@pytest.fixture
def host(tmp_path, store):
    """The address of a server of the folder `here`."""
    pytest.importorskip("aiohttp")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self):
            if ".gz" in self.path:
                self.send_header("Content-Encoding", "gzip")  # as Apache says of such files
            super().end_headers()

        def log_message(self, *_):
            pass

    serve = functools.partial(Handler, directory=str(tmp_path / "here"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["a.txt", "a-b.txt.gz", "sub/c.jsonl"])
def test_a_server_of_files_is_a_store(tmp_path, host, name):
    here, told = opened(tmp_path, tmp_path / "here" / name), []
    for _ in range(2):
        there = opened(tmp_path, f"{host}/{name}?token=[1]*", told.append)
        assert there.digest == here.digest and list(there.documents()) == list(here.documents())
    assert len(told) == 1


def test_a_server_without_the_file_or_without_an_answer_is_named(tmp_path, host, monkeypatch):
    with pytest.raises(InputError, match=r"data.corpus=http://.*/none.txt: .*404"):
        opened(tmp_path, f"{host}/none.txt")
    monkeypatch.setattr(remote, "READ", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes the question, and says nothing
        with pytest.raises(InputError, match=r"cannot be fetched \(.*[Tt]imeout.*the network\."):
            opened(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}/a.txt")
        gone = silent.getsockname()[1]
    with pytest.raises(InputError, match=r"cannot be fetched \(.*Cannot connect to host"):
        opened(tmp_path, f"http://127.0.0.1:{gone}/a.txt")


@pytest.mark.parametrize(
    ("script", "flag"),
    [
        ("train.py", "--workdir=gs://bucket/run"),
        ("evaluate.py", "--workdir=s3://bucket/run"),
        ("evaluate.py", "--output=s3://bucket/run"),
        ("convert.py", "--workdir=gs://bucket/run"),
        ("convert.py", "--to_hf=gs://bucket/run"),
        ("ablate.py", "--workdir=gs://bucket/run"),
        ("ablate.py", "--from=s3://bucket/run"),
        ("demo.py", "--workdir=gs://bucket/run"),
        ("train.py", "--config.data.cache=gs://bucket/cache"),
    ],
)
def test_what_is_written_lies_in_a_file_system(tmp_path, monkeypatch, script, flag):
    monkeypatch.chdir(tmp_path)
    config = [f"--config={commands.write_config(tmp_path)}:gpt"] if script == "train.py" else []
    before = sorted(tmp_path.iterdir())
    sentence = commands.run(script, *config, flag).sentence
    assert sentence.startswith(f"{flag.removeprefix('--config.')}: must be a folder of a file system")
    assert "mount the store" in sentence and "gcsfuse" in sentence
    assert sorted(tmp_path.iterdir()) == before
