"""Yardsticks of choice: a word or a token between both sides, the better of two sentences."""

import numpy as np

from ablation.results import Metric
from ablation.yardsticks import Items, Measured, Yardstick
from evaluation.batched import Watch
from evaluation.blocks import Blocks
from evaluation.calibration import Answers
from evaluation.cloze import EXACT, answer, by_model, likeliest, token_questions, word_questions
from evaluation.likelihood import Options, left_to_right
from evaluation.minimal_pairs import common_items, score_sentences
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
    """How often the acceptable sentence of a pair is preferred, by the exact likelihood that every model has."""
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

    return Yardstick((metric,), measure, f"minimal pairs of {path}")


def _cloze(kind: str, asked: str, items: int, length: int) -> Yardstick:
    nats, right = (
        Metric(f"{kind} cloze", "nats", "less", f"-log p of {asked}, given what stands on both sides."),
        Metric(
            f"{kind} cloze, right", "accuracy", "more", f"How often {asked} is held the likeliest, given both sides."
        ),
    )

    def measure(entry: Entry, watch: Watch) -> Measured:
        checkpoint, text = entry.checkpoint, tokenized(entry.text.tokens)
        pieces = checkpoint.tokenizer.pieces
        spans = Spans(b"".join([pieces[i] for i in entry.text.tokens.tokens.tolist()]), [text], entry.length)
        vocab, settings = checkpoint.subject.vocab, Settings(entry.length)
        if kind == "word":
            questions = word_questions(text, vocab, spans.words(items).items, entry.length)
        else:
            questions = [token_questions(text, vocab, spans.tokens(items).items, entry.length)]
        if not any(len(each.place) for each in questions):
            return {}  # the text is too short, or has too few words, to ask
        subject, batch = checkpoint.subject, settings.batch(checkpoint.subject)
        if not subject.any_order and questions[0].spans.shape[1] > EXACT:
            questions = [likeliest(subject, each, batch) for each in questions]
        found: Answers = answer(questions, by_model(subject, batch), watch)
        one = np.ones(len(found.log_p))
        return {nats.name: Items(-found.log_p, one), right.name: Items(found.right.astype(float), one)}

    return Yardstick((nats, right), measure, f"{kind} cloze {items}", length=length)
