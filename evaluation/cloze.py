"""Which token or word stands at a place, given both sides of it: one question for models that read in different ways.

A model that can be asked for any token given any others is asked so, a span of several from left to right with its
later tokens hidden. A model that reads one way answers by Bayes' rule. Both answers are distributions over what there
is to choose from.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float64, Int

from batch import Vocab
from evaluation.batched import Watch, in_batches, silent
from evaluation.bayes import joint, ngram_joint, normalized
from evaluation.blocks import Blocks, cut, emittable
from evaluation.calibration import Answers, chosen
from evaluation.likelihood import natural
from evaluation.ngrams import Ngrams
from evaluation.passes import Judge, Subject, distribution
from evaluation.spans import Item, Tokenized

EXACT = 512
"""Ids that text can hold: of more, a model that reads one way does not weigh all of them by Bayes' rule."""

LIKELIEST = 64
"""But so many: those that it holds likeliest from the side that it reads, the truth in place of the last of them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Questions:
    """Items whose choices have one width, as one tokenizer writes them: block q is what question q shows."""

    item: Int[np.ndarray, " Q"]  # its number in the list
    blocks: Blocks
    place: Int[np.ndarray, " Q"]  # where the target begins in the block
    spans: Int[np.ndarray, "Q C W"]  # what there is to choose from
    truth: Int[np.ndarray, " Q"]  # which of them it is

    @property
    def asked(self) -> tuple[Blocks, Int[np.ndarray, " Q"], Int[np.ndarray, " Q"], Int[np.ndarray, "Q C W"]]:
        """As scorers want them: blocks, which of them, where, and the choices."""
        return self.blocks, np.arange(len(self.place)), self.place, self.spans


Score = Callable[[Questions, Watch], Float64[np.ndarray, "Q C"]]
"""Gives each choice log p(left, it, right), up to what all choices of a question share."""


def word_questions(tokenized: Tokenized, vocab: Vocab, items: Sequence[Item], length: int) -> list[Questions]:
    """The words that the items give to choose from, a group for each number of tokens."""
    ids = np.asarray(tokenized.tokens.tokens).astype(np.int32)  # shards hold them unsigned
    spans = [ids[np.stack([tokenized.span(*place) for place in item.places])] for item in items]
    widths = np.array([found.shape[1] for found in spans])
    found = []
    for width in np.unique(widths):
        members = np.flatnonzero(widths == width).tolist()
        blocks, place = excerpts(tokenized, vocab, [items[i] for i in members], length)
        truth = np.array([items[i].truth for i in members])
        found.append(Questions(np.array(members), blocks, place, np.stack([spans[i] for i in members]), truth))
    return found


def token_questions(tokenized: Tokenized, vocab: Vocab, items: Sequence[Item], length: int) -> Questions:
    """Items whose target is one token, of all ids that text can hold."""
    blocks, place = excerpts(tokenized, vocab, items, length)
    ids, number = np.flatnonzero(emittable(vocab)), np.arange(len(items))
    spans = np.broadcast_to(ids[:, None], (len(items), len(ids), 1))
    return Questions(number, blocks, place, spans, np.searchsorted(ids, blocks.tokens[number, place]))


def excerpts(
    tokenized: Tokenized, vocab: Vocab, items: Sequence[Item], length: int
) -> tuple[Blocks, Int[np.ndarray, " Q"]]:
    """What each item shows, its target included, as a block; and where the target begins in it."""
    tokens = tokenized.tokens
    starts = [int(tokens.document_bytes[item.document]) for item in items]
    shown = [
        tokenized.span(start + item.context[0], start + item.context[1])
        for start, item in zip(starts, items, strict=True)
    ]
    before = [
        len(tokenized.span(start + item.context[0], start + item.target[0]))
        for start, item in zip(starts, items, strict=True)
    ]
    number = np.concatenate(shown)
    bounds = np.cumsum([0, *map(len, shown)], dtype=np.int64)
    text = dataclasses.replace(
        tokens,
        tokens=np.asarray(tokens.tokens)[number],
        word_start=np.asarray(tokens.word_start)[number],
        byte_length=np.asarray(tokens.byte_length)[number],
        documents=bounds,
    )
    return cut(text, vocab, length), 1 + np.array(before)


def is_bound(subject: Subject, questions: Questions) -> bool:
    """Whether there is more to choose from than a model that reads one way weighs."""
    return not subject.any_order and questions.spans.shape[1] > EXACT


def weighable(subject: Subject, questions: Questions, batch: int) -> Questions:
    """The questions as a model can be asked them: what it gives the likeliest, where that is a bound."""
    return likeliest(subject, questions, batch) if is_bound(subject, questions) else questions


def likeliest(
    subject: Subject, questions: Questions, batch: int, watch: Watch = silent, *, count: int = LIKELIEST
) -> Questions:
    """The same questions with so few tokens to choose from: those likeliest to a model that reads one way, the truth
    in place of the last of them where it is none.

    Over some of all tokens every probability is too large: the loss is a lower bound, the accuracy an upper one.
    """
    blocks, rows, place, spans = questions.asked
    order, real, found = natural(blocks), blocks.real, np.zeros((len(rows), count), spans.dtype)

    def ask(part: Int[np.ndarray, " B"]) -> Any:
        given = (np.ones(len(part), bool), blocks.tokens[part], real[part], order[part])
        return subject.chain_judged(_largest(count))(subject.params, None, *given)[0]

    for part, ids in in_batches(len(rows), batch, ask, watch):
        found[part] = ids[np.arange(len(part)), place[part] - 1]
    true = spans[rows, questions.truth, 0]
    absent = (found != true[:, None]).all(axis=1)
    found[absent, -1] = true[absent]
    return dataclasses.replace(questions, spans=found[:, :, None], truth=np.argmax(found == true[:, None], axis=1))


@functools.cache
def _largest(count: int) -> Judge:
    """Keeps the ids that are likeliest at each place."""
    return lambda logits, labels, vocab: jax.lax.top_k(distribution(logits, labels, vocab), count)[1]


def answer(questions: Sequence[Questions], score: Score, watch: Watch = silent) -> Answers:
    """What is given to the choices of each item, in the order of the items."""
    sizes, parts = [len(each.place) for each in questions], []
    for i, each in enumerate(questions):
        share = lambda now, of, i=i: watch(sum(sizes[:i]) + sizes[i] * now // of, sum(sizes))  # noqa: E731
        parts.append(chosen(normalized(score(each, share)), each.truth))
    order = np.argsort(np.concatenate([each.item for each in questions]))
    names = ("log_p", "confidence", "right", "square")
    columns = [np.concatenate([getattr(part, name) for part in parts])[order] for name in names]
    return Answers(*columns, unit=np.arange(sum(sizes)))


def by_model(subject: Subject, batch: int) -> Score:
    """How a model scores choices: from both sides, or by Bayes' rule where it reads one way."""
    score = inside if subject.any_order else joint
    return lambda questions, watch: score(subject, *questions.asked, batch, watch)


