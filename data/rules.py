"""What the files of a released tokenizer say, whatever their format."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batch import InputError

PIPELINE, WORDS, VOCAB, MERGES = "tokenizer.json", "vocab.txt", "vocab.json", "merges.txt"
SPIECE, TOKENIZER_CONFIG, SPECIAL_TOKENS = "spiece.model", "tokenizer_config.json", "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"

MOST_TOKENS = 1 << 22
"""More than any vocabulary; ids and sizes beyond it would only fill the memory."""

_CONFIGURED = {"pad": "pad_token", "cls": "cls_token", "sep": "sep_token", "mask": "mask_token"}
_USUAL = {
    "pad": ("[PAD]", "<pad>"),
    "cls": ("[CLS]", "<cls>"),
    "sep": ("[SEP]", "<sep>"),
    "mask": ("[MASK]", "<mask>"),
    "end": ("<eod>", "[END]", "<|endoftext|>"),
}
_UNUSED = re.compile(r"\[unused\d+\]")


@dataclasses.dataclass(frozen=True)
class Rule:
    """A vocabulary and how text becomes ids of it."""

    pieces: tuple[bytes, ...]  # UTF-8 of each id; empty for one that stands for no text of its own
    special: tuple[int, ...]
    roles: dict[str, int | None]  # pad, cls, sep, mask and end of `Vocab`
    continues: frozenset[int] | None  # ids that continue a word, where the pieces do not hold the space before it
    lossless: bool
    encode: Callable[[list[str]], Sequence[Sequence[int]]]
    locate: Callable[[list[str]], Sequence[Sequence[tuple[int, int]]]] | None  # the characters of each id, if it knows

    def decode(self, ids: list[int]) -> str:
        """The text of the ids; a cut character reads U+FFFD."""
        spoken = [i for i in ids if i < len(self.pieces) and self.pieces[i]]
        if self.continues is None:
            text = b"".join([self.pieces[i] for i in spoken])
        else:
            text = b"".join([self.pieces[i] if i in self.continues else b" " + self.pieces[i] for i in spoken])
        found = text.decode("utf-8", errors="replace")
        return found if self.lossless else found.removeprefix(" ")


def read_json(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """The JSON object of a file, empty where there is no such file. Raises InputError where it is not one."""
    try:
        values = json.loads(files.get(name, b"{}"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"tokenizer {name}: is damaged ({error}); fetch it again.") from None
    if not isinstance(values, dict):
        raise InputError(f"tokenizer {name}: holds {type(values).__name__}, not an object; fetch it again.")
    return values


def read_text(files: Mapping[str, bytes], name: str) -> str:
    """A file as text. Raises InputError where it is not UTF-8."""
    try:
        return files[name].decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"tokenizer {name}: is not UTF-8 (at byte {error.start}); fetch it again.") from None


def special_names(files: Mapping[str, bytes]) -> dict[str, list[str]]:
    """The names of special tokens that the configuration gives, by its field: pad_token, mask_token, ..."""
    found: dict[str, list[str]] = {}
    for file in (TOKENIZER_CONFIG, SPECIAL_TOKENS):
        for field, value in read_json(files, file).items():
            if field.endswith("_token") or field in ("additional_special_tokens", "extra_special_tokens"):
                given = value if isinstance(value, list) else [value]
                names = [name.get("content") if isinstance(name, dict) else name for name in given]
                if strings := [name for name in names if isinstance(name, str)]:
                    found[field] = strings
    return found


def roles_of(files: Mapping[str, bytes], ids: Mapping[str, int]) -> dict[str, int | None]:
    """Which ids are pad, cls, sep, mask and end: as configured, else those with a usual name.

    `end` is what ends a document: XLNet's is <eod>, though its configuration calls another one eos_token.
    """
    configured = special_names(files)
    roles: dict[str, int | None] = {}
    for role, usual in _USUAL.items():
        named = configured.get(_CONFIGURED.get(role, ""), [])
        names = [*named, *usual] if role != "end" else [*usual, *configured.get("eos_token", [])]
        roles[role] = next((ids[name] for name in names if name in ids), None)
    if roles["end"] == roles["sep"]:
        roles["end"] = None
    return roles


def is_unused(name: str) -> bool:
    """Whether a token was left free, for others to give it a meaning, as [unused0] of BERT."""
    return _UNUSED.fullmatch(name) is not None
