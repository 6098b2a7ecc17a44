"""Small tasks in memory, and checkpoints to start them from, for the tests of fine-tuning."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

import commands
from data.tokenizer import Tokenizer
from finetuning.examples import Answer, Choice, Labeled, Question, Tagged
from finetuning.task import Sets, Task
from models import BertConfig, GptConfig, ModelConfig, XlnetConfig, build_model
from models.parameters import initialize
from objectives import CausalLm, MaskedLm, PermutationLm
from training.checkpoint import Checkpoints
from training.config import Experiment
from training.workdir import claim_imported

TOKENIZER = Tokenizer("bytes")
TRUNK: dict[str, Any] = {"num_layers": 2, "num_heads": 2, "model_dim": 16, "mlp_dim": 32, "initializer_range": 0.1}
CONFIGS: dict[str, ModelConfig] = {
    "bert": BertConfig(**TRUNK, max_length=64),
    "gpt": GptConfig(**TRUNK, max_length=64),
    "xlnet": XlnetConfig(**TRUNK, memory_length=8),
}
OBJECTIVES = {"bert": MaskedLm(), "gpt": CausalLm(), "xlnet": PermutationLm()}
WORDS = ("boat", "old", "tree", "light")


def checkpoint(folder: Path, model: str, seed: int = 7) -> Path:
    """The workdir of a pretrained run of a model, parameters alone, as convert.py leaves one."""
    experiment = Experiment(CONFIGS[model], OBJECTIVES[model])
    built = build_model(experiment.model, TOKENIZER.vocab.size)
    with commands.quick(), Checkpoints(folder) as checkpoints:
        claim_imported(folder, experiment, TOKENIZER)
        checkpoints.save(0, {"params": jax.jit(lambda key: initialize(built, key))(jax.random.key(seed))})
    return folder


@functools.cache
def pretrained(model: str) -> Path:
    """One of them, which the tests of a process share."""
    folder = Path(tempfile.mkdtemp(prefix="orderly-pretrained-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return checkpoint(folder / model, model)


def sentences(count: int, seed: int, texts: int = 1) -> list[Labeled]:
    """Short texts; the first begins with `yes` or with `no`, which is the label."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        label = ("no", "yes")[int(rng.integers(2))]
        parts = [" ".join(rng.choice(WORDS, rng.integers(1, 4))) for _ in range(texts)]
        found.append(Labeled(str(i), (f"{label} {parts[0]}", *parts[1:]), label))
    return found


def classification(texts: int = 1, train: int = 40, dev: int = 20) -> Sets:
    task = Task("yesno" if texts == 1 else "pairs", "classification", ("accuracy",))
    return Sets(task, ("no", "yes"), sentences(train, 0, texts), sentences(dev, 1, texts))


def regression(train: int = 40, dev: int = 20) -> Sets:
    """How many words a text has."""
    counted = [
        [Labeled(each.name, each.texts, str(float(each.texts[0].count(" ")))) for each in sentences(count, seed)]
        for count, seed in ((train, 0), (dev, 1))
    ]
    return Sets(Task("words", "regression", ("pearson",)), (), *counted)


def tagging(train: int = 40, dev: int = 20) -> Sets:
    """Whether a word is `old`."""

    def tagged(each: Labeled) -> Tagged:
        words = tuple(each.texts[0].split())
        return Tagged(each.name, words, tuple("OX"[word == "old"] for word in words), (True,) * len(words))

    both = [[tagged(each) for each in sentences(count, seed)] for count, seed in ((train, 0), (dev, 1))]
    return Sets(Task("old", "tagging", ("tag_accuracy",)), ("O", "X"), *both)


def chosen(count: int, seed: int) -> list[Choice]:
    """Endings of which one begins with `yes`; some examples have fewer."""
    rng, found = np.random.default_rng(seed), []
    for i in range(count):
        right, there = int(rng.integers(2)), 3 - i % 3 // 2
        endings = [f"{'yes' if k == right else 'no'} {rng.choice(WORDS)}" if k < there else "" for k in range(3)]
        found.append(Choice(str(i), " ".join(rng.choice(WORDS, rng.integers(1, 3))), tuple(endings), right))
    return found


def choice(train: int = 40, dev: int = 20) -> Sets:
    return Sets(Task("choose", "choice", ("accuracy",)), ("0", "1", "2"), chosen(train, 0), chosen(dev, 1))


def asked(count: int, seed: int, nullable: bool) -> list[Question]:
    """Which word stands in brackets; with `nullable` there is none in every third context."""
    rng, found = np.random.default_rng(seed), []
    for i in range(count):
        words, place = [str(word) for word in rng.choice(WORDS, rng.integers(3, 9))], int(rng.integers(3))
        answer = Answer(f"[{words[place]}]", sum(len(word) + 1 for word in words[:place]))
        impossible = nullable and i % 3 == 0
        words[place] = words[place] if impossible else answer.text
        answers = () if impossible else (answer,)
        found.append(Question(f"q{seed}-{i}", "which?", " ".join(words), answers, impossible))
    return found


def extraction(nullable: bool = False, train: int = 40, dev: int = 20) -> Sets:
    task = Task("none" if nullable else "which", "extraction", ("exact", "answer_f1"))
    return Sets(task, (), asked(train, 2, nullable), asked(dev, 3, nullable))
