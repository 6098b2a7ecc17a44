"""Batches of a task: every example once an epoch, in buckets, a pure function of seed and step."""

import collections
import dataclasses

import numpy as np
import pytest

import tasks
from data.task import TaskData
from finetuning.encoding import encode_labeled, encode_tagged
from finetuning.stream import HeldOutExamples, TaskStream
from finetuning.templates import BERT, GPT, XLNET

DATA = TaskData(task="yesno", labels=("no", "yes"), length=40, batch_size=4, shortest=8, pool=2)


def encoded(count=23, template=BERT):
    return encode_labeled(tasks.sentences(count, 0), DATA.labels, tasks.TOKENIZER, template, DATA.length)


def stream(seed=0, template=BERT, data=DATA):
    return TaskStream(data, encoded(template=template), template.pad, tasks.TOKENIZER.vocab.pad, seed)


def rows_of(batch):
    """Which examples a batch holds."""
    return batch.example[(batch.document > 0).any(axis=1)].tolist()


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_every_epoch_reads_every_example_once(epoch):
    own = stream()
    assert own.steps_per_epoch == 6
    read = [i for step in range(6) for i in rows_of(own.batch(6 * epoch + step))]
    assert sorted(read) == list(range(23))


def test_a_batch_is_a_function_of_seed_and_step_and_epochs_and_seeds_differ():
    one, other = stream(), stream()
    steps = [10, 0, 7]
    for step in steps:
        np.testing.assert_array_equal(one.batch(step).tokens, other.batch(step).tokens)
    order = lambda own, epoch: [rows_of(own.batch(6 * epoch + step)) for step in range(6)]  # noqa: E731
    assert order(one, 0) != order(one, 1) and order(one, 0) != order(stream(seed=1), 0)


def test_examples_of_a_batch_are_neighbors_in_length_within_their_pool():
    own = stream(data=dataclasses.replace(DATA, pool=100))
    lengths = sorted(own.examples.lengths)
    parts = [tuple(lengths[i : i + 4]) for i in range(0, 23, 4)]
    found = [tuple(sorted(own.examples.lengths[rows_of(own.batch(step))])) for step in range(6)]
    assert collections.Counter(found) == collections.Counter(parts)


@pytest.mark.parametrize("template", [BERT, XLNET])
def test_a_batch_has_the_least_bucket_that_holds_it_and_says_where_its_rows_lie(template):
    own = stream(template=template)
    assert DATA.buckets == (8, 16, 32, 40)
    lengths = set()
    for step in range(6):
        batch = own.batch(step)
        longest = max(own.examples.lengths[rows_of(batch)])
        assert batch.tokens.shape == (4, min(bucket for bucket in DATA.buckets if bucket >= longest))
        lengths.add(batch.tokens.shape[1])
        for b, i in enumerate(rows_of(batch)):
            row, real = own.examples.rows[i], np.flatnonzero(batch.document[b])
            assert real.tolist() == list(range(real[0], real[0] + len(row.tokens)))
            assert real[-1] == batch.tokens.shape[1] - 1 if template is XLNET else real[0] == 0
            np.testing.assert_array_equal(batch.tokens[b, real], row.tokens)
            np.testing.assert_array_equal(batch.segments[b, real], row.segments)
            assert batch.summary[b] == real[0] + row.summary
            assert batch.task.label[b] == own.examples.label[i]
        assert (batch.tokens[batch.document == 0] == tasks.TOKENIZER.vocab.pad).all()
        assert (batch.task.label[~(batch.document > 0).any(axis=1)] == -1).all()
    assert len(lengths) > 1, "more than one bucket"


def test_rows_of_a_batch_are_those_of_the_whole_one():
    whole, part = stream().batch(3), stream().batch(3, slice(1, 3))
    np.testing.assert_array_equal(part.tokens, whole.tokens[1:3])
    np.testing.assert_array_equal(part.task.label, whole.task.label[1:3])


def test_a_held_out_stream_reads_every_example_once_from_the_shortest_on():
    own = HeldOutExamples(DATA, encoded(), "right", 0)
    read = [i for step in range(own.steps_per_epoch) for i in rows_of(own.batch(step))]
    assert sorted(read) == list(range(23)) and sorted(own.examples.lengths) == own.examples.lengths[read].tolist()
    assert [own.chosen(step).tolist() for step in range(6)] == [rows_of(own.batch(step)) for step in range(6)]


@pytest.mark.parametrize("template", [XLNET, GPT])
@pytest.mark.parametrize("length", [40, 12])
def test_tags_stand_where_words_are_read_and_cut_words_have_no_place(template, length):
    sets = tasks.tagging(train=5)
    made = encode_tagged(sets.train, sets.labels, tasks.TOKENIZER, template, length)
    for example, row, tags, places in zip(sets.train, made.rows, made.tags, made.words, strict=True):
        text = tasks.TOKENIZER.decode(row.tokens)
        assert text == " ".join(example.words)[: len(text)]
        ends = np.cumsum([len(word) + 1 for word in example.words]) - 2  # of their last letters
        begins = np.array([0, *(ends[:-1] + 1)])  # the space before a word is its first piece
        read = [place if place < len(text) else -1 for place in (ends if template is GPT else begins)]
        assert places.tolist() == read
        wanted = {b: sets.labels.index(tag) for b, tag in zip(read, example.tags, strict=True) if b >= 0}
        assert {i: tag for i, tag in enumerate(tags) if tag >= 0} == wanted
