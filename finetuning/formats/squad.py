"""SQuAD's JSON, 1.1 and 2.0 (Rajpurkar et al. 2016, 2018), and that of CMRC 2018 (Cui et al. 2019)."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from batch import InputError
from finetuning.examples import NOWHERE, Answer, Question
from finetuning.formats.lines import at, lines


def read_questions(path: Path, *, training: bool, report: Callable[[str], None]) -> list[Question]:
    """The questions of a file, in its order, with answers at offsets that count characters (code points) from 0.

    An answer must stand in the context where the file says: `context[start : start + len(text)] == text`. A wrong one
    is told to `report` with the id of its question. For `training` that question is left out, because whatever is
    taught would be guessed, and so is one that is said to be answerable and has no answer. For an evaluation nothing
    is left out, or scores would not be of the published set: metrics compare texts, so the text stays a reference,
    with the start `NOWHERE`. CMRC's first release lists answers without offsets: each is taken where it first stands,
    as its authors' conversion does. Raises InputError where the file is not of this format, and for an id that occurs
    twice.
    """
    questions: dict[str, Question] = {}
    for context, record, where in _records(_document(path), path):
        question = _question(context, record, where)
        if question.name in questions:
            raise InputError(f"{where} has the id {question.name!r} of an earlier question; ids must differ.")
        questions[question.name] = question
    if not questions:
        raise InputError(f"{path} holds no questions; give a file that has some.")
    kept = [question for question in questions.values() if not _complaints(question, training, path, report)]
    if training and not kept:
        raise InputError(f"{path}: no question has an answer to learn; give a file that was made for training.")
    return kept


def _complaints(question: Question, training: bool, path: Path, report: Callable[[str], None]) -> bool:
    """Tells what is wrong with the answers, and returns whether the question is left out for it."""
    left_out = "; the question is left out" if training else ""
    wrong = [answer.text for answer in question.answers if answer.start == NOWHERE]
    for text in wrong:
        report(f"question {question.name} of {path}: {text[:40]!r} is not where the file says{left_out}.")
    missing = training and not question.answers and not question.impossible
    if missing:
        report(f"question {question.name} of {path}: it has no answer{left_out}.")
    return missing or (training and bool(wrong))


def _document(path: Path) -> Any:
    text = "\n".join(line for _, line in lines(path))
    if not text.strip():
        raise InputError(f"{path} is empty; give SQuAD's JSON.")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at column {error.colno}"
        raise InputError(f"{at(path, error.lineno)} is not JSON ({reason}); fetch or write it again.") from None
    except (RecursionError, ValueError) as error:  # nested too deep, or a number of thousands of digits
        raise InputError(f"{path} is not SQuAD's JSON ({error}); give a file that is.") from None


def _records(document: Any, path: Path) -> Iterator[tuple[str, Any, str]]:
    """The context, the record and the place of every question; a list of articles stands alone, or under `data`."""
    bare = isinstance(document, list)
    articles = document if bare else _list(document, f"{path}: the document", "data")
    for index, article in enumerate(articles):
        place = f"{path}: {'' if bare else 'data'}[{index}]"
        if isinstance(article, dict) and "context_text" in article:  # CMRC's first release
            paragraphs = [(article, place)]
        else:
            listed = _list(article, place, "paragraphs")
            paragraphs = [(each, f"{place}.paragraphs[{number}]") for number, each in enumerate(listed)]
        for paragraph, spot in paragraphs:
            records = _list(paragraph, spot, "qas")
            context = _text(paragraph, spot, "context", "context_text")
            for number, record in enumerate(records):
                yield context, record, f"{spot}.qas[{number}]"


def _question(context: str, record: Any, where: str) -> Question:
    name = _text(record, where, "id", "query_id")
    question = _text(record, where, "question", "query_text")
    impossible = record.get("is_impossible", False)
    if not isinstance(impossible, bool):
        raise InputError(f"{where}: is_impossible of question {name} is {impossible!r}; it must be true or false.")
    answers = [] if record.get("answers") is None else _list(record, where, "answers")
    if impossible and answers:
        raise InputError(f"{where}: question {name} is impossible and has answers; remove one or the other.")
    found = (_answer(context, each, f"{where}.answers[{index}]") for index, each in enumerate(answers))
    return Question(name, question, context, tuple(found), impossible)


def _answer(context: str, record: Any, where: str) -> Answer:
    if isinstance(record, str):  # CMRC's first release
        return Answer(record, context.find(record) if record else NOWHERE)
    text = _text(record, where, "text")
    start = _field(record, where, "answer_start")
    if not isinstance(start, int) or isinstance(start, bool):
        raise InputError(f"{where}: answer_start is {json.dumps(start)[:40]}; it must be a whole number.")
    return Answer(text, start if text and start >= 0 and context.startswith(text, start) else NOWHERE)


def _field(record: Any, where: str, *names: str) -> Any:
    """The value of the first of the names that the record has."""
    has = record if isinstance(record, dict) else {}
    for name in names:
        if name in has:
            return has[name]
    there = f"it has {', '.join(has)}" if has else f"it is {json.dumps(record)[:40]}"
    raise InputError(f"{where} has no field {names[0]!r} ({there}); give SQuAD's JSON.")


def _list(record: Any, where: str, name: str) -> list:
    value = _field(record, where, name)
    if not isinstance(value, list):
        raise InputError(f"{where}: {name!r} is {json.dumps(value)[:40]}; it must be a list.")
    return value


def _text(record: Any, where: str, *names: str) -> str:
    value = _field(record, where, *names)
    if not isinstance(value, str) or any("\ud800" <= char <= "\udfff" for char in value):
        raise InputError(f"{where}: {names[0]!r} is {json.dumps(value)[:40]}; it must be text.")
    return value
