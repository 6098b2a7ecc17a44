"""How each family takes texts: what stands where, what is cut, and what is said where it cannot be done."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import InputError, Vocab
from finetuning.templates import BERT, GPT, XLNET, lengths_within, template_of
from models import BertConfig, GptConfig, XlnetConfig

CLS, SEP, END = 1, 2, 4
VOCAB = Vocab(size=40, special=(0, 1, 2, 3), pad=0, cls=CLS, sep=SEP, mask=3, end=END)
A, B, C = (np.array(ids, np.int32) for ids in ([10, 11, 12], [20, 21], [30]))


def said(template, *texts, length=20, vocab=VOCAB):
    row = template.row(texts, length, vocab)
    return row.tokens.tolist(), row.segments.tolist(), row.summary


def test_bert_reads_cls_first_and_each_text_before_its_sep():
    assert said(BERT, A) == ([CLS, 10, 11, 12, SEP], [0] * 5, 0)
    assert said(BERT, A, B) == ([CLS, 10, 11, 12, SEP, 20, 21, SEP], [0] * 5 + [1] * 3, 0)


def test_gpt_reads_a_delimiter_between_texts_and_its_last_token_is_the_summary():
    assert said(GPT, A) == ([10, 11, 12, END], [0] * 4, 3)
    assert said(GPT, A, B) == ([10, 11, 12, SEP, 20, 21, END], [0] * 4 + [1] * 3, 6)


def test_xlnet_reads_cls_last_in_a_segment_of_its_own():
    assert said(XLNET, A) == ([10, 11, 12, SEP, CLS], [0] * 4 + [2], 4)
    assert said(XLNET, A, B) == ([10, 11, 12, SEP, 20, 21, SEP, CLS], [0] * 4 + [1] * 3 + [2], 7)
    assert said(XLNET, A, B, C)[1] == [0] * 4 + [1] * 3 + [2] * 2 + [3], "more texts than XLNet was released with"


def test_a_vocabulary_without_a_delimiter_takes_its_end_and_one_without_cls_is_refused():
    gpt2 = dataclasses.replace(VOCAB, cls=None, sep=None)
    assert said(GPT, A, B, vocab=gpt2)[0] == [10, 11, 12, END, 20, 21, END]
    with pytest.raises(InputError, match=r"vocab.cls=None: .*lacks it"):
        said(BERT, A, vocab=gpt2)


def test_every_piece_of_a_text_knows_its_number_and_specials_have_none():
    assert XLNET.row([A, B], 20, VOCAB).source.tolist() == [0, 1, 2, -1, 0, 1, -1, -1]


def popped(lengths, room):
    """The rule as the releases write it."""
    kept = list(lengths)
    while sum(kept) > room:
        longest = max(range(len(kept)), key=lambda i: (kept[i], i))
        kept[longest] -= 1
    return kept


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), st.integers(0, 40))
def test_the_longest_text_loses_its_last_piece_and_of_equals_the_later(lengths, room):
    assert lengths_within(lengths, room) == popped(lengths, room)


@pytest.mark.parametrize("template", [BERT, GPT, XLNET])
def test_a_row_that_is_cut_is_as_long_as_it_may_be_and_keeps_its_specials(template):
    long, short = np.arange(10, 30, dtype=np.int32), np.arange(30, 33, dtype=np.int32)
    row = template.row([long, short], 12, VOCAB)
    whole = template.row([long, short], 40, VOCAB)
    assert len(row.tokens) == 12
    assert [i for i in row.tokens if i < 10] == [i for i in whole.tokens if i < 10]
    assert [i for i in row.tokens if i >= 30] == short.tolist(), "the shorter text is whole"
    assert row.tokens[row.summary] == whole.tokens[whole.summary]


def test_a_row_too_short_for_its_specials_is_refused():
    with pytest.raises(InputError, match=r"data.length=4: 2 texts .* at least 5"):
        BERT.row([A, B], 4, VOCAB)


def test_each_family_has_its_template():
    assert [template_of(config) for config in (BertConfig(), GptConfig(), XlnetConfig())] == [BERT, GPT, XLNET]
    assert (BERT.segments(2), GPT.segments(2), XLNET.segments(2), XLNET.segments(5)) == (2, 2, 3, 6)
