"""Checkpoints side by side: what each of them is, and the text that all of them can be asked about."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from batch import InputError
from data.prepare import Prepared, prepare
from data.shards import Tokens
from data.tokenizer import AnyTokenizer
from evaluation.blocks import read_text
from evaluation.passes import Subject
from models import Model, build_model
from models.parameters import initialize
from training.checkpoint import Checkpoints
from training.config import Experiment
from training.keys import named_key
from training.restored import stored_params
from training.workdir import check_corpus, opened_experiment, stored_identity, stored_tokenizer

Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    workdir: Path
    step: int
    experiment: Experiment
    tokenizer: AnyTokenizer
    subject: Subject
    label: str = ""  # what it is called; "": as its folder is

    @property
    def name(self) -> str:
        return self.label or str(self.workdir)

    @property
    def is_trained(self) -> bool:
        """Whether it was trained on a corpus of ours, and is not as it was imported."""
        return stored_identity(self.workdir)["corpus_digest"] is not None

    def untrained(self) -> Subject:
        """The same model with the weights that its seed draws."""
        params = _drawn(self.subject.model)(named_key(self.experiment.seed, "initialization"))
        return dataclasses.replace(self.subject, params=params)


@functools.cache
def _drawn(model: Model) -> Callable[[Key[Array, ""]], Any]:
    """The jitted first values of a model, compiled once for all tasks."""
    return jax.jit(functools.partial(initialize, model))


@dataclasses.dataclass(frozen=True, eq=False)
class Text:
    """A held-out text as one checkpoint's tokenizer writes it, and the training text that baselines count."""

    tokens: Tokens
    train: Tokens | None


def open_checkpoint(workdir: Path, which: str) -> Checkpoint:
    """The checkpoint `which` ("latest", "best" or a step) of a run. Raises InputError where there is none."""
    experiment, tokenizer = opened_experiment(workdir), stored_tokenizer(workdir)
    assert tokenizer is not None, "there is an experiment"
    step = Checkpoints(workdir).resolve(which)
    size = tokenizer.vocab.size
    model = build_model(experiment.model, size, precision=experiment.precision, remat=experiment.remat)
    params = jax.tree.map(jnp.asarray, stored_params(workdir, step))
    subject = Subject(experiment.model, model, params, experiment.objective, tokenizer.vocab)
    return Checkpoint(workdir, step, experiment, tokenizer, subject)


def common_length(checkpoints: Sequence[Checkpoint], asked: int) -> int:
    """Tokens of a block, the start included: what was asked for, or the shortest window of training.

    Raises InputError where a model has fewer positions.
    """
    length = asked or min(checkpoint.experiment.data.length for checkpoint in checkpoints)
    if length < 2:
        raise InputError(f"--length={length}: must be at least 2, the start and a token.")
    for checkpoint in checkpoints:
        longest = checkpoint.experiment.model.longest_window
        if longest is not None and length > longest:
            raise InputError(
                f"--length={length}: {checkpoint.workdir} has model.max_length={longest} positions; set a length up "
                "to that."
            )
    return length


def held_out_texts(checkpoints: Sequence[Checkpoint], split: str, report: Report) -> list[Text]:
    """The held-out split that all checkpoints have in common, for each of them.

    Imported parameters were trained on none of our corpora and take that of the others. Raises InputError where
    corpora or shares differ.
    """
    first = next((each for each in checkpoints if each.is_trained), checkpoints[0])
    data = first.experiment.data
    if split == "test" and not data.test:
        raise InputError("--split=test: the run has data.test=0.0 and kept no such text; use --split=validation.")
    texts, digests = [], []
    for each in checkpoints:
        own = each.experiment.data if each.is_trained else data
        prepared = prepare(own, report, each.tokenizer)
        check_corpus(each.workdir, prepared)
        texts.append(_text(prepared, split))
        digests.append((prepared.corpus_digest[:16], own.validation, own.test))
    expected = digests[checkpoints.index(first)]
    for each, found in zip(checkpoints, digests, strict=True):
        for field, own, other in zip(("corpus", "validation", "test"), found, expected, strict=True):
            if own != other:
                raise InputError(
                    f"--workdir={each.workdir}: its data.{field} ({own}) is not that of {first.workdir} ({other}), so "
                    "that they have no held-out text in common; give one with --text=PATH."
                )
    return texts


def given_texts(checkpoints: Sequence[Checkpoint], path: str, report: Report) -> list[Text]:
    """The text of a file, a folder or a glob for each checkpoint; without baselines where their corpus is gone."""
    read: dict[str, Tokens] = {}
    texts = []
    for each in checkpoints:
        digest = each.tokenizer.digest
        if digest not in read:
            read[digest] = read_text(path, each.tokenizer)
        texts.append(Text(read[digest], training_text(each, report)))
    return texts


def training_text(checkpoint: Checkpoint, report: Report) -> Tokens | None:
    """What the checkpoint was trained on, for baselines to count; None where it is gone."""
    try:
        return prepare(checkpoint.experiment.data, report, checkpoint.tokenizer).train
    except InputError as error:
        report(f"no n-gram baselines for {checkpoint.workdir}: {error}")
        return None


def _text(prepared: Prepared, split: str) -> Text:
    if not prepared.splits[split].num_tokens:
        raise InputError(f"--split={split}: it holds no text; give more documents, or --text=PATH.")
    return Text(prepared.splits[split], prepared.train)
