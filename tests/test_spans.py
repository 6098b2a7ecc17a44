"""Spans of a context: which characters are a token's, how contexts are cut, and that scores of spans become answers."""

import dataclasses
import json
import math
import shutil
import unicodedata

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from batch import InputError
from data.alignment import locate
from data.released import read_released
from data.tokenizer import Tokenizer, train_tokenizer
from finetuning.examples import Answer, Question
from finetuning.spans.decoding import Limits, decode, decode_beams
from finetuning.spans.passages import covering, spell, text_of
from finetuning.spans.windows import Cut, Window, fullest, training_windows, windows
from spellers import SPOKEN, TOKENIZERS, lossy, unigram, word_piece

ODD = [
    "  ",
    "\n",
    "\u3000",
    "e\u0301",
    "o\u0308\u0323",
    "猫坐在",
    "😀",
    "👨\u200d👩",
    "\u2581",
    "İ",
    "ﬁ",
    "龘",
    "CAT",
    "``",
]
CONTEXTS = st.lists(st.sampled_from([" ", *SPOKEN, *ODD]) | st.text(max_size=3), max_size=25).map("".join)


def asked(context, *answers, name="q", impossible=False):
    """A question about a context, whose answers are slices of it."""
    found = tuple(Answer(context[first:stop], first) for first, stop in answers)
    return Question(name, "which cat?", context, found, impossible)


def slices(tokenizer, text):
    (found,) = locate(tokenizer, [text])
    return [text[first:stop] for first, stop in found.characters.tolist()]


# Characters.


@pytest.mark.parametrize("kind", ["bytes", "unigram"])
@hypothesis.given(text=CONTEXTS)
def test_a_token_stands_for_the_characters_that_its_bytes_are_of(kind, text):
    tokenizer, whole = TOKENIZERS[kind](), text.encode()
    (found,) = locate(tokenizer, [text])
    assert found.tokens.tolist() == tokenizer.encode(text).tolist()
    stops = np.cumsum([len(tokenizer.pieces[i]) for i in found.tokens.tolist()], dtype=int).tolist()
    for (first, stop), a, b in zip(found.characters.tolist(), [0, *stops], stops, strict=False):
        assert first == len(whole[:a].decode(errors="ignore"))  # a cut character is not counted: it is the one
        assert stop == len(whole[: b - 1].decode(errors="ignore")) + 1


def stripped(text):
    kept = (char for char in text.lower() if unicodedata.category(char)[0] != "C" and not char.isspace())
    return "".join(c for c in unicodedata.normalize("NFD", "".join(kept)) if unicodedata.category(c) != "Mn")


@hypothesis.given(text=CONTEXTS)
def test_a_word_piece_is_what_the_clean_up_makes_of_its_characters(text):
    tokenizer = word_piece("猫")
    (found,) = locate(tokenizer, [text])
    for token, (first, stop) in zip(found.tokens.tolist(), found.characters.tolist(), strict=True):
        if piece := tokenizer.pieces[token].decode():
            assert stripped(text[first:stop]) == piece
    assert (np.diff(found.characters, axis=0) >= 0).all()
    owned = {i for first, stop in found.characters.tolist() for i in range(first, stop)}
    assert {i for i, char in enumerate(text) if stripped(char)} <= owned  # nobody's is only what is dropped


@hypothesis.given(text=CONTEXTS)
def test_what_is_aligned_by_letters_never_goes_back(text):
    (found,) = locate(lossy(), [text])
    assert (np.diff(found.characters, axis=0) >= 0).all()
    assert (found.characters[:, 0] <= found.characters[:, 1]).all()
    assert not len(found.tokens) or 0 <= found.characters.min() <= found.characters.max() <= len(text)


