"""SQuAD's JSON: every answer stands where it is said to, or is named; scores are of the whole published set."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import InputError
from finetuning.examples import NOWHERE, Answer, Question
from finetuning.formats.predictions import write_answers, write_null_odds
from finetuning.formats.squad import read_questions

CONTEXT = "\U0001f600 中国 é e\u0301\u2028中国"  # the second 中国 is at 10, in UTF-16 at 11


def refuse(*words: str):
    """A context in which an InputError of one sentence with all of `words`, in that order, is raised."""
    return pytest.raises(InputError, match=r"(?s)\A" + ".*".join(["", *map(re.escape, words)]) + r".*\.\Z")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("questions")


def question(name: str, *answers: tuple[str, object], **fields) -> dict:
    given = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": name, "question": f"{name}?", "answers": given, **fields}


def written(folder: Path, *records: object, context: str = CONTEXT, **fields) -> Path:
    return dumped(folder, {"version": "v2.0", "data": [{"paragraphs": [{"context": context, "qas": list(records)}]}]})


def dumped(folder: Path, document: object) -> Path:
    path = folder / "dev.json"
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return path


def read(path: Path, training: bool = True) -> tuple[list[Question], list[str]]:
    told: list[str] = []
    return read_questions(path, training=training, report=told.append), told


@given(st.text(min_size=1), st.data())
def test_right_answers_are_read_as_they_are(folder, context, data):
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    path = folder / "any.json"
    record = question("q", (context[start:end], start))
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": context, "qas": [record]}]}]}), encoding="utf-8")
    assert read(path) == ([Question("q", "q?", context, (Answer(context[start:end], start),))], [])


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("中国", 11),  # counted in UTF-16
        ("中国", len(CONTEXT[:10].encode())),  # counted in bytes
        ("中国", -2),  # it stands there when Python counts from the end
        ("中国", 99),
        ("", 3),
        ("nowhere", 0),
        ("中国人", 10),
    ],
)
def test_wrong_answers_are_named_and_not_trained_on(folder, text, start):
    path = written(folder, question("a", ("中国", 10), (text, start)), question("b", ("中国", 2)))
    right = Question("b", "b?", CONTEXT, (Answer("中国", 2),))
    (kept,), (told,) = read(path)
    assert kept == right
    assert told == f"question a of {path}: {text!r} is not where the file says; the question is left out."
    evaluated, (told,) = read(path, training=False)
    assert evaluated == [Question("a", "a?", CONTEXT, (Answer("中国", 10), Answer(text, NOWHERE))), right]
    assert told == f"question a of {path}: {text!r} is not where the file says."


def test_unanswerable_questions_are_trained_on_and_unpublished_answers_are_not(folder):
    impossible = question("a", is_impossible=True, plausible_answers=[{"text": "中国", "answer_start": 2}])
    unpublished = question("b", is_impossible=False)
    del unpublished["answers"]
    path = written(folder, impossible, unpublished)
    both = [Question("a", "a?", CONTEXT, (), True), Question("b", "b?", CONTEXT, ())]
    assert read(path, training=False) == (both, [])
    kept, told = read(path)
    assert kept == both[:1]
    assert told == [f"question b of {path}: it has no answer; the question is left out."]
    with refuse("no question has an answer to learn"):
        read(written(folder, unpublished))


def test_articles_may_stand_in_a_list_and_answers_without_offsets(folder):
    bare = dumped(folder, [{"paragraphs": [{"context": CONTEXT, "qas": [question("a", ("é", 5))]}]}])
    assert read(bare) == ([Question("a", "a?", CONTEXT, (Answer("é", 5),))], [])
    first = {"query_id": "Q1", "query_text": "?", "answers": ["中国", "无"]}
    cmrc = dumped(folder, [{"context_id": "C", "context_text": CONTEXT, "qas": [first], "title": ""}])
    (found,), told = read(cmrc, training=False)
    assert found == Question("Q1", "?", CONTEXT, (Answer("中国", 2), Answer("无", NOWHERE)))
    assert len(told) == 1


def without(record: dict, field: str) -> dict:
    return {name: value for name, value in record.items() if name != field}


A = question("a", ("中国", 2))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"data": []}, ["dev.json holds no questions"]),
        ([], ["dev.json holds no questions"]),
        ({"version": 1}, ["the document has no field 'data' (it has version)"]),
        (3, ["the document has no field 'data' (it is 3)"]),
        ({"data": {}}, ["'data' is {}; it must be a list"]),
        ({"data": [{"title": "x"}]}, ["data[0] has no field 'paragraphs' (it has title)"]),
        ({"data": [{"paragraphs": [{"qas": [A]}]}]}, ["data[0].paragraphs[0] has no field 'context'"]),
        ([{"paragraphs": [{"context": "x"}]}], ["[0].paragraphs[0] has no field 'qas'"]),
        ([{"paragraphs": [{"context": 3, "qas": [A]}]}], ["'context' is 3; it must be text"]),
    ],
)
def test_files_of_another_shape_are_refused_by_place(folder, document, words):
    with refuse(*words):
        read(dumped(folder, document))


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (3, ["qas[1] has no field 'id' (it is 3)"]),
        (without(A, "id"), ["qas[1] has no field 'id' (it has question, answers)"]),
        (without(A, "question"), ["qas[1] has no field 'question'"]),
        (question("z"), ["qas[1] has the id 'z' of an earlier question"]),
        (A | {"answers": "x"}, ["qas[1]: 'answers' is \"x\"; it must be a list"]),
        (question("a", ("中国", "2")), ['qas[1].answers[0]: answer_start is "2"; it must be a whole number']),
        (question("a", ("中国", True)), ["answer_start is true"]),
        (question("a", ("中国", 2.0)), ["answer_start is 2.0"]),
        (A | {"answers": [{"text": "x"}]}, ["answers[0] has no field 'answer_start'"]),
        (A | {"answers": [{"answer_start": 2}]}, ["answers[0] has no field 'text'"]),
        (A | {"is_impossible": True}, ["question a is impossible and has answers"]),
        (A | {"is_impossible": "no"}, ["is_impossible of question a is 'no'"]),
    ],
)
def test_records_of_another_shape_are_refused_by_place(folder, record, words):
    with refuse("dev.json: data[0].paragraphs[0].", *words):
        read(written(folder, question("z", ("中国", 2)), record))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["dev.json is empty"]),
        (b'{"data":\n [}', ["line 2 of", "not JSON", "column 3"]),
        (b"[" * 99_999, ["dev.json is not SQuAD's JSON"]),
        (b"1" * 9_999, ["dev.json is not SQuAD's JSON"]),
        (b'{"data":\n "\xff"}', ["line 2 of", "not UTF-8 (0xff at byte 11)"]),
        (b'[{"paragraphs": [{"context": "\\ud83d", "qas": []}]}]', ["'context' is \"\\ud83d\"; it must be text"]),
    ],
)
def test_damaged_files_are_refused(folder, content, words):
    path = folder / "dev.json"
    path.write_bytes(content)
    with refuse(*words):
        read(path)


def test_predictions_are_objects_by_question_in_ascii(tmp_path):
    write_answers(tmp_path / "new/predictions.json", {"a": "中国\u2028", "b": ""})
    raw = (tmp_path / "new/predictions.json").read_bytes()
    assert raw.isascii() and json.loads(raw) == {"a": "中国\u2028", "b": ""}
    write_null_odds(tmp_path / "null_odds.json", {"a": -3, "b": 0.1})
    assert json.loads((tmp_path / "null_odds.json").read_bytes()) == {"a": -3.0, "b": 0.1}
    with refuse("question 'b' has nan"):
        write_null_odds(tmp_path / "null_odds.json", {"a": 0.0, "b": float("nan")})


def test_the_five_wrong_offsets_of_cmrc_are_found(real_data):
    path = real_data / "cmrc2018/cmrc2018_trial.json"
    kept, told = read(path)
    assert len(kept) == 997 and len(told) == 5
    assert [re.match(r"question (\S+) of", each)[1] for each in told] == [f"TRIAL_210_QUERY_{i}" for i in range(5)]
    assert all(a.text == q.context[a.start : a.start + len(a.text)] for q in kept for a in q.answers)
    evaluated, _ = read(path, training=False)
    assert len(evaluated) == 1002 and sum(a.start == NOWHERE for q in evaluated for a in q.answers) == 5


def test_real_answers_of_policyqa_are_all_in_place(real_data):
    for name, count in (("dev", 3809), ("test", 4152)):
        questions, told = read(real_data / f"policyqa/{name}.json")
        assert len(questions) == count and not told
