"""Tokenizers of Hugging Face folders: released ones come in and go out as they are, ours go out and come back."""

import json
from pathlib import Path
from typing import Literal

from batch import InputError
from data.released import ReleasedTokenizer, read_released
from data.tokenizer import SPECIALS, AnyTokenizer, Tokenizer
from interop.tokenizer_json import SPELLING, tokenizer_json

OWN_MODEL = "orderly_tokenizer.model"
"""Our sentencepiece model, empty for raw bytes, so that a tokenizer that comes back is the one that went."""

_SOME_TEXT = "The cat, \u732b, \U0010fffd."
_KINDS: dict[str, Literal["unigram", "bpe"]] = {"Unigram": "unigram", "BPE": "bpe"}
_INPUTS = {
    "bert": ["input_ids", "token_type_ids", "attention_mask"],
    "gpt": ["input_ids", "attention_mask"],
    "xlnet": ["input_ids", "token_type_ids", "attention_mask"],
}


def import_tokenizer(folder: Path, vocab_size: int) -> AnyTokenizer:
    """The tokenizer of a Hugging Face folder, for a model with `vocab_size` embeddings.

    Raises InputError where there is none, where it is damaged, or where it has more tokens than the model embeddings.
    """
    own = _own(folder)
    if own is not None and own.vocab.size == vocab_size:
        return own
    found = read_released(folder, vocab_size)
    found.encode(_SOME_TEXT)  # what is damaged, or needs a package that is missing, says so now
    return found


def export_tokenizer(tokenizer: AnyTokenizer, family: Literal["bert", "gpt", "xlnet"], folder: Path) -> None:
    """Writes what `transformers.AutoTokenizer` loads; the ids of any text without literal special names are ours."""
    if isinstance(tokenizer, ReleasedTokenizer):
        for name, content in tokenizer.files.items():
            (folder / name).write_bytes(content)
        return
    specials = _special_tokens(family)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_input_names": _INPUTS[family],
        "padding_side": "left" if family == "xlnet" else "right",
        **specials,
    }
    _write(folder / "tokenizer.json", tokenizer_json(tokenizer, family))
    _write(folder / "tokenizer_config.json", config)
    _write(folder / "special_tokens_map.json", specials)
    (folder / OWN_MODEL).write_bytes(tokenizer.model)


def _special_tokens(family: str) -> dict[str, str]:
    """What `transformers` calls our special tokens. [END] closes a document; BERT's configuration has no such token."""
    pad, unk, cls, sep, mask, end = SPECIALS
    common = {"unk_token": unk, "pad_token": pad}
    ends = {} if family == "bert" else {"bos_token": end, "eos_token": end}
    masks = {} if family == "gpt" else {"cls_token": cls, "sep_token": sep, "mask_token": mask}
    return common | ends | masks


def _write(file: Path, values: dict) -> None:
    file.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _own(folder: Path) -> Tokenizer | None:
    """The tokenizer that we exported to this folder, unless its tokenizer.json has been changed since."""
    try:
        model = (folder / OWN_MODEL).read_bytes()
        found = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        tokenizer = Tokenizer(_KINDS[found["model"]["type"]], model) if model else Tokenizer("bytes")
        expected = tokenizer_json(tokenizer, "gpt")
        same = all(found.get(part) == expected[part] for part in SPELLING)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, InputError):
        return None
    return tokenizer if same else None
