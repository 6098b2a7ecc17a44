"""Cloze: one question for all models, answered by enumeration as by the scorers; one list for all tokenizers."""

import dataclasses
import functools
import itertools
import json
import types
from pathlib import Path

import numpy as np
import pytest

from batch import InputError
from cases import MODELS, build, loud
from data.tokenizer import Tokenizer, train_tokenizer
from evaluation.bayes import bayes, joint, ngram_joint, normalized
from evaluation.blocks import cut, read_text
from evaluation.checkpoints import Checkpoint, Text
from evaluation.cloze import (
    answer,
    by_counting,
    by_model,
    excerpts,
    inside,
    likeliest,
    token_questions,
    word_questions,
)
from evaluation.likelihood import left_to_right
from evaluation.ngrams import count_ngrams, ngram_score
from evaluation.passes import Subject, distribution
from evaluation.scores import block_sums
from evaluation.spans import CHOICES, CUT, FEW, Drawn, Item, Spans, tokenized
from evaluation.task import Entry, Settings
from evaluation.tasks.cloze import cloze
from scoring import LETTERS, SIZE, SUBJECTS, VOCAB, WRITTEN, enumerated, subject, texts

ALL, BATCH = np.arange(len(WRITTEN)), 64
ROWS = np.arange(BATCH)
CAUSAL = ["gpt-causal", "gpt-backward", "xlnet-causal"]
PAIRS = np.array(list(itertools.product(LETTERS, repeat=2)))


def posterior_of_all(log_p, place, width):
    """For every text, log p of each span of so many letters there given the rest of the text, from all 81 of them."""
    axes = tuple(range(place - 1, place - 1 + width))
    table = np.moveaxis(log_p.reshape((3,) * SIZE), axes, range(SIZE - width, SIZE))
    table = table.reshape((3,) * (SIZE - width) + (3**width,))
    table = np.broadcast_to(table[..., None, :], (*table.shape[:-1], 3**width, 3**width))
    table = table.reshape((3,) * SIZE + (3**width,))
    table = np.moveaxis(table, range(SIZE - width, SIZE), axes).reshape(len(WRITTEN), 3**width)
    return normalized(np.ascontiguousarray(table, np.float64))


@pytest.mark.parametrize("name", CAUSAL)
def test_bayes_is_what_adding_up_all_texts_gives(name):
    asked, blocks = subject(name), enumerated()
    log_p = block_sums(left_to_right(asked, blocks), len(WRITTEN))
    for place in (1, 2, SIZE):
        found = bayes(asked, blocks, ALL, np.full(81, place), np.tile(LETTERS, (81, 1)), BATCH)
        np.testing.assert_allclose(np.exp(found), np.exp(posterior_of_all(log_p, place, 1)), atol=1e-5)
        np.testing.assert_allclose(np.exp(found).sum(axis=1), 1)
    assert np.ptp(found) > 0.1, "the model is indifferent: the test cannot fail"


@pytest.mark.parametrize("name", CAUSAL)
def test_a_span_of_two_tokens_is_weighed_by_bayes_as_all_texts_weigh_it(name):
    asked, blocks = subject(name), enumerated()
    log_p = block_sums(left_to_right(asked, blocks), len(WRITTEN))
    found = normalized(joint(asked, blocks, ALL, np.full(81, 2), np.tile(PAIRS, (81, 1, 1)), BATCH))
    np.testing.assert_allclose(np.exp(found), np.exp(posterior_of_all(log_p, 2, 2)), atol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_n_grams_by_bayes_are_what_adding_up_all_texts_gives(order):
    ngrams = count_ngrams(texts(seed=1), VOCAB, order, SIZE + 1)
    log_p = block_sums(ngram_score(ngrams, enumerated()), len(WRITTEN))
    for place in (1, 3):
        found = normalized(ngram_joint(ngrams, enumerated(), ALL, np.full(81, place), np.tile(PAIRS, (81, 1, 1))))
        np.testing.assert_allclose(found, posterior_of_all(log_p, place, 2), atol=1e-9)


@pytest.mark.parametrize("name", ["bert-masked", "xlnet-permutation"])
def test_the_chain_inside_a_span_is_a_distribution_over_all_spans_of_its_length(name):
    asked, blocks = subject(name), enumerated()
    found = inside(asked, blocks, ALL, np.full(81, 2), np.tile(PAIRS, (81, 1, 1)), BATCH)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-5)
    by_sides = found.reshape(3, 3, 3, 3, 9)
    assert np.ptp(by_sides, axis=(1, 2)).max() < 1e-5, "what the text holds at the span is not seen"
    assert np.ptp(by_sides, axis=0).max() > 0.1 and np.ptp(by_sides, axis=3).max() > 0.1, "both sides are"


