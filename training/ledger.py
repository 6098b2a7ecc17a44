"""What a run has spent since it began, and how fast it goes."""

import dataclasses
import hashlib
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

SPENT = ("stream", "tokens", "predicted", "skipped")
"""Fields of a record that count since the run began."""


class Read(NamedTuple):
    """What the host knows of a batch."""

    digest: bytes
    tokens: int


@dataclasses.dataclass
class Ledger:
    """What has been spent: tokens and targets since the run began, and this execution's time.

    `stream` is a digest of all tokens that were read: runs whose digests agree at a step read the same until then.
    """

    stream: str = ""
    tokens: int = 0
    predicted: int = 0
    skipped: int = 0  # steps whose loss or gradient was not finite
    timed_tokens: int = 0
    seconds: float = 0.0
    since: float | None = None  # when the step before ended; None where the time until now does not count

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Ledger":
        """Goes on from what `spent` gave; other values, and values of other types, are passed over."""
        kinds = {name: type(getattr(cls, name)) for name in SPENT}
        return cls(**{name: values[name] for name in SPENT if isinstance(values.get(name), kinds[name])})

    @property
    def spent(self) -> dict[str, Any]:
        """What a checkpoint must keep, so that a resumed run counts on."""
        return {name: getattr(self, name) for name in SPENT}

    def add(self, read: Read, predicted: int, skipped: int) -> None:
        """Counts one step that has just ended."""
        now = time.monotonic()
        self.stream = hashlib.blake2b(self.stream.encode() + read.digest, digest_size=8).hexdigest()
        self.tokens, self.predicted = self.tokens + read.tokens, self.predicted + predicted
        self.skipped += skipped
        if self.since is not None:
            self.timed_tokens, self.seconds = self.timed_tokens + read.tokens, self.seconds + now - self.since
        self.since = now

    @property
    def tokens_per_second(self) -> float:
        return self.timed_tokens / self.seconds if self.seconds else 0.0
