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

    def __post_init__(self):
        least = dict.fromkeys(("batch_size", "shortest", "pool", "rank", "bottleneck"), 1)
        for field, number in (least | {"reinitialized": 0, "length": 8}).items():
            if getattr(self, field) < number:
                raise InputError(f"data.{field}={getattr(self, field)}: must be at least {number}.")
        if not re.fullmatch(r"last|weighted|(\d|last-[1-9])\d*", self.layers):
            raise InputError(f"data.layers={self.layers}: must be last, a number, as last-4, or weighted.")
        if not self.alpha > 0:
            raise InputError(f"data.alpha={self.alpha}: must be above 0.")
        for field, owners in BELONGS.items():
            value = getattr(self, field)
            if self.adapt not in owners and value != getattr(TaskData, field):
                there = " or ".join(owners)
                raise InputError(f"data.{field}={value}: belongs to --adapt={there}; leave it out, or adapt so.")

    @property
    def outputs(self) -> int:
        """Scores that a head must have: one a class, or the one number."""
        return len(self.labels) or 1

    @property
    def buckets(self) -> tuple[int, ...]:
        """The lengths that rows are padded to."""
        doubled, bucket = [], self.shortest
        while bucket < self.length:
            doubled.append(bucket)
            bucket *= 2
        return (*doubled, self.length)
