"""From a corpus to token shards: split by document, train the tokenizer on the training part, tokenize, cache."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import sentencepiece

from batch import InputError, Vocab
from data.building import BUILDING, alone, remove_abandoned
from data.config import DataConfig
from data.corpus import DIGESTS, Corpus, Document, open_corpus
from data.parts import tokenize
from data.shards import FORMAT, Tokens, open_tokens
from data.splits import SPLITS, SplitPlan, plan_splits
from data.tokenizer import RECIPE, AnyTokenizer, Tokenizer, load_tokenizer, train_tokenizer

COMPLETE = "complete.txt"
"""Written last; it holds what there is to say of the split."""

TRAINED, TRAINING = "tokenizer", ".tokenizer"
"""The tokenizer, and while it is being written."""

Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """A corpus ready for batches."""

    train: Tokens
    validation: Tokens
    test: Tokens
    tokenizer: AnyTokenizer
    corpus_digest: str
    description: str  # name, package versions, digest, documents and bytes of each split

    @property
    def splits(self) -> dict[str, Tokens]:
        """The three parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def vocab(self) -> Vocab:
        return self.tokenizer.vocab

    @property
    def tokenizer_digest(self) -> str:
        return self.tokenizer.digest


def prepare(config: DataConfig, report: Report, tokenizer: AnyTokenizer | None = None) -> Prepared:
    """The tokenized corpus of `config`, from the cache or built into it; `report` gets a line for each slow stage.

    `tokenizer` is one to use instead of training one (a checkpoint's). Raises InputError on a corpus that cannot be
    read, split or fill the vocabulary. Processes that prepare the same data at once do not disturb each other.
    """
    if config.tokenizer == "imported" and tokenizer is None:
        raise InputError(
            "data.tokenizer=imported: there is none beside the run; name the workdir that has it as init_from, or "
            "train one with data.tokenizer=unigram."
        )
    cache = make_cache(config)
    corpus = open_corpus(config, report)
    folder = cache / f"tokens-{_key(config, corpus, tokenizer)}"
    if not _is_complete(folder):
        _build(folder, corpus, config, report, tokenizer)
    if note := (folder / COMPLETE).read_text():
        report(note)
    splits = {split: open_tokens(folder / split) for split in SPLITS}
    sizes = (f"{name} {s.num_documents:,} documents, {s.num_bytes:,} bytes" for name, s in splits.items())
    return Prepared(
        **splits,
        tokenizer=tokenizer or load_tokenizer(folder / TRAINED),
        corpus_digest=corpus.digest,
        description="; ".join([corpus.describe(), *sizes]),
    )


def make_cache(config: DataConfig) -> Path:
    """The folder that `config` names as its cache, made if need be. Raises InputError where it cannot be written."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # of a NUL; of the home of nobody
        cache = Path(config.cache).expanduser()
        (cache / DIGESTS).mkdir(parents=True, exist_ok=True)
        if os.access(cache, os.W_OK):
            return cache
    raise InputError(f"data.cache={config.cache}: the folder cannot be written; name another one.")


def with_known_cache(config: DataConfig) -> DataConfig:
    """The same data with the default cache, unless its own is a cache already, made by whoever named it.

    A run that came from elsewhere names a folder, too, and nothing is to be written where a stranger says.
    """
    known = os.path.isdir(os.path.join(os.path.expanduser(config.cache), DIGESTS))
    return config if known else dataclasses.replace(config, cache=DataConfig.cache)


def _is_complete(folder: Path) -> bool:
    return (folder / COMPLETE).exists()


def _key(config: DataConfig, corpus: Corpus, tokenizer: AnyTokenizer | None) -> str:
    """Changes when corpus, tokenizer, split or format do."""
    if tokenizer or config.tokenizer == "bytes":
        how = [(tokenizer or Tokenizer("bytes")).digest]
    else:
        how = [config.tokenizer, config.vocab_size, config.tokenizer_sample, sentencepiece.__version__, RECIPE]
    parts = [FORMAT, corpus.digest, config.validation, config.test, *how]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _build(folder: Path, corpus: Corpus, config: DataConfig, report: Report, tokenizer: AnyTokenizer | None) -> None:
    """Builds beside `folder` and moves it there whole, unless another process was faster.

    A build that was stopped is gone on with; one whose corpus or configuration is wrong leaves nothing behind.
    """
    remove_abandoned(folder.parent)
    building = folder.with_name(f"{BUILDING}{folder.name}")
    with alone(building, report):
        if _is_complete(folder):
            building.rmdir()
            return
        try:
            if not _is_complete(building):
                _write(building, corpus, config, report, tokenizer)
        except InputError:
            shutil.rmtree(building)
            raise
        except OSError as error:
            raise InputError(
                f"data.cache={config.cache}: the corpus could not be tokenized ({error.strerror}); mend that, and the "
                "same command goes on."
            ) from None
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(building, folder)


def _write(folder: Path, corpus: Corpus, config: DataConfig, report: Report, tokenizer: AnyTokenizer | None) -> None:
    report(f"reading {corpus.name}")
    plan = plan_splits(corpus.documents, config.validation, config.test)
    if not (folder / TRAINED).exists():
        (tokenizer or _tokenizer(corpus, plan, config, report)).save(folder / TRAINING)
        os.rename(folder / TRAINING, folder / TRAINED)
    total = sum(plan.num_bytes.values())
    tokenize(folder, plan.parts(corpus.documents()), total, folder / TRAINED, _Progress(total, report))
    (folder / COMPLETE).write_text(plan.note)


def _tokenizer(corpus: Corpus, plan: SplitPlan, config: DataConfig, report: Report) -> AnyTokenizer:
    """The tokenizer that `config` names, trained on the training part of the corpus only."""
    if config.tokenizer == "bytes":
        return Tokenizer("bytes")
    assert config.tokenizer != "imported", "prepare has refused it"
    total = plan.num_bytes["train"]
    sample = min(config.tokenizer_sample, total)
    report(f"training the tokenizer ({config.tokenizer}, {config.vocab_size} pieces) on {sample:,} bytes")
    train = (document for split, document in plan.parts(corpus.documents()) if split == "train")
    return train_tokenizer(config.tokenizer, config.vocab_size, _sample(train, sample, total))


def _sample(documents: Iterable[Document], sample: int, total: int) -> Iterator[str]:
    """Texts of at most `sample` bytes, taken evenly over documents of `total` bytes: lines, or words where marked."""
    seen = taken = 0
    for document in documents:
        for number, line in enumerate(document.lines):
            size = len(line.encode()) + 1
            seen += size
            if (taken + size) * total <= sample * seen:
                taken += size
                yield from document.words[number] if document.words else (line,)


class _Progress:
    """Reports the share done and the time left, every few seconds."""

    def __init__(self, total: int, report: Report, every: float = 5.0):
        self._total, self._report, self._every = total, report, every
        self._done, self._began = 0, time.monotonic()
        self._next = self._began + every

    def __call__(self, done: int) -> None:
        self._done += done
        if (now := time.monotonic()) >= self._next:
            left = (now - self._began) * (self._total - self._done) / self._done
            self._report(f"tokenizing: {self._done / self._total:.0%} of {self._total:,} bytes, {left:.0f} s left")
            self._next = now + self._every
