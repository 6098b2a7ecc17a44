"""Released tokenizers: the ids of their makers, honest about what they lose, usable like our own."""

import functools
import json
import random
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import InputError
from data.batches import open_stream
from data.config import DataConfig
from data.pipelines import byte_of_letter
from data.prepare import prepare
from data.tokenizer import load_tokenizer
from interop.tokenizers import export_tokenizer, import_tokenizer

HARD = [
    "",
    " ",
    "Hello, World! don't  stop\t\tnow\r\n",
    "naïve café NAÏVE Ｆｕｌｌ ﬁ ½ ǆ İstanbul straße",
    "e\u0301 o\u0308\u0323",
    "猫坐在垫子上。我们去吃饭！ x猫y カタカナ 한국어",
    "[MASK] [CLS] [PAD] [unused1] <|endoftext|> <cls> <mask> <pad> <unk> </s>",
    "😀 👨‍👩‍👧 \ufe0f \u200b \u200d \xad",
    "\0\x07\x1b \ufffd \ufeff \u2028 \u3000 \xa0 \u2581 \u2585",
    "a" * 99 + " " + "b" * 101 + " " + "c" * 300,
    "1,000 1999, and 3.14; $100 €5 50% a_b x=y+z `` '' \"q\"",
    "if (x<0x41>) { return  ~y; }\n    # Ġ Ċ ##ing",
    "𠀀𪛖 𝔘𝔫𝔦 \U0010fffd",
]
WORDS = ["the", "cats", "sat", "on", "a", "mat", "and", "it", "was", "not", "seen", "by", "any", "猫", "在", "吃"]


def sentences(count=300):
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=7)).capitalize() + "." for _ in range(count)]


def needs(package):
    return pytest.importorskip(package, reason=f"{package} is not installed (pip install '.[parity]')")


def word_piece(folder, **config):
    specials = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(33, 127)]
    pieces = [*letters, *(f"##{c}" for c in letters), "the", "cat", "##s", "naive", "hello", "world", "猫", "在", "é"]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys([*specials, *pieces])) + "\n", encoding="utf-8")
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))


MERGES = ["Ġ t", "h e", "Ġt he", "c at", "a t", "Ġ cat", "ç Į", "Ġ Ġ", "e r", "o n", "Ġ ç"]


def byte_level(folder, version="#version: 0.2\n"):
    pieces = [*sorted(byte_of_letter()), *(merge.replace(" ", "") for merge in MERGES), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text(version + "\n".join(MERGES) + "\n", encoding="utf-8")


@functools.cache
def spiece_model():
    import io

    model = io.BytesIO()
    draw = random.Random(1)
    made_up = [" ".join(draw.choices("aeiou", k=2) * 2) + "".join(draw.choices("bcdfghklm", k=3)) for _ in range(400)]
    numbers = [f"In {year}, {year % 7},000 Cats (or so) sat - and sat." for year in range(1900, 2000)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*sentences(), *numbers * 5, *made_up]),
        model_writer=model,
        vocab_size=150,
        character_coverage=0.99995,
        control_symbols=["<cls>", "<sep>", "<pad>", "<mask>", "<eod>"],
        user_defined_symbols=["<eop>", ".", "(", ")", '"', "-", "–", "£", "€"],
        minloglevel=2,
    )
    return model.getvalue()


def spiece(folder, **config):
    (folder / "spiece.model").write_bytes(spiece_model())
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))


KINDS = {"word_piece": word_piece, "byte_level": byte_level, "spiece": spiece}
SIZES = {"word_piece": 203, "byte_level": 268, "spiece": 150}


@functools.cache
def made(kind, base, **config):
    folder = base / "-".join([kind, *(f"{name}={value}" for name, value in config.items())])
    folder.mkdir()
    KINDS[kind](folder, **config)
    return folder


@functools.cache
def imported(kind, base):
    if kind != "spiece":
        needs("tokenizers")
    return import_tokenizer(made(kind, base), SIZES[kind])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("released")


@pytest.fixture(params=KINDS)
def tokenizer(request, base):
    return imported(request.param, base)


def assert_same_ids(ours, theirs, texts):
    theirs.split_special_tokens = True  # as ours: a literal name is text
    expected = theirs(texts, add_special_tokens=False)["input_ids"]
    for text, ids, other in zip(texts, ours.encode_many(texts), expected, strict=True):
        assert ids.tolist() == other, text


