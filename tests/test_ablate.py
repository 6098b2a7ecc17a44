"""A suite from the first trial to the report: paired, resumable, the same however often it is killed."""

import dataclasses
import json
import signal
import time

import numpy as np
import pytest

import commands
from ablation.pairing import check_initial, initial
from training.build import build_run

SUITE = """
import dataclasses

from ablation.claims import claim
from ablation.suite import Suite
from ablation.yardsticks import likelihood
from training.flags import load


def get_suite(matching="tokens", rates=()):
    gpt, bert = (load({config!r} + ":" + name) for name in ("gpt", "bert"))
    return Suite(
        question="Which is better?",
        base=gpt,
        arms={{"gpt": {{}}, "bert": {{"model": bert.model, "objective": bert.objective}}}},
        yardsticks=(likelihood(positions=2, blocks=16),),
        claims=(claim("gpt reads better", "left to right", "gpt", better_than="bert"),),
        match=(matching,),
        rates=rates,
        seeds=2,
    )


def get_tuned():
    return get_suite(rates=(1e-2,))


def get_texts(other=""):
    suite = get_suite()
    arms = {{**suite.arms, "elsewhere": {{"data.corpus": {other!r}}}}}
    return dataclasses.replace(suite, arms=arms, seeds=1, claims=())


def get_claimed():
    impossible = claim("gpt is better elsewhere", "left to right", "elsewhere", better_than="gpt")
    return dataclasses.replace(get_texts(), claims=(impossible,))
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    path = folder / "pair.py"
    (folder / "other.txt").write_text(commands.text(seed=1))
    path.write_text(SUITE.format(config=str(commands.write_config(folder)), other=str(folder / "other.txt")))
    return path


def another(suite, folder, function):
    """The same file, of which another function gives the suite."""
    path = folder / f"{function}.py"
    renamed = suite.read_text().replace("get_suite", "get_plain").replace(function, "get_suite")
    path.write_text(renamed)
    return path


def results(workdir):
    """What does not depend on when and where it was run."""
    values = json.loads((workdir / "results.json").read_text())
    values.pop("origin")
    for ledger in values["ledgers"]:
        ledger.pop("seconds")
    return values


@pytest.fixture(scope="module")
def undisturbed(suite, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    done = commands.run("ablate.py", f"--suite={suite}", f"--workdir={workdir}")
    assert done.code == 0, done.err
    return workdir


def test_a_report_is_written_and_decides_nothing_with_two_seeds(undisturbed):
    found = results(undisturbed)
    assert [verdict["outcome"] for verdict in found["verdicts"]] == ["NO VERDICT"]
    assert found["seeds"] == [0, 1] and "needs 6 seeds" in " ".join(found["notes"])
    for name in ("report.html", "report.md"):
        assert "gpt reads better" in (undisturbed / name).read_text()


def test_masks_and_answers_are_those_of_the_arms(undisturbed):
    found = results(undisturbed)
    causal, masked = (np.array(each["content"]) for each in found["masks"])
    assert np.array_equal(causal, np.tril(np.ones_like(causal))) and masked.all()
    assert found["blanks"] and all(each["query"] is None for each in found["masks"])
    for blank in found["blanks"]:
        for arm, answers in blank["answers"].items():
            p = [share for _, share in answers]
            assert p == sorted(p, reverse=True) and sum(p) <= 1 + 1e-6
            assert dict(map(tuple, answers)).get(blank["truth"], blank["truth_probability"][arm]) == pytest.approx(
                blank["truth_probability"][arm]
            )


def test_arms_of_a_seed_read_the_same_tokens_and_seeds_do_not(undisturbed):
    streams = {
        (arm, seed): [
            line["stream"]
            for line in commands.records(undisturbed / "trials" / arm / "12-steps" / f"seed-{seed}")
            if "stream" in line
        ]
        for arm in ("gpt", "bert")
        for seed in (0, 1)
    }
    assert len(set(streams["gpt", 0])) == 12
    assert streams["gpt", 0] == streams["bert", 0] != streams["gpt", 1] == streams["bert", 1]
    assert results(undisturbed)["pairing"]["streams"] == [["gpt", "bert"]]


def test_arms_share_initial_values_and_the_report_counts_them(undisturbed, suite):
    config = suite.parent / "tiny.py"
    runs = {name: build_run(commands.experiment(config, name), lambda line: None) for name in ("gpt", "bert", "xlnet")}
    values = {name: initial(run) for name, run in runs.items()}
    check_initial(values)
    path, own = next(iter(values["gpt"].items()))
    with pytest.raises(AssertionError, match=f"{path} begins otherwise in other than in gpt"):
        check_initial({**values, "other": {path: dataclasses.replace(own, digest="another")}})
    ((one, other, shared, own, others),) = results(undisturbed)["pairing"]["parameters"]
    assert (one, other) == ("gpt", "bert") and 0 < shared < min(own, others)


def test_the_same_command_again_trains_and_measures_nothing(undisturbed, suite, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("was done already")

    before = results(undisturbed)
    monkeypatch.setattr("ablation.trials.train", fail)
    monkeypatch.setattr("ablation.yardsticks.left_to_right", fail)
    done = commands.run("ablate.py", f"--suite={suite}", f"--workdir={undisturbed}")
    assert done.code == 0, done.err
    assert results(undisturbed) == before


def test_a_suite_killed_in_the_middle_ends_as_one_that_never_was(undisturbed, suite, tmp_path):
    process = commands.start("ablate.py", f"--suite={suite}", f"--workdir={tmp_path}")
    second = tmp_path / "trials" / "bert" / "12-steps" / "seed-0" / "metrics.jsonl"
    while not second.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    commands.finish(process)
    assert not (tmp_path / "report.html").exists()
    done = commands.run("ablate.py", f"--suite={suite}", f"--workdir={tmp_path}")
    assert done.code == 0, done.err
    assert results(tmp_path) == results(undisturbed)


def test_more_seeds_are_added_to_those_that_are_there(undisturbed, suite, monkeypatch):
    trained = []
    real = commands.train

    def train(run, workdir, **options):
        trained.append((run.experiment.seed, workdir.parts[-3]))
        return real(run, workdir, **options)

    monkeypatch.setattr("ablation.trials.train", train)
    done = commands.run("ablate.py", f"--suite={suite}", f"--workdir={undisturbed}", "--seeds=3")
    assert done.code == 0, done.err
    assert sorted(trained) == [(2, "bert"), (2, "gpt")]
    assert results(undisturbed)["seeds"] == [0, 1, 2]


def test_rates_are_tuned_by_each_arm_and_claims_judged_at_its_own_and_at_the_shared_one(suite, tmp_path):
    tuned = tmp_path / "tuned.py"
    tuned.write_text(
        suite.read_text().replace("def get_suite", "def get_plain").replace("def get_tuned", "def get_suite")
    )
    tuned.write_text(tuned.read_text().replace("return get_suite", "return get_plain"))
    done = commands.run("ablate.py", f"--suite={tuned}", f"--workdir={tmp_path / 'run'}", "--seeds=1")
    assert done.code == 0, done.err
    found = results(tmp_path / "run")
    shared = commands.experiment(suite.parent / "tiny.py", "gpt").optimizer.peak_rate
    assert found["matchings"] == ["tokens", "tokens, own best rates"] and len(found["verdicts"]) == 2
    for arm in found["tuning"]:
        assert arm["rates"] == [shared, 1e-2] and arm["best"] == arm["rates"][int(np.argmin(arm["loss"]))]
        best = {True: "", False: f"-rate-{arm['best']:g}"}[arm["best"] == shared]
        folder = tmp_path / "run" / "trials" / arm["arm"] / f"12-steps{best}" / "seed-0"
        ((value,),) = [
            each["by_seed"]
            for each in found["measurements"]
            if (each["matching"], each["arm"]) == ("tokens, own best rates", arm["arm"])
        ]
        ((totals, weights),) = [
            items["left to right"] for items in json.loads((folder / "yardsticks.json").read_text()).values()
        ]
        assert value == pytest.approx(sum(totals) / sum(weights))


def test_runs_that_exist_are_reported_on_as_they_are(undisturbed, tmp_path):
    folders = [undisturbed / "trials" / arm / "12-steps" / f"seed-{seed}" for arm in ("gpt", "bert") for seed in (0, 1)]
    pair = {"sentence_good": "It runs.", "sentence_bad": "It run.", "UID": "agreement"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    given = (*(f"--from={folder}" for folder in folders), f"--pairs={tmp_path / 'pairs.jsonl'}")
    done = commands.run("ablate.py", *given, f"--workdir={tmp_path}")
    assert done.code == 0, done.err
    found = results(tmp_path)
    assert len(found["arms"]) == 2 and found["seeds"] == [0, 1] and found["verdicts"] == []
    assert found["matchings"] == ["as run"] and all(np.isnan(float(each["share"])) for each in found["ledgers"])
    preferred = [each["by_seed"] for each in found["measurements"] if each["metric"] == "minimal pairs"]
    assert len(preferred) == 2 and set(np.ravel(preferred)) <= {0.0, 0.5, 1.0}
    assert [each["title"] for each in found["shown"]] == ["curve, seed 0", "pairs, seed 0"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "--suite and --from: name a suite to run, or runs to report on"),
        (("--suite={suite}", "--from=x"), "and not both"),
        (("--suite={suite}",), "--workdir: missing"),
        (("--suite={suite}", "--workdir={tmp}", "--seeds=0"), "--seeds=0: must be at least 1"),
        (("--suite={suite}", "--workdir={tmp}", "--match=coffee"), "--match=coffee: unknown"),
        (("--suite={suite}x", "--workdir={tmp}"), "no such file"),
        (("--suite={config}", "--workdir={tmp}"), "the file has no function get_suite"),
        (("--suite={suite}", "--workdir={tmp}", "--config.data.lengths=9"), "did you mean data.length"),
        (("--suite={suite}", "--workdir={tmp}", "--config.data.corpus=/nowhere"), "arm gpt: data.corpus=/nowhere"),
        (("--suite={suite}:predicted", "--workdir={tmp}", "--config.optimizer.total_steps=1"), "warmup_steps"),
        (("--from={tmp}", "--workdir={tmp}"), "holds no experiment.json"),
        (("--from={tmp}", "--workdir={tmp}", "--seeds=3"), "--seeds: is for a suite that is trained"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(suite, tmp_path, arguments, sentence):
    names = {"suite": suite, "tmp": tmp_path, "config": suite.parent / "tiny.py"}
    done = commands.run("ablate.py", *(argument.format(**names) for argument in arguments))
    assert sentence in done.sentence
    assert not (tmp_path / "trials").exists()


def test_arms_of_another_text_are_measured_and_compared_with_nobody(suite, tmp_path):
    done = commands.run(
        "ablate.py", f"--suite={another(suite, tmp_path, 'get_texts')}", f"--workdir={tmp_path / 'run'}"
    )
    assert done.code == 0, done.err
    found = results(tmp_path / "run")
    assert {each["arm"] for each in found["measurements"]} == {"gpt", "bert", "elsewhere"}
    assert [(each["one"], each["other"]) for each in found["effects"]] == [("gpt", "bert")]
    assert [set(each["arms"]) for each in found["rankings"]] == [{"gpt", "bert"}]
    assert found["pairing"]["streams"] == [["gpt", "bert"], ["elsewhere"]]
    assert all(set(each["answers"]) == {"gpt", "bert"} for each in found["blanks"])


def test_a_claim_about_arms_of_two_texts_is_refused(suite, tmp_path):
    claimed = another(suite, tmp_path, "get_claimed")
    done = commands.run("ablate.py", f"--suite={claimed}", f"--workdir={tmp_path / 'run'}")
    assert "elsewhere and gpt do not read the same text" in done.sentence and not (tmp_path / "run").exists()


def test_what_a_step_takes_is_measured_once(suite, tmp_path, monkeypatch):
    long = ("--config.optimizer.total_steps=100000", "--dry_run")
    arguments = (f"--suite={suite}:walltime", f"--workdir={tmp_path}", *long)
    first = commands.run("ablate.py", *arguments)
    assert first.code == 0, first.err
    seconds = json.loads((tmp_path / "seconds.json").read_text())
    monkeypatch.setattr("ablation.plan.timed", None)  # cannot be asked again
    assert commands.run("ablate.py", *arguments).out == first.out
    steps = round(100_000 * seconds["gpt"] / seconds["bert"])
    assert f"{steps:,}" in first.out and "100,000" in first.out
    (tmp_path / "seconds.json").write_text("{}")
    assert "does not hold the seconds of these arms" in commands.run("ablate.py", *arguments).sentence


def test_trials_of_another_experiment_are_not_continued(undisturbed, suite):
    done = commands.run("ablate.py", f"--suite={suite}", f"--workdir={undisturbed}", "--config.model.num_layers=1")
    assert "holds another experiment: model.num_layers is 2 there and 1 here" in done.sentence


def test_a_trial_that_diverged_is_named_and_the_others_count(suite, tmp_path):
    arguments = (f"--suite={suite}", f"--workdir={tmp_path}", "--seeds=1", "--config.optimizer.clip=0")
    lost = tmp_path / "trials" / "bert" / "12-steps" / "seed-0"
    done = commands.run("ablate.py", *arguments, "--dry_run")
    assert done.code == 0 and "2 trials, 2 of them to be trained" in done.out
    lost.mkdir(parents=True)
    (lost / "diverged.txt").write_text("step 3: not finite any more.\n")
    done = commands.run("ablate.py", *arguments)
    assert done.code == 0, done.err
    found = results(tmp_path)
    assert any("Diverged" in note and "bert, seed 0" in note for note in found["notes"])
    assert found["verdicts"][0]["outcome"] == "NO VERDICT"
    by_arm = {each["arm"]: each["by_seed"] for each in found["measurements"]}
    assert np.isfinite(by_arm["gpt"][0]) and by_arm["bert"] == ["nan"]
