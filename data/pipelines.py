"""Tokenizers of Hugging Face folders: tokenizer.json, BERT's vocab.txt, GPT-2's vocab.json and merges.txt.

All become a tokenizer.json, which the package `tokenizers` runs. Names of special tokens that the text happens to
hold are ordinary text: within the pipeline the special tokens have names that no text has.
"""

import functools
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from batch import InputError
from data.rules import (
    ADDED_TOKENS,
    MERGES,
    MOST_TOKENS,
    PIPELINE,
    TOKENIZER_CONFIG,
    VOCAB,
    WORDS,
    Rule,
    is_unused,
    read_json,
    read_text,
    roles_of,
    special_names,
)

_HIDDEN = "\uffff"  # a noncharacter, before the names of special tokens
_LONGEST_WORD = 100  # characters; a longer one is [UNK] (the BERT release: 200)
_KEEPS_TEXT = {"ByteLevel", "Split", "Digits"}  # pre-tokenizers that only cut


def pipeline_rule(files: Mapping[str, bytes]) -> Rule:
    """The rule of the files. Raises InputError where they are damaged."""
    try:
        return _rule(files)
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
        name = next(name for name in (PIPELINE, WORDS, VOCAB) if name in files)
        raise InputError(f"tokenizer {name}: is damaged ({error!r}); fetch it again.") from None


def _rule(files: Mapping[str, bytes]) -> Rule:
    pipeline = _pipeline(files)
    names = _names(pipeline)
    ids = {name: i for i, name in names.items()}
    roles = roles_of(files, ids)
    hidden = {name for found in special_names(files).values() for name in found} & ids.keys()
    hidden |= {token["content"] for token in pipeline["added_tokens"] if token["special"]}
    hidden |= {names[i] for i in roles.values() if i is not None} | _unknown(pipeline["model"], names)
    size = max(names) + 1
    if min(names) < 0 or size > MOST_TOKENS:
        raise InputError(f"tokenizer: has ids from {min(names)} to {size - 1}; ids are 0 to {MOST_TOKENS - 1}.")
    special = {ids[name] for name in hidden} | {i for i, name in names.items() if is_unused(name)}
    special |= set(range(size)) - names.keys()
    silent = special | {roles["end"]}
    spelled, engine = _spelling(pipeline), _engine(_with_hidden_names(pipeline, hidden))
    prefix = pipeline["model"]["continuing_subword_prefix"] if pipeline["model"]["type"] == "WordPiece" else None
    return Rule(
        pieces=tuple(b"" if i in silent else spelled(names[i]) for i in range(size)),
        special=tuple(sorted(special - {roles["end"]})),
        roles=roles,
        continues=frozenset(i for i, name in names.items() if name.startswith(prefix)) if prefix else None,
        lossless=_is_lossless(pipeline),
        encode=lambda texts: [found.ids for found in engine(texts)],
        locate=lambda texts: [found.offsets for found in engine(texts)],
    )