@pytest.mark.parametrize("name", ["bert-masked", "xlnet-permutation"])
def test_each_token_of_a_span_is_asked_with_the_later_ones_hidden(name):
    """Two passes made by hand, for one text and one span."""
    asked, blocks, place, span = subject(name), enumerated(), 2, (5, 3)
    row = blocks.tokens[40:41].copy()
    row[0, place : place + 2] = span
    expected = 0.0
    for i in range(2):
        hidden = np.isin(np.arange(SIZE + 1), np.arange(place + i, place + 2))[None]
        same = [np.repeat(each, BATCH, axis=0) for each in (row, ~hidden, hidden, np.array([place + i]))]
        log_p = asked.single_judged(distribution)(asked.params, *same)
        expected += float(log_p[0, span[i]])
    spans = np.array([[[3, 3], span, [5, 4]]])
    found = inside(asked, blocks, np.array([40]), np.array([place]), spans, BATCH)
    assert found[0, 1] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["gpt-causal", "bert-masked"])
def test_choices_in_batches_are_weighed_as_one_by_one(name):
    asked, score = subject(name), inside if name == "bert-masked" else joint
    few = (ALL[:4], np.array([1, 2, 3, 1]), np.tile(PAIRS, (4, 1, 1)))
    one, other = (score(asked, enumerated(), *few, size) for size in (5, BATCH))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


WORDS = ["".join(letters) for letters in itertools.product("bdg", "aeiou", "lmnr", "aeo")]
SHARES = 1 / np.arange(1, len(WORDS) + 1)
SHARES /= SHARES.sum()