def test_a_tokenizer_that_loses_text_leaves_its_slices_whole():
    assert slices(word_piece("猫"), "Cafe\u0301  CATS 猫坐") == ["C", "a", "f", "e\u0301", "CAT", "S", "猫", "坐"]
    found = slices(lossy(), "The Cafe\u0301 CAT 龘鑫  naïve \u3000it.")
    assert [part for part in found if part] == [
        *("The", "C", "a", "f", "e\u0301", "CAT", "龘鑫", "n", "a", "ï", "v", "e", "i", "t", "."),
    ] or "".join(found).replace(" ", "") == "TheCafe\u0301CAT龘鑫naïveit."
    assert "龘鑫" in found  # one unknown token has all between its neighbors
    assert slices(lossy(), "") == slices(word_piece("猫"), " ") == []


def test_one_text_is_read_once_and_each_text_in_its_place():
    first, second, third = locate(unigram(), ["the cat", "猫", "the cat"])
    assert first is third and second.text == "猫"


# Which tokens are an answer.


@pytest.mark.parametrize("kind", TOKENIZERS)
@hypothesis.given(text=CONTEXTS, data=st.data())
def test_the_covering_tokens_are_all_that_share_a_character_with_the_answer(kind, text, data):
    (found,) = locate(TOKENIZERS[kind](), [text])
    first = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(first, len(text)))
    sharing = [i for i, (a, b) in enumerate(found.characters.tolist()) if max(a, first) < min(b, stop)]
    span = covering(found, first, stop)
    if sharing:
        assert span == (sharing[0], sharing[-1])


def test_an_answer_is_without_the_spaces_of_its_tokens():
    context = "so the cat  sat"
    for first, stop in [(3, 6), (2, 6), (3, 7), (2, 7)]:
        (passage,) = spell(unigram(), [asked(context, (first, stop))])
        assert text_of(passage.context, *passage.answer) == "the"
    start = passage.context.characters[passage.answer[0], 0]
    assert context[start] == " "  # though the token has one


def test_the_first_answer_counts_and_a_wrong_one_none():
    context = "the cat sat"
    (passage,) = spell(unigram(), [asked(context, (4, 7), (0, 3))])
    assert text_of(passage.context, *passage.answer) == "cat"
    for wrong in [Answer("dog", 4), Answer("cat", 5), Answer("the", -11), Answer("cat", 99), Answer(" ", 3)]:
        (passage,) = spell(unigram(), [Question("q", "which?", context, (wrong,))])
        assert passage.answer is None
        assert not training_windows([passage], Cut(99, 3), unanswered=True)
    (passage,) = spell(word_piece("猫"), [Question("q", "?", "a\u200bb", (Answer("\u200b", 1),))])
    assert passage.answer is None  # no token stands for it


def test_a_long_question_loses_its_end():
    text = asked("the cat", (0, 3))
    (short,), (whole,) = spell(Tokenizer("bytes"), [text], max_question=4), spell(Tokenizer("bytes"), [text])
    assert short.question.tolist() == whole.question[:4].tolist() and len(whole.question) == len("which cat?")
    (long,) = spell(Tokenizer("bytes"), [dataclasses.replace(text, question="why? " * 99)])
    assert len(long.question) == 64


# Windows.


def released_windows(size, room, stride):
    """The loop of run_squad.py, restated."""
    found, first = [], 0
    while first < size:
        count = min(size - first, room)
        found.append((first, count))
        if first + count == size:
            return found
        first += min(count, stride)
    return [(0, 0)]  # of an empty context the release knows nothing; an evaluation asks about it too


@hypothesis.given(size=st.integers(0, 60), room=st.integers(1, 20), stride=st.integers(1, 25))
def test_windows_are_those_of_the_release(size, room, stride):
    (passage,) = spell(Tokenizer("bytes"), [asked("x" * size)], max_question=5)
    found = windows([passage], Cut(room + 5 + 3, 3, stride))
    assert [(each.first, each.count) for each in found] == released_windows(size, room, stride)


