"""Calibration says whether probabilities are what they say: of coins, of models and their own text, of a task."""

import dataclasses
import json
import types
from pathlib import Path

import numpy as np
import pytest

from evaluation.blocks import cut
from evaluation.calibration import (
    BINS,
    Answers,
    bins,
    calibrated_error,
    calibration_error,
    chosen,
    in_one_pass,
    mean,
    of_ngrams,
    one_by_one,
    overconfidence,
    wilson,
)
from evaluation.checkpoints import Checkpoint, Text
from evaluation.likelihood import Options, left_to_right, sampled
from evaluation.ngrams import count_ngrams, ngram_score
from evaluation.pseudo import all_but, pseudo_log_likelihood
from evaluation.reliability import Row, answer_table, answer_values, differences, reliability
from evaluation.task import Entry, Settings
from evaluation.tasks.calibration import BOTH_SIDES, ONE_SIDE, calibration
from scoring import SIZE, VOCAB, enumerated, subject, texts

BINNINGS = ("equal mass", "equal width")
BLOCKS = cut(texts(count=40), VOCAB, SIZE + 1)
BATCH = 64  # of every pass here, which is compiled once


def coins(confidence, right):
    """Answers of which only these two are looked at."""
    confidence, right = np.asarray(confidence, float), np.asarray(right, bool)
    return Answers(np.log(confidence), confidence, right, confidence**2, np.arange(len(right)))


def deviation(answers):
    """Standard deviation of the calibration error, were the answers calibrated: the bins' gaps are folded normals."""
    members = answers.confidence * (1 - answers.confidence)
    return np.sqrt((1 - 2 / np.pi) * members.sum()) / len(members)