def written(seed=0, paragraphs=30):
    """Documents of random words, some followed by Chinese words of two characters, with marks and line ends."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(paragraphs):
        words = rng.choice(WORDS, 40, p=SHARES)
        mixed = [word + (rng.choice(["山水", "木火", "土山"]) if rng.random() < 0.2 else "") for word in words]
        lines.append(f"{' '.join(mixed[:20])}.\n{' '.join(mixed[20:])}!\n")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def spelled(tmp_path_factory):
    """A text, and how three tokenizers write it: bytes, and two of pieces."""
    file = tmp_path_factory.mktemp("cloze") / "text.txt"
    file.write_text(written())
    pieces = [train_tokenizer(kind, 340, written(seed=1).splitlines()) for kind in ("unigram", "bpe")]
    tokenizers = [Tokenizer("bytes"), *pieces]
    return [(tokenizer, tokenized(read_text(str(file), tokenizer))) for tokenizer in tokenizers]


def text_of(tokenizer, read):
    return b"".join(tokenizer.pieces[i] for i in read.tokens.tokens.tolist())


def spans_of(spelled, length=40, **fields):
    return Spans(text_of(*spelled[0]), [read for _, read in spelled], length, **fields)


def start_of(read, item):
    return int(read.tokens.document_bytes[item.document])


def test_the_list_depends_on_the_text_and_neither_on_the_order_of_the_tokenizers_nor_on_chance(spelled):
    one = spans_of(spelled).words(64)
    assert [spans_of(list(order)).words(64).digest for order in itertools.permutations(spelled)] == [one.digest] * 6
    assert len(one.items) == 64 and one.values == json.loads(json.dumps(one.values))
    others = [
        spans_of(spelled, seed=1).words(64),
        spans_of(spelled, length=30).words(64),
        spans_of(spelled[:1]).words(64),
    ]
    assert len({one.digest, *(other.digest for other in others)}) == 4


def test_items_are_whole_tokens_for_everybody_and_no_block_is_too_long(spelled):
    for item in spans_of(spelled).words(64).items:
        for _, read in spelled:
            start = start_of(read, item)
            assert np.isin([start + place for place in (*item.context, *item.target)], read.bounds).all()
            assert len(read.span(start + item.context[0], start + item.context[1])) <= 39
        assert item.context[0] < item.target[0] < item.target[1] < item.context[1]


def test_a_context_is_as_long_as_the_longest_spelling_allows(spelled):
    """One byte more on either side would not fit: bytes are the longest, and nearly every edge of theirs is common."""
    tokenizer, read = spelled[0]
    items = spans_of(spelled[:1]).words(64).items
    lengths = [item.context[1] - item.context[0] for item in items]
    sizes = np.diff(read.tokens.document_bytes)
    assert lengths == [min(39, sizes[item.document]) for item in items]
    middle = [item for item in items if item.context[0] > 0 and item.context[1] < sizes[item.document]]
    sides = [(item.target[0] - item.context[0], item.context[1] - item.target[1]) for item in middle]
    assert len(middle) > 30 and max(abs(left - right) for left, right in sides) <= 1
    assert tokenizer.kind == "bytes"


def test_what_a_tokenizer_would_cut_is_dropped_and_counted(spelled):
    """The bytes cut nothing; pieces of two Chinese characters are two words in one."""
    alone, both = spans_of(spelled[:1]).words(10_000), spans_of(spelled).words(10_000)
    assert CUT not in alone.dropped and both.dropped[CUT] > 0
    assert both.drawn == alone.drawn == sum(both.dropped.values()) + len(both.items)
    text, read = text_of(*spelled[0]), spelled[0][1]
    start = read.tokens.document_bytes
    targets = [text[start[i.document] + i.target[0] : start[i.document] + i.target[1]] for i in both.items]
    assert not any("山水".encode() in word for word in targets)
    assert all(any(map(str.isalnum, word.decode())) and word.count(b" ") <= 1 for word in targets)


@pytest.mark.parametrize("first", [0, 1])
def test_the_choices_hold_the_target_once_and_are_alike_for_everybody(spelled, first):
    """With and without bytes, in which a space before a word is a token more."""
    text, read_by = text_of(*spelled[0]), [read for _, read in spelled[first:]]
    drawn = spans_of(spelled[first:]).words(10_000)
    for item in drawn.items:
        start, end = (start_of(read_by[0], item) + place for place in item.target)
        assert len(set(item.choices)) == CHOICES and item.choices[item.truth] == text[start:end]
        assert item.places[item.truth] == (start, end) and len({word[:1] == b" " for word in item.choices}) == 1
        assert [text[slice(*place)] for place in item.places] == list(item.choices)
        for read in read_by:
            assert len({len(read.span(*place)) for place in item.places}) == 1
    assert len(drawn.items) > 100 and drawn.dropped[FEW] > 0, "the rarest words have no group"


def test_a_group_of_choices_does_not_tell_which_of_them_is_asked(spelled):
    """Whichever word of a group is the target, the group is the same."""
    items = spans_of(spelled[:1]).words(10_000).items
    by_truth = {}
    for item in items:
        by_truth.setdefault(item.choices, set()).add(item.truth)
    overlapping = [set(one) & set(other) for one, other in itertools.combinations(by_truth, 2)]
    assert len(by_truth) > 3 and min(map(len, by_truth.values())) > 5 and not any(overlapping)


def test_questions_are_the_bytes_of_the_items_as_each_tokenizer_writes_them(spelled):
    items = spans_of(spelled).words(64).items
    text = text_of(*spelled[0])
    for tokenizer, read in spelled:
        groups = word_questions(read, tokenizer.vocab, items, 40)
        assert sorted(np.concatenate([each.item for each in groups])) == list(range(64))
        for each in groups:
            for q, number in enumerate(each.item):
                item, row = items[number], each.blocks.tokens[q][each.blocks.scored[q]]
                start = start_of(read, item)
                assert tokenizer.decode(row).encode() == text[start + item.context[0] : start + item.context[1]]
                own = each.blocks.tokens[q, each.place[q] : each.place[q] + each.spans.shape[2]]
                np.testing.assert_array_equal(own, each.spans[q, each.truth[q]])
                assert [tokenizer.decode(span).encode() for span in each.spans[q]] == list(item.choices)


def test_tokens_are_asked_among_all_ids_that_text_can_hold(spelled):
    tokenizer, read = spelled[1]
    drawn = spans_of(spelled[1:2]).tokens(20)
    asked = token_questions(read, tokenizer.vocab, drawn.items, 40)
    true = asked.blocks.tokens[np.arange(20), asked.place]
    np.testing.assert_array_equal(asked.spans[np.arange(20), asked.truth, 0], true)
    assert asked.spans.shape[1] == len(tokenizer.vocab.ordinary) - (tokenizer.vocab.end in tokenizer.vocab.ordinary)


@functools.cache
def letters():
    """BATCH questions about single letters of the tiny subjects' text."""
    items = [Item(d, (0, 4), (place, place + 1)) for d in range(8, 8 + BATCH // 2) for place in (1, 2)]
    return token_questions(tokenized(texts(count=40, seed=3)), VOCAB, items, SIZE + 1)


@pytest.mark.parametrize("name", ["gpt-causal", "gpt-backward"])
def test_over_some_of_all_choices_the_loss_is_never_above_the_exact_one(name):
    asked, exact = subject(name), letters()
    some = likeliest(asked, exact, BATCH, count=2)
    assert some.spans.shape == (BATCH, 2, 1) and (np.diff(np.sort(some.spans[:, :, 0])) > 0).all()
    np.testing.assert_array_equal(some.spans[ROWS, some.truth], exact.spans[ROWS, exact.truth])
    score = by_model(asked, BATCH)
    lower, true = answer([some], score), answer([exact], score)
    assert (lower.log_p >= true.log_p - 1e-6).all() and (lower.log_p > true.log_p + 1e-4).any()
    assert (lower.right >= true.right).all(), "what wins among all wins among some"


@pytest.mark.parametrize("name", ["gpt-causal", "gpt-backward"])
def test_the_likeliest_are_those_of_the_side_that_a_model_reads_and_the_truth(name):
    """Two of the three letters by the conditional of the place alone."""
    asked, exact = subject(name), letters()
    some = likeliest(asked, exact, BATCH, count=2)
    alone = dataclasses.replace(exact.blocks, scored=np.arange(SIZE + 1) == exact.place[:, None])
    order = np.argsort(-joint(asked, alone, ROWS, exact.place, exact.spans, BATCH), axis=1)
    expected = order[:, :2].copy()
    expected[order[:, 2] == exact.truth, 1] = exact.truth[order[:, 2] == exact.truth]
    np.testing.assert_array_equal(some.spans[:, :, 0], exact.spans[ROWS[:, None], expected, 0])
    assert (order[:, 2] == exact.truth).any() and (order[:, 2] != exact.truth).any()


def test_answers_stand_in_the_order_of_the_items(spelled):
    """Whatever the order in which words of one width are asked."""
    tokenizer, read = spelled[1]
    items = spans_of(spelled).words(32).items
    ngrams = count_ngrams(read.tokens, tokenizer.vocab, 2, 40)
    together = answer(word_questions(read, tokenizer.vocab, items, 40), by_counting(ngrams))
    alone = [answer(word_questions(read, tokenizer.vocab, [item], 40), by_counting(ngrams)).log_p[0] for item in items]
    np.testing.assert_allclose(together.log_p, alone)
    assert len(word_questions(read, tokenizer.vocab, items, 40)) > 1


def entry(tokenizer, read, name="gpt-causal"):
    return Entry(Checkpoint(Path("runs") / name, 0, None, tokenizer, subject(name)), Text(read.tokens, None), 40)


def test_a_tokenizer_that_loses_text_is_refused(spelled):
    lossy = types.SimpleNamespace(lossless=False, digest="lossy")
    with pytest.raises(InputError, match=r"--workdir=runs/gpt-causal: .* does not decode"):
        cloze([entry(lossy, spelled[0][1])], Settings(length=40))


def test_a_text_without_words_is_refused(tmp_path):
    (tmp_path / "marks.txt").write_text("... !!! ???\n")
    tokenizers = [Tokenizer("bytes"), train_tokenizer("unigram", 330, written(seed=1).splitlines())]
    entries = [entry(each, tokenized(read_text(str(tmp_path / "marks.txt"), each))) for each in tokenizers]
    with pytest.raises(InputError, match=r"nothing of the text can be asked .* --text=PATH"):
        cloze(entries, Settings(length=40))


class Tiny(Checkpoint):
    def untrained(self):
        return dataclasses.replace(self.subject, params=loud(self.subject.config, self.subject.vocab.size, 1))


def test_the_task_asks_all_models_the_same_and_says_where_it_is_a_bound(spelled, monkeypatch):
    monkeypatch.setattr("evaluation.cloze.EXACT", 100)
    tokenizer, read = spelled[1]
    size, entries = tokenizer.vocab.size, []
    for name in ("bert-masked", "gpt-causal", "xlnet-permutation"):
        model, objective = MODELS[SUBJECTS[name][0]], SUBJECTS[name][1]
        asked = Subject(model, build(model, size), loud(model, size), objective, tokenizer.vocab)
        entries.append(Entry(Tiny(Path("runs") / name, 0, None, tokenizer, asked), Text(read.tokens, read.tokens), 16))
    found = cloze(entries, Settings(length=16, items=4))
    json.dumps(found.values, allow_nan=False)
    words, tokens = found.values["words"], found.values["tokens"]
    assert [row["questions"] for part in (words, tokens) for row in part["scores"]] == [4] * 16
    assert [row["model"] for row in tokens["scores"] if "bound" in row["nats"]] == [
        "runs/gpt-causal",
        "runs/gpt-causal, random weights",
    ]
    assert not any("bound" in row["nats"] for row in words["scores"])
    assert len(words["differences"]) == 3 and len(tokens["differences"]) == 1
    assert set(found.figures) == {"cloze"} and "64 of them" in " ".join(found.tables)
    assert words["list"]["sha256"][:16] in found.tables[0] and "4 of " in found.tables[0]


def test_an_excerpt_has_no_block_but_its_own(spelled):
    tokenizer, read = spelled[0]
    items = spans_of(spelled).words(16).items
    blocks, place = excerpts(read, tokenizer.vocab, items, 40)
    assert blocks.num_blocks == 16 and (blocks.tokens[np.arange(16), place] != tokenizer.vocab.pad).all()
    assert Drawn(items, {}).drawn == 16 and cut(read.tokens, tokenizer.vocab, 40).num_blocks > 16