@hypothesis.given(size=st.integers(1, 60), room=st.integers(1, 20), stride=st.integers(1, 25))
def test_the_fullest_window_is_that_of_the_release(size, room, stride):
    spans = released_windows(size, room, stride)
    found = fullest(*np.array(spans).T)
    for position in range(size):
        best_score, best = None, None
        for index, (first, count) in enumerate(spans):
            if first <= position <= first + count - 1:
                score = min(position - first, first + count - 1 - position) + 0.01 * count
                if best_score is None or score > best_score:
                    best_score, best = score, index
        assert found[position] == best


def test_a_tie_of_windows_goes_to_the_first():
    assert fullest(np.array([0, 2]), np.array([5, 5])).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert fullest(np.array([0, 3]), np.array([6, 6])).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert fullest(np.array([0, 2]), np.array([4, 3])).tolist()[2] == 0


def test_a_target_is_held_whole_or_not_at_all():
    context = "abcdefghij"
    (passage,) = spell(Tokenizer("bytes"), [asked(context, (3, 5))], max_question=2)
    cut = Cut(2 + 3 + 4, 3, 2)
    found = windows([passage], cut)
    assert found == [
        Window(0, 0, 4, None),  # abcd
        Window(0, 2, 4, (1, 2)),  # cdef
        Window(0, 4, 4, None),  # efgh
        Window(0, 6, 4, None),
    ]
    assert training_windows([passage], cut, unanswered=True) == found
    assert training_windows([passage], cut, unanswered=False) == [found[1]]


def test_questions_without_an_answer_are_trained_on_where_asked():
    cut = Cut(40, 3, 9)
    passages = spell(Tokenizer("bytes"), [asked("the cat", (0, 3)), asked("no cat", impossible=True)])
    assert [each.target for each in training_windows(passages, cut, unanswered=True)] == [(0, 2), None]
    assert [each.passage for each in training_windows(passages, cut, unanswered=False)] == [0]
    unpublished = spell(Tokenizer("bytes"), [asked("the cat", name="q7")])
    assert len(windows(unpublished, cut)) == 1
    with pytest.raises(InputError, match="question q7: has no answer and is not said to be impossible"):
        training_windows(unpublished, cut, unanswered=True)


def test_a_question_without_room_is_one_sentence():
    (passage,) = spell(Tokenizer("bytes"), [asked("the cat", name="q7")])
    room = len(passage.question) + 3
    assert windows([passage], Cut(room + 1, 3))
    with pytest.raises(InputError, match=r"length=13: .* question q7 .* a sequence with no answer window") as refused:
        windows([passage], Cut(room, 3))
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="doc_stride=0"):
        Cut(99, 3, 0)


# Answers.


def gold(passages, found, length):
    """Logits of 1 where an answer starts and ends, and of 0 elsewhere."""
    start, end = np.zeros((2, len(found), length), np.float32)
    for row, window in enumerate(found):
        if passages[window.passage].answer is not None:
            first, last = (token - window.first for token in passages[window.passage].answer)
            start[row, [first] if 0 <= first < window.count else []] = 1
            end[row, [last] if 0 <= last < window.count else []] = 1
    return start, end


def crosses(text, characters, first, stop):
    """Whether a token has a letter on both sides of an edge of text[first:stop], whose ends are no spaces."""
    return any(
        (a < first < b and text[a:first].strip()) or (a < stop < b and text[stop:b].strip())
        for a, b in characters.tolist()
    )


def owned(text, characters, first, stop):
    """The characters of text[first:stop] that are some token's, from the first to the last, without outer spaces."""
    own = {i for a, b in characters.tolist() for i in range(max(a, first), min(b, stop)) if not text[i].isspace()}
    return (min(own), max(own) + 1) if own else None


