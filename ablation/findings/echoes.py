"""What a memory is worth where the past matters only from afar (Dai et al. 2019, section 3.2)."""

import dataclasses

import numpy as np

from ablation.findings.asking import asked_model, reads_from, source_of
from ablation.results import Metric
from ablation.yardsticks import Items, Measured, Yardstick
from data.sources.echo import Echo
from evaluation.batched import Watch
from evaluation.blocks import Blocks, cut
from evaluation.likelihood import carried
from evaluation.task import Entry
from training.config import Experiment

BLOCKS = 1024
"""Of held-out text, windows long, that are read one after the other."""

REPEATS = Metric(
    "repeated symbols",
    "bits/symbol",
    "less",
    "Loss of symbols that have one a period before them, which no window reaches back to; the memory is carried on.",
)


def repeated_symbols() -> Yardstick:
    """The left-to-right loss where the source repeats itself, with the memory that a model has."""

    def measure(entry: Entry, watch: Watch) -> Measured:
        source = source_of(entry.checkpoint.experiment, Echo)
        subject, tokens = asked_model(entry, source).subject, entry.text.tokens
        blocks = cut(tokens, subject.vocab, entry.checkpoint.experiment.data.length, carried=True)
        blocks = Blocks(**{name: values[:BLOCKS] for name, values in vars(blocks).items()})
        begins = np.asarray(tokens.documents)[blocks.document]
        repeats = blocks.scored & (blocks.source - begins[:, None] >= source.period)
        score = carried(subject, dataclasses.replace(blocks, scored=repeats), watch=watch)
        block, nats = score.tokens.block, score.tokens.nats
        count = np.bincount(block, minlength=blocks.num_blocks)
        found = np.bincount(block, nats / np.log(2), blocks.num_blocks)
        return {REPEATS.name: Items(found[count > 0], count[count > 0].astype(np.float64))}

    return Yardstick((REPEATS,), measure, f"repeated symbols of {BLOCKS}", _asks)


def _asks(experiment: Experiment) -> bool:
    return reads_from("echo")(experiment) and bool({"right", "query"} & set(experiment.objective.reads))