CONFIGS = [{}, {"do_lower_case": False}, {"do_lower_case": False, "strip_accents": True}, {"strip_accents": False}]
CONFIGS = [*CONFIGS, {"tokenize_chinese_chars": False}]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_word_pieces_are_those_of_transformers(base, config):
    folder = made("word_piece", base, **config)
    theirs = needs("transformers").BertTokenizer.from_pretrained(folder)
    names = HARD.index(next(text for text in HARD if text.startswith("[MASK]")))
    texts = HARD[:names] + HARD[names + 1 :]
    assert_same_ids(import_tokenizer(folder, 203), theirs, texts)


def test_byte_pairs_are_those_of_transformers(base):
    folder = made("byte_level", base)
    theirs = needs("transformers").GPT2Tokenizer.from_pretrained(folder)
    assert_same_ids(import_tokenizer(folder, 268), theirs, [text for text in HARD if "<|endoftext|>" not in text])


@pytest.mark.parametrize("version", ["", "#version: 0.2\n"])
def test_the_first_line_of_the_merges_may_name_their_version(tmp_path, base, version):
    needs("tokenizers")
    byte_level(tmp_path, version)
    ids = import_tokenizer(tmp_path, 268).encode("the the cat  on")
    assert ids.tolist() == imported("byte_level", base).encode("the the cat  on").tolist()
    assert len(import_tokenizer(tmp_path, 268).encode(" the")) == 1  # by the first merge


REAL = {
    "bert-base-uncased": ("bert", {"vocab.txt": "bert-base-uncased-vocab.txt"}, 30522),
    "bert-base-chinese": ("bert", {"vocab.txt": "bert-base-chinese-vocab.txt"}, 21128),
    "gpt2": ("gpt2", {"vocab.json": "gpt2_vocab.json", "merges.txt": "gpt2_merges.txt"}, 50257),
}


@pytest.mark.parametrize("name", REAL)
def test_the_released_vocabularies_give_the_ids_of_transformers_on_real_text(tmp_path, real_data, name):
    transformers = needs("transformers")
    model_type, files, size = REAL[name]
    for file, asset in files.items():
        shutil.copy(real_data / "tokenizer_assets" / asset, tmp_path / file)
    ours = import_tokenizer(tmp_path, size)
    if name == "gpt2":  # transformers skips a first line whatever it says
        (tmp_path / "merges.txt").write_text("#version: 0.2\n" + (tmp_path / "merges.txt").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    books = ["gutenberg_dev/frankenstein.txt", "zh_classics_dev/xiyouji.txt", "ud_ewt/ewt_raw_docs_dev.txt"]
    lines = [line for book in books for line in (real_data / book).read_text().splitlines()[:600]]
    assert_same_ids(ours, theirs, [*lines, *(text for text in HARD if "[MASK]" not in text)])
    known = {"bert-base-uncased": (0, 101, 102, 103, None), "bert-base-chinese": (0, 101, 102, 103, None)}
    vocab = ours.vocab
    assert (vocab.pad, vocab.cls, vocab.sep, vocab.mask, vocab.end) == known.get(name, (None,) * 4 + (50256,))
    if name == "gpt2":
        assert ours.encode("Hello world").tolist() == [15496, 995]
        assert not vocab.special
        for line, ids in zip(lines, ours.encode_many(lines), strict=True):
            assert ours.decode(ids) == line and ours.byte_lengths(ids).sum(dtype=int) == len(line.encode())


ODD = ["[MASK]", "[CLS]", "[unused1]", "<|endoftext|>", "<cls>", "<mask>", "<eod>", "<pad>", "\u2581", "\0", "  ", "\n"]
TEXTS = st.lists(st.sampled_from([*ODD, *WORDS, "é", "9,", "😀"]) | st.text(max_size=4)).map("".join)


@settings(max_examples=300)
@given(text=TEXTS)
def test_byte_pairs_give_any_text_back_exactly(text, base):
    tokenizer = imported("byte_level", base)
    assert tokenizer.lossless
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.byte_lengths(ids).sum(dtype=int) == len(text.encode())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150)
@given(text=TEXTS)
def test_text_never_becomes_a_special(kind, text, base):
    tokenizer = imported(kind, base)
    vocab, ids = tokenizer.vocab, tokenizer.encode(text)
    assert not np.isin(
        ids, [i for i in (vocab.pad, vocab.cls, vocab.sep, vocab.mask, vocab.end) if i is not None]
    ).any()
    starts = tokenizer.word_starts(ids)
    assert starts.shape == ids.shape and (not len(ids) or starts[0])
    assert ids.dtype == np.int32


