"""Masked language modeling, with or without a decision about sentence pairs (Devlin et al. 2019, section 3.1)."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from batch import Batch, InputError, Inputs, Output, Targets, Vocab
from objectives.base import (
    Losses,
    Metrics,
    Scales,
    asked_pairs,
    eligible,
    labels_at,
    mask_id,
    row_keys,
    show,
    token_and_pair_loss,
    token_and_pair_scales,
)
from objectives.sampling import find_words, geometric_lengths, predictions, sample_spans, sample_tokens

SPAN_SUCCESS, LONGEST_SPAN = 0.2, 10  # words (Joshi et al. 2020, section 3.1)


@dataclasses.dataclass(frozen=True)
class MaskedLm:
    """Hides a share of the tokens and predicts each of them from all that is shown, independently of the others.

    A row of n tokens, specials counted, has min(P, max(1, round(rate n))) targets, as far as it has eligible tokens;
    whole words and spans, which are never cut, may leave some of these over. Of the targets, `mask_share` are shown as
    [MASK], `random_share` as a random token, the rest as they are.
    """

    rate: float = 0.15
    mask_share: float = 0.8
    random_share: float = 0.1
    random_from: Literal["ordinary", "vocabulary"] = "ordinary"  # "vocabulary": specials too, as in the release
    unit: Literal["token", "word", "span"] = "token"  # what is hidden together
    corrupt: Literal["token", "unit"] = "token"  # what shares one draw of [MASK], random or unchanged
    static_draws: int = 0  # fixed draws of an example, one an epoch in turn, as BERT's dupe_factor; 0: always new ones
    max_predictions: int | None = None  # P; None: round(rate L)
    pair_weight: float = 0.0  # coefficient of the sentence-pair loss; 0: no such loss
    reuse: int | None = None  # positions that enter the memory; None: the whole window

    query_stream = False
    reads = ("mask",)

    def __post_init__(self):
        if not 0 < self.rate <= 1:
            raise InputError(f"objective.rate={self.rate}: must be above 0 and at most 1.")
        if min(self.mask_share, self.random_share) < 0 or self.mask_share + self.random_share > 1:
            raise InputError(
                f"objective.mask_share={self.mask_share} and objective.random_share={self.random_share}: "
                "they are shares of one whole, so that neither is negative and their sum is at most 1."
            )
        if self.max_predictions is not None and self.max_predictions < 1:
            raise InputError(f"objective.max_predictions={self.max_predictions}: must be at least 1.")
        if self.static_draws < 0:
            raise InputError(f"objective.static_draws={self.static_draws}: must be at least 0.")

    def slots(self, length: int) -> int:
        """P, the number of predictions a row of L tokens has room for."""
        return min(length, self.max_predictions or max(1, round(self.rate * length)))

    def prepare(self, batch: Batch, vocab: Vocab, key: Key[Array, ""]) -> tuple[Inputs, Targets]:
        return self.prepare_among(eligible(batch, vocab), batch, vocab, key)

    def prepare_among(
        self, allowed: Bool[Array, "B L"], batch: Batch, vocab: Vocab, key: Key[Array, ""]
    ) -> tuple[Inputs, Targets]:
        """The same where only these tokens may be targets."""
        mask = mask_id(vocab, self)
        tokens, document = jnp.asarray(batch.tokens), jnp.asarray(batch.document)
        slots, real = self.slots(tokens.shape[1]), (document != 0).sum(axis=1)
        # A table, made on the host in float64: float32 would round 0.15 x 190 = 28.5 to the wrong side.
        counts = np.clip(np.round(self.rate * np.arange(tokens.shape[1] + 1)), 1, slots).astype(np.int32)
        hidden = jax.vmap(lambda *row: self.hide(vocab, mask, slots, *row))
        keys = row_keys(key, batch, self.static_draws)
        shown, predict, weights = hidden(tokens, jnp.asarray(batch.word), allowed, jnp.asarray(counts)[real], keys)
        order = jnp.zeros_like(tokens)
        if self.reuse is not None:  # what the memory keeps must not have seen what the next window asks
            order = order.at[:, self.reuse :].set(1)
        labels = labels_at(batch, predict, weights)
        inputs = show(batch, tokens=shown, order=order, predict=predict, reuse=self.reuse)
        return inputs, Targets(labels=labels, weights=weights, **asked_pairs(batch))

    def hide(
        self,
        vocab: Vocab,
        mask: int,
        slots: int,
        tokens: Int[Array, " L"],
        word: Int[Array, " L"],
        allowed: Bool[Array, " L"],
        count: Int[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[Int[Array, " L"], Int[Array, " P"], Float[Array, " P"]]:
        """One row: the tokens as shown, the positions to predict and their weights."""
        where, how, what = jax.random.split(key, 3)
        chosen, first = self.choose(word, allowed, count, where)
        coin = jax.random.uniform(how, tokens.shape)
        coin = coin[first] if self.corrupt == "unit" else coin
        pool = jnp.asarray(vocab.ordinary) if self.random_from == "ordinary" else jnp.arange(vocab.size)
        noise = pool[jax.random.randint(what, tokens.shape, 0, len(pool))]
        changed = jnp.where(coin < self.mask_share + self.random_share, noise, tokens)
        changed = jnp.where(coin < self.mask_share, mask, changed)
        predict, weights = predictions(chosen, slots)
        return jnp.where(chosen, changed, tokens), predict, weights

    def choose(
        self, word: Int[Array, " L"], allowed: Bool[Array, " L"], count: Int[Array, ""], key: Key[Array, ""]
    ) -> tuple[Bool[Array, " L"], Int[Array, " L"]]:
        """Which tokens of a row are hidden, and where the unit of each begins."""
        if self.unit == "token":
            return sample_tokens(allowed, count, key), jnp.arange(word.shape[0])
        order_key, length_key = jax.random.split(key)
        lengths = jnp.ones(word.shape[0], jnp.int32)
        if self.unit == "span":
            lengths = geometric_lengths(word.shape[0], SPAN_SUCCESS, LONGEST_SPAN, length_key)
        return sample_spans(find_words(word, allowed), lengths, count, order_key)

    def scales(self, targets: Targets) -> Scales:
        return token_and_pair_scales(self.pair_weight, targets)

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        return token_and_pair_loss(self.pair_weight, model, output, targets)
