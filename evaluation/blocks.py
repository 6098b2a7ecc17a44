"""Held-out text in blocks: what every model is asked about, the same tokens after the same start."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Int64

from batch import InputError, Vocab
from data.config import DataConfig
from data.corpus import open_corpus
from data.shards import Tokens, open_tokens, tokens_writer
from data.tokenizer import AnyTokenizer


@dataclasses.dataclass(frozen=True, eq=False)
class Blocks:
    """Rows `[first, x_1, ..., x_n]` of one shape, each inside one document, padded on the right.

    `first` is the start token, which nobody is asked for; or, where memory is carried and the block goes on with its
    document, the token before the block.
    """

    tokens: Int[np.ndarray, "N L"]
    source: Int64[np.ndarray, "N L"]  # which token of the text; -1 at `first` and at padding
    scored: Bool[np.ndarray, "N L"]  # what is asked: text, and no special
    byte_length: Int[np.ndarray, "N L"]  # of the decoded tokens; 0 where nothing is asked
    word: Int64[np.ndarray, "N L"]  # equal within a word; -1 where there is no text
    document: Int64[np.ndarray, " N"]
    fresh: Bool[np.ndarray, " N"]  # begins with the start token

    @property
    def real(self) -> Bool[np.ndarray, "N L"]:
        """Everything but padding."""
        real = self.source >= 0
        real[:, 0] = True
        return real

    @property
    def num_blocks(self) -> int:
        return len(self.tokens)

    @property
    def length(self) -> int:
        return self.tokens.shape[1]

    @property
    def num_bytes(self) -> int:
        return int(self.byte_length.sum())

    @property
    def num_documents(self) -> int:
        return len(np.unique(self.document))

    @property
    def unknown(self) -> int:
        """Tokens of the text that are special: what the vocabulary cannot spell."""
        return int(((self.source >= 0) & ~self.scored).sum())


def start_token(vocab: Vocab) -> int:
    """What stands before a text for every model: [END], else [CLS], else [SEP]. Raises InputError without any."""
    for token in (vocab.end, vocab.cls, vocab.sep):
        if token is not None:
            return token
    raise InputError(
        "vocab: has neither an end of documents nor [CLS] nor [SEP], so that no text can begin; use a tokenizer "
        "that has one of them."
    )


def emittable(vocab: Vocab) -> Bool[np.ndarray, " V"]:
    """The ids that text can hold: neither special, nor the end of a document, nor the start."""
    table = ~vocab.is_special
    table[[start_token(vocab), *([] if vocab.end is None else [vocab.end])]] = False
    return table


def cut(tokens: Tokens, vocab: Vocab, length: int, *, carried: bool = False) -> Blocks:
    """The documents of a split in blocks of at most `length` - 1 tokens; the last of a document may be shorter.

    `carried` puts the token before a block in place of the start where the block is not the first of its document.
    """
    size, start = length - 1, start_token(vocab)
    ids = np.asarray(tokens.tokens)
    begins, ends = np.asarray(tokens.documents[:-1]), np.asarray(tokens.documents[1:])
    if vocab.end is not None:  # the last token of a document, where it has one
        ends = ends - ((ends > begins) & (ids[np.maximum(ends, 1) - 1] == vocab.end))
    counts = -(-(ends - begins) // size)
    document = np.repeat(np.arange(len(begins)), counts)
    within = np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = begins[document] + within * size
    if not len(first):
        raise InputError("the held-out text is empty: there is nothing to score; give more text.")
    source = first[:, None] + np.arange(-1, size)
    source[(source >= ends[document][:, None]) | (np.arange(length) == 0)] = -1
    text = source >= 0
    row = np.where(text, ids[source], vocab.pad or 0).astype(np.int32)
    fresh = (within == 0) | (not carried)
    row[:, 0] = np.where(fresh, start, ids[first - 1])
    scored = text & emittable(vocab)[row]
    words = np.cumsum(tokens.word_start)
    return Blocks(
        tokens=row,
        source=source,
        scored=scored,
        byte_length=np.where(scored, tokens.byte_length[source], 0).astype(np.int32),
        word=np.where(text, words[source], -1),
        document=document,
        fresh=fresh,
    )


def read_text(path: str, tokenizer: AnyTokenizer) -> Tokens:
    """The tokens of a file, a folder or a glob of text. Raises InputError where there is none to read."""
    try:
        corpus = open_corpus(DataConfig(corpus=path))
        with tempfile.TemporaryDirectory() as folder:
            with tokens_writer(Path(folder) / "text", tokenizer) as writer:
                for document in corpus.documents():
                    writer.add(document)
            mapped = open_tokens(Path(folder) / "text")
            names = [field.name for field in dataclasses.fields(Tokens)]
            return Tokens(**{name: np.array(getattr(mapped, name)) for name in names})
    except InputError as error:
        raise InputError(str(error).replace("data.corpus", "--text")) from None