def released_encode_pieces(model, text):
    """XLNet's clean-up and encoding, as its release spells them (prepro_utils.py), restated for one text."""
    text = " ".join(text.strip().split()).replace("``", '"').replace("''", '"')
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    found = []
    for piece in model.encode(text, out_type=str):
        if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
            parts = model.encode(piece[:-1].replace("\u2581", ""), out_type=str)
            if piece[0] != "\u2581" and parts[0][0] == "\u2581":
                parts = parts[1:] if len(parts[0]) == 1 else [parts[0][1:], *parts[1:]]
            found += [*parts, ","]
        else:
            found.append(piece)
    return [model.piece_to_id(piece) for piece in found]


def test_xlnet_reads_text_as_its_release_does(base):
    model = sentencepiece.SentencePieceProcessor(model_proto=spiece_model())
    joined = [model.id_to_piece(i) for i in range(150) if model.id_to_piece(i)[-2:-1].isdigit()]
    assert any(piece.endswith(",") for piece in joined), "the model must hold a digit with its comma"
    ours = imported("spiece", base)
    texts = [*HARD, *sentences(20), "In 1999, 3,000 cats", "5,5,5,", " ``Quoted''  café\u3000\tx "]
    for text in texts:
        assert ours.encode(text).tolist() == released_encode_pieces(model, text), text
    comma = model.piece_to_id(",")
    assert (ours.encode("In 1999, 3,000 cats") == comma).sum() == 2  # each a token of its own
    assert ours.encode("café ``a''").tolist() == ours.encode(' cafe   "a"\n').tolist()
    assert model.piece_to_id("<eop>") in ours.encode("it sat.<eop>")


def test_xlnet_lowers_letters_and_keeps_accents_where_its_configuration_says_so(base):
    lower = import_tokenizer(made("spiece", base, do_lower_case=True), 150)
    plain = imported("spiece", base)
    assert lower.encode("The CATS").tolist() == plain.encode("the cats").tolist()
    kept = import_tokenizer(made("spiece", base, keep_accents=True), 150)
    assert kept.encode("cats\u0301").tolist() != plain.encode("cats\u0301").tolist() == plain.encode("cats").tolist()


def roles(tokenizer):
    vocab = tokenizer.vocab
    return {name: getattr(vocab, name) for name in ("pad", "cls", "sep", "mask", "end")}


def test_ids_have_the_roles_that_the_models_give_them(base):
    needs("tokenizers")
    bert = imported("word_piece", base)
    assert roles(bert) == {"pad": 0, "cls": 4, "sep": 5, "mask": 6, "end": None}
    assert bert.vocab.special == (0, 1, 2, 3, 4, 5, 6)  # unused and unknown too
    gpt = imported("byte_level", base)
    assert roles(gpt) == {"pad": None, "cls": None, "sep": None, "mask": None, "end": 267}
    assert gpt.vocab.special == ()


def test_xlnet_ends_documents_with_an_ordinary_token(base):
    vocab = imported("spiece", base).vocab
    model = sentencepiece.SentencePieceProcessor(model_proto=spiece_model())
    names = {"pad": "<pad>", "cls": "<cls>", "sep": "<sep>", "mask": "<mask>", "end": "<eod>"}
    assert {role: model.id_to_piece(getattr(vocab, role)) for role in names} == names
    special = {model.id_to_piece(i) for i in vocab.special}
    assert special == {"<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>"}


def test_the_configuration_names_the_special_tokens(tmp_path):
    needs("tokenizers")
    byte_level(tmp_path)
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": {"content": "he"}, "mask_token": "on"}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<|endoftext|>", "eos_token": "er"}))
    found = import_tokenizer(tmp_path, 268)
    assert (found.vocab.pad, found.vocab.mask) == (267, found.vocab.mask) and found.vocab.mask is not None
    assert found.vocab.end == 267  # the usual name of what ends a document comes first


def test_a_separator_does_not_also_end_documents(tmp_path):
    needs("tokenizers")
    word_piece(tmp_path, eos_token="[SEP]")
    assert import_tokenizer(tmp_path, 203).vocab.end is None


