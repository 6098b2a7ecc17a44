"""One thread that makes the next batches while the device is busy."""

import queue
import threading
from collections.abc import Callable, Generator
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(make: Callable[[int], Item], steps: range, depth: int = 2) -> Generator[Item]:
    """Yields `make(step)` for each step, up to `depth` steps ahead; what fails in the thread is raised here.

    Close it where it may not be read to its end: a thread that is still at work when the process exits can crash it.
    """
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: tuple[Item | None, BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for step in steps:
                if stopped.is_set():
                    return
                put((make(step), None))
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        for _ in steps:
            item, error = ready.get()
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # an item, where there is no error
    finally:
        stopped.set()
        thread.join()
