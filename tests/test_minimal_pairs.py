"""The likelier sentence is preferred, whatever stands beside it; every bad row is named; differences are paired."""

import dataclasses
import functools
import gzip
import itertools
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

import scoring
from batch import InputError, Vocab
from cases import MODELS, build, loud
from data.corpus import Document
from data.shards import open_tokens, tokens_writer
from data.tokenizer import FIRST_BYTE, Tokenizer, train_tokenizer
from evaluation.blocks import cut, emittable
from evaluation.checkpoints import Checkpoint, Text
from evaluation.likelihood import left_to_right
from evaluation.minimal_pairs import (
    STEP,
    by_width,
    common_items,
    encoded,
    in_blocks,
    read_pairs,
    score_sentences,
    spelled,
)
from evaluation.paired import mcnemar
from evaluation.passes import Subject
from evaluation.preferences import (
    Accuracy,
    accuracies,
    accuracy,
    mean_accuracy,
    preferences,
    preferences_per_token,
    ties,
)
from evaluation.pseudo import word_left_to_right
from evaluation.scores import Score, block_sums, token_scores
from evaluation.task import Entry, Settings
from evaluation.tasks.pairs import pairs
from objectives import CausalLm, MaskedLm, PermutationLm
from scoring import LETTERS, VOCAB
from training.config import Experiment

BYTES = Tokenizer("bytes")


def row(good="a b", bad="a c", uid="one", **fields):
    return {"sentence_good": good, "sentence_bad": bad, "UID": uid} | fields


def written(path, *rows):
    path.write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    return str(path)


def known(blocks, watch=None, p=(0.5, 0.25, 0.25)):
    """A source that draws each letter alone, as a scorer."""
    table = np.full(VOCAB.size, np.nan)
    table[list(LETTERS)] = np.log(p)
    log_p = table[blocks.tokens]
    return Score("known", True, "nothing", 0.0, 0.0, token_scores(blocks, log_p, np.zeros_like(log_p)))


def blocks_of(*sentences):
    text = scoring.tokens(list(sentences))
    return cut(text, VOCAB, 1 + max(map(len, sentences)))


def outcome(good, bad, scorer=known):
    return preferences(score_sentences(scorer, blocks_of(*good, *bad)))


A, B, C = LETTERS


def test_a_known_source_prefers_its_likelier_sentence():
    likely, unlikely = [(A, A, B), (A,), (A, B)], [(A, B, B), (C,), (C, B)]
    assert accuracy(outcome(likely, unlikely)).value == 1
    assert accuracy(outcome(unlikely, likely)).value == 0
    np.testing.assert_array_equal(outcome([(A, B, B), (B,), (A,)], [(A, A, B), (C,), (C,)]), [0, 0.5, 1])


def test_the_same_tokens_in_another_order_are_a_tie_for_counts_whatever_the_rounding_of_their_sum():
    scorer = functools.partial(known, p=(0.1, 0.7, 0.2))
    sentences = [sentence for sentence in itertools.permutations((A, A, A, B, B, C, C), 7)][::97]
    found = outcome([sentences[0]] * len(sentences), sentences, scorer)
    sums = block_sums(scorer(blocks_of(*sentences)), len(sentences))
    assert len(set(sums)) > 1, "sums that are rounded alike would show nothing"
    assert (found == 0.5).all() and ties(found) == len(sentences)


def test_a_longer_sentence_may_be_less_likely_and_likelier_a_token():
    score = score_sentences(known, blocks_of((A, A, A), (B,)))
    assert preferences(score) == 0 and preferences_per_token(score) == 1


MIXED = [(A, B), (B, C, A, A, B, C, C), (A,) * 3 + (C,) * 5, (B, A) * 6, (C, C), (B,), (A, C, B), (C,) * 12]


