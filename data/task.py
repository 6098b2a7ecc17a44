"""What the host decides of a task: which examples, how long, how batched."""

import dataclasses
from typing import Literal

from batch import InputError


@dataclasses.dataclass(frozen=True)
class TaskData:
    """The data of one run of fine-tuning. Everything but `folder` is part of its identity."""

    task: str
    folder: str = ""  # where its files are
    labels: tuple[str, ...] = ()  # the classes, in the order of their numbers; none of a regression
    start: str = "scratch"  # a digest of the checkpoint that it starts from
    adapt: Literal["full", "frozen", "bias"] = "full"  # what is learned beside the head: all, nothing, or biases
    reinitialized: int = 0  # layers from the top that begin anew all the same (Zhang et al. 2021)
    length: int = 128  # tokens in a row at most; longer examples are cut
    batch_size: int = 32
    shortest: int = 16  # rows are padded to this many tokens, or twice, four times ... as many, up to `length`
    pool: int = 50  # batches whose examples are sorted by length before they are cut, so that little is padding

    def __post_init__(self):
        for field, least in (("reinitialized", 0), ("length", 8), ("batch_size", 1), ("shortest", 1), ("pool", 1)):
            if getattr(self, field) < least:
                raise InputError(f"data.{field}={getattr(self, field)}: must be at least {least}.")

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
