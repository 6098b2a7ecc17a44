"""Files of predictions, as leaderboards read them."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from batch import InputError
from finetuning.examples import Tagged
from finetuning.spans.decoding import Guess


def write_predictions(path: Path, names: Sequence[str], predictions: Sequence[str]) -> None:
    """One line for each example, `index` and `prediction`, under that header: GLUE's format.

    Raises InputError for a prediction that would end its cell.
    """
    rows = list(zip(names, predictions, strict=True))
    for cell in (cell for row in rows for cell in row):
        if any(end in cell for end in "\t\n\r"):
            raise InputError(f"predictions: {cell!r} holds a tab or the end of a line; rename the label.")
    _write(path, "".join(f"{name}\t{prediction}\n" for name, prediction in [("index", "prediction"), *rows]))


def write_tags(path: Path, sentences: Sequence[Tagged], predictions: Sequence[Sequence[str]]) -> None:
    r"""A line for each word: the word, its tag if it is published, the predicted one; an empty line after a sentence.

    Columns are parted by tabs: `conlleval -d '\t'` scores the file.
    """
    blocks = []
    for sentence, predicted in zip(sentences, predictions, strict=True):
        columns = [sentence.words, *([] if sentence.tags is None else [sentence.tags]), predicted]
        blocks += ["\t".join(cells) + "\n" for cells in zip(*columns, strict=True)] + ["\n"]
    _write(path, "".join(blocks))


def write_answers(path: Path, answers: Mapping[str, str]) -> None:
    """SQuAD's `predictions.json`: the answer to each question, by its id; "" says that there is none.

    Written in ASCII with escapes: the official scripts open it in whatever encoding the machine has.
    """
    _write(path, json.dumps(dict(answers), indent=1) + "\n")


def write_null_odds(path: Path, odds: Mapping[str, float]) -> None:
    """SQuAD 2.0's file of `--na-prob-file`: for each question how much speaks for no answer, more being more.

    Raises InputError for a number that is not finite, by question id.
    """
    for name, value in odds.items():
        if not math.isfinite(value):
            raise InputError(f"null odds: question {name!r} has {value}; a finite number is needed, check the model.")
    _write(path, json.dumps({name: float(value) for name, value in odds.items()}, indent=1) + "\n")


def write_n_best(path: Path, guesses: Mapping[str, Sequence[Guess]]) -> None:
    """The file `nbest_predictions.json` of BERT's release: of each question the best answers, the best one first."""
    found = {name: [dataclasses.asdict(guess) for guess in own] for name, own in guesses.items()}
    _write(path, json.dumps(found, indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))
