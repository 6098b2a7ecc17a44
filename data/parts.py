"""A corpus tokenized in parts of a few MiB, by all cores: what is finished stays finished, and is joined at the end."""

import concurrent.futures
import contextlib
import errno
import functools
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from data.corpus import Document
from data.shards import join_tokens, tokens_writer
from data.splits import SPLITS, Split
from data.tokenizer import load_tokenizer

PART = 1 << 22
"""Bytes of text in a part, about: a process holds one, and as many wait."""

Piece = tuple[Split, Document]


def tokenize(folder: Path, pieces: Iterable[Piece], total: int, tokenizer: Path, watch: Callable[[int], None]) -> None:
    """Writes the tokens of each split to `folder / split`; the same whatever the number of processes.

    Parts lie in `folder / "parts"` until all are there: a call that was stopped goes on where it stopped, for the same
    pieces and tokenizer, which is read from a folder. `total` is the size of the text in bytes, and `watch` is told how
    many more are done. Raises OSError where the disk is full or a process was killed.
    """
    parts = folder / "parts"
    parts.mkdir(exist_ok=True)
    workers = max(1, min(os.cpu_count() or 1, total // (4 * PART)))  # a process takes seconds to start
    with _pool(workers) as submit:
        for number, (size, part) in enumerate(_parts(pieces)):
            if (parts / str(number)).exists():
                watch(size)
            else:
                submit(lambda size=size: watch(size), write_part, parts / str(number), part, tokenizer)
    made = sorted(parts.iterdir(), key=lambda path: int(path.name))
    for split in SPLITS:
        join_tokens(folder / split, [part / split for part in made], _tokenizer(tokenizer))
    shutil.rmtree(parts)


def write_part(folder: Path, pieces: list[Piece], tokenizer: Path) -> None:
    """Writes the splits of one part into `folder`, which is there as a whole or not at all."""
    begun = folder.with_name(f".{folder.name}")
    shutil.rmtree(begun, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        writers = {split: stack.enter_context(tokens_writer(begun / split, _tokenizer(tokenizer))) for split in SPLITS}
        for split, document in pieces:
            writers[split].add(document)
    os.rename(begun, folder)


_tokenizer = functools.lru_cache(maxsize=1)(load_tokenizer)


def _parts(pieces: Iterable[Piece]) -> Iterator[tuple[int, list[Piece]]]:
    """Runs of pieces, and the bytes of their text: cut by their text alone, so that another run cuts alike."""
    part: list[Piece] = []
    size = 0
    for split, document in pieces:
        part.append((split, document))
        size += document.num_bytes
        if size >= PART:
            yield size, part
            part, size = [], 0
    if part:
        yield size, part


Submit = Callable[..., None]


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[Submit]:
    """Calls functions, in processes where there is more than one worker, and then what is to be done after each.

    No more calls wait than the workers take at once, so that memory does not grow with the corpus. An error of a call
    is raised here.
    """
    if workers == 1:
        yield _at_once
        return
    spawned = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with concurrent.futures.ProcessPoolExecutor(workers, spawned, initializer=_obey) as executor:
        waiting: dict[concurrent.futures.Future[None], Callable[[], None]] = {}

        def collect(most: int) -> None:
            while len(waiting) > most:
                done, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    future.result()
                    waiting.pop(future)()

        def submit(after: Callable[[], None], function: Callable[..., None], *args: object) -> None:
            collect(2 * workers - 1)
            waiting[executor.submit(function, *args)] = after

        try:
            yield submit
            collect(0)
        except BrokenProcessPool:
            reason = "a process that tokenizes was killed, perhaps for want of memory"
            raise ChildProcessError(errno.ECHILD, reason) from None
        finally:
            executor.shutdown(cancel_futures=True)


def _at_once(after: Callable[[], None], function: Callable[..., None], *args: object) -> None:
    function(*args)
    after()


def _obey() -> None:
    """A worker ends with the process that gives out the work; Ctrl-C, which reaches all of a terminal, is for that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "is run by workers"
    parent.join()
    os._exit(1)