@pytest.mark.parametrize(
    ("name", "scorer"),
    [
        ("gpt-causal", left_to_right),
        ("xlnet-permutation", left_to_right),
        ("bert-masked", left_to_right),
        ("bert-masked", word_left_to_right),
    ],
)
def test_neighbors_padding_and_order_change_nothing(name, scorer):
    """What a sentence gets among others is what it gets alone, without padding."""
    asked = scoring.subject(name)
    found = lambda blocks: block_sums(  # noqa: E731
        score_sentences(lambda group, watch: scorer(asked, group, watch=watch), blocks), blocks.num_blocks
    )
    blocks = blocks_of(*MIXED)
    noise = np.random.default_rng(0).choice(LETTERS, blocks.tokens.shape).astype(np.int32)
    together = found(dataclasses.replace(blocks, tokens=np.where(blocks.real, blocks.tokens, noise)))
    alone = block_sums(scorer(asked, blocks_of(MIXED[0])), 1)
    np.testing.assert_allclose(together[:1], alone, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found(blocks_of(*MIXED[::-1])), together[::-1], rtol=1e-5, atol=1e-5)


def test_blocks_are_grouped_by_length_and_no_group_is_wider_than_a_step_needs():
    blocks = blocks_of(*MIXED)
    groups = list(by_width(blocks))
    assert sorted(np.concatenate([rows for rows, _ in groups])) == list(range(len(MIXED)))
    for rows, group in groups:
        own = [len(MIXED[i]) + 1 for i in rows]
        assert max(own) <= group.length < min(own) + STEP
        np.testing.assert_array_equal(group.real.sum(axis=1), own)
        assert all(tuple(group.tokens[k, 1 : own[k]]) == MIXED[i] for k, i in enumerate(rows))
    assert len({group.length for _, group in groups}) == len(groups)


def test_progress_counts_all_tokens_and_ends_at_their_number():
    seen, blocks = [], blocks_of(*MIXED)

    def scorer(group, watch):
        for done in range(1, 4):
            watch(done, 3)
        return known(group)

    score_sentences(scorer, blocks, lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {total for _, total in seen} == {sum(map(len, MIXED))} and seen[-1][0] == seen[-1][1]


def test_the_standard_error_is_the_binomial_one():
    found = accuracy(np.repeat([1.0, 0.0], [30, 10]))
    assert found.value == 0.75 and found.error == pytest.approx(math.sqrt(0.75 * 0.25 / 40))
    assert accuracy(np.full(9, 0.5)) == Accuracy(0.5, 0.0)


def test_the_mean_over_paradigms_counts_each_of_them_once():
    right = np.repeat([1.0, 0.0, 1.0, 0.0], [9, 1, 20, 80])
    parts = accuracies(right, ["b"] * 10 + ["a"] * 100)
    assert list(parts) == ["a", "b"] and parts["a"].value == 0.2 and parts["b"].value == 0.9
    found = mean_accuracy(list(parts.values()))
    assert found.value == pytest.approx(0.55)
    assert found.error == pytest.approx(math.sqrt(0.09 / 10 + 0.16 / 100) / 2)


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        (6, 1, 2 * (1 + 7) / 2**7),
        (1, 6, 2 * (1 + 7) / 2**7),
        (10, 0, 2 / 2**10),
        (3, 3, 1.0),
        (0, 0, 1.0),
        (8, 2, 2 * (1 + 10 + 45) / 2**10),
    ],
)
def test_mcnemar_is_the_exact_binomial_test_of_the_pairs_that_differ(first, second, p):
    both, neither = 20, 9
    one = np.repeat([1.0, 0.0, 1.0, 0.0], [first, second, both, neither])
    other = np.repeat([0.0, 1.0, 1.0, 0.0], [first, second, both, neither])
    found, size = mcnemar(one, other), len(one)
    assert (found.first, found.second) == (first, second) and found.p == pytest.approx(p)
    assert found.difference == pytest.approx((first - second) / size)
    variance = (first + second) / size - ((first - second) / size) ** 2
    assert found.error == pytest.approx(math.sqrt(variance / size))


def test_a_tie_is_better_than_wrong_and_worse_than_right():
    found = mcnemar(np.array([0.5, 0.5, 0.5]), np.array([0.0, 0.5, 0.0]))
    assert (found.first, found.second, found.p) == (2, 0, 0.5)
    assert mcnemar(np.array([0.5]), np.array([1.0])).second == 1


