"""Scores of a unigram model that add up exactly, so that no rounding chooses between two spellings of equal score."""

import struct

_STEP = 2.0**-10
"""Sums down to -2^14 are exact in float32; the scores of a thousand pieces are less far from zero."""

_PIECES, _SCORE = 0x0A, 0x15  # tags of ModelProto.pieces and SentencePiece.score in sentencepiece_model.proto


def with_exact_scores(model: bytes) -> bytes:
    """A sentencepiece model whose scores are rounded to multiples of 2^-10.

    Sentencepiece adds in float32 and others in float64: "--" and "-" then have the score of "-" and "--" everywhere, or
    nowhere.
    """
    data, at = bytearray(model), 0
    while at < len(data):
        tag, at = _varint(data, at)
        size, at = _varint(data, at)  # every field of a model is a message
        if tag == _PIECES:
            _round_score(data, at)
        at += size
    return bytes(data)


def _round_score(data: bytearray, at: int) -> None:
    """Rounds the score of the piece at `at`: behind its name, before its type."""
    _, at = _varint(data, at)
    size, at = _varint(data, at)
    at += size
    if data[at] == _SCORE:
        (score,) = struct.unpack_from("<f", data, at + 1)
        struct.pack_into("<f", data, at + 1, round(score / _STEP) * _STEP)


def _varint(data: bytearray, at: int) -> tuple[int, int]:
    """The number at `at` (base 128, least digit first) and where the next byte is."""
    value, shift = 0, 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
