"""What the host decides of a task: which examples, how long, how batched."""

import dataclasses
import re
from typing import Literal

from batch import InputError

Adapt = Literal["full", "frozen", "bias", "lora", "adapters", "gradual"]
"""How a pretrained model is adapted to a task; `finetuning.adaptation` says what each means."""

BELONGS: dict[str, tuple[Adapt, ...]] = {
    "layers": ("frozen",),
    "rank": ("lora",),
    "alpha": ("lora",),
    "bottleneck": ("adapters",),
    "reinitialized": ("full", "gradual"),
}
"""Fields that would mean nothing, or harm, elsewhere."""


@dataclasses.dataclass(frozen=True)
class TaskData:
    """The data of one run of fine-tuning. Everything but `folder` is part of its identity."""

    task: str
    folder: str = ""  # where its files are
    labels: tuple[str, ...] = ()  # the classes, in the order of their numbers; none of a regression
    start: str = "scratch"  # a digest of the checkpoint that it starts from
    adapt: Adapt = "full"  # what is learned beside the head
    layers: str = "last"  # that a frozen trunk is read at: last, a number, last-4 side by side, or weighted
    rank: int = 8  # of the updates that lora learns, as in the paper's RoBERTa; so is alpha
    alpha: float = 8.0  # by alpha / rank these updates are multiplied
    bottleneck: int = 64  # inner width of adapters, as in the paper's tasks of BERT's size
    reinitialized: int = 0  # layers from the top that begin anew all the same (Zhang et al. 2021)
    length: int = 128  # tokens in a row at most; longer examples are cut
    batch_size: int = 32
    shortest: int = 16  # rows are padded to this many tokens, or twice, four times ... as many, up to `length`
    pool: int = 50  # batches whose examples are sorted by length before they are cut, so that little is padding
    choices: int = 0  # the most that an example has, side by side in a row, each of up to `length`; 0: rows are texts
    nullable: bool = False  # whether a question may have no answer
    max_question: int = 64  # tokens of a question at most; more are cut off
    doc_stride: int = 0  # tokens from one window of a context to the next; 0: a third of `length`, as 128 of 384
    max_answer: int = 30  # tokens of an answer at most

    def __post_init__(self):
        counts = ("batch_size", "shortest", "pool", "max_question", "max_answer", "rank", "bottleneck")
        least_of = dict.fromkeys(counts, 1) | {"reinitialized": 0, "length": 8, "doc_stride": 0}
        for field, least in least_of.items():
            if getattr(self, field) < least:
                raise InputError(f"data.{field}={getattr(self, field)}: must be at least {least}.")
        if not re.fullmatch(r"last|weighted|(\d|last-[1-9])\d*", self.layers):
            raise InputError(f"--layers={self.layers}: must be last, a number, as last-4, or weighted.")
        if not self.alpha > 0:
            raise InputError(f"data.alpha={self.alpha}: must be above 0.")
        for field, owners in BELONGS.items():
            value = getattr(self, field)
            if self.adapt not in owners and value != getattr(TaskData, field):
                there = " or ".join(owners)
                flag = "--layers" if field == "layers" else f"data.{field}"
                raise InputError(f"{flag}={value}: belongs to --adapt={there}; leave it out, or adapt so.")

    @property
    def outputs(self) -> int:
        """Scores that a head must have: one a class, or the one number; of what is chosen, one each."""
        return 1 if self.choices else len(self.labels) or 1

    @property
    def window_step(self) -> int:
        """Tokens from one window of a context to the next."""
        return self.doc_stride or -(-self.length // 3)

    @property
    def buckets(self) -> tuple[int, ...]:
        """The lengths that rows are padded to."""
        doubled, bucket, longest = [], self.shortest, self.length * max(self.choices, 1)
        while bucket < longest:
            doubled.append(bucket)
            bucket *= 2
        return (*doubled, longest)