BAD = {
    "cut.jsonl": ('{"sentence_good": "a"', "not JSON"),
    "list.jsonl": ("[1]", "no field 'sentence_good'"),
    "good.jsonl": (json.dumps({"sentence_bad": "a", "UID": "u"}), "no field 'sentence_good'"),
    "bad.jsonl": (json.dumps({"sentence_good": "a", "UID": "u"}), "no field 'sentence_bad'"),
    "uid.jsonl": (json.dumps({"sentence_good": "a", "sentence_bad": "b"}), "no field 'UID'"),
    "number.jsonl": (json.dumps(row(good=3)), "int in 'sentence_good'"),
    "term.jsonl": (json.dumps(row(linguistics_term=None)), "NoneType in 'linguistics_term'"),
    "empty.jsonl": (json.dumps(row(bad=" ")), "empty sentence_bad"),
    "same.jsonl": (json.dumps(row(bad="a b")), "same sentence"),
    "half.jsonl": (r'{"sentence_good": "\ud800", "sentence_bad": "b", "UID": "u"}', "surrogate"),
}


@pytest.mark.parametrize("name", BAD)
def test_every_bad_row_is_named_by_its_line(tmp_path, name):
    line, said = BAD[name]
    (tmp_path / name).write_text(f"{json.dumps(row())}\n\n{line}\n")
    for named in (tmp_path / name, tmp_path):
        with pytest.raises(InputError) as refused:
            read_pairs(str(named))
        message = str(refused.value)
        assert message.startswith("--pairs: line 3 of ") and name in message and said in message
        assert "data." not in message and message.count(". ") == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b"", "holds no pairs"),
        ("a.jsonl", b"\n \n", "holds no pairs"),
        ("a.jsonl", b'{"sentence_good": "\xff"}\n', "not UTF-8"),
        ("a.jsonl.gz", b"{}", "damaged gzip"),
        ("a.txt", b"{}", "holds no pairs"),
        (".keep", b"", "the folder holds no pairs"),
    ],
)
def test_a_file_without_pairs_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"^--pairs.*{said}"):
        read_pairs(str(tmp_path))


def test_a_missing_file_is_refused(tmp_path):
    for named in (tmp_path / "none.jsonl", tmp_path / "*.jsonl"):
        with pytest.raises(InputError, match="no such file"):
            read_pairs(str(named))


def test_a_folder_a_glob_and_compressed_files_hold_what_their_files_do(tmp_path):
    rows = [row(uid=f"u{i}", good=f"good {i}", linguistics_term="agreement") for i in range(4)]
    one = read_pairs(written(tmp_path / "all.jsonl", *rows))
    (tmp_path / "parts" / "more").mkdir(parents=True)
    written(tmp_path / "parts" / "a.jsonl", *rows[:2])
    (tmp_path / "parts" / "b.jsonl.gz").write_bytes(gzip.compress(json.dumps(rows[2]).encode()))
    written(tmp_path / "parts" / "more" / "c.jsonl", rows[3])
    (tmp_path / "parts" / "README.md").write_text("about the pairs")
    bare = lambda pairs: [dataclasses.replace(pair, where="") for pair in pairs]  # noqa: E731
    assert bare(read_pairs(str(tmp_path / "parts"))) == bare(one)
    assert bare(read_pairs(str(tmp_path / "parts" / "*.jsonl*"))) == bare(one)[:3]
    assert one[2].where.startswith("line 3 of ") and one[2].phenomenon == "agreement"
    assert read_pairs(written(tmp_path / "x.jsonl", row(uid="u")))[0].phenomenon == "u"


