"""Our tokenizers in Hugging Face folders: the same ids there, and the same tokenizer when they come back."""

import functools
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.tokenizer import CLS, END, MASK, PAD, SEP, SPECIALS, Tokenizer, train_tokenizer
from interop.tokenizer_json import tokenizer_json
from interop.tokenizers import OWN_MODEL, export_tokenizer, import_tokenizer

KINDS = ("unigram", "bpe", "bytes")
FAMILIES = {"bert": "bert", "gpt": "gpt2", "xlnet": "xlnet"}
LINES = [
    "def f(x): return x[0] if x else {'a': 1}  # a comment -----",
    "The cat sat on the mat; it was not amused. 3,141,592 times!",
    "---------- ========== .......... aaaaaaa abababab",
    "猫坐在垫子上，我们去吃饭。 the 猫",
    "    indented\ttabbed  twice <0x> 0x41 0xAF <<>>",
]
# No "4", "1" and "C" at the end: the names of some bytes hold characters that are no piece, of others they do not.
NO_DIGITS = str.maketrans("", "", "14C")


def needs(package):
    return pytest.importorskip(package, reason=f"{package} is not installed (pip install '.[parity]')")


@functools.cache
def tokenizer_of(kind, digits=True):
    if kind == "bytes":
        return Tokenizer("bytes")
    draw = random.Random(0)
    lines = [" ".join(draw.choices(line.split(" "), k=8)) for line in LINES * 60]
    lines += ["".join(draw.choices("0123456789ABCDEFx<>-=.a", k=12)) for _ in range(200)]
    return train_tokenizer(kind, 400, lines if digits else [line.translate(NO_DIGITS) for line in lines])


@functools.cache
def their(kind, digits=True):
    return needs("tokenizers").Tokenizer.from_str(json.dumps(tokenizer_json(tokenizer_of(kind, digits), "gpt")))


HARD = [
    *LINES,
    "",
    "<0x41> <0xE7> <0x00 <0xFF>> <<0x4A>",
    "\u2581 \u2581\u2581x \u2585 \ufeff \0 \x07 \x1b \x7f \u200b \u2028",
    " \n\n\t\r\n  \u3000\xa0",
    "😀👩‍👩‍👧 龘𠀀 é e\u0301 ﬁ Ｆ ½",
    "[MASK [CLS PAD] [ MASK ] <unk> <s> </s> <pad> <|endoftext|>",
    "supercalifragilistic" * 30,
    "aab" * 400 + "----" * 99,
    "the cat sat on the mat. " * 400,
    "猫坐在垫子上" * 150,
]
PIECES = st.sampled_from(
    [*"aab<0x41>FE \n\t-=~.1, ▁▅é猫龘😀\0\x07\ufeff", "<0x41>", "<0xE7>", "--", "abab", " the", "ing", "在垫"]
)
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=40).map("".join)
TEXTS = TEXTS.filter(lambda text: not any(name in text for name in SPECIALS))


@pytest.mark.parametrize(("kind", "digits"), [("unigram", True), ("unigram", False), ("bpe", True), ("bytes", True)])
@settings(max_examples=700)
@given(text=TEXTS)
def test_any_text_has_the_same_ids_there(kind, digits, text):
    ids = their(kind, digits).encode(text, add_special_tokens=False).ids
    assert ids == tokenizer_of(kind, digits).encode(text).tolist()
    assert their(kind, digits).decode(ids) == text


@pytest.mark.parametrize(("kind", "digits"), [("unigram", True), ("unigram", False), ("bpe", True), ("bytes", True)])
def test_hard_text_has_the_same_ids_there(kind, digits):
    for text in HARD:
        ids = their(kind, digits).encode(text, add_special_tokens=False).ids
        assert ids == tokenizer_of(kind, digits).encode(text).tolist(), text
        assert their(kind, digits).decode(ids) == text


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_real_text_has_the_same_ids_there(kind, real_data):
    books = ["gutenberg_dev/moby-dick--or-the-whale.txt", "zh_classics_dev/xiyouji.txt", "tinyshakespeare/input.txt"]
    texts = [(real_data / book).read_text() for book in books]
    lines = [line for text in texts for line in text.splitlines() if line]
    ours = train_tokenizer(kind, 4000, lines[::7])
    there = needs("tokenizers").Tokenizer.from_str(json.dumps(tokenizer_json(ours, "gpt")))
    chapters = [text[i : i + 30_000] for text in texts for i in range(0, len(text), 30_000)]
    for some in (lines, chapters):
        found = there.encode_batch(some, add_special_tokens=False)
        assert all(a.ids == b.tolist() for a, b in zip(found, ours.encode_many(some), strict=True))


def test_no_rounding_chooses_between_equal_spellings():
    scores = tokenizer_of("unigram").scores.values()
    assert all((score * 1024).is_integer() for score in scores)
    there, run = tokenizer_of("unigram"), "-" * 7
    ids = {tuple(there.encode(f"{'the cat ' * n}\n{run}").tolist()[-len(there.encode(run)) :]) for n in range(100)}
    assert len(ids) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_text_has_the_ids_of_its_lines(kind):
    draw = random.Random(0)
    lines = ["".join(draw.choices("0123456789ABCDEFx<>-=.a", k=20)) + "\n" for _ in range(9000)]
    ids = np.concatenate(tokenizer_of(kind).encode_many(lines))
    assert np.array_equal(tokenizer_of(kind).encode("".join(lines)), ids)


