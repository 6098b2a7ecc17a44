"""Text that a vocabulary cannot spell: how much of it there is, and when it is too much."""

import numpy as np

from batch import InputError
from data.shards import Tokens
from data.tokenizer import AnyTokenizer

TOO_MUCH = 0.01
"""Share of the tokens: text of which a vocabulary cannot spell more is another text."""


def check_spelling(name: str, tokens: Tokens, tokenizer: AnyTokenizer) -> None:
    """Raises InputError where too many tokens of a text are special: the unknown token, for what has no other."""
    unknown = int(tokenizer.vocab.is_special[tokens.tokens].sum())
    if unknown > TOO_MUCH * tokens.num_tokens:
        raise InputError(
            f"--workdir={name}: its vocabulary cannot spell {unknown:,} of the text's {tokens.num_tokens:,} tokens, "
            f"about {unspelled(tokens, tokenizer):,} of its {tokens.num_bytes:,} bytes; give --text in a language "
            "that it knows, or leave it out."
        )


def unspelled(tokens: Tokens, tokenizer: AnyTokenizer) -> int:
    """About how many bytes the unknown tokens stand for: those of their sentences, less what the others spell.

    About, because a tokenizer with an unknown token may also change case, accents and spaces. Where no piece holds a
    space, the one before each word counts as spelled.
    """
    pieces = tokenizer.pieces
    size = np.array([len(piece) for piece in pieces])
    spaced = any(piece.startswith(b" ") for piece in pieces)
    ids, first = np.asarray(tokens.tokens), np.asarray(tokens.sentences[:-1])
    apart = tokens.word_start & (not spaced)
    apart[first] = False
    unknown, known = (np.add.reduceat(values, first) for values in (tokenizer.vocab.is_special[ids], size[ids] + apart))
    left = np.diff(tokens.sentence_bytes) - known
    return int(np.maximum(left, 0)[unknown > 0].sum())
