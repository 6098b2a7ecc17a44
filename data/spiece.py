"""XLNet's tokenizer: its sentencepiece model between the clean-up before and the repair after it.

As in the release (github.com/zihangdai/xlnet, prepro_utils.py), whose pretraining text was made so.
"""

import unicodedata
from collections.abc import Mapping

import sentencepiece

from batch import InputError
from data.rules import SPIECE, TOKENIZER_CONFIG, Rule, read_json, roles_of

SPACE = "\u2581"


def spiece_rule(files: Mapping[str, bytes]) -> Rule:
    """The rule of a spiece.model. Raises InputError where it is damaged."""
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=files[SPIECE])
        names = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    except RuntimeError:
        names = []
    if not names:
        raise InputError(f"tokenizer {SPIECE}: is damaged; fetch it again.")
    config = read_json(files, TOKENIZER_CONFIG)
    roles = roles_of(files, {name: i for i, name in enumerate(names)})
    silent = {i for i in range(len(names)) if model.is_control(i) or model.is_unknown(i) or model.is_unused(i)}
    resplit = {i: _without_comma(model, name) for i, name in enumerate(names) if _ends_a_number(name)}

    def encode(texts: list[str]) -> list[list[int]]:
        rows = model.encode([_cleaned(text, config) for text in texts], num_threads=1)
        return [[j for i in row for j in resplit.get(i, (i,))] for row in rows]

    return Rule(
        pieces=tuple(b"" if i in silent else name.replace(SPACE, " ").encode() for i, name in enumerate(names)),
        special=tuple(sorted(silent - {roles["end"]})),
        roles=roles,
        continues=None,
        lossless=False,
        encode=encode,
        locate=None,
    )


def _cleaned(text: str, config: Mapping[str, object]) -> str:
    if config.get("remove_space", True):
        text = " ".join(text.split())
    text = text.replace("``", '"').replace("''", '"')
    if not config.get("keep_accents", False):
        text = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return text.lower() if config.get("do_lower_case", False) else text


def _ends_a_number(piece: str) -> bool:
    return len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()


def _without_comma(model: sentencepiece.SentencePieceProcessor, piece: str) -> list[int]:
    """The ids of "9," as those of "9" and of the comma, so that a number reads the same wherever it stands."""
    pieces = model.encode(piece[:-1].replace(SPACE, ""), out_type=str)
    if piece[0] != SPACE and pieces[0][0] == SPACE:
        pieces = pieces[1:] if len(pieces[0]) == 1 else [pieces[0][1:], *pieces[1:]]
    return [model.piece_to_id(part) for part in [*pieces, ","]]
