"""A live report of long work: one line rewritten in place on a terminal, plain lines at a bounded rate in a file."""

import collections
import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import SupportsFloat, TextIO

LINE_SECONDS = 10.0
"""The least time between two lines in a file."""
FRAME_SECONDS = 0.1
"""The least time between two frames on a terminal."""
RECENT_SECONDS = 60.0
"""The time over which the speed behind the time left is measured: a few evaluations long, for they count."""


class Progress:
    """Shows `label  step/total  percent  values  ETA` while work goes on.

    The time left follows from the recent speed, counted from the first update on: the first step's compilation, and
    the steps a resumed run did not do, are outside of it. `stream` is stderr if not given.
    """

    def __init__(
        self,
        total: int,
        label: str,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._total = total
        self.label = label
        self._stream = stream or sys.stderr
        self._clock = clock
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._recent: collections.deque[tuple[float, int]] = collections.deque()
        self._line = ""
        self._is_shown = True
        self._shown_at = -float("inf")

    def update(self, step: int, **values: SupportsFloat) -> None:
        """Says that `step` steps of `total` are done; `values` (loss, tokens_per_second) stand beside the count."""
        now = self._clock()
        self._recent.append((now, step))
        while len(self._recent) > 2 and self._recent[1][0] <= now - RECENT_SECONDS:
            self._recent.popleft()
        shown = "".join(
            f"  {name.replace('_per_second', '/s')} {_number(float(value))}" for name, value in values.items()
        )
        share = f"{step / max(self._total, 1):.0%}"
        self._line = f"{self.label}  {step:,}/{self._total:,}  {share}{shown}  ETA {self._time_left(step)}"
        self._is_shown = False
        if now - self._shown_at >= (FRAME_SECONDS if self._live else LINE_SECONDS):
            self._show(now)

    def note(self, text: str) -> None:
        """Prints a line of its own above the live one."""
        if not self._live:
            self._print(f"{text}\n")
            return
        self._print(f"\r\x1b[K{text}\n")
        if self._line:
            self._show(self._clock())

    def warn(self, text: str) -> None:
        """Prints what must be seen of a part of longer work too."""
        self.note(text)

    def close(self) -> None:
        """Shows the last update if it has not been shown, and leaves the cursor on a fresh line."""
        if not self._is_shown:
            self._show(self._clock())
        if self._live and self._line:
            self._print("\n")
        self._line = ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _time_left(self, step: int) -> str:
        (start, first), (now, _) = self._recent[0], self._recent[-1]
        if step >= self._total:
            return "0:00"
        return duration((self._total - step) * (now - start) / (step - first)) if step > first else "?"

    def _show(self, now: float) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1  # a full last column would wrap
            self._print(f"\r{self._line[:width]}\x1b[K")
        else:
            self._print(f"{self._line}\n")
        self._is_shown = True
        self._shown_at = now

    def _print(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Part:
    """The part of longer work that is done now: its steps count from `done` on the line of the whole.

    What it says of its course is not shown, as there may be hundreds of them and each has its records; a warning is.
    """

    def __init__(self, whole: Progress, done: int, label: str):
        self._whole, self._done, self._label = whole, done, label

    def update(self, step: int, **values: SupportsFloat) -> None:
        self._whole.label = self._label
        self._whole.update(self._done + step, **values)

    def note(self, text: str) -> None:
        del text

    def warn(self, text: str) -> None:
        self._whole.warn(text)


def duration(seconds: float) -> str:
    """`seconds` as 1:05, 2:03:04 or 3d 04:05."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02}:{minute:02}"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
