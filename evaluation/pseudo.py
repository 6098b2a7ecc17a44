"""Pseudo-log-likelihoods: every token given what stands on both sides of it. They are no likelihoods.

The terms are conditionals of tokens that are each other's context, so that exp of their sum is not a distribution over
texts (it may add up to far more than 1). They compare texts under one model, or two models that both see both sides;
never with a likelihood.
"""

import numpy as np
from jaxtyping import Bool, Int

from evaluation.batched import Watch, silent
from evaluation.blocks import Blocks
from evaluation.likelihood import Options, Visible, ask, pass_flops, sampled
from evaluation.passes import Subject
from evaluation.scores import Score, token_scores


def pseudo_log_likelihood(
    subject: Subject, blocks: Blocks, options: Options | None = None, watch: Watch = silent
) -> Score:
    """PLL: the sum of log p(x_t | all other tokens of the block) (Salazar et al. 2020)."""
    return _pseudo(subject, blocks, "PLL", "the block on both sides", all_but(blocks, whole=False), options, watch)


def word_left_to_right(
    subject: Subject, blocks: Blocks, options: Options | None = None, watch: Watch = silent
) -> Score:
    """PLL-word-l2r: the later tokens of a token's own word are hidden too (Kauf and Ivanova 2023).

    PLL gives a rare word of several pieces too much: each piece all but says what the others are.
    """
    context = "the block on both sides, without the rest of its word"
    return _pseudo(subject, blocks, "PLL-word-l2r", context, all_but(blocks, whole=True), options, watch)


def all_but(blocks: Blocks, *, whole: bool) -> Visible:
    """Hides the asked token and, of a `whole` word, what follows it there."""
    real, index = blocks.real, np.arange(blocks.length)[None]

    def visible(block: Int[np.ndarray, " Q"], place: Int[np.ndarray, " Q"]) -> tuple[Bool[np.ndarray, "Q L"], ...]:
        hidden = index == place[:, None]
        if whole:
            word = blocks.word[block]
            hidden |= (word == np.take_along_axis(word, place[:, None], axis=1)) & (index > place[:, None])
        return real[block] & ~hidden, hidden

    return visible


def perplexity(score: Score) -> float:
    """The exponential of the mean negative score of a token: PPPL of a pseudo-log-likelihood, PPL of a likelihood."""
    return float(np.exp(score.tokens.nats.sum() / len(score.tokens.nats)))


def _pseudo(
    subject: Subject,
    blocks: Blocks,
    name: str,
    context: str,
    visible: Visible,
    options: Options | None,
    watch: Watch,
) -> Score:
    assert subject.any_order, "a causal model sees one side"
    options = options or Options()
    asked = sampled(blocks, options)
    log_p, leaked = ask(subject, blocks, asked, visible, options.batch, watch)
    passes = float(asked.sum() / blocks.num_blocks)
    return Score(
        name=name,
        normalised=False,
        context=context,
        passes=passes,
        flops=passes * pass_flops(subject, blocks.length, 1, subject.alone),
        tokens=token_scores(blocks, log_p, leaked, asked),
    )
