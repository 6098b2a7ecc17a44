"""The benchmark beside transformers compares like with like; nothing here is timed."""

import numpy as np
import pytest

import peer
from benchmarks import sides
from benchmarks.sides import Shape
from benchmarks.throughput import Row
from benchmarks.worker import Held, Worker, in_turn

TINY = Shape(rows=2, length=12, layers=1, heads=2, dim=16, vocab_size=64)


@pytest.mark.parametrize("name", ["bert", "gpt", "xlnet"])
def test_both_sides_step_and_theirs_learns_what_it_is_shown(name):
    sides.ours(TINY, name, "bfloat16").run()
    inputs = {key: peer.torch.as_tensor(x) for key, x in sides.peer_inputs(TINY, name).items()}
    model = sides.peer(TINY, name)
    before = sides._everywhere(model.eval(), inputs).item()
    assert abs(before - np.log(TINY.vocab_size)) < 0.3
    sides.theirs(TINY, name, True, True, False).run()


def test_the_head_at_targets_alone_gives_the_same_loss():
    inputs = {key: peer.torch.as_tensor(x) for key, x in sides.peer_inputs(TINY, "bert").items()}
    model = sides.peer(TINY, "bert").eval()
    everywhere, asked = (loss(model, inputs).item() for loss in (sides._everywhere, sides._where_asked))
    assert everywhere == pytest.approx(asked, rel=1e-5)


class Recorded:
    """A worker that notes its turns."""

    def __init__(self, name: int, turns: list[int]):
        self.name, self.turns = name, turns

    def seconds(self) -> float:
        self.turns.append(self.name)
        return float(self.name)


def test_workers_take_turns_and_keep_their_columns():
    turns: list[int] = []
    times = in_turn([Recorded(i, turns) for i in range(3)], 3)  # type: ignore[misc]
    assert turns == [0, 1, 2, 0, 2, 1, 2, 0, 1]
    np.testing.assert_array_equal(times, np.tile([0.0, 1.0, 2.0], (3, 1)))


def refuses() -> Held:
    raise ValueError("no such thing")


def test_what_stops_a_worker_is_told():
    with pytest.raises(RuntimeError, match="ValueError: no such thing"):
        Worker(refuses)


def test_what_was_not_measured_says_so():
    assert Row("gpt", "transformers, torch.compile", "float32").cells().count("not measured") == 1
