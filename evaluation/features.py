"""What a frozen model makes of each word of a text, layer by layer.

A text is tokenized whole, as in training, and read as one block [start, tokens], alone, the way the model was trained:
a causal model sees one side of each word; MaskedLm and the content stream of PermutationLm see the whole text, and
nothing is hidden. A word's vector is the mean over its tokens.

Each token belongs to the word in which it ends. A word in which none ends (its letters are the front of a token that
goes on into the next word) shares that token, so that no word is lost to any tokenizer.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, Int

from data.alignment import last_characters
from data.tokenizer import AnyTokenizer
from evaluation.batched import Watch, in_batches, silent
from evaluation.blocks import start_token
from evaluation.labels import Sentence
from evaluation.passes import Subject, inputs_of, start_last
from models import Model

SHORTEST = 16
"""Rows are padded to this length times a power of two: few shapes to compile, and little padding."""


@dataclasses.dataclass(frozen=True, eq=False)
class Spelled:
    """The tokens of a text, and which of them are each word's: `first` up to `stop`."""

    tokens: Int[np.ndarray, " T"]
    first: Int[np.ndarray, " W"]
    stop: Int[np.ndarray, " W"]


def spell(tokenizer: AnyTokenizer, sentences: Sequence[Sentence]) -> list[Spelled]:
    """Each sentence as a tokenizer writes it."""
    pieces, rows = tokenizer.pieces, tokenizer.encode_many([sentence.text for sentence in sentences])
    found = []
    for sentence, ids in zip(sentences, rows, strict=True):
        stops, own = np.unique(sentence.stops, return_inverse=True)  # words that are written as one share their tokens
        ends = last_characters([pieces[i] for i in ids.tolist()], sentence.text)
        words = np.minimum(np.searchsorted(stops, ends, side="right"), len(stops) - 1)
        first = np.minimum(np.searchsorted(words, np.arange(len(stops))), max(len(ids) - 1, 0))
        stop = np.maximum(np.searchsorted(words, np.arange(len(stops)), side="right"), first + 1)
        found.append(Spelled(ids, first[own], stop[own]))
    return found


def features(
    subject: Subject, rows: Sequence[Spelled], length: int, batch: int = 64, watch: Watch = silent
) -> Float32[np.ndarray, "N1 I D"]:
    """The vectors of all words of the rows, in their order: of the embeddings, then of each layer.

    Rows have at most `length` - 1 tokens.
    """
    start, read = start_token(subject.vocab), reader(subject)
    counts = np.array([len(row.first) for row in rows])
    begins = np.cumsum(counts) - counts
    sizes = np.array([len(row.tokens) + 1 for row in rows])
    widths = np.minimum(SHORTEST << np.ceil(np.log2(np.maximum(sizes / SHORTEST, 1))).astype(int), length)
    assert (sizes <= widths).all(), "longer texts are left out"

    found, done = None, 0
    for width in np.unique(widths):
        chosen = np.flatnonzero(widths == width)
        most = int(counts[chosen].max())

        def ask(part: Int[np.ndarray, " B"], chosen=chosen, width=int(width), most=most) -> Any:
            return read(subject.params, *_padded([rows[i] for i in chosen[part]], start, width, most))

        for part, answer in in_batches(len(chosen), batch, ask):
            if found is None:
                found = np.empty((len(answer), int(counts.sum()), answer.shape[-1]), np.float32)
            for row, i in enumerate(chosen[part]):
                found[:, begins[i] : begins[i] + counts[i]] = answer[:, row, : counts[i]]
            watch(done + int(part[-1]) + 1, len(rows))
        done += len(chosen)
    assert found is not None, "there are rows"
    return found


def _padded(rows: Sequence[Spelled], start: int, width: int, most: int) -> tuple[np.ndarray, ...]:
    """Tokens after the start, which of them are real, and the words' first and last + 1; 0 to 1 where there is none."""
    tokens = np.full((len(rows), width), start, np.int32)
    real = np.zeros((len(rows), width), bool)
    first, stop = np.zeros((len(rows), most), np.int32), np.ones((len(rows), most), np.int32)
    for i, row in enumerate(rows):
        tokens[i, 1 : len(row.tokens) + 1] = row.tokens
        real[i, : len(row.tokens) + 1] = True
        first[i, : len(row.first)], stop[i, : len(row.stop)] = row.first, row.stop
    return tokens, real, first, stop


def sees(subject: Subject) -> str:
    """Which side of a word is seen along with the word."""
    return "both" if subject.any_order else "right" if subject.backward else "left"


def reader(subject: Subject) -> Callable[..., Float[Array, "N1 B W D"]]:
    """The jitted pass over rows: see `_reader`."""
    return _reader(subject.model, sees(subject))


@functools.cache
def _reader(model: Model, side: str) -> Callable[..., Float[Array, "N1 B W D"]]:
    """A function of parameters, tokens after the start, which are real, and the words' tokens: the words' vectors."""
    graphdef = nnx.graphdef(model)

    def read(
        params: Any,
        tokens: Int[Array, "B L"],
        real: Bool[Array, "B L"],
        first: Int[Array, "B W"],
        stop: Int[Array, "B W"],
    ) -> Float[Array, "N1 B W D"]:
        rows, length = tokens.shape
        index = jnp.broadcast_to(jnp.arange(length)[None], tokens.shape)
        order = {"left": index, "right": -index, "both": jnp.zeros_like(index)}[side]
        shown = start_last(tokens, real) if side == "right" else tokens
        inputs = inputs_of(shown, real, order, jnp.zeros((rows, 1), jnp.int32), blind=False)
        layers = nnx.merge(graphdef, params)(inputs, capture=("layers",)).layers
        assert layers is not None, "captured"
        text = (layers[:, :, :-1] if side == "right" else layers[:, :, 1:]).astype(jnp.float32)
        place = jnp.arange(length - 1)[None, None]
        own = ((place >= first[:, :, None]) & (place < stop[:, :, None])).astype(jnp.float32)
        sums = jnp.einsum("bwl,nbld->nbwd", own, text, precision=jax.lax.Precision.HIGHEST)
        return sums / own.sum(axis=2)[None, :, :, None]

    return jax.jit(read)
