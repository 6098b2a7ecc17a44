"""The loop: one compilation, the declared cadence, true records, and a stop where numbers end."""

import contextlib
import math
import threading

import numpy as np
import pytest

import commands
import training.loop
from batch import Mean
from training.build import Run, build_run
from training.checkpoint import Checkpoints
from training.optimizer import learning_rate
from training.prefetch import prefetch
from training.state import abstract_state


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return commands.write_config(tmp_path_factory.mktemp("loop"))


@pytest.fixture
def steps(monkeypatch):
    """The jitted steps that the loop makes: the training steps and the evaluation steps."""
    made = {"train": [], "evaluate": []}
    train_step, eval_step = Run.train_step, Run.eval_step

    def keep(kind, step):
        made[kind].append(step)
        return step

    monkeypatch.setattr(Run, "train_step", lambda run: keep("train", train_step(run)))
    monkeypatch.setattr(Run, "eval_step", lambda run: keep("evaluate", eval_step(run)))
    return made


def test_one_compilation_serves_every_epoch_and_every_evaluation(config, tmp_path, steps):
    experiment = commands.experiment(config, "xlnet", data={"batch_size": 40})
    assert build_run(experiment, lambda line: None).train.steps_per_epoch < 12, "more than one epoch"
    commands.trained(experiment, tmp_path / "run")
    ((train,), (evaluate,)) = steps["train"], steps["evaluate"]
    assert (train._cache_size(), evaluate._cache_size()) == (1, 1)


def test_evaluations_saves_and_records_come_when_they_are_due(config, tmp_path):
    experiment = commands.experiment(config, "gpt", training={"log_every": 4, "eval_every": 5, "save_every": 3})
    called = []
    commands.trained(experiment, tmp_path / "run", before_step=called.append)
    records = commands.records(tmp_path / "run")
    assert called == list(range(12))
    assert [record["step"] for record in records if record.get("split") == "validation"] == [5, 10, 12]
    assert Checkpoints(tmp_path / "run").steps == [3, 5, 6, 9, 10, 12]
    # The first, every fourth, and each that is saved.
    assert [record["step"] for record in records if "split" not in record] == [1, 3, 4, 5, 6, 8, 9, 10, 12]


def test_records_and_result_say_what_was_done(config, tmp_path):
    experiment = commands.experiment(config, "xlnet")
    result = commands.trained(experiment, tmp_path / "run")
    lines = commands.records(tmp_path / "run")
    training, held_out = ([line for line in lines if ("split" in line) == has] for has in (False, True))
    run = build_run(experiment, lambda line: None)
    tokens = np.cumsum([np.count_nonzero(run.train.batch(step).document) for step in range(12)])
    assert [line["tokens"] for line in training] == tokens.tolist()
    assert [line["predicted"] for line in training] == [8 * step for step in range(1, 13)]  # 4 rows, 16 // 6 targets
    for line in training:
        assert line["learning_rate"] == float(learning_rate(experiment.optimizer, line["step"] - 1))
        assert 0 < line["loss"] < math.inf and 0 < line["gradient_norm"] < math.inf
        assert 0 <= line["accuracy"] <= 1 and line["parameter_norm"] > 0 and line["seconds"] >= 0
    for line in held_out:
        assert line["perplexity"] == pytest.approx(math.exp(line["loss"]))
    assert (result.tokens, result.predicted) == (training[-1]["tokens"], training[-1]["predicted"])
    assert {"step": 12, "split": "validation", **result.held_out} == held_out[-1]
    assert int(result.state.step) == 12 and result.tokens_per_second > 0


def test_an_evaluation_reads_as_many_batches_as_it_is_told(config, tmp_path):
    experiment = commands.experiment(config, "gpt", training={"eval_batches": 1, "eval_every": 12, "save_every": 12})
    commands.trained(experiment, tmp_path / "run")
    (line,) = (line for line in commands.records(tmp_path / "run") if "split" in line)
    assert line["targets"] == 4 * 15


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_run_ends_after_as_many_evaluations_without_a_better_one_as_it_has_patience(
    config, tmp_path, monkeypatch, interrupted
):
    losses, asked = {2: 3.0, 4: 2.0, 6: 2.5, 8: 2.0, 10: 1.0}, []

    def measure(run, programs, params):
        asked.append(None)
        return {"loss": losses[2 * len(asked)], "unigram_loss": 1.0}

    class Stop(Exception):
        pass

    def stop(done):
        if interrupted and done == 7:
            raise Stop

    monkeypatch.setattr(Run, "measure", measure)
    cadence = {"eval_every": 2, "save_every": 3, "patience": 2, "keep": 1}
    experiment = commands.experiment(config, "gpt", training=cadence)
    with contextlib.suppress(Stop):
        commands.trained(experiment, tmp_path / "run", before_step=stop)
    if interrupted:
        asked[:] = asked[:3]  # it goes on after step 6, the evaluation of step 6 being done
        commands.trained(experiment, tmp_path / "run")
    assert Checkpoints(tmp_path / "run").steps == [4, 8], "the best and the last; an equal one is not better"
    before, called = commands.records(tmp_path / "run"), []
    monkeypatch.setattr(Run, "measure", lambda run, programs, params: {"loss": 0.0})
    ended = commands.trained(experiment, tmp_path / "run", before_step=called.append)
    assert not called and int(ended.state.step) == 8 and commands.records(tmp_path / "run") == before


