"""A text is cut in as many ways as the originals wrote it out, or anew in every epoch."""

import numpy as np
import pytest

from batch import InputError
from corpora import VOCAB, random_corpus
from data.batches import open_stream
from data.config import DataConfig

CORPUS = random_corpus(documents=12, sentences=5, words=7)
SEED = 3  # draws four different cuts of windows, of which there are only 16
LAYOUTS = {
    "windows": {"layout": "windows"},
    "streams": {"layout": "streams"},
    "pairs": {"layout": "pairs"},
    "segments": {"layout": "pairs", "pair_format": "xlnet"},
}


def epochs(layout: str, passes: int, count: int = 4):
    """For each epoch, the tokens of every example."""
    config = DataConfig(**LAYOUTS[layout], length=16, batch_size=4, passes=passes)
    stream = open_stream(config, CORPUS, VOCAB, seed=SEED, stride=8 if layout == "segments" else None)
    for epoch in range(count):
        batches = [stream.batch(epoch * stream.steps_per_epoch + step) for step in range(stream.steps_per_epoch)]
        assert all((batch.epoch == epoch).all() for batch in batches)
        yield {
            int(example): row.tobytes()
            for batch in batches
            for example, row in zip(batch.example, batch.tokens, strict=True)
        }


def same(first, second) -> bool:
    """Whether the examples that both epochs read hold the same text."""
    shared = first.keys() & second.keys()
    assert len(shared) > len(first) // 2
    return all(first[example] == second[example] for example in shared)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_epoch_reads_the_text_as_the_epoch_before_by_the_number_of_passes(layout):
    cut = list(epochs(layout, passes=2))
    assert same(cut[0], cut[2]) and same(cut[1], cut[3])
    assert not same(cut[0], cut[1]) and not same(cut[2], cut[3])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_a_number_of_passes_every_epoch_is_cut_anew(layout):
    cut = list(epochs(layout, passes=0))
    assert not any(same(cut[i], cut[j]) for i in range(4) for j in range(i))


@pytest.mark.parametrize("layout", ["windows", "pairs"])
def test_the_order_of_reading_is_another_in_every_epoch(layout):
    config = DataConfig(**LAYOUTS[layout], length=16, batch_size=4, passes=1)
    stream = open_stream(config, CORPUS, VOCAB, seed=SEED)
    first, second = (stream.batch(epoch * stream.steps_per_epoch).example for epoch in range(2))
    assert not np.array_equal(first, second)


def test_fewer_passes_than_none_are_refused():
    with pytest.raises(InputError, match=r"data.passes=-1"):
        DataConfig(passes=-1)
