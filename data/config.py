"""What the host decides: which text, cut how, in which order."""

import dataclasses
from typing import Literal

from batch import InputError
from data.remote import check_local


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The data of one experiment. Everything but `cache` (and the path of `corpus`) is part of its identity."""

    corpus: str = "docstrings"  # or files of .txt .gz .jsonl, here or at gs://, s3://, https://, or markov:symbols=16
    text_field: str = "text"  # of .jsonl lines
    word_separator: str = ""  # marks word boundaries in the corpus and is removed (for Chinese segmentations)
    tokenizer: Literal["unigram", "bpe", "bytes", "imported"] = "unigram"  # imported: came with its weights
    vocab_size: int = 4096  # ignored by "bytes"
    tokenizer_sample: int = 10_000_000  # bytes of training text the tokenizer learns from
    validation: float = 0.05  # share of the text, by whole documents
    test: float = 0.05
    layout: Literal["windows", "streams", "pairs"] = "windows"
    length: int = 128  # tokens in a row, L
    batch_size: int = 16  # rows of a global batch, B
    passes: int = 0  # ways the text is cut or paired, read in turn by the epochs; 0: a new one in every epoch
    isolate: bool = False  # packed documents do not see each other
    directions: Literal["forward", "both"] = "forward"  # both: the second half of the rows reads backwards (streams)
    pair_format: Literal["bert", "xlnet"] = "bert"  # [CLS] A [SEP] B [SEP], or inp A [SEP] B [SEP] [CLS]
    pair_task: Literal["next", "order"] = "next"  # is B the continuation of A (NSP), or are A and B swapped (SOP)
    pair_balance: Literal["reference", "balanced"] = "reference"  # the original's skew towards random B, or one half
    short_rate: float = 0.1  # share of pair rows drawn shorter than `length`
    cache: str = "~/.cache/orderly"  # tokenized corpora, rebuilt when corpus or tokenizer change

    def __post_init__(self):
        check_local("data.cache", self.cache)
        for field, least in (
            ("length", 4),
            ("batch_size", 1),
            ("vocab_size", 16),
            ("tokenizer_sample", 1),
            ("passes", 0),
        ):
            value = getattr(self, field)
            if value < least:
                raise InputError(f"data.{field}={value}: must be at least {least}.")
        for field in ("validation", "test", "short_rate"):
            value = getattr(self, field)
            if not 0 <= value < 1:
                raise InputError(f"data.{field}={value}: must be a share, at least 0 and below 1.")
        if self.validation + self.test >= 1:
            raise InputError(
                f"data.validation={self.validation} and data.test={self.test}: they leave nothing to train on; "
                "their sum must be below 1."
            )
        if self.directions == "both" and self.batch_size % 2:
            raise InputError(
                f"data.batch_size={self.batch_size}: data.directions=both reads half of the rows backwards; "
                "choose an even batch size."
            )
        if self.directions == "both" and self.layout == "windows":
            raise InputError("data.directions=both: windows have no reading direction; use data.layout=streams.")

    def pass_of(self, epoch: int) -> int:
        """The way in which an epoch reads the text."""
        return epoch % self.passes if self.passes else epoch