def test_a_run_that_is_finished_makes_no_step_and_says_its_held_out_loss_again(config, tmp_path):
    experiment = commands.experiment(config, "gpt")
    first = commands.trained(experiment, tmp_path / "run")
    before, called = commands.records(tmp_path / "run"), []
    second = commands.trained(experiment, tmp_path / "run", before_step=called.append)
    assert called == [] and commands.records(tmp_path / "run") == before
    assert second.held_out == first.held_out and second.tokens == first.tokens


@pytest.mark.parametrize("name", ["loss", "parameter_norm"])
def test_a_number_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    config, tmp_path, monkeypatch, name
):
    train_step = Run.train_step

    def failing(run):
        step = train_step(run)

        def call(state, batch, seed):
            number = int(state.step) + 1
            state, record = step(state, batch, seed)
            bad = Mean(np.float32(np.nan), np.float32(1)) if name == "loss" else np.float32(np.inf)
            return state, {**record, name: bad} if number == 6 else record

        return call

    monkeypatch.setattr(Run, "train_step", failing)
    experiment = commands.experiment(config, "gpt")
    with pytest.raises(training.loop.Diverged, match=rf"step 6: .*{name}=(nan|inf).* step 5 is kept.*peak_rate"):
        commands.trained(experiment, tmp_path / "run")
    checkpoints = Checkpoints(tmp_path / "run")
    assert checkpoints.steps == [3, 5]
    assert max(line["step"] for line in commands.records(tmp_path / "run")) == 5
    run = build_run(experiment, lambda line: None)
    step, state = checkpoints.restore(abstract_state(run.model, run.optimizer, 4))
    assert (step, int(state.step)) == (5, 5)


def test_an_error_of_the_data_thread_ends_the_run_as_itself(config, tmp_path, monkeypatch):
    class Torn(Exception):
        pass

    run = build_run(commands.experiment(config, "gpt"), lambda line: None)
    batch = type(run.train).batch

    def torn(stream, step, rows=slice(None)):
        if step == 4:
            raise Torn
        return batch(stream, step, rows)

    monkeypatch.setattr(type(run.train), "batch", torn)
    with commands.quick(), pytest.raises(Torn):
        training.loop.train(run, tmp_path / "run")
    assert Checkpoints(tmp_path / "run").steps == [3]


def test_a_resumed_run_reads_on_where_its_checkpoint_was_written(config, tmp_path, monkeypatch):
    run = build_run(commands.experiment(config, "gpt"), lambda line: None)
    mean, read = Mean(np.float32(1), np.float32(1)), []

    def step(state, batch, seed):
        read.append(np.asarray(batch.tokens))
        numbers = dict.fromkeys(("gradient_norm", "parameter_norm", "targets"), mean[0])
        return state.replace(step=state.step + 1), {"loss": mean, **numbers}

    class Stop(Exception):
        pass

    def stop(done):
        if done == 8:
            raise Stop

    monkeypatch.setattr(Run, "train_step", lambda run: step)
    monkeypatch.setattr(Run, "eval_step", lambda run: lambda *_: ({"loss": mean, "unigram_loss": mean}, None))
    with commands.quick(), pytest.raises(Stop):
        training.loop.train(run, tmp_path / "run", before_step=stop)
    with commands.quick():
        training.loop.train(run, tmp_path / "run")
    np.testing.assert_array_equal(read, [run.train.batch(i).tokens for i in (*range(8), *range(6, 12))])


def test_prefetch_keeps_the_order_and_stays_little_ahead():
    made, seen = [], []
    for item in prefetch(lambda step: made.append(step) or step, range(3, 20), depth=2):
        seen.append(item)
        assert len(made) <= len(seen) + 2 + 1
    assert seen == made == list(range(3, 20))


def test_prefetch_raises_after_what_came_before_and_its_thread_ends():
    def make(step):
        return 1 // (2 - step)

    items = prefetch(make, range(5))
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(items)
    for thread in [thread for thread in threading.enumerate() if thread.name == "prefetch"]:
        thread.join(5)
        assert not thread.is_alive()


def test_an_abandoned_prefetch_ends_its_thread():
    items = prefetch(lambda step: step, range(100))
    next(items)
    items.close()
    for thread in [thread for thread in threading.enumerate() if thread.name == "prefetch"]:
        thread.join(5)
        assert not thread.is_alive()
