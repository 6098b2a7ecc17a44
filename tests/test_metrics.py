"""Records survive a killed run, and progress suits both terminals and log files."""

import io
import json
import math
import struct
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

from batch import InputError
from training.metrics import FILE, WALL_CLOCK, Records, deterministic, read_records
from training.progress import LINE_SECONDS, Part, Progress, duration


def events(workdir: Path) -> list[Event]:
    """Every event of every file, in the order in which the files were written."""
    found = []
    files = sorted((workdir / "tensorboard").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    for data in (file.read_bytes() for file in files):
        while data:  # a record is its length, a checksum, the event, a checksum
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_a_record_is_a_line_of_strict_json_with_wall_clock_fields_last(tmp_path):
    with Records(tmp_path, 0) as records:
        records.write(3, {"seconds": 1.5, "loss": np.float32(2.5), "tokens_per_second": 10.0, "tokens": jnp.int32(7)})
        records.write(3, {"loss": 2.0}, split="validation")
        lines = (tmp_path / FILE).read_text().splitlines()  # flushed before the file is closed
    assert list(json.loads(lines[0]).items()) == [
        ("step", 3), ("loss", 2.5), ("tokens", 7), ("seconds", 1.5), ("tokens_per_second", 10.0),
    ]  # fmt: skip
    assert json.loads(lines[1]) == {"step": 3, "split": "validation", "loss": 2.0}
    assert deterministic(read_records(tmp_path)[0]) == {"step": 3, "loss": 2.5, "tokens": 7}
    assert {"seconds", "tokens_per_second"} <= set(WALL_CLOCK)


def test_values_that_json_lacks_are_written_as_text_that_float_reads(tmp_path):
    with Records(tmp_path, 0) as records:
        records.write(1, {"a": math.nan, "b": math.inf, "c": np.float32(-np.inf)})

    def refuse(constant):
        raise AssertionError(constant)

    record = json.loads((tmp_path / FILE).read_text(), parse_constant=refuse)
    assert math.isnan(float(record["a"]))
    assert float(record["b"]) == math.inf
    assert float(record["c"]) == -math.inf


def test_a_resumed_run_drops_the_records_after_its_step_and_writes_them_again(tmp_path):
    with Records(tmp_path, 0) as records:
        for step in range(1, 6):
            records.write(step, {"loss": 1 / step})
    straight = read_records(tmp_path)
    with Records(tmp_path, 2) as records:
        assert read_records(tmp_path) == straight[:2]
        for step in range(3, 6):
            records.write(step, {"loss": 1 / step})
    assert read_records(tmp_path) == straight


def test_a_fresh_start_drops_all_records(tmp_path):
    with Records(tmp_path, 0) as records:
        records.write(0, {"loss": 1.0})
    Records(tmp_path, 0).close()
    assert read_records(tmp_path) == []


@pytest.mark.parametrize("kept", range(1, 20))
def test_a_line_torn_by_a_kill_is_passed_over(tmp_path, kept):
    whole = b'{"step": 1, "loss": 2.0}\n'
    torn = b'{"step": 2, "loss": 1.0}'[:kept]
    (tmp_path / FILE).write_bytes(whole + torn)
    assert read_records(tmp_path) == [{"step": 1, "loss": 2.0}]
    Records(tmp_path, 1).close()
    assert (tmp_path / FILE).read_bytes() == whole


def test_damage_before_the_last_line_is_named(tmp_path):
    (tmp_path / FILE).write_text('{"step": 1}\n{"st\n{"step": 2}\n')
    with pytest.raises(InputError, match="line 2"):
        Records(tmp_path, 5)


def test_tensorboard_has_every_number_under_its_split_and_purges_on_resume(tmp_path):
    with Records(tmp_path, 0) as records:
        records.write(1, {"loss": 0.5, "note": "text is not a curve"})
        records.write(2, {"loss": 0.25}, split="validation")
    with Records(tmp_path, 1) as records:
        records.write(2, {"loss": 0.125}, split="validation")
    scalars = [
        (event.step, value.tag, value.simple_value) for event in events(tmp_path) for value in event.summary.value
    ]
    assert scalars == [(1, "train/loss", 0.5), (2, "validation/loss", 0.25), (2, "validation/loss", 0.125)]
    starts = [event.step for event in events(tmp_path) if event.HasField("session_log")]
    assert starts == [0, 2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lines_of(clock: Clock, stream: io.StringIO, seconds: list[float], total: int) -> list[str]:
    with Progress(total, "gpt", stream, clock) as progress:
        for step, each in enumerate(seconds, start=1):
            clock.now += each
            progress.update(step, loss=1.25, tokens_per_second=12345.6)
    return stream.getvalue().splitlines()


def test_a_log_file_gets_plain_lines_at_a_bounded_rate_and_the_last_one():
    lines = lines_of(Clock(), io.StringIO(), [1.0] * 95, 95)
    assert len(lines) <= 95 / LINE_SECONDS + 2
    assert lines[-1].startswith("gpt  95/95  100%  loss 1.25  tokens/s 12,346")
    assert not any("\r" in line or "\x1b" in line for line in lines)


def test_a_terminal_gets_one_line_rewritten_in_place(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    stream = Terminal()
    lines_of(Clock(), stream, [1.0] * 20, 20)
    written = stream.getvalue()
    assert written.count("\n") == 1 and written.endswith("\n")
    frames = written.rstrip("\n").split("\r")[1:]
    assert len(frames) == 20
    assert all(len(frame.removesuffix("\x1b[K")) < 60 for frame in frames)


def test_a_note_stands_above_the_live_line(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    progress = Progress(10, "gpt", stream, Clock())
    progress.update(1)
    progress.note("saved step 1")
    progress.close()
    above, live, end = stream.getvalue().split("\n")
    assert above.endswith("\r\x1b[Ksaved step 1")
    assert live.startswith("\rgpt  1/10")
    assert end == ""


def test_the_time_left_leaves_out_the_compilation_of_the_first_step():
    lines = lines_of(Clock(), io.StringIO(), [300.0] + [10.0] * 9, 100)
    assert lines[0].endswith("ETA ?")
    assert all(line.endswith(f"ETA {duration((100 - step) * 10)}") for step, line in enumerate(lines[1:], start=2))


def test_the_time_left_follows_a_change_of_speed():
    lines = lines_of(Clock(), io.StringIO(), [10.0] * 20 + [20.0] * 20, 100)
    assert lines[-1].endswith(f"ETA {duration(60 * 20)}")


def test_a_resumed_run_measures_its_own_steps():
    clock, stream = Clock(), io.StringIO()
    with Progress(1000, "gpt", stream, clock) as progress:
        for step in range(900, 911):
            progress.update(step)
            clock.now += 10
    assert stream.getvalue().splitlines()[-1].endswith(f"ETA {duration(90 * 10)}")


def test_durations_read_as_clocks():
    assert [duration(s) for s in (5, 65, 3723, 273900)] == ["0:05", "1:05", "1:02:03", "3d 04:05"]


def test_of_a_part_its_course_is_not_shown_and_its_warnings_are():
    stream = io.StringIO()
    with Progress(20, "trials", stream, Clock()) as progress:
        part = Part(progress, 10, "gpt, seed 1")
        part.note("held-out loss 1.000")
        part.warn("step 3 is set aside")
    assert stream.getvalue() == "step 3 is set aside\n"