def decoded_gold(passages, cut):
    """The best answers for gold logits, and whether the window that decides about the start holds all of the answer."""
    found = windows(passages, cut)
    start, end = gold(passages, found, cut.length)
    predictions = decode(passages, found, start, end, None, Limits(answer=cut.length))
    decided = []
    for i, passage in enumerate(passages):
        own = [each for each in found if each.passage == i]
        best = fullest(np.array([each.first for each in own]), np.array([each.count for each in own]))
        decided.append(passage.answer is not None and own[best[passage.answer[0]]].target is not None)
    return [each.best for each in predictions], decided


@pytest.mark.parametrize("kind", TOKENIZERS)
@hypothesis.settings(max_examples=60)
@hypothesis.given(text=CONTEXTS, stride=st.integers(1, 40), more=st.integers(0, 30), data=st.data())
def test_gold_logits_are_decoded_to_the_gold_answer(kind, text, stride, more, data):
    first = data.draw(st.integers(0, len(text)))
    last = data.draw(st.integers(first, len(text)))
    passages = spell(TOKENIZERS[kind](), [asked("the cat", (4, 7)), asked(text, (first, last))], max_question=3)
    passage, characters = passages[1], passages[1].context.characters
    hypothesis.assume(passage.answer is not None)
    room = passage.answer[1] - passage.answer[0] + 1 + more
    (_, found), (_, decided) = decoded_gold(passages, Cut(max(room, 3) + 3 + 3, 3, stride))
    own = owned(text, characters, first, last)
    hypothesis.assume(decided and own)
    given = text[slice(*own)]
    assert given in found and found in text
    assert (found == given) == (not crosses(text, characters, *own))
    if kind in ("bytes", "unigram"):
        assert given == text[first:last].strip()  # every character is some token's
    if kind == "bytes":
        assert found == given


def brute(passage, found, start, end, null, limits):
    """Every span of every window, one by one."""
    seen, rows = {}, []
    best = fullest(np.array([each.first for each in found]), np.array([each.count for each in found]))
    for row, window in enumerate(found):
        tried = [
            set(sorted(range(window.count), key=lambda t, of=of: of[row, t], reverse=True)[: limits.tried])
            for of in (start, end)
        ]
        for i in range(window.count):
            for j in range(i, min(i + limits.answer, window.count)):
                if best[window.first + i] == row and i in tried[0] and j in tried[1]:
                    characters = passage.context.characters[window.first :]
                    text = passage.context.text[characters[i, 0] : characters[j, 1]].strip()
                    rows.append((-(float(start[row, i]) + float(end[row, j])), row, i, j, text))
    for score, *_, text in sorted(rows):
        if text:
            seen.setdefault(text, -score)
    ranked = list(seen.items())
    if null is not None:
        ranked = sorted([*ranked, ("", float(null.min()))], key=lambda pair: (-pair[1], pair[0] == ""))
    kept = ranked[: limits.n_best]
    return kept + [pair for pair in ranked[limits.n_best :] if pair[0] == ""], seen


@hypothesis.settings(max_examples=100)
@hypothesis.given(
    words=st.lists(st.sampled_from(["a ", "b", " ", "猫"]), max_size=12).map("".join),
    room=st.integers(3, 9),
    stride=st.integers(1, 9),
    limits=st.builds(Limits, st.integers(1, 6), st.integers(1, 6), st.none() | st.integers(1, 5)),
    nullable=st.booleans(),
    data=st.data(),
)
def test_the_decoder_is_a_search_through_all_spans(words, room, stride, limits, nullable, data):
    passages = spell(Tokenizer("bytes"), [asked("ab", (0, 1)), asked(words, name="r"), asked("b ")], max_question=1)
    found = windows(passages, Cut(room + 1 + 3, 3, stride))
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    start, end = draw.integers(-2, 3, (2, len(found), room + 2)).astype(np.float32)  # few values, so many ties
    null = draw.integers(-3, 4, len(found)).astype(np.float32) if nullable else None
    predictions = decode(passages, found, start, end, null, limits)
    assert [each.name for each in predictions] == ["q", "r", "q"]
    for i, (passage, prediction) in enumerate(zip(passages, predictions, strict=True)):
        own = [row for row, each in enumerate(found) if each.passage == i]
        least = None if null is None else null[own]
        ranked, seen = brute(passage, [found[row] for row in own], start[own], end[own], least, limits)
        assert [(each.text, each.score) for each in prediction.guesses] == ranked
        best = next(iter(seen), "")
        assert prediction.best == best
        if seen:
            assert prediction.null_odds == (-math.inf if null is None else least.min() - seen[best])
        weights = [math.exp(score) for _, score in ranked]
        assert [each.probability for each in prediction.guesses] == pytest.approx([w / sum(weights) for w in weights])


