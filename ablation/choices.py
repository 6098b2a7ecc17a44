"""Yardsticks of choice: a word or a token between both sides, the better of two sentences."""

import hashlib

import numpy as np

from ablation.results import Metric
from ablation.yardsticks import Items, Measured, Yardstick
from evaluation.batched import Watch
from evaluation.blocks import Blocks
from evaluation.cloze import answer, by_model, token_questions, weighable, word_questions
from evaluation.likelihood import Options, left_to_right
from evaluation.minimal_pairs import common_items, read_pairs, score_sentences
from evaluation.preferences import preferences
from evaluation.scores import Score
from evaluation.spans import CHOICES, Spans, tokenized
from evaluation.task import Entry, Settings


def cloze_words(items: int = 256, length: int = 0) -> Yardstick:
    """One word out of CHOICES, between both sides; causal models by Bayes' rule."""
    return _cloze("word", f"a word of held-out text out of {CHOICES}", items, length)


def cloze_tokens(items: int = 256, length: int = 0) -> Yardstick:
    """One token out of all, between both sides; causal models by Bayes' rule, as far as that is exact."""
    return _cloze("token", "a token of held-out text out of all", items, length)


def minimal_pairs(path: str) -> Yardstick:
    """How often the acceptable sentence of a pair is preferred, by the exact likelihood that every model has.

    Raises InputError where the file holds no pairs.
    """
    metric = Metric(
        "minimal pairs",
        "accuracy",
        "more",
        "How often the acceptable sentence of a pair is the likelier one, from left to right.",
    )

    def measure(entry: Entry, watch: Watch) -> Measured:
        subject = entry.checkpoint.subject
        (blocks,) = common_items(path, [entry.checkpoint]).blocks

        def scorer(group: Blocks, told: Watch) -> Score:
            batch = Settings(entry.length).batch(subject, group.length)
            return left_to_right(subject, group, Options(batch=batch), told)

        outcome = preferences(score_sentences(scorer, blocks, watch))
        return {metric.name: Items(outcome, np.ones(len(outcome)))}

    given = hashlib.sha256(repr(read_pairs(path)).encode()).hexdigest()[:16]
    return Yardstick((metric,), measure, f"minimal pairs {given}")


def _cloze(kind: str, asked: str, items: int, length: int) -> Yardstick:
    nats, right = (
        Metric(f"{kind} cloze", "nats", "less", f"-log p of {asked}, given what stands on both sides."),
        Metric(
            f"{kind} cloze, right", "accuracy", "more", f"How often {asked} is held the likeliest, given both sides."
        ),
    )

    def measure(entry: Entry, watch: Watch) -> Measured:
        checkpoint, text = entry.checkpoint, tokenized(entry.text.tokens)
        spans = Spans(entry.spelled, [text], entry.length)
        vocab, settings = checkpoint.subject.vocab, Settings(entry.length)
        if kind == "word":
            questions = word_questions(text, vocab, spans.words(items).items, entry.length)
        else:
            questions = [token_questions(text, vocab, spans.tokens(items).items, entry.length)]
        if not any(len(each.place) for each in questions):
            return {}  # the text is too short, or has too few words, to ask
        subject, batch = checkpoint.subject, settings.batch(checkpoint.subject)
        found = answer([weighable(subject, each, batch) for each in questions], by_model(subject, batch), watch)
        one = np.ones(len(found.log_p))
        return {nats.name: Items(-found.log_p, one), right.name: Items(found.right.astype(float), one)}

    return Yardstick((nats, right), measure, f"{kind} cloze {items}", length=length)
