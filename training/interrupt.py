"""Ctrl-C and SIGTERM: a run finishes its step and saves before it ends. Here is decided whether it is to stop."""

import signal
import threading
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """A run was asked to stop, and is saved: the same command goes on with it."""


class Interrupt:
    """Within its block the first SIGINT or SIGTERM asks to stop, and a second one ends the process at once.

    Python sees a signal when the compiler or the device gives the main thread back: until then, two count as one.
    A signal that the process was started to ignore stays ignored. Of several processes, JAX hears SIGTERM at any and
    lets all of them stop at one step; Ctrl-C ends them at once.
    """

    def __init__(self):
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def asked(self, step: int) -> bool:
        """Whether the run is to end before this step, counted from 0; several processes are told the same."""
        return self._asked or multihost_utils.reached_preemption_sync_point(step)

    def __enter__(self) -> "Interrupt":
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():  # of no other thread
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
