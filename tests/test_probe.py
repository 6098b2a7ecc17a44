"""Linear probes: what is read, which tokens are a word's, what a word's vector knows, and what the probe may learn."""

import dataclasses
import functools
import gzip
import itertools
import json
import re
from pathlib import Path
from unittest import mock

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import scoring
from batch import InputError
from cases import SIZE, build, loud
from data.tokenizer import Tokenizer
from evaluation import probe as probes
from evaluation.checkpoints import Checkpoint
from evaluation.features import Spelled, features, sees, spell
from evaluation.labels import Labeled, Sentence, first_word, read_labels
from evaluation.logistic import axes_of, fit
from evaluation.passes import Subject
from evaluation.probe import CHOICE, PARTS, TEST, TRAIN, Items
from evaluation.task import Entry, Settings
from evaluation.tasks.probe import probe as ask
from models import BertConfig, GptConfig
from objectives import CausalLm, MaskedLm
from spellers import SPOKEN, TOKENIZERS, lossy, unigram
from training.config import Experiment

# Reading.

CONLLU = """# sent_id = 1
# text = Don't go du côté "là".
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\t_\t_\t_\t_\t_\tSpaceAfter=No
2\tn't\tnot\tPART\t_\t_\t_\t_\t_\t_
3\tgo\tgo\tVERB\t_\t_\t_\t_\t_\t_
3.1\tgoing\tgo\tVERB\t_\t_\t_\t_\t_\t_
4-5\tdu\t_\t_\t_\t_\t_\t_\t_\t_
4\tde\tde\tADP\t_\t_\t_\t_\t_\t_
5\tle\tle\tDET\t_\t_\t_\t_\t_\t_
6\tcôté\tcôté\tNOUN\t_\t_\t_\t_\t_\t_
7\t"\t"\tPUNCT\t_\t_\t_\t_\t_\tSpaceAfter=No
8\tlà\tlà\tADV\t_\t_\t_\t_\t_\tX=1|SpaceAfter=No
9\t"\t"\tPUNCT\t_\t_\t_\t_\t_\tSpaceAfter=No
10\t.\t.\tPUNCT\t_\t_\t_\t_\t_\tSpaceAfter=No

# text = Yes
1\tYes\tyes\tINTJ\t_\t_\t_\t_\t_\t_
"""


def written(folder, name, content):
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") and isinstance(content, str) else data)
    return str(path)


@pytest.mark.parametrize("name", ["a.conllu", "a.conllu.gz"])
def test_conllu_gives_the_text_as_it_was_written(tmp_path, name):
    found = read_labels(written(tmp_path, name, CONLLU.replace("\n", "\r\n")))
    assert found.of_words and found.unit == "word"
    first, second = found.sentences
    assert first.text == 'Don\'t go du côté "là".' and second.text == "Yes"
    assert first.types == ("Do", "n't", "go", "de", "le", "côté", '"', "là", '"', ".")
    assert first.labels == ("AUX", "PART", "VERB", "ADP", "DET", "NOUN", "PUNCT", "ADV", "PUNCT", "PUNCT")
    ended = [first.text[:stop].split(" ")[-1] for stop in first.stops]
    assert ended == ["Do", "Don't", "go", "du", "du", "côté", '"', '"là', '"là"', '"là".']


def test_tagged_words_and_labeled_sentences_are_told_apart_by_how_the_file_is_built(tmp_path):
    words = read_labels(written(tmp_path, "a.tsv", "\ufeff\nThe\tDET\tDT\ncat\tNOUN\tNN\n\n\nIt\tPRON\tPRP\n"))
    assert words.of_words and [each.text for each in words.sentences] == ["The cat", "It"]
    assert words.sentences[0] == Sentence("The cat", (3, 7), ("The", "cat"), ("DET", "NOUN"))
    whole = read_labels(written(tmp_path, "b.tsv.gz", "good\tthe cat sat .\nbad\tno cat\nbad\t猫在\n"))
    assert not whole.of_words and whole.unit == "sentence"
    assert whole.sentences[0] == Sentence("the cat sat .", (13,), ("the",), ("good",))
    chinese = read_labels(written(tmp_path, "c.tsv", "1\t猫在\n0\t吃饭\n1\t猫\n"))
    assert not chinese.of_words and [each.types for each in chinese.sentences] == [("猫",), ("吃",), ("猫",)]


