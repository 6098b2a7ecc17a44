"""What a run measured: `metrics.jsonl` is the record, TensorBoard events are a view of it."""

import contextlib
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.summary import scalar

from batch import InputError
from training.disk import writing

FILE = "metrics.jsonl"
WALL_CLOCK = ("time", "seconds", "tokens_per_second")
"""Fields that differ from one execution to the next; every other field of a record is a function of the experiment."""

FLUSH_SECONDS = 30.0
"""The longest that TensorBoard waits for what is written."""


class Records:
    """Appends to the records of a run: one JSON object a line, flushed at once; only process 0 holds one.

    `step` is the step the run goes on from. Records after it are dropped, in `metrics.jsonl` and in TensorBoard, as
    they will be written again; 0 is a fresh start and drops all. So that a resumed run has the records of a run never
    stopped, write what a step measured before the checkpoint of that step is saved. Raises InputError where the disk is
    full: everything is written in the caller's thread, as a thread of TensorBoard's own would die of it unseen.
    """

    def __init__(self, workdir: str | os.PathLike[str], step: int):
        self._folder = folder = Path(workdir)
        with writing(self._unwritten):
            folder.mkdir(parents=True, exist_ok=True)
            _truncate(folder, step)
            self._file = (folder / FILE).open("a", encoding="utf-8")
            (folder / "tensorboard").mkdir(exist_ok=True)
            self._events = EventsWriter(str(folder / "tensorboard" / "events"), f".{os.getpid()}.{step}")
            self._flushed = -math.inf
            self._add_event(step + 1 if step else 0, session_log=SessionLog(status=SessionLog.START))  # purges the rest

    def write(self, step: int, values: Mapping[str, Any], split: str | None = None) -> None:
        """Writes one record: the step, the split if there is one, then `values`, wall-clock ones last.

        Values are numbers (arrays of one element too), text or booleans. JSON has no NaN and no infinity: they are
        written as the strings "nan", "inf" and "-inf", which `float` understands.
        """
        values = {name: value.item() if hasattr(value, "item") else value for name, value in values.items()}
        ordered = {name: values[name] for name in sorted(values, key=lambda name: name in WALL_CLOCK)}
        head = {"step": int(step)} if split is None else {"step": int(step), "split": split}
        record = head | {name: json_value(value) for name, value in ordered.items()}
        with writing(self._unwritten):
            self._file.write(json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n")
            self._file.flush()
            for name, value in values.items():
                if isinstance(value, int | float) and math.isfinite(value):
                    self._add_event(step, summary=scalar(f"{split or 'train'}/{name}", value))
            if time.monotonic() - self._flushed > FLUSH_SECONDS:
                self._events.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        """Closes the files; what did not fit on the disk has been said."""
        for file in (self._file, self._events):
            with contextlib.suppress(OSError):
                file.close()

    def _add_event(self, step: int, **what: Any) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, **what))

    def _unwritten(self, reason: str) -> str:
        return f"{self._folder}: its records cannot be written ({reason})"

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_records(workdir: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of a run, oldest first; none if it has not begun.

    A last line that a killed run left unfinished is passed over; damage elsewhere raises InputError.
    """
    path = Path(workdir) / FILE
    if not path.exists():
        return []
    records = []
    *lines, _unfinished = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            record["step"] = int(record["step"])
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
            raise InputError(f"{path}: line {number} is not a record; delete that line.") from None
        records.append(record)
    return records


def deterministic(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record that the experiment determines."""
    return {name: value for name, value in record.items() if name not in WALL_CLOCK}


def _truncate(folder: Path, step: int) -> None:
    kept = [record for record in read_records(folder) if step > 0 and record["step"] <= step]
    rewritten = folder / f"{FILE}.tmp"
    with rewritten.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in kept)
        file.flush()
        os.fsync(file.fileno())
    rewritten.replace(folder / FILE)


def json_value(value: Any) -> Any:
    """`value` as JSON holds it: a NaN or an infinity as the text that `float` reads back."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
