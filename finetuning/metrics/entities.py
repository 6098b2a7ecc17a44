"""Tags of words: entities and their F1 as the CoNLL shared tasks count them, and accuracy.

A tag is O, or a letter, a hyphen and a type: B-PER begins an entity, I-PER is inside one, E-PER its end, S-PER a whole
one. That holds IOB1, IOB2 (BIO) and IOBES, which need not be named: an entity is a longest run of B or I followed by I
or E of its type. So an I that follows an O or another type begins an entity, in IOB1 by right and elsewhere by
clemency, as in conlleval (Tjong Kim Sang and De Meulder 2003) and in seqeval unless told otherwise. What a strict
scheme doesn't allow is no entity.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from batch import InputError
from finetuning.metrics.overlap import Overlap

Scheme = Literal["conlleval", "iob2", "iobes"]
"""The lenient reading of all schemes; or else only what is well formed in one of them."""


@dataclasses.dataclass(frozen=True)
class Entity:
    """Words of a sentence, from `start` to before `end`."""

    type: str
    start: int
    end: int


def entities(tags: Sequence[str], scheme: Scheme = "conlleval") -> list[Entity]:
    """The entities of a sentence from left to right."""
    found: list[Entity] = []
    parts = [_parts(tag) for tag in tags]
    before = ("O", "")
    for place, (letter, type_) in enumerate(parts):
        if letter in "IE" and before in (("B", type_), ("I", type_)):
            found[-1] = dataclasses.replace(found[-1], end=place + 1)
        elif letter != "O":
            found.append(Entity(type_, place, place + 1))
        before = (letter, type_)
    return [each for each in found if _allowed("".join(letter for letter, _ in parts[each.start : each.end]), scheme)]


def entity_f1(
    predicted: Sequence[Sequence[str]], truth: Sequence[Sequence[str]], scheme: Scheme = "conlleval"
) -> float:
    """F1 of the entities of all sentences and types together, right if type and both ends are; 0 where none is."""
    return _total(entity_overlaps(predicted, truth, scheme).values()).f1


def entity_overlaps(
    predicted: Sequence[Sequence[str]], truth: Sequence[Sequence[str]], scheme: Scheme = "conlleval"
) -> dict[str, Overlap]:
    """What `entity_f1` counts, for each type that is predicted or true somewhere, in the order of their names."""
    found, there = set(), set()
    for sentence, (ours, theirs) in enumerate(_paired(predicted, truth)):
        found |= {(sentence, each) for each in entities(ours, scheme)}
        there |= {(sentence, each) for each in entities(theirs, scheme)}
    types = sorted({each.type for _, each in found | there})
    return {name: Overlap(*(_of_type(name, some) for some in (found & there, found, there))) for name in types}


def tag_accuracy(predicted: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]) -> float:
    """Which part of all words has the right tag, whatever tags say: parts of speech, say; 0 of no word."""
    right = [one == other for pair in _paired(predicted, truth) for one, other in zip(*pair, strict=True)]
    return sum(right) / max(len(right), 1)


def _parts(tag: str) -> tuple[str, str]:
    letter, hyphen, type_ = tag.partition("-")
    if letter not in ("B", "I", "E", "S") or not (hyphen and type_):
        if tag != "O":
            raise InputError(f"tag: {tag!r} is no tag of an entity; write O, or B-, I-, E- or S- and a type.")
        return "O", ""
    return letter, type_


def _allowed(letters: str, scheme: Scheme) -> bool:
    """Whether a lenient entity with these letters is one in the scheme."""
    if scheme == "conlleval":
        return True
    if scheme == "iob2":
        return letters[0] == "B" and set(letters[1:]) <= {"I"}
    return letters == "S" or (letters[0] == "B" and letters[-1] == "E")


def _of_type(name: str, some: Iterable[tuple[int, Entity]]) -> int:
    return sum(each.type == name for _, each in some)


def _total(overlaps: Iterable[Overlap]) -> Overlap:
    counts = [dataclasses.astuple(each) for each in overlaps]
    return Overlap(*(sum(column) for column in zip((0, 0, 0), *counts, strict=True)))


def _paired(
    predicted: Sequence[Sequence[str]], truth: Sequence[Sequence[str]]
) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """The sentences of both sides, which must have as many words."""
    for one, other in zip(predicted, truth, strict=True):
        if len(one) != len(other):
            raise ValueError(f"a sentence of {len(other)} words has {len(one)} predicted tags")
        yield one, other