def test_rows_without_a_token_are_special(tokenizer, tmp_path):
    export_tokenizer(tokenizer, "bert", tmp_path)
    padded = import_tokenizer(tmp_path, tokenizer.vocab.size + 3)
    extra = tuple(range(tokenizer.vocab.size, tokenizer.vocab.size + 3))
    assert padded.vocab.size == tokenizer.vocab.size + 3
    assert padded.vocab.special == (*tokenizer.vocab.special, *extra)
    assert padded.decode([*padded.encode("the cat").tolist(), *extra]) == tokenizer.decode(tokenizer.encode("the cat"))
    assert padded.digest != tokenizer.digest


def test_more_tokens_than_rows_are_refused(tokenizer, tmp_path):
    export_tokenizer(tokenizer, "bert", tmp_path)
    size = tokenizer.vocab.size
    with pytest.raises(InputError, match=rf"{size} tokens and .* vocab_size={size - 1}"):
        import_tokenizer(tmp_path, size - 1)


def words(tokenizer, text):
    ids = tokenizer.encode(text)
    first = np.flatnonzero(tokenizer.word_starts(ids))
    return [tokenizer.decode(part).strip() for part in np.split(ids, first[1:])]


def test_words_are_what_a_reader_sees(base):
    needs("tokenizers")
    bert = imported("word_piece", base)
    assert words(bert, "hello cats, 猫在xyz don't") == ["hello", "cats", ",", "猫", "在", "xyz", "don", "'", "t"]
    gpt = imported("byte_level", base)
    assert words(gpt, "the cats,猫在xyz 猫😀é") == ["the", "cats", ",", "猫", "在", "xyz", "", "猫", "😀", "é"]
    assert "".join(words(gpt, "龘 鑫")) == "龘鑫"


def test_words_of_xlnet_begin_at_spaces(base):
    xlnet = imported("spiece", base)
    assert words(xlnet, "The cats (or so) sat.") == ["The", "cats", "", "(", "or", "so", ")", "sat", "."]
    assert list(filter(None, words(xlnet, "猫在 吃"))) == ["猫", "在", "吃"]


def test_a_lossy_tokenizer_counts_no_bytes(base):
    needs("tokenizers")
    for kind in ("word_piece", "spiece"):
        found = imported(kind, base)
        assert not found.lossless
        assert not found.byte_lengths(found.encode("the cat")).any()


def test_a_saved_tokenizer_is_the_same_one(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.digest == tokenizer.digest
    assert loaded.vocab == tokenizer.vocab
    assert all(np.array_equal(loaded.encode(text), tokenizer.encode(text)) for text in HARD)


def test_what_came_in_goes_out_byte_for_byte(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "saved")
    (tmp_path / "out").mkdir()
    export_tokenizer(load_tokenizer(tmp_path / "saved"), "gpt", tmp_path / "out")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == tokenizer.files


def changed(name, text):
    return lambda folder: (folder / name).write_text(text)


def cut(folder):
    model = folder / "spiece.model"
    model.write_bytes(model.read_bytes()[: len(model.read_bytes()) // 2])


@pytest.mark.parametrize(
    ("kind", "damage", "complaint"),
    [
        ("word_piece", lambda folder: (folder / "vocab.txt").unlink(), "holds no tokenizer; copy"),
        ("byte_level", lambda folder: (folder / "merges.txt").unlink(), "holds no tokenizer; copy"),
        ("byte_level", changed("vocab.json", '{"a": 0'), "vocab.json: is damaged"),
        ("byte_level", changed("vocab.json", "[1]"), "vocab.json: holds list"),
        ("byte_level", changed("vocab.json", "{}"), "vocab.json: is damaged"),
        ("byte_level", changed("merges.txt", "Ġ t\nzz zzz\n"), "make no tokenizer"),
        ("byte_level", changed("tokenizer.json", "{}"), "tokenizer.json: is damaged"),
        ("byte_level", changed("tokenizer.json", '{"model": 3}'), "tokenizer.json: is damaged"),
        ("word_piece", changed("vocab.txt", "a\nb\n"), "make no tokenizer"),
        ("word_piece", changed("tokenizer_config.json", "x"), "tokenizer_config.json: is damaged"),
        ("word_piece", lambda folder: (folder / "vocab.txt").write_bytes(b"\xff\xfe"), "not UTF-8"),
        ("spiece", cut, "spiece.model: is damaged"),
        ("spiece", changed("spiece.model", ""), "spiece.model: is damaged"),
    ],
)
def test_damaged_files_are_one_sentence(tmp_path, kind, damage, complaint):
    if kind != "spiece":
        needs("tokenizers")
    KINDS[kind](tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=complaint) as error:
        import_tokenizer(tmp_path, 300)
    assert "\n" not in str(error.value)


def test_a_changed_file_of_a_workdir_is_refused(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    with next((tmp_path / "released").iterdir()).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(InputError, match="tokenizer"):
        load_tokenizer(tmp_path)


def test_without_the_package_the_remedy_is_named(base, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(InputError, match="pip install 'tokenizers"):
        import_tokenizer(made("word_piece", base), 203)
    assert import_tokenizer(made("spiece", base), 150).encode("the cat").size  # needs nothing more


def test_a_pipeline_is_read_without_its_truncation_padding_and_dropout(base, tmp_path):
    tokenizers = needs("tokenizers")
    vocab = json.loads((made("byte_level", base) / "vocab.json").read_text())
    merges = [tuple(merge.split()) for merge in MERGES]
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges, dropout=0.5))
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = tokenizers.decoders.ByteLevel()
    theirs.add_special_tokens(["<|endoftext|>"])
    theirs.enable_truncation(4)
    theirs.enable_padding(length=50)
    theirs.save(str(tmp_path / "tokenizer.json"))
    found = import_tokenizer(tmp_path, 268)
    plain = imported("byte_level", base)
    assert found.lossless and found.vocab == plain.vocab
    assert all(np.array_equal(found.encode(text), plain.encode(text)) for text in HARD)


@pytest.mark.parametrize("change", ["prefix", "normalizer", "missing byte"])
def test_only_what_gives_every_text_back_is_called_lossless(base, tmp_path, change):
    tokenizers = needs("tokenizers")
    vocab = json.loads((made("byte_level", base) / "vocab.json").read_text())
    if change == "missing byte":
        vocab["missing"] = vocab.pop("ÿ")
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, []))
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=change == "prefix")
    if change == "normalizer":
        theirs.normalizer = tokenizers.normalizers.NFC()
    theirs.save(str(tmp_path / "tokenizer.json"))
    assert not import_tokenizer(tmp_path, 268).lossless