def test_a_sentence_has_the_tokens_and_the_words_of_a_line_of_training_text(tmp_path):
    sentences = ["Who should Derek hug after shocking Richard?", "It rains. Dogs don't bark.", "猫坐在垫子上。", "x"]
    draw, words = random.Random(0), " ".join(sentences).split()
    tokenizer = train_tokenizer("unigram", 300, [" ".join(draw.choices(words, k=9)) for _ in range(200)])
    with tokens_writer(tmp_path / "text", tokenizer) as writer:
        for sentence in sentences:
            writer.add(Document("", (sentence,)))
    expected = cut(open_tokens(tmp_path / "text"), tokenizer.vocab, 200)
    found = in_blocks(encoded(sentences, tokenizer), tokenizer)
    for name in ("tokens", "scored", "byte_length", "document", "fresh"):
        own, other = getattr(found, name), getattr(expected, name)
        np.testing.assert_array_equal(own, other[:, : found.length] if other.ndim == 2 else other)
    begins = lambda blocks: (np.diff(blocks.word, axis=1)[:, : found.length - 1] != 0)[found.real[:, 1:]]  # noqa: E731
    np.testing.assert_array_equal(begins(found), begins(expected))
    assert found.num_bytes == sum(len(f"{sentence}\n".encode()) for sentence in sentences)


class Deaf(Tokenizer):
    """Bytes, of which z is unknown."""

    @property
    def digest(self) -> str:
        return "deaf"

    @functools.cached_property
    def vocab(self) -> Vocab:
        known = BYTES.vocab
        return dataclasses.replace(known, special=tuple(sorted({*known.special, FIRST_BYTE + ord("z")})))


class Quick(Checkpoint):
    """A checkpoint whose first weights need no compiling."""

    def untrained(self):
        return dataclasses.replace(self.subject, params=loud(self.subject.config, self.subject.vocab.size, seed=1))


@functools.cache
def checkpoint(kind, tokenizer=BYTES, max_length=24):
    config, objective = {
        "gpt": (dataclasses.replace(MODELS["gpt"], max_length=max_length), CausalLm()),
        "bert": (dataclasses.replace(MODELS["bert"], max_length=max_length), MaskedLm()),
        "xlnet": (MODELS["xlnet"], PermutationLm()),
    }[kind]
    model = build(config, tokenizer.vocab.size)
    subject = Subject(config, model, loud(config, tokenizer.vocab.size), objective, tokenizer.vocab)
    return Quick(Path(f"runs/{kind}"), 1, Experiment(config, objective), tokenizer, subject)


DEAF = Deaf("bytes")


def test_what_one_vocabulary_cannot_spell_is_left_out_for_all(tmp_path):
    rows = [row("ab", "ac"), row("az", "ab"), row("ac", "za"), row("b", "c")]
    named = written(tmp_path / "a.jsonl", *rows)
    items = common_items(named, [checkpoint("gpt"), checkpoint("gpt", DEAF)])
    assert [pair.good for pair in items.pairs] == ["ab", "b"] and items.left_out == (0, 2)
    for blocks in items.blocks:
        assert [BYTES.decode(tokens[1:]).strip("\n") for tokens in blocks.tokens] == ["ab", "b", "ac", "c"]
    with pytest.raises(InputError, match="holds no pair that the vocabularies"):
        common_items(written(tmp_path / "b.jsonl", *rows[1:3]), [checkpoint("gpt", DEAF)])
    rows = [np.array([], np.int32), np.array([70], np.int32)]
    np.testing.assert_array_equal(spelled(rows, BYTES.vocab), [False])
    assert emittable(BYTES.vocab)[70]


def test_a_sentence_that_is_longer_than_the_positions_is_named_by_its_line(tmp_path):
    fits = row("a" * 6, "b")  # with the start and the newline
    named = written(tmp_path / "a.jsonl", fits, row("c", "d" * 7))
    with pytest.raises(InputError, match=r"--pairs: line 2 of .*a\.jsonl .* 8 tokens.* the 8 positions of runs/gpt"):
        common_items(named, [checkpoint("xlnet"), checkpoint("gpt", max_length=8)])
    common_items(named, [checkpoint("gpt", max_length=9), checkpoint("xlnet")])
    exactly = common_items(written(tmp_path / "b.jsonl", fits), [checkpoint("gpt", max_length=8)])
    assert exactly.blocks[0].length == 8, "padding needs positions too"


ROWS = [
    row(f"{noun}s {verb}", f"{noun}s {verb}s", uid, linguistics_term=term)
    for noun, uid, term in (("dog", "x", "agreement"), ("cat", "y", "agreement"), ("ox", "z", "islands"))
    for verb in ("bark", "see")
]


