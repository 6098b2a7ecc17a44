"""Ctrl-C and SIGTERM: a run finishes its step and saves before it ends. Here is decided whether it is to stop."""

import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """A run was asked to stop, and is saved: the same command goes on with it."""


class Interrupt:
    """Within its block the first SIGINT or SIGTERM asks to stop, and a second one ends the process at once.

    Python sees a signal when the compiler or the device gives the main thread back: until then, two count as one.
    A signal that the process was started to ignore stays ignored.
    """

    def __init__(self):
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether the run is to end after the step it is in."""
        return self._asked

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():  # no other may have handlers
            handlers = {each: signal.getsignal(each) for each in SIGNALS}
            self._before = {
                each: handler for each, handler in handlers.items() if handler not in (signal.SIG_IGN, None)
            }
        self._set(dict.fromkeys(self._before, self._ask))
        return self

    def __exit__(self, *_: object) -> None:
        self._set(self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        self._set(dict.fromkeys(self._before, signal.SIG_DFL))

    @staticmethod
    def _set(handlers: dict[signal.Signals, Any]) -> None:
        for each, handler in handlers.items():
            signal.signal(each, handler)
