"""A corpus of any size, and how fast and in how much memory it is prepared: `make corpus BYTES=5e9`.

The text is made of the lines of the embedded corpus, drawn anew for each document, so that sentences, words and pieces
are as frequent as in real text. Both stages go on where they were stopped.
"""

import contextlib
import json
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path
from typing import Literal, cast

import numpy as np
from absl import app, flags

from ablation.origin import commit
from batch import InputError
from data.config import DataConfig
from data.docstrings import docstrings_file
from data.prepare import prepare

BYTES = flags.DEFINE_float("bytes", 1e8, "size of the text", lower_bound=1)
FOLDER = flags.DEFINE_string("folder", "runs/corpus", "where the text and the tokens go")
TOKENIZER = flags.DEFINE_enum("tokenizer", "unigram", ["unigram", "bpe", "bytes"], "as data.tokenizer")

Kind = Literal["unigram", "bpe", "bytes"]

FILE = 1 << 28  # bytes of a file of text, about
LINES = 24  # of a document


def made(folder: Path, size: int, lines: list[bytes]) -> None:
    """Writes about `size` bytes of documents into files of about FILE bytes; what is there stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(-(-size // FILE)):
        path = folder / f"{number:05}.txt"
        if path.exists():
            continue
        begun = path.with_suffix(".begun")
        with begun.open("wb") as file:
            draw = np.random.default_rng([0, number])
            while file.tell() < min(FILE, size - number * FILE):
                for document in draw.integers(len(lines), size=(1000, LINES)).tolist():
                    file.write(b"\n".join([lines[i] for i in document]) + b"\n\n")
        os.replace(begun, path)


class Peaks(threading.Thread):
    """The most memory, in bytes, that this process has held, and any that it started: of Linux, else nothing."""

    def __init__(self):
        super().__init__(daemon=True)
        self.own = self.workers = 0
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.2):
            self.own = _held("self")
            self.workers = max([self.workers, *(_held(str(each.pid)) for each in multiprocessing.active_children())])

    def __enter__(self) -> "Peaks":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def _held(process: str) -> int:
    with contextlib.suppress(OSError):  # it has ended, or there is no /proc
        for line in Path("/proc", process, "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 0


def measured(folder: Path, size: int, kind: Kind) -> dict[str, object]:
    """Makes and prepares the corpus, and says what that took."""
    text, cache = folder / f"text-{size}", folder / "cache"
    made(text, size, [line for line in docstrings_file(cache).read_bytes().splitlines() if line.strip()])
    began = time.monotonic()
    with Peaks() as peaks:
        prepared = prepare(DataConfig(str(text), tokenizer=kind, cache=str(cache)), _say)
    seconds = time.monotonic() - began
    read = sum(split.num_bytes for split in prepared.splits.values())
    return {
        "bytes": read,
        "tokens": sum(split.num_tokens for split in prepared.splits.values()),
        "seconds": seconds,
        "megabytes_per_second": read / 1e6 / seconds,
        "peak_bytes": peaks.own,
        "peak_bytes_of_a_worker": peaks.workers,
        "cores": os.cpu_count(),
        "commit": commit(Path(__file__).parents[1]),
    }


def _say(line: str) -> None:
    print(line, flush=True)


def main(argv: list[str]) -> None:
    folder = Path(FOLDER.value)
    try:
        found = measured(folder, int(BYTES.value), cast(Kind, TOKENIZER.value))
    except InputError as error:
        sys.exit(str(error))
    (folder / "measured.json").write_text(json.dumps(found, indent=1) + "\n")
    print("\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    app.run(main)