def one(text):
    """A context of bytes in one window."""
    passages = spell(Tokenizer("bytes"), [asked(text)], max_question=1)
    return passages, windows(passages, Cut(max(len(text), 1) + 4, 3))


def test_starts_and_ends_that_fit_no_span_crowd_out_what_would_fit():
    passages, found = one("abcdef")
    start, end = np.zeros((2, 1, 6), np.float32)
    start[0, 4:], end[0, :2] = 5, 5  # the best starts are behind the best ends
    (pruned,) = decode(passages, found, start, end, None, Limits(tried=2))
    (whole,) = decode(passages, found, start, end, None, Limits(tried=None))
    assert pruned.guesses == () and pruned.best == ""
    assert whole.best == "a" and whole.guesses[0].score == 5  # of equal ones the first start, then the first end


def test_no_answer_is_chosen_above_the_threshold():
    passages, found = one("abc")
    start = np.array([[1, 0, 0]], np.float32)
    (prediction,) = decode(passages, found, start, start, np.array([3], np.float32))
    assert (prediction.best, prediction.null_odds, prediction.guesses[0].text) == ("a", 1, "")
    assert [prediction.answer(threshold) for threshold in (0.5, 1.0, 1.5)] == ["", "a", "a"]
    (sure,) = decode(passages, found, start, start, None)
    assert sure.answer(-1e9) == "a" and all(guess.text for guess in sure.guesses)


def test_a_question_has_as_little_null_as_its_least_window():
    passages = spell(Tokenizer("bytes"), [asked("abcdef")], max_question=1)
    found = windows(passages, Cut(3 + 4, 3, 3))
    assert len(found) == 2
    (prediction,) = decode(passages, found, *np.zeros((2, 2, 3), np.float32), np.array([7, 5], np.float32))
    assert prediction.null_odds == 5


def test_a_context_without_an_answer_has_infinite_odds_of_none():
    for text in ("", "  "):
        passages, found = one(text)
        logits = np.zeros((1, max(len(text), 1)), np.float32)
        (prediction,) = decode(passages, found, logits, logits, np.zeros(1, np.float32))
        assert (prediction.best, prediction.null_odds, prediction.answer(1e9)) == ("", math.inf, "")
        assert [(each.text, each.probability) for each in prediction.guesses] == [("", 1.0)]


# XLNet's ends, which depend on the start.


