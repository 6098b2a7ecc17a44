"""What is pretraining worth to a task? BERT, GPT and XLNet, each fine-tuned beside the same model from random weights.

Without an argument nothing needs to be there: the task is in which quarter of the embedded corpus a sentence stands
(`finetuning.quarters`). `finetuning.py:sst-2=DIR` asks a task of finetune.py, whose files are in DIR.
"""

import dataclasses

from ablation.choices import cloze_words
from ablation.claims import claim
from ablation.finetuned import fine_tuned
from ablation.suite import Suite
from batch import InputError
from configs.shared import TINY
from finetuning.quarters import quarters
from objectives import MaskedLm, PermutationLm

DATA = dataclasses.replace(TINY.data, validation=0.1)  # its sentences are what the task is learned from


def get_suite(task: str = "") -> Suite:
    name, _, folder = task.partition("=")
    if task and not (name and folder):
        raise InputError(f"suite: finetuning.py:{task}: names no task and folder; write finetuning.py:sst-2=DIR.")
    yardstick = fine_tuned(name, folder) if task else fine_tuned(quarters(DATA))
    score, _, gained = (metric.name for metric in yardstick.metrics)
    return Suite(
        question="What is pretraining worth to a task, and which model's is worth most?",
        base=dataclasses.replace(TINY.gpt(), data=DATA),
        arms={
            "GPT": {},
            "BERT": {"model": TINY.bert().model, "objective": MaskedLm()},
            "XLNet": {"model": TINY.xlnet().model, "objective": PermutationLm()},
        },
        yardsticks=(cloze_words(), yardstick),
        claims=(
            *(claim(f"pretraining helps {arm}", gained, arm, above=0) for arm in ("GPT", "BERT", "XLNet")),
            claim("what sees both sides scores more than GPT", score, "BERT", better_than="GPT"),
        ),
    )
