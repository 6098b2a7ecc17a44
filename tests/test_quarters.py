"""Sentences of held-out text alone, each once, with the quarter of the corpus that their document begins in."""

import collections
import itertools

import pytest

import commands
from data.config import DataConfig
from data.prepare import prepare
from finetuning.quarters import QUARTERS, quarters


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The task of a corpus, the corpus, and the text of each of its splits as pretraining has it."""
    common = "This very sentence stands in each of all documents.\n\n"
    folder, text = tmp_path_factory.mktemp("quarters"), commands.text(120, 6).replace("\n\n", f"\n{common}")
    (folder / "corpus.txt").write_text(text)
    shares = {"validation": 0.3, "test": 0.3}
    config = DataConfig(str(folder / "corpus.txt"), cache=str(folder / "cache"), tokenizer="bytes", **shares)
    prepared = prepare(config, lambda line: None)
    texts = {
        split: b"".join(prepared.tokenizer.pieces[i] for i in tokens.tokens.tolist()).decode()
        for split, tokens in prepared.splits.items()
    }
    return quarters(config), text, texts


def test_an_example_is_a_sentence_that_pretraining_has_not_read_and_its_quarter(made):
    sets, text, texts = made
    blocks = text.split("\n\n")
    sizes = [len(block.strip("\n")) + 1 for block in blocks]
    begins = list(itertools.accumulate(sizes, initial=0))
    for examples, split in ((sets.train, "validation"), (sets.dev, "test")):
        assert len(examples) > 50 and [each.name for each in examples] == [str(i) for i in range(len(examples))]
        assert {each.label for each in examples} == set(QUARTERS)
        for each in examples:
            (sentence,) = each.texts
            assert 6 <= len(sentence.split(" ")) <= 24 and sentence in texts[split]
            (first, *_) = [i for i, block in enumerate(blocks) if sentence in block.split("\n")]
            assert each.label == QUARTERS[int(4 * begins[first] / begins[-1])]
    assert not any(each.texts[0] in texts["train"] for each in (*sets.train, *sets.dev))


def test_no_sentence_is_asked_twice(made):
    sets, _, _ = made
    counts = collections.Counter(each.texts[0] for each in (*sets.train, *sets.dev))
    assert counts.most_common(1)[0][1] == 1
