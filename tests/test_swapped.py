"""Sentences with two words swapped: made of held-out text alone, and told by nothing but the order of words."""

import collections
import itertools

import pytest

import commands
from data.config import DataConfig
from data.prepare import prepare
from finetuning.swapped import INTACT, SWAPPED, swapped_neighbors


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The task of a corpus, and the text of each of its splits as pretraining has it."""
    folder = tmp_path_factory.mktemp("swapped")
    odd = 'He said "Stop now" and left the old house. A boat, a stone, a tree; light. The the the the the the the.\n'
    (folder / "corpus.txt").write_text("\n".join(commands.text(60, 6, seed) + odd for seed in range(2)))
    config = DataConfig(
        corpus=str(folder / "corpus.txt"),
        cache=str(folder / "cache"),
        tokenizer="bytes",
        validation=0.3,
        test=0.3,
    )
    prepared = prepare(config, lambda line: None)
    texts = {
        split: b"".join(prepared.tokenizer.pieces[i] for i in tokens.tokens.tolist()).decode()
        for split, tokens in prepared.splits.items()
    }
    return swapped_neighbors(config), texts


def unswapped(words):
    """Every sentence that a swap of two neighbors makes these words of."""
    return [[*words[:i], words[i + 1], words[i], *words[i + 2 :]] for i in range(len(words) - 1)]


def test_an_example_is_a_sentence_of_its_split_or_one_swap_away_from_it(made):
    sets, texts = made
    for examples, split in ((sets.train, "validation"), (sets.dev, "test")):
        assert len(examples) > 20 and [each.name for each in examples] == [str(i) for i in range(len(examples))]
        for each in examples:
            (text,) = each.texts
            words = text.split(" ")
            assert 6 <= len(words) <= 24
            if each.label == INTACT:
                assert text in texts[split]
                continue
            origins = [own for own in unswapped(words) if " ".join(own) in texts[split]]
            assert origins, text
            moved = {word for own in origins for word, other in zip(own, words, strict=True) if word != other}
            assert len(moved) >= 2 and all(word.isalpha() and word.islower() for word in moved)


def test_no_sentence_is_asked_twice_and_both_labels_are_about_as_frequent(made):
    sets, _ = made
    every = [each.texts[0] for each in itertools.chain(sets.train, sets.dev)]
    assert len(set(every)) == len(every)
    bags = collections.Counter(frozenset(collections.Counter(text.split()).items()) for text in every)
    assert bags.most_common(1)[0][1] == 1, "a sentence is intact or swapped, and not both"
    labels = collections.Counter(each.label for each in itertools.chain(sets.train, sets.dev))
    assert set(labels) == {INTACT, SWAPPED} and min(labels.values()) > 0.35 * len(every)