def by_counting(ngrams: Ngrams) -> Score:
    """How n-grams do: by Bayes' rule."""
    return lambda questions, watch: ngram_joint(ngrams, *questions.asked)


def inside(
    subject: Subject,
    blocks: Blocks,
    block: Int[np.ndarray, " Q"],
    place: Int[np.ndarray, " Q"],
    spans: Int[np.ndarray, "Q C W"],
    batch: int = 64,
    watch: Watch = silent,
) -> Float64[np.ndarray, "Q C"]:
    """Each log p(v | left, right) of spans of W tokens, by the chain rule inside them from left to right.

    The later tokens of a span are hidden, and known to be there. Spans that begin alike share their passes.
    """
    questions, choices, width = spans.shape
    index, real, total = np.arange(blocks.length), blocks.real, np.zeros(questions * choices)
    example, depth, row = _prefixes(spans)
    asked = np.argsort(row.reshape(-1), kind="stable")  # all (question, choice, token), by the row that answers it
    row, token = row.reshape(-1)[asked], spans.reshape(-1)[asked]

    def ask(part: Int[np.ndarray, " B"]) -> Any:
        question, choice = np.divmod(example[part], choices)
        where, first = block[question], place[question][:, None]
        tokens, target = blocks.tokens[where], first[:, 0] + depth[part]
        np.put_along_axis(tokens, first + np.arange(width), spans[question, choice], axis=1)
        hidden = (index >= target[:, None]) & (index < first + width)
        return subject.single_judged(distribution)(subject.params, tokens, real[where] & ~hidden, hidden, target)

    for part, log_p in in_batches(len(example), batch, ask, watch):
        low, high = np.searchsorted(row, [part[0], part[-1] + 1])
        np.add.at(total, asked[low:high] // width, log_p[row[low:high] - part[0], token[low:high]])
    return total.reshape(questions, choices)


def _prefixes(
    spans: Int[np.ndarray, "Q C W"],
) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " rows"], Int[np.ndarray, "Q C W"]]:
    """Every beginning of a span, once a question: a span (of Q times C) that begins so, and how many tokens it is.

    Last, which of them each token of each span follows.
    """
    questions, choices, width = spans.shape
    flat = spans.reshape(-1, width)
    question = np.repeat(np.arange(questions), choices)
    examples, depths, rows = [], [], []
    for i in range(width):
        keys = np.column_stack([question, flat[:, :i]])
        _, first, number = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        rows.append(number.reshape(-1) + sum(map(len, examples)))
        examples.append(first)
        depths.append(np.full(len(first), i))
    return np.concatenate(examples), np.concatenate(depths), np.stack(rows, axis=1).reshape(spans.shape)