@pytest.fixture
def config(tmp_path):
    lines = sentences(400)
    text = "\n\n".join("\n".join(lines[i : i + 8]) for i in range(0, 400, 8))
    (tmp_path / "corpus.txt").write_text(f"{text}\n\n\u200b\n\nThe cat.\n\u200b\nThe cat.\n", encoding="utf-8")
    return DataConfig(
        corpus=str(tmp_path / "corpus.txt"),
        tokenizer="imported",
        cache=str(tmp_path / "cache"),
        length=32,
        batch_size=4,
        validation=0.1,
        test=0.1,
    )


def test_a_corpus_is_prepared_with_any_of_them(tokenizer, config):
    data = prepare(config, lambda line: None, tokenizer)
    end = tokenizer.vocab.end
    size = len(Path(config.corpus).read_bytes().replace(b"\n\n", b"\n"))
    assert sum(split.num_bytes for split in data.splits.values()) == size  # of the text, lossy or not
    for split in data.splits.values():
        assert (np.diff(split.sentences) > 0).all() and (np.diff(split.documents) > 0).all()
        assert np.isin(split.documents, split.sentences).all()
        assert split.word_start[split.sentences[:-1]].all()
        if end is not None:
            assert (split.tokens[split.documents[1:] - 1] == end).all()
        assert split.byte_length.any() == tokenizer.lossless
    for layout in ("windows", "streams", "pairs"):
        held = DataConfig(**{**vars(config), "layout": layout})
        if layout == "pairs" and tokenizer.vocab.cls is None:
            with pytest.raises(InputError, match=r"no \[CLS\] or no \[SEP\]"):
                open_stream(held, data.train, data.vocab, seed=0)
            continue
        batch = open_stream(held, data.train, data.vocab, seed=0).batch(0)
        assert batch.tokens.shape == (4, 32) and batch.tokens.max() < data.vocab.size
        if layout == "pairs":
            assert (batch.tokens[:, 0] == tokenizer.vocab.cls).all()
            assert ((batch.tokens == tokenizer.vocab.sep).sum(axis=1) == 2).all()


def test_a_tokenizer_that_is_not_there_is_not_trained_instead(config):
    with pytest.raises(InputError, match=r"data.tokenizer=imported: .* init_from"):
        prepare(config, lambda line: None)