def _pipeline(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The tokenizer.json that the files say, without what is not about ids."""
    if PIPELINE in files:
        pipeline = read_json(files, PIPELINE)
    else:
        pipeline = _word_piece(files) if WORDS in files else _byte_level(files)
        added = {i: _added(name, i) for name, i in read_json(files, ADDED_TOKENS).items()}
        for i, token in read_json(files, TOKENIZER_CONFIG).get("added_tokens_decoder", {}).items():
            added[int(i)] = {**_added(token["content"], int(i)), **token}
        pipeline["added_tokens"] = [added[i] for i in sorted(added)]
    pipeline |= {"truncation": None, "padding": None, "post_processor": None}
    pipeline.setdefault("added_tokens", [])
    if pipeline["model"].get("dropout") is not None:
        pipeline["model"] |= {"dropout": None}  # the same text has the same ids
    return pipeline


def _word_piece(files: Mapping[str, bytes]) -> dict[str, Any]:
    """BERT's clean-up, its cut at spaces, marks and Chinese characters, then the longest pieces from the left."""
    config = read_json(files, TOKENIZER_CONFIG)
    lines = read_text(files, WORDS).removesuffix("\n").split("\n")
    return {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
            "strip_accents": config.get("strip_accents"),
            "lowercase": config.get("do_lower_case", True),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": None,
        "model": {
            "type": "WordPiece",
            "unk_token": special_names(files).get("unk_token", ["[UNK]"])[0],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": _LONGEST_WORD,
            "vocab": {line: i for i, line in enumerate(lines)},
        },
    }


def _byte_level(files: Mapping[str, bytes]) -> dict[str, Any]:
    """GPT-2's BPE over the bytes of words. The first line of merges.txt may name its version, or be missing."""
    lines = read_text(files, MERGES).split("\n")
    merges = [line.split(" ") for line in lines[lines[0].startswith("#version") :] if line]
    prefix_space = read_json(files, TOKENIZER_CONFIG).get("add_prefix_space", False)
    return {
        "normalizer": None,
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": prefix_space,
            "trim_offsets": True,
            "use_regex": True,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": read_json(files, VOCAB), "merges": merges},
    }


def _added(name: str, index: int, special: bool = False) -> dict[str, Any]:
    kept = {"single_word": False, "lstrip": False, "rstrip": False}
    return {"id": index, "content": name, "normalized": False, "special": special, **kept}


def _names(pipeline: dict[str, Any]) -> dict[int, str]:
    """The name of each id that has one."""
    vocab = pipeline["model"]["vocab"]
    pairs = ((name, i) for i, (name, _) in enumerate(vocab)) if isinstance(vocab, list) else vocab.items()
    return {i: name for name, i in pairs} | {token["id"]: token["content"] for token in pipeline["added_tokens"]}


def _unknown(model: dict[str, Any], names: dict[int, str]) -> set[str]:
    """The name of the token that stands for what no other does, if there is one."""
    if model["type"] == "Unigram":
        return set() if model.get("unk_id") is None else {names[model["unk_id"]]}
    return {model["unk_token"]} if model.get("unk_token") in names.values() else set()


def _with_hidden_names(pipeline: dict[str, Any], hidden: set[str]) -> dict[str, Any]:
    def renamed(name: str) -> str:
        return _HIDDEN + name if name in hidden else name

    model, added = dict(pipeline["model"]), pipeline["added_tokens"]
    if model["type"] == "BPE":  # merges reach a name or do not, and may need it on the way to a longer one
        reached = hidden & model["vocab"].keys()
        added = [token for token in added if token["content"] not in reached]
        hidden = hidden - reached
    elif isinstance(model["vocab"], list):
        model["vocab"] = [[renamed(name), score] for name, score in model["vocab"]]
    else:
        model["vocab"] = {renamed(name): i for name, i in model["vocab"].items()}
        model["unk_token"] = renamed(model["unk_token"])
    added = [
        _added(renamed(token["content"]), token["id"], special=True) if token["content"] in hidden else token
        for token in added
    ]
    return pipeline | {"model": model, "added_tokens": added}


def _engine(pipeline: dict[str, Any]) -> Callable[[list[str]], Sequence[Any]]:
    """Encodings by the package `tokenizers`, which is asked for only when there is text."""

    @functools.cache
    def engine() -> Any:
        try:
            package = importlib.import_module("tokenizers")
        except ImportError:
            raise InputError(
                "tokenizer: to encode with a tokenizer.json, vocab.txt or merges.txt needs the package tokenizers; "
                "pip install 'tokenizers>=0.21'."
            ) from None
        return package.Tokenizer.from_str(json.dumps(pipeline))

    def encode(texts: list[str]) -> Sequence[Any]:
        try:
            return engine().encode_batch(texts, add_special_tokens=False)
        except InputError:
            raise
        except Exception as error:  # the package raises nothing more special
            raise InputError(f"tokenizer: its files make no tokenizer ({error}); fetch them again.") from None

    return encode


def _steps(node: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The steps of a normalizer, pre-tokenizer or decoder."""
    if node is None:
        return
    inner = node.get("pretokenizers") or node.get("decoders") or node.get("normalizers")
    if node["type"] != "Sequence":
        yield node
    for step in inner or ():
        yield from _steps(step)


def _is_byte_level(pipeline: dict[str, Any]) -> bool:
    steps = (*_steps(pipeline.get("pre_tokenizer")), *_steps(pipeline.get("decoder")))
    return any(step["type"] == "ByteLevel" for step in steps)


def _spelling(pipeline: dict[str, Any]) -> Callable[[str], bytes]:
    """The bytes that a name stands for."""
    model = pipeline["model"]
    if _is_byte_level(pipeline):
        values = byte_of_letter()
        return lambda name: bytes(map(values.__getitem__, name)) if values.keys() >= set(name) else name.encode()
    if model["type"] == "WordPiece":
        return lambda name: name.removeprefix(model["continuing_subword_prefix"]).encode()
    values = {f"<0x{byte:02X}>": bytes([byte]) for byte in range(256)} if model.get("byte_fallback") else {}
    return lambda name: values.get(name) or name.replace("\u2581", " ").encode()


def _is_lossless(pipeline: dict[str, Any]) -> bool:
    """Whether nothing is changed, added or dropped on the way, and every byte has an id."""
    model, steps = pipeline["model"], list(_steps(pipeline.get("pre_tokenizer")))
    only_cuts = all(
        step["type"] in _KEEPS_TEXT and not step.get("add_prefix_space") and step.get("behavior") != "Removed"
        for step in steps
    )
    if model["type"] == "WordPiece" or pipeline.get("normalizer") is not None or not only_cuts:
        return False
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return False
    if any((token["lstrip"] or token["rstrip"]) and not token["special"] for token in pipeline["added_tokens"]):
        return False
    needed = [f"<0x{byte:02X}>" for byte in range(256)] if model.get("byte_fallback") else byte_of_letter()
    cut_into_bytes = model.get("byte_fallback") or any(step["type"] == "ByteLevel" for step in steps)
    return bool(cut_into_bytes) and set(_names(pipeline).values()) >= set(needed)


@functools.cache
def byte_of_letter() -> dict[str, int]:
    """The printable letters that byte-level vocabularies write bytes with (Radford et al. 2019, encoder.py)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}
