"""Our tokenizers as the `tokenizer.json` of Hugging Face: the same ids for the same text.

Pieces are written with the spaces they have, so that nothing is normalized and a literal U+2581 is a character like any
other. A character without a piece becomes its bytes, `<0x00>` to `<0xFF>`, on both sides; but a literal "<0x41>" must
not: in a unigram vocabulary every entry is matched, and the bytes are kept from it by a score below any spelling.
"""

from collections.abc import Mapping
from typing import Any, Literal

from data.tokenizer import FIRST_PIECE, SPECIALS, Tokenizer

SPELLING = ("normalizer", "pre_tokenizer", "model")
"""The parts of a tokenizer.json that ids depend on."""

_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_TEMPLATES = {
    "bert": ("[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"),
    "xlnet": ("$A:0 [SEP]:0 [CLS]:2", "$A:0 [SEP]:0 $B:1 [SEP]:1 [CLS]:2"),
}


def tokenizer_json(tokenizer: Tokenizer, family: Literal["bert", "gpt", "xlnet"]) -> dict[str, Any]:
    """The tokenizer.json of one of our tokenizers, with the special tokens where the family has them."""
    learned = {piece.decode(): i for i, piece in enumerate(tokenizer.pieces) if i >= FIRST_PIECE}
    unigram = tokenizer.kind == "unigram"
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(name, i) for i, name in enumerate(SPECIALS)],
        "normalizer": None,
        "pre_tokenizer": _isolating(learned) if unigram else None,
        "post_processor": _template(*_TEMPLATES[family]) if family in _TEMPLATES else None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": _unigram(learned, tokenizer.scores) if unigram else _bpe(learned, tokenizer.scores),
    }


def _added(name: str, index: int) -> dict[str, Any]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": index, "content": name, **plain, "special": True}


def _isolating(learned: Mapping[str, int]) -> dict[str, Any] | None:
    """Cuts around the characters of `<0x41>` that have no piece.

    Such a character is unknown, and unknown characters cost more than any entry; but no piece reaches across one, so
    that the cut changes nothing but that the name is no longer seen.
    """
    missing = "".join(char for char in sorted(set("".join(_BYTES))) if char not in learned)
    if not missing:
        return None
    return {"type": "Split", "pattern": {"Regex": f"[{missing}]"}, "behavior": "Isolated", "invert": False}


def _unigram(learned: Mapping[str, int], scores: Mapping[int, float]) -> dict[str, Any]:
    """Scores as they are; what no text may be read as scores less than any text of its length."""
    longest = max(map(len, (*SPECIALS, *_BYTES)))
    least = (longest + 1) * min(scores.values()) - 1
    vocab = [[name, least] for name in (*SPECIALS, *_BYTES)] + [[name, scores[i]] for name, i in learned.items()]
    return {"type": "Unigram", "unk_id": SPECIALS.index("[UNK]"), "vocab": vocab, "byte_fallback": True}


def _bpe(learned: Mapping[str, int], scores: Mapping[int, float]) -> dict[str, Any]:
    """A piece is made of any two pieces that it consists of, in the order in which pieces were learned."""
    order = sorted((name for name in learned if len(name) > 1), key=lambda name: -scores[learned[name]])
    merges = [
        [name[:cut], name[cut:]]
        for name in order
        for cut in range(1, len(name))
        if name[:cut] in learned and name[cut:] in learned
    ]
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {name: i for i, name in enumerate((*SPECIALS, *_BYTES, *learned))},
        "merges": merges,
    }


def _template(single: str, pair: str) -> dict[str, Any]:
    """A post-processor from a text such as "[CLS]:0 $A:0 [SEP]:0": what stands where, with its segment."""

    def parts(text: str) -> list[dict[str, Any]]:
        found = []
        for part in text.split():
            name, segment = part.split(":")
            inner = {"id": name.removeprefix("$"), "type_id": int(segment)}
            found.append({"Sequence" if name[0] == "$" else "SpecialToken": inner})
        return found

    tokens = {name: {"id": name, "ids": [SPECIALS.index(name)], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    return {"type": "TemplateProcessing", "single": parts(single), "pair": parts(pair), "special_tokens": tokens}