@pytest.mark.parametrize(
    ("text", "word"), [("The cat", "The"), ("don't", "don"), ("“Hi”", "“"), ("猫在", "猫"), (" a", "a"), ("x", "x")]
)
def test_the_first_word_ends_where_the_second_starts(text, word):
    assert first_word(text) == word


ROW = "1\ta\ta\tNOUN\t_\t_\t_\t_\t_\t_\n"
REFUSED = {
    "missing.tsv": (None, "no such file"),
    "empty.tsv": ("", "it is empty"),
    "blank.conllu": ("\n\n", "it is empty"),
    "latin.tsv": (b"a\tb c\n" + "é\tb c\n".encode("latin-1"), "line 2 is not UTF-8"),
    "cut.tsv.gz": (gzip.compress(b"a\tb c\n" * 99)[:-9], "no whole gzip file"),
    "plain.tsv.gz": (b"a\tb c\n", "no whole gzip file"),
    "one.tsv": ("good\ta cat\ngood\ta dog\n", "every label is good"),
    "column.tsv": ("good\ta cat\nbad\n", "line 2 has 1 column;"),
    "columns.tsv": ("a\tX\tY\n\nb\tX\tY\tZ\n", "line 3 has 4 columns"),
    "hole.tsv": ("a\tX\n\nb\t\n", "line 3 has an empty column"),
    "spaces.tsv": ("a\tX\n\nb c\tY\n", "line 3 has a space within a column"),
    "apart.tsv": ("good\ta cat\n\nbad\ta dog\n", "line 1 has a space within a column"),
    "together.tsv": ("a\tX\tY\nb\tZ\tY\n", "line 1 has 3 columns"),
    "swapped.tsv": ("a cat\tgood\na dog\tbad\nno cat\tbad\n", "3 labels for 2 texts"),
    "short.conllu": (ROW + "2\tb\tNOUN\n", "line 2 has 3 columns"),
    "spaced.conllu": (ROW.replace("\t", " "), "line 1 has 1 columns"),
    "id.conllu": (ROW + ROW.replace("1", "b"), "line 2 has the ID 'b'"),
    "form.conllu": (ROW + ROW.replace("1", "2").replace("a", ""), "line 2 has no FORM"),
    "upos.conllu": ("# text = a\n" + ROW.replace("NOUN", "_"), "line 2 has no UPOS"),
    "comment.conllu": (ROW + "\n# text = a\n\n", "line 3 begins a sentence without words"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_read_is_refused_by_its_line(tmp_path, name):
    content, complaint = REFUSED[name]
    path = str(tmp_path / name) if content is None else written(tmp_path, name, content)
    with pytest.raises(InputError, match=re.escape(complaint)) as refused:
        read_labels(path)
    assert str(refused.value).startswith(f"--probe={path}: ")


def test_real_files_are_read_whole(real_data):
    ewt = read_labels(str(real_data / "ud_ewt/ewt_dev_pos.tsv.gz"))
    assert ewt.of_words and len(ewt.sentences) == 2001
    assert len({label for each in ewt.sentences for label in each.labels}) == 17
    path = real_data / "zh_gsdsimp/zh_gsdsimp-ud-dev.conllu"
    texts = re.findall(r"(?m)^# text = (.*)$", path.read_text())
    assert [each.text for each in read_labels(str(path)).sentences] == texts
    assert not read_labels(str(real_data / "sentence_polarity/dev.tsv")).of_words


# Which tokens are a word's.

WORDS = st.lists(st.sampled_from([*SPOKEN, "龘", "😀", "CAT", "ﬁ", "``", "\u2581", "e\u0301"]), min_size=1, max_size=8)


def sentence(words, gap=" "):
    stops = np.cumsum([len(word) + len(gap) for word in words]) - len(gap)
    return Sentence(gap.join(words), tuple(stops.tolist()), tuple(words), tuple("X" * len(words)))


@pytest.mark.parametrize("kind", TOKENIZERS)
@hypothesis.settings(max_examples=40)
@hypothesis.given(words=WORDS, gap=st.sampled_from(["", " "]))
def test_words_share_out_the_tokens_of_their_sentence(kind, words, gap):
    tokenizer = TOKENIZERS[kind]()
    text = sentence(words, gap)
    (row,) = spell(tokenizer, [text])
    assert row.tokens.tolist() == tokenizer.encode(text.text).tolist()  # as the whole text is written
    hypothesis.assume(len(row.tokens))
    owned = np.zeros(len(row.tokens), int)
    for first, stop in zip(row.first, row.stop, strict=True):
        assert 0 <= first < stop <= len(owned)
        owned[first:stop] += 1
    assert (owned > 0).all() and (np.diff(row.first) >= 0).all() and (np.diff(row.stop) >= 0).all()
    if tokenizer.lossless:
        ends = np.cumsum([len(tokenizer.pieces[i]) for i in row.tokens.tolist()])
        bytes_ends = [len(text.text[:stop].encode()) for stop in text.stops]
        for stop, end in zip(row.stop, bytes_ends, strict=True):
            assert ends[stop - 1] >= end > (ends[stop - 2] if stop > 1 else 0)  # the word ends in its last token
    if kind == "bytes":
        assert (owned == 1).all()


@pytest.mark.parametrize("kind", ["lossy", "word_piece"])
def test_a_tokenizer_that_loses_text_is_aligned_by_the_letters_that_it_keeps(kind):
    words = ["龘", "Café", "CAT", "龘", "😀", "it", "naïve", ".", "the", "猫"]
    tokenizer = TOKENIZERS[kind]()
    (row,) = spell(tokenizer, [sentence(words)])
    assert row.first.tolist() == [0, *row.stop[:-1]] and row.stop[-1] == len(row.tokens)
    said = [tokenizer.decode(row.tokens[a:b]).strip() for a, b in zip(row.first, row.stop, strict=True)]
    plain = ["", "cafe", "cat", "", "", "it", "naive", ".", "the", "猫" if kind == "lossy" else ""]
    assert said == plain
    silent = [i for i, text in enumerate(plain) if not text]
    unknown = tokenizer.vocab.is_special
    assert all(unknown[row.tokens[row.first[i] : row.stop[i]]].any() for i in silent)


def test_a_word_whose_letters_begin_a_longer_token_shares_that_token():
    cat = next(i for i, piece in enumerate(unigram().pieces) if piece == b"cat")
    assert unigram().encode("catcat").tolist() == [cat, cat]
    (row,) = spell(unigram(), [sentence(["c", "a", "tc", "at"], "")])
    assert list(zip(row.first, row.stop, strict=True)) == [(0, 1), (0, 1), (0, 1), (1, 2)]


def test_words_that_are_written_as_one_have_the_same_tokens(tmp_path):
    (text, _) = read_labels(written(tmp_path, "a.conllu", CONLLU)).sentences
    (row,) = spell(Tokenizer("bytes"), [text])
    tokens = ["".join(chr(i - 6) for i in row.tokens[a:b]) for a, b in zip(row.first, row.stop, strict=True)]
    assert tokens[:5] == ["Do", "n't", " go", " du", " du"]


# What a word's vector knows.


def row_of(size, bounds, seed=0):
    """A text of so many random tokens, in words that begin at these bounds."""
    letters = np.random.default_rng([size, seed]).choice(scoring.LETTERS, size).astype(np.int32)
    return Spelled(letters, np.array(bounds), np.array([*bounds[1:], size]))


ROWS = [row_of(3, [0, 2]), row_of(15, [0, 1, 4, 5, 8, 9, 13]), row_of(1, [0]), row_of(7, [0, 3, 6])]
SINGLE = row_of(9, [*range(9)])  # a word a token


def among(asked, *rows):
    """Features of each of these rows; what is compiled is the same for up to five."""
    found = features(asked, [SINGLE, *rows, *ROWS][:5], 16)
    ends = np.cumsum([9, *(len(row.first) for row in rows)])
    return [found[:, a:b] for a, b in itertools.pairwise(ends)]


@pytest.mark.parametrize("name", ["gpt-backward", "bert-masked", "memory-permutation"])
def test_a_sentence_has_the_same_features_alone_and_beside_others(name):
    asked = scoring.subject(name)
    together = among(asked, *ROWS)
    assert together[1].shape == (4, 7, 16)
    one_by_one = features(asked, [SINGLE, *ROWS], 16, batch=1)
    rounding = 1e-5 * np.abs(one_by_one).max()
    np.testing.assert_allclose(one_by_one[:, 9:], np.concatenate(together, axis=1), rtol=0, atol=rounding)
    unpadded = features(asked, ROWS[3:], 8)
    np.testing.assert_allclose(unpadded, together[3], rtol=0, atol=rounding)


@pytest.mark.parametrize("name", scoring.SUBJECTS)
def test_a_vector_depends_on_the_side_that_its_model_sees(name):
    asked, place = scoring.subject(name), np.arange(9)
    changed = np.where(place == 4, 3 + (SINGLE.tokens - 2) % 3, SINGLE.tokens).astype(np.int32)  # another letter
    one, other = among(asked, SINGLE, dataclasses.replace(SINGLE, tokens=changed))
    moved = np.abs(one - other).max(axis=2) > 1e-4  # N1 I
    expected = {"left": place >= 4, "right": place <= 4, "both": np.full(9, True)}[sees(asked)]
    assert (moved[0] == (place == 4)).all()  # embeddings know their own word
    assert (moved[-1] == expected).all()


@pytest.mark.parametrize("name", ["gpt-backward", "xlnet-permutation"])
def test_a_word_is_the_mean_of_its_tokens(name):
    words = dataclasses.replace(SINGLE, first=np.array([0, 1, 5, 5]), stop=np.array([1, 5, 9, 9]))
    alone, found = among(scoring.subject(name), SINGLE, words)
    means = [alone[:, a:b].mean(axis=1) for a, b in zip(words.first, words.stop, strict=True)]
    np.testing.assert_allclose(found, np.stack(means, axis=1), rtol=1e-5, atol=1e-5)


# What the probe may learn.


def synthetic(count=600, classes=3, per_sentence=3, seed=0):
    """Items whose sentences are parted at random, and features of which the first few say the label."""
    rng = np.random.default_rng(seed)
    sentences = np.repeat(np.arange(count // per_sentence), per_sentence)
    labels = rng.integers(classes, size=count)
    part = rng.choice(3, p=list(PARTS.values()), size=count // per_sentence)[sentences]
    vectors = rng.normal(size=(count, 8)).astype(np.float32)
    vectors[:, :classes] += 9 * np.eye(classes)[labels]
    names = tuple("abcdef"[:classes])
    return Items(names, labels, rng.permutation(labels), np.arange(count), part, sentences), vectors


def test_what_is_linearly_separable_is_learned_and_what_is_shuffled_is_not():
    items, vectors = synthetic(1500)
    layer = probes.probe(vectors, items)
    assert layer.right.mean() == 1
    shuffled = dataclasses.replace(items, labels=np.random.default_rng(1).permutation(items.labels))
    right = probes.probe(vectors, shuffled).right
    assert abs(right.mean() - 1 / 3) < 4 * np.sqrt(2 / 9 / len(right))
    of_control = probes.control(vectors, items, layer)  # labels without rule
    assert abs(of_control.mean() - 1 / 3) < 4 * np.sqrt(2 / 9 / len(of_control))
    assert probes.control(vectors, dataclasses.replace(items, control=items.labels), layer).mean() == 1


@pytest.mark.parametrize("penalty", [1.0, 1e-3])
def test_the_weights_are_an_optimum(penalty):
    items, vectors = synthetic()
    labels = np.where(np.random.default_rng(2).random(600) < 0.3, 0, items.labels)  # not separable, not balanced
    vectors = vectors @ np.random.default_rng(3).normal(size=(8, 8)).astype(np.float32) * [1, 9, 99, 1, 1, 1, 1, 0] + 5
    axes = axes_of(vectors.astype(np.float32))
    weights = fit(axes, axes.rows(vectors.astype(np.float32)), labels, 3, penalty)
    standard = (vectors - vectors.mean(0)) / np.where(vectors.std(0) > 1e-6, vectors.std(0), 1)
    own = axes.rotation @ weights[:-1]  # of the standardized features
    logits = standard @ own + weights[-1]
    wrong = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(3)[labels]
    assert np.abs(standard.T @ wrong / 600 + penalty * own).max() < 2e-4
    assert np.abs(wrong.mean(axis=0)).max() < 2e-4  # nothing holds the bias back


def test_the_scale_of_a_feature_changes_nothing():
    items, vectors = synthetic(seed=4)
    noisy = vectors + np.random.default_rng(5).normal(size=vectors.shape).astype(np.float32) * 6
    one, other = probes.probe(noisy, items), probes.probe(noisy * np.float32([1, 16, 1 / 4, 1, 2, 1, 1, 1]) - 2, items)
    assert one.penalty == other.penalty and 0.5 < one.right.mean() < 1
    np.testing.assert_array_equal(one.right, other.right)


def test_nothing_of_the_test_part_is_used_in_fitting():
    items, vectors = synthetic(seed=6)
    noisy = vectors + np.random.default_rng(7).normal(size=vectors.shape).astype(np.float32) * 5
    test = items.part == TEST
    moved = np.where(test[:, None], 50 - 3 * noisy, noisy)
    hidden = dataclasses.replace(items, labels=np.where(test, 0, items.labels))
    one, other = probes.probe(noisy, items), probes.probe(moved, hidden)
    assert (one.penalty, one.choice) == (other.penalty, other.choice)
    np.testing.assert_array_equal(one.weights, other.weights)
    assert (one.right != other.right).any()


def test_penalty_and_layer_are_chosen_on_the_part_for_that():
    items, vectors = synthetic(seed=8)
    layers = [probes.probe(np.float32(share) * vectors + noise(9, vectors), items) for share in (0, 0.05, 1, 0.2)]
    assert probes.best_layer(layers) == 2 and probes.best_layer([layers[2], *layers]) == 0
    train_only = np.where((items.part == TRAIN)[:, None], vectors, noise(10, vectors))
    assert probes.probe(train_only, items).choice < 0.6  # though the training part is learned by heart
    weaker = np.where((items.part == CHOICE)[:, None], vectors, noise(11, vectors))
    assert probes.best_layer([probes.probe(vectors, items), probes.probe(weaker, items)]) == 0


def noise(seed, like):
    return np.random.default_rng(seed).normal(size=like.shape).astype(np.float32)


def test_the_control_task_gives_each_type_one_label_in_the_labels_proportions():
    types = [f"word{i % 3000}" for i in range(6000)]
    frequency = np.array([0.1, 0.6, 0.3])
    labels = probes.control_labels(types, frequency)
    assert (labels[:3000] == labels[3000:]).all()
    found = np.bincount(labels[:3000], minlength=3) / 3000
    assert (np.abs(found - frequency) < 4 * np.sqrt(frequency * (1 - frequency) / 3000)).all()
    assert (probes.control_labels(types[::-7], frequency) == labels[::-7]).all()  # whatever else there is


def labeled(count=300, words=4):
    """Sentences of words that mostly have one label, some of them twice."""
    rng = np.random.default_rng(0)
    texts = [rng.choice(["ab", "ba", "cc", "da", "bd"], words).tolist() for _ in range(count)]
    tag = {"ab": "X", "ba": "Y", "cc": "X", "da": "Z", "bd": "Y"}
    sentences = [dataclasses.replace(sentence(each), labels=tuple(tag[word] for word in each)) for each in texts]
    return Labeled("some.tsv", tuple(sentences), of_words=True)


def test_the_parts_are_disjoint_and_equal_sentences_are_in_one():
    given = labeled()
    items = probes.items_of(given, given.sentences)
    texts = np.repeat([each.text for each in given.sentences], 4)
    parts = {text: set(items.part[texts == text].tolist()) for text in np.unique(texts)}
    assert len(parts) < 300 and all(len(found) == 1 for found in parts.values())
    share = np.bincount(items.part) / len(items.part)
    assert (np.abs(share - list(PARTS.values())) < 0.12).all()
    again = probes.items_of(given, given.sentences[::-1])
    assert (again.part == items.part[::-1]).all()
    assert (again.control.reshape(-1, 4)[::-1] == items.control.reshape(-1, 4)).all()


def test_a_large_file_is_drawn_from_whatever_its_order(monkeypatch):
    given = labeled()
    assert probes.drawn(given) == given.sentences
    monkeypatch.setattr(probes, "MOST_ITEMS", 203)
    drawn = probes.drawn(given)
    assert len(drawn) == 50 and list(drawn) == [each for each in given.sentences if each in set(drawn)]
    backwards = probes.drawn(dataclasses.replace(given, sentences=given.sentences[::-1]))
    assert {each.text for each in backwards} == {each.text for each in drawn}
    monkeypatch.setattr(probes, "MOST_SENTENCES", 20)
    assert len(probes.drawn(given)) == 20


def test_too_few_sentences_are_refused_by_their_part():
    given = labeled(40)
    with pytest.raises(InputError, match=r"--probe=some.tsv: 40 of its sentences .* needs 10; give more sentences"):
        probes.items_of(given, given.sentences)
    one = labeled(200)
    same = [dataclasses.replace(each, labels=("X",) * 4) for each in one.sentences]
    with pytest.raises(InputError, match="all labels of the training part are X"):
        probes.items_of(one, same)


def test_baselines_know_the_training_part_alone():
    part = np.repeat([TRAIN, CHOICE, TEST], [7, 1, 5])
    labels = np.array([0, 0, 0, 1, 2, 2, 2, 2, 0, 2, 1, 2, -1])
    types = np.array([0, 0, 1, 1, 2, 2, 1, 3, 0, 2, 1, 3, 9])
    items = Items(("x", "y", "z"), labels, labels, types, part, np.arange(13) // 2)
    assert probes.majority(items).tolist() == [1, 0, 0, 0, 0]
    assert probes.majority_of_type(items).tolist() == [1, 1, 0, 0, 0]
    found = items.accuracy(np.array([1.0, 1, 0, 0, 1]))
    assert found.value == 0.6 and found.unit == "sentence" and found.low < 0.6 < found.high


# The task.


LONG = sentence(["much", "too", "long", "for", "a", "block"])


@functools.cache
def entry(name):
    tokenizer = Tokenizer("bytes")
    config, objective = {
        "gpt": (GptConfig(**SIZE, max_length=16), CausalLm()),
        "bert": (BertConfig(**SIZE, max_length=16), MaskedLm()),
    }[name]
    size = tokenizer.vocab.size
    subject = Subject(config, build(config, size), loud(config, size, 0), objective, tokenizer.vocab)
    return Entry(Checkpoint(Path("runs") / name, 7, Experiment(config, objective), tokenizer, subject), None, 16)


def redrawn(checkpoint):
    """Stands for `Checkpoint.untrained`, which takes longer to compile than all else here."""
    params = loud(checkpoint.subject.config, checkpoint.tokenizer.vocab.size, 1)
    return dataclasses.replace(checkpoint.subject, params=params)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """What the task finds of two models, and the file that it was asked with."""
    lines = [zip(each.types, each.labels, strict=True) for each in [*labeled(150, 5).sentences, LONG]]
    text = "\n".join("".join(f"{word}\t{label}\n" for word, label in line) for line in lines)
    path = written(tmp_path_factory.mktemp("probe"), "words.tsv", text)
    with mock.patch.object(Checkpoint, "untrained", redrawn):
        return ask([entry("gpt"), entry("bert")], Settings(15, probe=path)), path  # the start and 5 words


def test_the_task_says_what_each_layer_knows_beside_its_floors(asked):
    found, path = asked
    values = json.loads(json.dumps(found.values, allow_nan=False))
    assert values["sentences"] == {"file": 151, "drawn": 151, "asked": 150}
    assert sum(values["items"].values()) == 750 and values["classes"] == ["X", "Y", "Z"]
    assert values["file"] == path and f"{path}: 150 sentences, 3 labels of words (" in found.tables[0]
    assert "; 1 do not fit into 15 tokens and are left out" in found.tables[0]
    for model in values["checkpoints"]:
        assert [layer["layer"] for layer in model["layers"]] == [0, 1, 2, 3]
        for layer in model["layers"]:
            gained = layer["accuracy"]["value"] - layer["control"]["value"]
            assert layer["selectivity"]["value"] == pytest.approx(gained)
            assert layer["accuracy"]["low"] <= layer["accuracy"]["value"] <= layer["accuracy"]["high"]
        chosen = [layer["choice_accuracy"] for layer in model["layers"]]
        assert model["layer"] == chosen.index(max(chosen))
    assert values["baselines"]["majority of the word"]["value"] == 1  # each word has one label
    one, other = (model["layers"][model["layer"]]["accuracy"]["value"] for model in values["checkpoints"])
    assert values["differences"][0]["value"] == pytest.approx(one - other)


def test_the_table_says_which_side_a_model_sees(asked):
    table, differences = asked[0].tables[1:]
    head, _, gpt, bert, *floors = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
    assert head[:3] == ["model", "sees", "layer"] and head[5:] == ["control", "selectivity", "random weights"]
    assert gpt[:2] == ["runs/gpt", "left"] and bert[:2] == ["runs/bert", "both"]
    assert [floor[0] for floor in floors] == ["majority", "majority of the word"]
    assert "sentence" in differences.splitlines()[2]


def test_the_figure_has_a_line_for_each_model_and_each_floor(asked):
    (axes,) = asked[0].figures["probe"].axes
    names = axes.get_legend_handles_labels()[1]
    expected = ["gpt, sees left", "bert, sees both", "random weights", "control task"]
    assert names == [*expected, "majority", "majority of the word"]


def test_a_vocabulary_that_cannot_spell_the_words_is_refused_with_its_bytes(tmp_path):
    path = written(tmp_path, "a.tsv", "\n".join("the\tX\n龘龘\tY\n" for _ in range(50)))
    checkpoint = dataclasses.replace(entry("bert").checkpoint, tokenizer=lossy())
    with pytest.raises(InputError, match=r"runs/bert cannot spell 50 of its \d+ tokens, about 300 bytes"):
        ask([dataclasses.replace(entry("bert"), checkpoint=checkpoint)], Settings(16, probe=path))


def test_sentences_with_a_label_are_probed_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "untrained", redrawn)
    lines = [f"{'bad' if 'cc' in each.types else 'good'}\t{each.text}" for each in labeled(120, 3).sentences]
    path = written(tmp_path, "a.tsv", "\n".join(lines))
    found = ask([entry("gpt")], Settings(16, probe=path))
    assert found.values["labels_of"] == "sentence" and sum(found.values["items"].values()) == 120
    assert list(found.values["baselines"]) == ["majority"] and len(found.tables) == 2
    assert found.values["checkpoints"][0]["layers"][0]["accuracy"]["value"] > 0.9  # a matter of letters