@functools.cache
def folder_of(kind, family, base):
    folder = base / f"{kind}-{family}"
    folder.mkdir()
    export_tokenizer(tokenizer_of(kind), family, folder)
    (folder / "config.json").write_text(json.dumps({"model_type": FAMILIES[family]}))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("exported")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_auto_tokenizer_gives_our_ids_and_the_text_back(base, kind, family):
    theirs = needs("transformers").AutoTokenizer.from_pretrained(folder_of(kind, family, base))
    ours = tokenizer_of(kind)
    assert len(theirs) == ours.vocab.size
    for text in HARD:
        ids = theirs(text, add_special_tokens=False)["input_ids"]
        assert ids == ours.encode(text).tolist()
        assert theirs.decode(ids) == text


@pytest.mark.parametrize("family", FAMILIES)
def test_an_auto_tokenizer_places_the_special_tokens_of_the_family(base, family):
    theirs = needs("transformers").AutoTokenizer.from_pretrained(folder_of("bytes", family, base))
    a, b = (tokenizer_of("bytes").encode(text).tolist() for text in ("ab", "c"))
    expected = {
        "bert": ([CLS, *a, SEP, *b, SEP], [0, 0, 0, 0, 1, 1], [CLS, *a, SEP]),
        "gpt": ([*a, *b], [0, 0, 1], a),
        "xlnet": ([*a, SEP, *b, SEP, CLS], [0, 0, 0, 1, 1, 2], [*a, SEP, CLS]),
    }[family]
    pair = theirs("ab", "c", return_token_type_ids=True)
    assert (pair["input_ids"], pair["token_type_ids"]) == expected[:2]
    assert theirs("ab")["input_ids"] == expected[2]
    padded = theirs(["ab", ""], add_special_tokens=False, padding=True)["input_ids"]
    assert padded == [a, [PAD, PAD]]
    padded = theirs(["ab", "c"], add_special_tokens=False, padding=True)["input_ids"][1]
    assert padded == ([PAD, *b] if family == "xlnet" else [*b, PAD])
    if family == "gpt":
        assert theirs.eos_token_id == END and theirs.mask_token_id is None
    else:
        assert (theirs.cls_token_id, theirs.sep_token_id, theirs.mask_token_id) == (CLS, SEP, MASK)
        assert theirs("[MASK]", add_special_tokens=False)["input_ids"] == [MASK]
    assert theirs.decode([*a, PAD, END], skip_special_tokens=True) == "ab"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_went_out_comes_back_the_same(base, kind, family):
    ours = tokenizer_of(kind)
    back = import_tokenizer(folder_of(kind, family, base), ours.vocab.size)
    assert isinstance(back, Tokenizer)
    assert (back.kind, back.digest) == (ours.kind, ours.digest)


@pytest.mark.parametrize("kind", KINDS)
def test_without_our_own_file_the_ids_are_still_ours(tmp_path, kind):
    needs("tokenizers")
    ours = tokenizer_of(kind)
    export_tokenizer(ours, "bert", tmp_path)
    (tmp_path / OWN_MODEL).unlink()
    back = import_tokenizer(tmp_path, ours.vocab.size)
    assert back.lossless and back.digest != ours.digest
    names = ("size", "pad", "cls", "sep", "mask", "end")
    assert [getattr(back.vocab, name) for name in names] == [getattr(ours.vocab, name) for name in names]
    for text in [*HARD, *SPECIALS]:  # whose names are text here
        ids = ours.encode(text)
        assert np.array_equal(back.encode(text), ids)
        assert back.decode(ids) == text
        assert np.array_equal(back.word_starts(ids), ours.word_starts(ids))
        assert np.array_equal(back.byte_lengths(ids), ours.byte_lengths(ids))


def test_a_tokenizer_that_was_changed_outside_is_the_changed_one(tmp_path):
    needs("tokenizers")
    export_tokenizer(tokenizer_of("bpe"), "bert", tmp_path)
    values = json.loads((tmp_path / "tokenizer.json").read_text())
    values["normalizer"] = {"type": "Lowercase"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    back = import_tokenizer(tmp_path, tokenizer_of("bpe").vocab.size)
    assert back.encode("THE CAT").tolist() == tokenizer_of("bpe").encode("the cat").tolist()
    assert not back.lossless


def test_what_transformers_saves_again_has_the_same_ids(base, tmp_path):
    transformers = needs("transformers")
    ours = tokenizer_of("unigram")
    transformers.AutoTokenizer.from_pretrained(folder_of("unigram", "bert", base)).save_pretrained(tmp_path)
    back = import_tokenizer(tmp_path, ours.vocab.size)
    assert all(np.array_equal(back.encode(text), ours.encode(text)) for text in HARD)
    assert (back.vocab.mask, back.vocab.end) == (MASK, END)
