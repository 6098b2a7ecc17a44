"""Permutation language modeling: an autoregression over a random factorization order (Yang et al. 2019, 2.2 to 2.3)."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from batch import Batch, InputError, Inputs, Output, Targets, Vocab
from objectives.base import (
    Losses,
    Metrics,
    Scales,
    asked_pairs,
    eligible,
    labels_at,
    row_keys,
    show,
    token_and_pair_loss,
    token_and_pair_scales,
)
from objectives.sampling import find_words, predictions, sample_ngrams, sample_tokens


@dataclasses.dataclass(frozen=True)
class PermutationLm:
    """Predicts the tail of a random order: one token in `predict_one_in` (the paper's K), given the rest.

    Context tokens come first in the order and see each other; targets follow in random order, each seeing the context
    and the targets before it. [SEP] and [CLS] have their place among the targets, without a loss, and context does not
    see them, unless `specials_seen`. The [CLS] that decides about a pair comes last, and sees everything. With `reuse`,
    the window has two halves: the first, which the memory keeps, never sees the second; the second sees all of the
    first.
    """

    predict_one_in: float = 6.0  # K
    num_predict: int | None = None  # P; None: L / K
    spans: Literal["ngram", "token"] = "ngram"  # "token": single tokens, the paper's ablation
    unit: Literal["piece", "word"] = "piece"  # n-grams of pieces, as in the release, or of whole words
    longest: int = 5  # n-gram
    perm_size: int | None = None  # the same permutation in each block of this many tokens; None: one block a half
    static_draws: int = 0  # fixed draws of targets, one an epoch in turn, as the release's passes; 0: always new ones
    specials_seen: bool = False  # context may see [SEP] and [CLS], as in the authors' later comparison
    pair_weight: float = 0.0  # coefficient of the sentence-pair loss; 0: no such loss
    reuse: int | None = None  # positions that enter the memory; None: the whole window, in one piece

    query_stream = True
    reads = ("query",)

    def __post_init__(self):
        if self.predict_one_in < 1:
            raise InputError(f"objective.predict_one_in={self.predict_one_in}: must be at least 1.")
        for field in ("num_predict", "longest", "perm_size", "reuse"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise InputError(f"objective.{field}={value}: must be at least 1.")
        if self.static_draws < 0:
            raise InputError(f"objective.static_draws={self.static_draws}: must be at least 0.")

    def halves(self, length: int) -> list[tuple[slice, int]]:
        """The parts of a window that are permuted each on its own, and how many targets each has."""
        total = self.num_predict or max(1, int(length / self.predict_one_in))
        if total > length:
            raise InputError(f"objective.num_predict={total}: exceeds data.length={length}; predict fewer tokens.")
        if self.reuse is None:
            return [(slice(0, length), total)]
        if self.reuse >= length:
            raise InputError(
                f"objective.reuse={self.reuse}: must be below data.length={length}; half of it is the usual choice."
            )
        second = total * (length - self.reuse) // length
        return [(slice(0, self.reuse), total - second), (slice(self.reuse, length), second)]

    def prepare(self, batch: Batch, vocab: Vocab, key: Key[Array, ""]) -> tuple[Inputs, Targets]:
        allowed = eligible(batch, vocab)
        context_like = allowed if not self.specials_seen else jnp.ones_like(allowed)
        reversed_rows = jnp.zeros(len(allowed), bool) if batch.direction is None else jnp.asarray(batch.direction) < 0
        halves = self.halves(allowed.shape[1])
        orders, targets, offset = [], [], 0
        keys = jnp.stack([row_keys(key, batch, self.static_draws), row_keys(key, batch)], axis=1)  # targets', orders'
        for part, goal in halves:
            keys = jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (0, None))(keys, part.start)
            row = jax.vmap(lambda *values, goal=goal: self.permute(goal, *values))
            order, chosen = row(
                jnp.asarray(batch.word)[:, part], allowed[:, part], context_like[:, part], reversed_rows, keys
            )
            orders.append(order + offset)
            targets.append(chosen)
            offset += part.stop - part.start + 1
        slots = sum(goal for _, goal in halves)
        predict, weights = jax.vmap(lambda row: predictions(row, slots))(jnp.concatenate(targets, axis=1))
        order = jnp.concatenate(orders, axis=1)
        if self.pair_weight:  # whoever decides has seen every token, and tells none of them to the predictions
            order = order.at[jnp.arange(len(order)), jnp.asarray(batch.summary)].set(offset)
        inputs = show(batch, order=order, predict=predict, blind=True, reuse=self.reuse)
        return inputs, Targets(labels=labels_at(batch, predict, weights), weights=weights, **asked_pairs(batch))

    def permute(
        self,
        goal: int,
        word: Int[Array, " L"],
        allowed: Bool[Array, " L"],
        context_like: Bool[Array, " L"],
        is_reversed: Bool[Array, ""],
        keys: Key[Array, " 2"],
    ) -> tuple[Int[Array, " L"], Bool[Array, " L"]]:
        """One half of one row: the order of each token, context 0, and which tokens are targets.

        The first key draws the targets, the second their order, which changes in every epoch.
        """
        target_key, order_key = jax.random.split(keys[0])[0], jax.random.split(keys[1])[1]
        flip = lambda x: jnp.where(is_reversed, x[::-1], x)  # noqa: E731  targets are drawn in reading order
        chosen = flip(self.choose(flip(word), flip(allowed), goal, target_key))
        later = chosen | ~context_like
        return jnp.where(later, 1 + self.ranks(word.shape[0], order_key), 0), chosen

    def choose(
        self, word: Int[Array, " L"], allowed: Bool[Array, " L"], goal: int, key: Key[Array, ""]
    ) -> Bool[Array, " L"]:
        """The targets of a half: exactly `goal` tokens as far as there are, except that whole words may leave some."""
        if goal == 0:
            return jnp.zeros_like(allowed)
        if self.spans == "token":
            return sample_tokens(allowed, jnp.asarray(goal), key)
        walk, fill = jax.random.split(key)
        words = find_words(word, allowed)
        chosen = sample_ngrams(words, allowed, goal, self.predict_one_in, self.longest, walk, unit=self.unit)
        if self.unit == "word":
            return chosen
        return chosen | sample_tokens(allowed & ~chosen, goal - chosen.sum(), fill)

    def ranks(self, length: int, key: Key[Array, ""]) -> Int[Array, " L"]:
        """A place in the order for each position: blocks in natural order, the same permutation within each."""
        size = self.perm_size or length
        if length % size:
            raise InputError(f"objective.perm_size={size}: must divide the {length} tokens that are permuted together.")
        within = jax.random.permutation(key, size)
        return (jnp.arange(length // size)[:, None] * size + within[None]).reshape(-1)

    def scales(self, targets: Targets) -> Scales:
        return token_and_pair_scales(self.pair_weight, targets)

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        return token_and_pair_loss(self.pair_weight, model, output, targets)


def any_order_lm(reuse: int | None = None) -> PermutationLm:
    """Any-order autoregression: every token is a target, in a uniformly random order (Uria et al. 2014).

    It is the permutation model of K = 1. [SEP] and [CLS] are given from the start, as they have no loss. A masked
    diffusion's loss is a bound on the same quantity (`objectives/diffusion.py`).
    """
    return PermutationLm(predict_one_in=1, spans="token", specials_seen=True, reuse=reuse)
