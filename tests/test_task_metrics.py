"""Metrics of tasks are what their definitions, scipy, and the official scripts worked out by hand say."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from batch import InputError
from finetuning.metrics import METRICS, answers, answers_zh, squad2, undefined
from finetuning.metrics.answers import best_threshold, normalized, word_f1
from finetuning.metrics.answers_zh import exact_zh, longest_run, run_f1, segmented
from finetuning.metrics.classes import accuracy, f1, macro_f1
from finetuning.metrics.correlation import matthews, pearson, ranks, spearman
from finetuning.metrics.entities import Entity, entities, entity_f1, entity_overlaps, tag_accuracy
from finetuning.metrics.overlap import Overlap

PAIRS_OF_CLASSES = st.integers(1, 3).flatmap(
    lambda most: st.lists(st.tuples(st.integers(0, most), st.integers(0, most)), min_size=1, max_size=12)
)
NUMBERS = st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.5, -3.0, 5.0])  # few, so that ties are common
PAIRS_OF_NUMBERS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=12)


def sides(pairs, dtype=None):
    one, other = zip(*pairs, strict=True)
    return np.array(one, dtype), np.array(other, dtype)


@given(PAIRS_OF_CLASSES)
def test_accuracy_and_f1_are_counted(pairs):
    predicted, truth = sides(pairs)
    assert accuracy(predicted, truth) == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    each = {}
    for name in {value for pair in pairs for value in pair}:
        true = pairs.count((name, name))
        false = sum(a == name != b for a, b in pairs)
        missed = sum(b == name != a for a, b in pairs)
        each[name] = true / (true + (false + missed) / 2)
    assert f1(predicted, truth) == pytest.approx(each.get(1, 0))
    assert macro_f1(predicted, truth) == pytest.approx(np.mean(list(each.values())))


def test_f1_is_that_of_the_positive_class():
    """Found 3, there 2, both 1: precision 1/3, recall 1/2, F1 2/5. One less right, and 0."""
    predicted, truth = np.array([1, 1, 1, 0, 0]), np.array([1, 0, 0, 1, 0])
    assert f1(predicted, truth) == pytest.approx(2 / 5) and f1(predicted, truth, positive=7) == 0
    counts = Overlap(both=1, found=3, there=2)
    assert (counts.precision, counts.recall) == pytest.approx((1 / 3, 1 / 2))
    assert (Overlap(0, 0, 4).precision, Overlap(0, 4, 0).recall, Overlap(0, 0, 0).f1) == (0, 0, 0)
    predicted[0] = 0
    assert f1(predicted, truth) == 0
    assert f1(predicted, truth, positive=0) == pytest.approx(1 / 3)  # found 3, there 3, both 1


@given(PAIRS_OF_CLASSES)
def test_matthews_is_pearsons_r_of_two_classes_and_the_correlation_of_one_hot_vectors_of_more(pairs):
    predicted, truth = sides(pairs)
    hot = [np.eye(4)[side] - np.eye(4)[side].mean(axis=0) for side in (predicted, truth)]
    covariance = [(one * other).sum() for one, other in ((hot[0], hot[1]), (hot[0], hot[0]), (hot[1], hot[1]))]
    defined = min(covariance[1:]) > 1e-9
    assert matthews(predicted, truth) == pytest.approx(
        covariance[0] / math.sqrt(covariance[1] * covariance[2]) if defined else 0, abs=1e-12
    )
    two = predicted % 2, truth % 2
    assert matthews(*two) == pytest.approx(pearson(*two), abs=1e-12)


def test_matthews_by_its_first_formula():
    """Of 6 TP, 1 FP, 2 FN and 3 TN: (18 - 2) / sqrt(7 * 8 * 4 * 5)."""
    predicted = np.repeat([1, 1, 0, 0], [6, 1, 2, 3])
    truth = np.repeat([1, 0, 1, 0], [6, 1, 2, 3])
    assert matthews(predicted, truth) == pytest.approx(16 / math.sqrt(1120))
    assert matthews(np.ones_like(truth), truth) == matthews(truth, np.ones_like(truth)) == 0


@given(PAIRS_OF_NUMBERS)
def test_correlations_are_scipys_and_0_of_constants(pairs):
    predicted, truth = sides(pairs)
    np.testing.assert_array_equal(ranks(predicted), scipy.stats.rankdata(predicted))
    if len(set(predicted)) == 1 or len(set(truth)) == 1:
        assert pearson(predicted, truth) == spearman(predicted, truth) == 0
        assert undefined(predicted, truth) is not None
    else:
        assert pearson(predicted, truth) == pytest.approx(scipy.stats.pearsonr(predicted, truth)[0], abs=1e-12)
        assert spearman(predicted, truth) == pytest.approx(scipy.stats.spearmanr(predicted, truth)[0], abs=1e-12)
        assert undefined(predicted, truth) is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("scale", "shift"), [(1, 1000), (1e-3, -1), (-1e-6, 0)])
def test_units_and_dtypes_leave_a_correlation_as_it_is(dtype, scale, shift):
    truth = np.array([0.0, 1.25, 2.5, 5.0, 3.75])
    predicted = np.array([0, 2, 1, 4, 5], dtype)
    expected = math.copysign(np.corrcoef(predicted.astype(float), truth)[0, 1], scale)
    assert pearson(predicted, truth * scale + shift) == pytest.approx(expected, abs=1e-9)


def test_large_and_small_numbers_neither_overflow_nor_vanish():
    truth = np.array([1, 2, 3])
    assert pearson(np.array([1e4, 2e4, 4e4], np.float16), truth) == pytest.approx(
        pearson(np.array([1, 2, 4]), truth), 1e-3
    )
    assert pearson(np.array([1e-250, 2e-250, 4e-250]), truth) == pytest.approx(pearson(np.array([1, 2, 4]), truth))
    assert pearson(np.array([1e250, 2e250, 4e250]), truth) == pytest.approx(pearson(np.array([1, 2, 4]), truth))


def test_what_is_undefined_is_0_and_said_in_a_sentence():
    varied, some = np.array([0.0, 1.0, 2.0]), np.array([0.1, 0.1, 0.1])
    assert "All predictions are 0.1" in undefined(some, varied)
    assert "All labels are 0.1" in undefined(varied, some)
    assert "two examples" in undefined(varied[:1], varied[:1])
    lost = np.array([0.0, math.nan, 1.0])
    assert "not finite" in undefined(lost, varied)
    for given_, truth in ((some, varied), (varied, some), (lost, varied), (varied[:1],) * 2, (varied[:0],) * 2):
        assert pearson(given_, truth) == spearman(given_, truth) == 0
        assert undefined(given_, truth)
    nothing = np.array([], int)
    assert accuracy(nothing, nothing) == f1(nothing, nothing) == macro_f1(nothing, nothing) == 0
    assert matthews(nothing, nothing) == entity_f1([], []) == tag_accuracy([], []) == 0
    assert METRICS["exact"]([], []) == 0


@st.composite
def marked_sentences(draw):
    """The length of a sentence and disjoint entities in it, from left to right."""
    length = draw(st.integers(0, 10))
    cuts = sorted(draw(st.sets(st.integers(0, length), max_size=6)))
    spans = [(a, b, draw(st.sampled_from(["", "PER", "LOC", "work-of-art"]))) for a, b in itertools.pairwise(cuts)]
    return length, [Entity(name, a, b) for a, b, name in spans if name]


def written(length, spans, scheme):
    tags, before = ["O"] * length, None
    for each in spans:
        letters = ["I"] * (each.end - each.start)
        touches = before is not None and (before.end, before.type) == (each.start, each.type)
        if scheme != "iob1" or touches:
            letters[0] = "B"
        if scheme == "iobes":
            letters = ["S"] if len(letters) == 1 else [*letters[:-1], "E"]
        tags[each.start : each.end] = [f"{letter}-{each.type}" for letter in letters]
        before = each
    return tags


@given(marked_sentences())
def test_entities_are_read_as_they_were_written_in_every_scheme(sentence):
    for scheme in ("iob1", "iob2", "iobes"):
        tags = written(*sentence, scheme)
        assert entities(tags) == sentence[1]
        if scheme != "iob1":
            assert entities(tags, scheme) == sentence[1]


@pytest.mark.parametrize(
    ("tags", "lenient", "iob2", "iobes"),
    [
        ("O I-A I-A O", "A:1-3", "", ""),
        ("B-A I-B I-B", "A:0-1 B:1-3", "A:0-1", ""),
        ("B-A I-A B-A", "A:0-2 A:2-3", "A:0-2 A:2-3", ""),
        ("B-A E-A I-A", "A:0-2 A:2-3", "", "A:0-2"),
        ("S-A I-A S-A", "A:0-1 A:1-2 A:2-3", "", "A:0-1 A:2-3"),
        ("S-A E-A", "A:0-1 A:1-2", "", "A:0-1"),
        ("I-A E-A", "A:0-2", "", ""),
        ("B-A I-A O", "A:0-2", "A:0-2", ""),
        ("B-A E-B S-B", "A:0-1 B:1-2 B:2-3", "A:0-1", "B:2-3"),
        ("B-A O I-A", "A:0-1 A:2-3", "A:0-1", ""),
    ],
)
def test_malformed_tags_are_entities_to_conlleval_and_not_to_strict_schemes(tags, lenient, iob2, iobes):
    for scheme, expected in (("conlleval", lenient), ("iob2", iob2), ("iobes", iobes)):
        found = entities(tags.split(), scheme)
        assert " ".join(f"{each.type}:{each.start}-{each.end}" for each in found) == expected


def test_entity_f1_counts_entities_over_sentences_and_by_type():
    """There: 2 PER, 1 LOC. Found: 1 PER (right), 1 LOC with an end too far, 1 ORG: 1 right of 3 and 3, F1 1/3."""
    truth = [["B-PER", "I-PER", "O", "B-LOC"], ["B-PER", "O"], ["O"]]
    predicted = [["B-PER", "I-PER", "B-LOC", "I-LOC"], ["B-ORG", "O"], ["O"]]
    assert entity_f1(predicted, truth) == pytest.approx(1 / 3)
    assert entity_overlaps(predicted, truth) == {
        "LOC": Overlap(0, 1, 1), "ORG": Overlap(0, 1, 0), "PER": Overlap(1, 1, 2)
    }  # fmt: skip
    assert tag_accuracy(predicted, truth) == pytest.approx(4 / 7)
    assert entity_f1([["O", "O"]], [["O", "O"]]) == 0
    assert entity_f1([["I-A"]], [["B-A"]]) == 1 and entity_f1([["I-A"]], [["B-A"]], scheme="iob2") == 0


def test_the_same_words_of_another_sentence_are_another_entity():
    assert entity_f1([["B-A"], ["O"]], [["O"], ["B-A"]]) == 0


@pytest.mark.parametrize("tag", ["PER", "X-PER", "B", "B-", "", "o"])
def test_a_tag_of_no_scheme_is_refused(tag):
    with pytest.raises(InputError, match=f"tag: '{tag}' is no tag of an entity"):
        entities(["O", tag])


def test_sides_that_do_not_fit_are_a_defect():
    for metric in (entity_f1, tag_accuracy):
        with pytest.raises(ValueError):
            metric([["O", "O"]], [["O"]])
        with pytest.raises(ValueError):
            metric([["O"]], [["O"], ["O"]])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Quick, brown\tfox!", "quick brown fox"),
        ("an A-team's a the", "ateams"),  # punctuation goes first, and joins
        ("theory and Ana", "theory and ana"),
        ("U.S.A.", "usa"),
        ("“é”", "“é”"),  # only ASCII punctuation is dropped
        ("The", ""),
    ],
)
def test_answers_are_normalized_as_for_squad(text, expected):
    assert normalized(text) == expected


@pytest.mark.parametrize(
    ("predicted", "reference", "expected"),
    [
        ("the cat sat", "A cat", 2 / 3),  # cat, sat; cat: precision 1/2, recall 1
        ("cat cat dog", "cat dog dog", 2 / 3),  # words count as often as they stand in both: 2 of 3 and 3
        ("red", "blue", 0),
        ("", "", 1),
        ("the", "", 1),
        ("", "cat", 0),
        ("cat", "", 0),
    ],
)
def test_f1_of_words(predicted, reference, expected):
    assert word_f1(predicted, reference) == pytest.approx(expected)


def test_the_best_reference_counts_and_none_means_no_answer():
    predicted, references = ["the Broncos", "x", ""], [("Denver Broncos", "Broncos"), (), ()]
    assert METRICS["exact"](predicted, references) == pytest.approx(2 / 3)
    assert METRICS["answer_f1"](["Broncos won"], [["Denver Broncos", "it was the Broncos"]]) == pytest.approx(1 / 2)


ANSWERS = ["The Denver Broncos!", "1998", "Paris", "", "red"]
REFERENCES = [["Carolina", "Denver Broncos"], ["in 1998"], [], [], ["blue", "the"]]
ODDS = np.array([-2.0, 1.0, 3.0, 5.0, 0.5])


def test_squad_2_by_hand():
    """As predicted, exact is 1, 0, 0, 1, 0, and F1 1, 2/3, 0, 1, 0; questions 3 and 4 have no answer.

    Above 0 only the first is answered: 1, 0, 1, 1, 0, both exact and F1. The search begins with 2, no answer to any; in
    the order -2, 0.5, 1, 3, 5 exact gains 1, 0, 0, -1, 0 and F1 gains 1, 0, 2/3, -1, 0.
    """
    expected = {
        "exact": 3 / 5, "HasAns_exact": 1 / 3, "NoAns_exact": 1, "best_exact": 3 / 5, "best_exact_thresh": -2,
        "f1": 3 / 5, "HasAns_f1": 1 / 3, "NoAns_f1": 1, "best_f1": (3 + 2 / 3) / 5, "best_f1_thresh": 1,
    }  # fmt: skip
    assert squad2(ANSWERS, REFERENCES, ODDS) == pytest.approx(expected)
    expected |= {"exact": 2 / 5, "f1": 8 / 15, "HasAns_f1": 5 / 9, "NoAns_exact": 1 / 2, "NoAns_f1": 1 / 2}
    assert squad2(ANSWERS, REFERENCES, ODDS, threshold=math.inf) == pytest.approx(expected)


def test_groups_without_a_question_are_not_reported():
    assert not [name for name in squad2(ANSWERS[:2], REFERENCES[:2], ODDS[:2]) if "NoAns" in name]
    assert not [name for name in squad2(ANSWERS[2:4], REFERENCES[2:4], ODDS[2:4]) if "HasAns" in name]


def test_a_reference_of_articles_alone_is_left_out():
    """Or else an empty prediction would match it; where no other is left, the answer is none."""
    report = squad2(["", "", "an"], [["the", "cat"], ["a"], ["a"]], np.zeros(3))
    assert (report["exact"], report["f1"]) == pytest.approx((2 / 3, 2 / 3))
    assert report["HasAns_exact"] == report["exact"]  # they have answers all the same


QUESTIONS = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.sampled_from([0, 0.25, 0.5, 1]), st.integers(-20, 20)),
    min_size=1, max_size=8, unique_by=lambda question: question[3],
)  # fmt: skip


@given(QUESTIONS)
def test_the_best_threshold_is_the_best_of_all_and_gives_what_it_promises(questions):
    answerable, empty, scores, odds = (np.array(column) for column in zip(*questions, strict=True))
    scores = np.where(answerable, np.where(empty, 0, scores), empty).astype(float)
    odds = odds.astype(float)
    given_threshold = {
        float(t): float(np.where(odds > t, ~answerable, scores).mean()) for t in [-np.inf, -100, 0, *odds]
    }
    best, threshold = best_threshold(scores, empty, answerable, odds)
    assert best == pytest.approx(max(given_threshold.values()))
    assert np.where(odds > threshold, ~answerable, scores).mean() == pytest.approx(best)


def test_the_search_is_that_of_the_script_where_odds_are_equal_or_nothing_helps():
    """Two at odds 1: the first is given, for 2, before the second takes 1 away; a real threshold gives 1."""
    scores, answerable, none = np.array([1.0, 0.0]), np.array([True, False]), np.zeros(2, bool)
    assert best_threshold(scores, none, answerable, np.ones(2)) == (1.0, 1.0)
    assert best_threshold(scores[::-1], none, answerable[::-1], np.ones(2)) == (0.5, 0.0)
    assert best_threshold(np.zeros(1), none[:1], ~answerable[:1], np.array([0.3])) == (1.0, 0.0)
    best, below = best_threshold(np.zeros(1), none[:1], ~answerable[:1], np.array([-3.0]))
    assert best == 1 and below < -3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("于1998年在New  York成立", "于 1998 年 在 new york 成 立"),
        ("《红楼梦》，第 3 回。", "红 楼 梦 第 3 回"),
        ("2008，2009年", "20082009 年"),  # what is dropped joins what stands around it
        ("好……", "好 ……"),  # the script's ellipsis never matches a character
        ("4,000人, 30.5%", "4,000 人 , 30.5 %"),
        ("mr. smith's cat. don't", "mr . smith 's cat . do n't"),
        ("在u.s.a. (bbc).", "在 u.s.a. ( bbc ) ."),
        ('是"abc" ok', "是 `` abc '' ok"),
        ("在u.s.", "在 u.s ."),  # the end of a run is the end of a sentence
        ("wait... what?!", "wait ... what ? !"),
        ("cannot 'quoted' dogs'", "can not ' quoted ' dogs '"),
        ("-a_b/c", "abc"),
        ("", ""),
    ],
)
def test_chinese_is_cut_into_characters_and_the_rest_into_words(text, words):
    assert segmented(text) == words.split()


@pytest.mark.parametrize(
    ("predicted", "reference", "exact", "f1_"),
    [
        ("海淀区", "北京市海淀区", 0, 2 * 3 / (3 + 6)),
        ("甲丙丁", "甲乙丙丁", 0, 2 * 2 / (3 + 4)),  # 丙丁: a run, where a subsequence would be 3 long
        ("1998年，在new york", "于1998年在New York成立", 0, 2 * 5 / (5 + 8)),
        ("《红楼梦》。", "红楼梦", 1, 1),
        ("newyork", "New York", 0, 0),
        (" New York ", "new york", 1, 1),
        ("好……", "好", 0, 2 * 1 / (2 + 1)),
        ("红", "蓝", 0, 0),
        ("", "", 1, 0),  # as the script has it: no run is shared
        ("。", "", 1, 0),
    ],
)
def test_answers_in_chinese_by_hand(predicted, reference, exact, f1_):
    assert exact_zh(predicted, reference) == exact
    assert run_f1(predicted, reference) == run_f1(reference, predicted) == pytest.approx(f1_)


def test_the_best_reference_counts_in_chinese_too():
    assert METRICS["exact_zh"](["红", "红蓝"], [["绿", "红。"], ["红"]]) == 0.5
    assert METRICS["answer_f1_zh"](["红蓝", "蓝"], [["绿", "红"], ["绿"]]) == pytest.approx(1 / 3)


@given(st.text("ab", max_size=8), st.text("ab", max_size=8))
def test_the_longest_run_is_that_of_all_substrings(one, other):
    runs = {one[a:b] for a in range(len(one) + 1) for b in range(a, len(one) + 1)}
    assert longest_run(list(one), list(other)) == max(len(run) for run in runs if run in other)


def test_every_metric_gives_1_to_the_truth_and_less_to_something_else():
    classes = (np.array([0, 1, 2, 1]), np.array([0, 1, 0, 0]))
    numbers = (np.array([0.0, 1.5, 4.0]), np.array([0.0, 1.5, -4.0]))
    tags = ([["B-A", "O"], ["B-B"]], [["B-A", "O"], ["O"]])
    for name, metric in METRICS.items():
        if metric in (pearson, spearman):
            truth, other = numbers
        elif metric in (entity_f1, tag_accuracy):
            truth, other = tags
        elif metric in (accuracy, f1, macro_f1, matthews):
            truth, other = classes
        else:
            assert metric(["a cat", "红"], [["x", "cat", "a cat"], ["红"]]) == 1, name
            assert metric(["dog", "红"], [["x", "cat"], ["红"]]) == 0.5, name
            continue
        assert metric(truth, truth) == pytest.approx(1), name
        assert metric(other, truth) < 1, name


def test_answers_have_one_number_a_question():
    scores = answers.judged(answers_zh.run_f1, ["红蓝", "", "蓝"], [["红"], ["红"], ["蓝", "红"]])
    np.testing.assert_allclose(scores, [2 / 3, 0, 1])