def drawn(count=2000, power=1.0, seed=0):
    """Answers about labels drawn from random distributions, by a model that knows them, or raises them to a power."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(5, 0.7), count)
    labels = (p.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    log_p = power * np.log(p)
    return chosen(log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True), labels)


def test_the_brier_score_of_certainty_is_0_where_right_and_2_where_wrong():
    certain = np.log(np.maximum(np.eye(3), 1e-300))
    np.testing.assert_allclose(chosen(certain, np.arange(3)).brier, 0)
    np.testing.assert_allclose(chosen(certain, (np.arange(3) + 1) % 3).brier, 2)


def test_the_brier_score_is_the_squared_distance_to_the_truth():
    p = np.random.default_rng(0).dirichlet(np.ones(4), 10)
    truth = np.arange(10) % 4
    np.testing.assert_allclose(chosen(np.log(p), truth).brier, ((p - np.eye(4)[truth]) ** 2).sum(axis=1))


@pytest.mark.parametrize("binning", BINNINGS)
def test_coins_that_fall_as_often_as_said_have_no_error(binning):
    fair = coins([0.7] * 10 + [0.2] * 10, [1] * 7 + [0] * 3 + [1] * 2 + [0] * 8)
    assert calibration_error(fair, binning).value == pytest.approx(0, abs=1e-12)
    sure = coins([0.9] * 10, [1] * 6 + [0] * 4)
    assert calibration_error(sure, binning).value == pytest.approx(0.3)
    assert overconfidence(sure).value == pytest.approx(0.3)


@pytest.mark.parametrize("binning", BINNINGS)
def test_who_knows_the_distribution_is_calibrated_within_the_sampling_error_and_who_exaggerates_is_not(binning):
    for seed in range(3):
        exact, sharpened = drawn(seed=seed), drawn(power=2, seed=seed)
        spared = calibration_error(exact, binning).value - calibrated_error(exact, binning)
        assert abs(spared) < 4 * deviation(exact) and abs(overconfidence(exact).z) < 4
        excess = calibration_error(sharpened, binning).value - calibrated_error(sharpened, binning)
        assert excess > 20 * deviation(sharpened) and overconfidence(sharpened).z > 10


@pytest.mark.parametrize("binning", BINNINGS)
def test_the_error_to_expect_of_the_calibrated_is_that_of_their_coins(binning):
    confidence = np.random.default_rng(0).beta(2, 3, 400)
    tossed = [np.random.default_rng(seed).random(400) < confidence for seed in range(1, 301)]
    found = [np.abs(_gaps(confidence, right, binning)).sum() / 400 for right in tossed]
    assert calibrated_error(coins(confidence, tossed[0]), binning) == pytest.approx(np.mean(found), rel=0.05)


def _gaps(confidence, right, binning):
    found = bins(coins(confidence, right), binning)
    return found.count * (found.confidence - found.accuracy)


@pytest.mark.parametrize("binning", BINNINGS)
def test_the_order_of_the_questions_changes_nothing(binning):
    """Nor where many are as confident, as of a model that does not look."""
    answers = coins(np.repeat([0.1, 0.4, 0.7], 40), np.arange(120) % 3 == 0)
    order = np.random.default_rng(0).permutation(120)
    other = coins(answers.confidence[order], answers.right[order])
    assert calibration_error(answers, binning).value == pytest.approx(calibration_error(other, binning).value)


def test_bins_of_equal_mass_are_of_equal_mass_and_all_answers_are_in_some_bin():
    answers = drawn(count=20 * BINS)
    assert bins(answers, "equal mass").count.tolist() == [20] * BINS
    widths = bins(answers, "equal width")
    assert widths.count.sum() == 20 * BINS
    some = widths.count > 0
    assert (np.floor(widths.confidence * BINS) == np.arange(BINS))[some].all()
    assert bins(coins([1.0, 1.0], [1, 1]), "equal width").count[-1] == 2


def test_intervals_of_shares_hold_them_and_stay_between_0_and_1():
    share = np.array([0.0, 0.3, 1.0])
    low, high = wilson(share, np.array([1, 50, 3]))
    assert (low <= share).all() and (share <= high).all() and (low >= 0).all() and (high <= 1 + 1e-12).all()
    assert high[0] > 0.5 and low[2] < 0.9, "a single answer says little"


@pytest.mark.parametrize("name", ["gpt-causal", "gpt-backward", "xlnet-permutation"])
def test_what_a_pass_is_sure_of_is_what_its_conditionals_say(name):
    """Over all texts: those that differ in the asked letter alone hold its distribution."""
    asked, place = subject(name), 1 if name == "gpt-backward" else SIZE
    found = in_one_pass(asked, enumerated(), enumerated().scored, BATCH)
    np.testing.assert_allclose(found.log_p, left_to_right(asked, enumerated()).tokens.log_p, rtol=1e-5, atol=1e-5)
    at = lambda values: np.moveaxis(values.reshape(3, 3, 3, 3, SIZE)[..., place - 1], place - 1, -1)  # noqa: E731
    p = np.exp(at(found.log_p))
    np.testing.assert_allclose(p.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(at(found.confidence), np.broadcast_to(p.max(axis=-1, keepdims=True), p.shape), atol=1e-5)
    square = np.broadcast_to((p**2).sum(axis=-1, keepdims=True), p.shape)
    np.testing.assert_allclose(at(found.square), square, atol=1e-5)
    np.testing.assert_array_equal(at(found.right), p == p.max(axis=-1, keepdims=True))


@pytest.mark.parametrize("name", ["bert-masked", "xlnet-permutation"])
def test_what_is_given_from_both_sides_is_the_pseudo_likelihood_and_what_it_is_sure_of(name):
    asked, blocks = subject(name), enumerated()
    found = one_by_one(asked, blocks, blocks.scored, all_but(blocks, whole=False), BATCH)
    np.testing.assert_allclose(found.log_p, pseudo_log_likelihood(asked, blocks).tokens.log_p, rtol=1e-5, atol=1e-5)
    p = np.exp(np.moveaxis(found.log_p.reshape(3, 3, 3, 3, SIZE)[..., 1], 1, -1))
    sure = np.moveaxis(found.confidence.reshape(3, 3, 3, 3, SIZE)[..., 1], 1, -1)
    np.testing.assert_allclose(p.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(sure, np.broadcast_to(p.max(axis=-1, keepdims=True), p.shape), atol=1e-5)


def test_a_model_is_calibrated_on_text_that_it_wrote():
    """Texts drawn from its own distribution over all of them; of evenly drawn ones it is too sure."""
    found = in_one_pass(subject("gpt-causal"), enumerated(), enumerated().scored, BATCH)
    p = np.exp(found.log_p.reshape(81, SIZE).sum(axis=1))
    chosen_texts = np.random.default_rng(0).choice(81, 3000, p=p / p.sum())

    def about(text):
        token = (text[:, None] * SIZE + np.arange(SIZE)).reshape(-1)
        columns = (values[token] for values in (found.log_p, found.confidence, found.right, found.square))
        return Answers(*columns, unit=np.repeat(np.arange(len(text)), SIZE))

    own, other = about(chosen_texts), about(np.arange(3000) % 81)
    assert abs(overconfidence(own).z) < 4 and overconfidence(other).z > 10
    for binning in BINNINGS:
        assert abs(calibration_error(own, binning).value - calibrated_error(own, binning)) < 4 * deviation(own)


def test_n_grams_give_each_token_what_they_score_it_with():
    ngrams = count_ngrams(texts(seed=1), VOCAB, 3, SIZE + 1)
    found = of_ngrams(ngrams, BLOCKS, BLOCKS.scored, both_sides=False)
    np.testing.assert_allclose(found.log_p, ngram_score(ngrams, BLOCKS).tokens.log_p)
    assert ((found.confidence == np.exp(found.log_p)) == found.right).all()
    one = of_ngrams(count_ngrams(texts(seed=1), VOCAB, 1, SIZE + 1), BLOCKS, BLOCKS.scored, both_sides=True)
    assert np.ptp(one.confidence) < 1e-12, "a unigram sees no context"


def test_intervals_draw_documents_or_blocks_where_there_are_few():
    few = cut(dataclasses.replace(texts(), documents=texts().documents[:11]), VOCAB, SIZE + 1)
    ngrams = count_ngrams(texts(seed=1), VOCAB, 1, SIZE + 1)
    found = [of_ngrams(ngrams, blocks, blocks.scored, both_sides=False).drawn for blocks in (few, BLOCKS)]
    assert found == ["block", "document"]
    assert mean(coins([0.5] * 4, [1, 0, 0, 0]), np.array([1.0, 0, 0, 0])).value == 0.25


def test_a_bound_says_so_and_claims_nothing_else():
    rows = [Row("a/exact", drawn(50)), Row("a/some", drawn(50, seed=1), bound=True)]
    exact, some = map(answer_values, rows)
    assert some["nats"]["bound"] == "lower" and some["accuracy"]["bound"] == "upper"
    assert not {"brier", "ece", "overconfidence"} & some.keys() and {"brier", "ece"} <= exact.keys()
    (line,) = [line for line in answer_table(rows, 0.2).splitlines() if line.startswith("| a/some")]
    assert line.count("not asked") == 5 and ">= " in line and "<= " in line
    assert differences(rows) == ([], []), "what is bounded has no difference"


def test_differences_are_paired_by_question():
    one, other = Row("a", drawn(50)), Row("b", drawn(50, power=2))
    tables, ((value),) = differences([one, other])
    gap = (other.answers.log_p - one.answers.log_p).mean()
    assert len(tables) == 1 and value["nats"]["value"] == pytest.approx(gap)
    assert value["accuracy"]["value"] == 0, "sharpening changes no choice"
    assert differences([one, Row("c", drawn(40))])[1] == []


@pytest.mark.parametrize("models", [1, 3])
def test_the_picture_has_a_reliability_diagram_and_its_counts_for_each_model(models):
    figure = reliability([Row(f"runs/{i}", drawn(60, seed=i)) for i in range(models)])
    assert len(figure.axes) == 2 * models
    for i in range(models):
        assert sum(bar.get_height() for bar in figure.axes[models + i].patches) == 60


class Tiny(Checkpoint):
    def untrained(self):
        return dataclasses.replace(self.subject, params=subject(self.workdir.name, 1).params)


def entry(name):
    """A checkpoint of a tiny subject, as far as the task looks at it."""
    tokenizer = types.SimpleNamespace(digest="letters")
    found = Entry(
        Tiny(Path("runs") / name, 0, None, tokenizer, subject(name)), Text(texts(count=40), texts(seed=1)), SIZE + 1
    )
    vars(found)["blocks"] = BLOCKS
    return found


def test_the_task_asks_all_models_the_same_tokens_and_causal_ones_from_one_side_only():
    names = ("bert-masked", "gpt-causal", "xlnet-permutation")
    found = calibration([entry(name) for name in names], Settings(length=SIZE + 1, positions=2))
    assert set(found.figures) == {"calibration", "calibration_both_sides"}
    one, both = (found.values[title]["scores"] for title in (ONE_SIDE, BOTH_SIDES))
    asked = int(sampled(BLOCKS, Options(positions=2)).sum())
    assert [row["questions"] for row in one] == [asked] * 8
    assert [row["model"] for row in both if "random" not in row["model"] and "gram" not in row["model"]] == [
        "runs/bert-masked",
        "runs/xlnet-permutation",
    ]
    assert any("not asked of runs/gpt-causal" in table for table in found.tables)
    json.dumps(found.values, allow_nan=False)
    alone = calibration([entry("gpt-backward")], Settings(length=SIZE + 1, positions=2))
    assert "no checkpoint sees both sides" in alone.tables[-1] and "right to left" in alone.tables[1]