@hypothesis.settings(max_examples=60)
@hypothesis.given(words=st.text("ab ", min_size=1, max_size=9), longest=st.integers(1, 5), seed=st.integers(0, 99))
def test_beams_are_all_pairs_of_a_start_and_its_ends(words, longest, seed):
    passages = spell(Tokenizer("bytes"), [asked("ab"), asked(words)], max_question=1)
    found = windows(passages, Cut(4 + 4, 3, 2))
    draw = np.random.default_rng(seed)
    start, end = draw.integers(-1, 6, (len(found), 3)), draw.integers(-1, 6, (len(found), 3, 3))  # some outside
    start_score, end_score = -draw.integers(0, 3, start.shape) / 2, -draw.integers(0, 3, end.shape) / 2
    null = draw.normal(size=len(found))
    _, prediction = decode_beams(passages, found, start, start_score, end, end_score, null, Limits(longest, 4))
    own = [row for row, each in enumerate(found) if each.passage == 1]
    best = fullest(*np.array([(found[row].first, found[row].count) for row in own]).T)
    rows = []
    for at, row in enumerate(own):
        for i in range(3):
            for j in range(3):
                a, b = int(start[row, i]), int(end[row, i, j])
                if 0 <= a <= b < found[row].count and b - a < longest and best[found[row].first + a] == at:
                    text = words[found[row].first + a : found[row].first + b + 1].strip()
                    rows.append((-(start_score[row, i] + end_score[row, i, j]), at, a, b, text))
    seen = {}
    for score, *_, text in sorted(rows):
        if text:
            seen.setdefault(text, -score)
    assert [(each.text, each.score) for each in prediction.guesses] == list(seen.items())[:4]
    assert prediction.null_odds == (null[own].min() if seen else math.inf)


def test_the_last_token_of_a_window_may_be_an_answer_of_beams():
    passages, found = one("abc")
    start, end = np.array([[2, 3]]), np.array([[[2, 3], [2, 3]]])  # 3 is [SEP]
    scores = np.array([[-1.0, 0.0]]), np.array([[[-1.0, 0.0], [0.0, 0.0]]])
    (prediction,) = decode_beams(passages, found, start, scores[0], end, scores[1], None)
    assert prediction.best == "c" and len(prediction.guesses) == 1
    assert prediction.null_odds == -math.inf


# Real files.


def real(folder, name):
    data = json.loads((folder / name).read_text())["data"]
    paragraphs = [paragraph for document in data for paragraph in document["paragraphs"]]
    for context, asking in ((each["context"], qa) for each in paragraphs for qa in each["qas"]):
        answers = tuple(Answer(answer["text"], answer["answer_start"]) for answer in asking["answers"])
        yield Question(asking["id"], asking["question"], context, answers)


def of_real_text(kind, folder, size, texts):
    if kind == "bytes":
        return Tokenizer("bytes")
    if kind == "unigram":
        return train_tokenizer("unigram", 1000, texts[:60])
    pytest.importorskip("tokenizers", reason="tokenizers is not installed (pip install '.[parity]')")
    shutil.copy(folder / f"tokenizer_assets/{kind}-vocab.txt", size / "vocab.txt")
    return read_released(size, 30522)


@pytest.mark.parametrize(
    ("name", "word_pieces"),
    [("policyqa/dev.json", "bert-base-uncased"), ("cmrc2018/cmrc2018_trial.json", "bert-base-chinese")],
)
@pytest.mark.parametrize("kind", ["bytes", "unigram", "word_piece"])
def test_gold_logits_of_real_questions_are_decoded_to_their_answers(real_data, tmp_path, name, word_pieces, kind):
    questions = list(real(real_data, name))[::12]
    contexts = list(dict.fromkeys(each.context for each in questions))
    tokenizer = of_real_text(word_pieces if kind == "word_piece" else kind, real_data, tmp_path, contexts)
    passages = [each for each in spell(tokenizer, questions) if each.answer is not None]
    assert len(passages) >= 0.99 * len(questions)  # a few answers are not where their file says
    longest = max(each.answer[1] - each.answer[0] + 1 for each in passages)
    for length, stride in [(384, 128), (2 * longest + 99, longest // 3 + 1)]:
        found, decided = decoded_gold(passages, Cut(length, 3, stride))
        exact = 0
        for passage, text, sure in zip(passages, found, decided, strict=True):
            answer, context = passage.example.answers[0], passage.context
            own = owned(context.text, context.characters, answer.start, answer.start + len(answer.text))
            whole, given = not crosses(context.text, context.characters, *own), context.text[slice(*own)]
            if sure:
                assert (text == given) if whole else (given in text)
                exact += whole
        assert exact >= (0.9 if length > 384 or kind != "bytes" else 0.6) * len(passages)