def found(tmp_path, rows, kinds=("gpt", "bert", "xlnet")):
    text = Text(open_text(tmp_path), open_text(tmp_path))
    entries = [Entry(checkpoint(kind), text, 24) for kind in kinds]
    return pairs(entries, Settings(24, pairs=written(tmp_path / "pairs.jsonl", *rows)))


def open_text(tmp_path):
    folder = tmp_path / "train"
    if not folder.exists():
        with tokens_writer(folder, BYTES) as writer:
            writer.add(Document("", ("dogs bark at cats", "cats see dogs")))
    return open_tokens(folder)


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "-:" not in line]


def test_the_task_tells_likelihoods_from_pseudo_likelihoods(tmp_path):
    told = found(tmp_path, ROWS)
    about, overall, common, pseudo, apart, home = told.tables
    assert about.startswith("6 minimal pairs of 3 paradigms in 2 phenomena")
    head, *lines = cells(overall)
    assert head == ["model", "likelihood", "accuracy by likelihood", "accuracy by PLL-word-l2r"]
    by_name = {line[0]: line for line in lines}
    assert by_name["runs/gpt"][3] == "not asked" and "±" in by_name["runs/bert"][3] and "±" in by_name["runs/xlnet"][3]
    assert by_name["runs/bert"][1] == "left to right, κ=all" and by_name["chance"][2] == "50.0"
    assert {"unigram", "5-gram", "runs/gpt, random weights"} <= by_name.keys()
    assert cells(common)[0][:5] == ["accuracy by likelihood", "pairs", "gpt", "bert", "xlnet"]
    assert cells(pseudo)[0] == ["accuracy by PLL-word-l2r", "pairs", "bert", "xlnet"]
    assert [line[:2] for line in cells(pseudo)[1:]] == [["agreement", "4"], ["islands", "2"]]
    assert {line[i] for line in cells(apart)[1:] for i in (1, 3)} == {"likelihood"}
    assert [line[1:4:2] for line in cells(home)[1:]] == [["likelihood", "PLL-word-l2r"]] * 2 + [["PLL-word-l2r"] * 2]
    values = json.loads(json.dumps(told.values, allow_nan=False))
    assert values["pairs"] == 6 and len(values["differences"]) == len(values["home_differences"]) == 3
    for score in values["scores"]:
        assert score["normalised"] == (score["score"] != "PLL-word-l2r")
        assert score["accuracy"]["value"] == pytest.approx(score["mean_of_paradigms"]["value"])
    assert [axes.get_title() for axes in told.figures["pairs"].axes] == [
        "by likelihood",
        "by home scorer: likelihood or PLL-word-l2r",
    ]


def test_the_order_of_the_pairs_does_not_matter(tmp_path):
    one, other = found(tmp_path, ROWS, kinds=("gpt",)), found(tmp_path, ROWS[::-1], kinds=("gpt",))
    assert one.tables == other.tables and len(one.tables) == 3
    assert [axes.get_title() for axes in one.figures["pairs"].axes] == ["by likelihood"]
    assert one.values["scores"][0]["paradigms"] == other.values["scores"][0]["paradigms"]


def test_paradigms_of_different_sizes_have_their_mean_beside_the_mean_over_pairs(tmp_path):
    told = found(tmp_path, ROWS[:5], kinds=("gpt", "gpt"))
    head, *lines = cells(told.tables[1])
    assert head[2:] == ["accuracy by likelihood", "its paradigms"] and all(len(line) == 4 for line in lines)
    difference = told.values["differences"][0]
    assert (difference["difference"], difference["error"], difference["p"]) == (0, 0, 1)


def test_the_pairs_of_blimp_are_read_whole(real_data):
    read = read_pairs(str(real_data / "blimp" / "blimp_subset_dev.jsonl.gz"))
    assert len(read) == 3350 and len({pair.paradigm for pair in read}) == 67
    assert len({pair.phenomenon for pair in read}) == 13 and read[0].phenomenon == "island_effects"
