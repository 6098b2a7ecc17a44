"""What an objective is, and what all objectives share: keys by row, positions, the loss over targets."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from batch import VOID, Batch, InputError, Inputs, Mean, Output, Targets, Vocab, weighted_mean
from objectives.surprise import surprises

Losses = dict[str, Mean]
Metrics = dict[str, Mean]
Scales = dict[str, Float[Array, ""]]

READINGS = {"right": 1, "left": -1, "query": 0, "mask": 0, "before": 1}
"""Where the prediction of a token is read, and how far ahead of that place the token stands: "right", from the content
stream at the token before it, which has seen nothing later; "left", the mirror image; "query", from the query stream at
its own place; "mask", from the content stream at its own place, where [MASK] stands; "before", from the content stream
at the place before that [MASK]."""


@runtime_checkable
class Objective(Protocol):
    """A frozen dataclass: it is its own config. What it hides is a pure function of the batch and the key."""

    @property
    def query_stream(self) -> bool:
        """Whether it predicts from a stream that does not see its own token, which the model must have."""
        ...

    @property
    def reuse(self) -> int | None:
        """Positions of a window that enter the memory, and by which the window advances; None: all of them."""
        ...

    @property
    def pair_weight(self) -> float:
        """Coefficient of the sentence-pair loss; 0: there is none."""
        ...

    @property
    def reads(self) -> tuple[str, ...]:
        """The READINGS by which a trained model can be asked for a token: a mixture's several; () if no scorer can."""
        ...

    def prepare(self, batch: Batch, vocab: Vocab, key: Key[Array, ""]) -> tuple[Inputs, Targets]:
        """What is shown, and what is asked. Runs inside the step, on the whole batch."""
        ...

    def scales(self, targets: Targets) -> Scales:
        """For each loss, its coefficient over its total weight in the whole batch; 0 where it has no weight.

        What a step descends is the sum of scale * total, over however many microbatches and devices the totals are
        summed.
        """
        ...

    def loss(self, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
        """What is trained on, and what is only watched."""
        ...


def row_keys(key: Key[Array, ""], batch: Batch, static_draws: int = 0) -> Key[Array, " B"]:
    """One key a row, of its epoch and its text: the same corruption for any batch size, host count or resume point.

    With k `static_draws` the epoch counts modulo k, so that an example is drawn in k ways, one an epoch in turn. It is
    the same text again only where the data gives it the same number, cut alike.
    """
    epoch = jnp.asarray(batch.epoch)
    by_row = jax.vmap(lambda epoch, example: jax.random.fold_in(jax.random.fold_in(key, epoch), example))
    return by_row(epoch % static_draws if static_draws else epoch, jnp.asarray(batch.example))


def eligible(batch: Batch, vocab: Vocab) -> Bool[Array, "B L"]:
    """The tokens that may be targets: neither padding nor special."""
    return (jnp.asarray(batch.document) != 0) & ~jnp.asarray(vocab.is_special)[batch.tokens]


def mask_id(vocab: Vocab, objective: Objective) -> int:
    """What hidden tokens are shown as. Raises InputError where the vocabulary has no [MASK]."""
    if vocab.mask is None:
        raise InputError(
            f"vocab.mask=None: {type(objective).__name__} hides tokens behind [MASK], which this vocabulary lacks; "
            "train a tokenizer."
        )
    return vocab.mask


def neighbors(batch: Batch, vocab: Vocab, step: int) -> tuple[Int[Array, "B L"], Bool[Array, "B L"]]:
    """The token `step` places after each, around the end of the row; and whether it may be this one's target.

    It may if it is eligible, of the same document, and in the row.
    """
    tokens, document = jnp.asarray(batch.tokens), jnp.asarray(batch.document)
    place = jnp.arange(tokens.shape[1])[None] + step
    asked = jnp.roll(eligible(batch, vocab), -step, axis=1) & (jnp.roll(document, -step, axis=1) == document)
    return jnp.roll(tokens, -step, axis=1), asked & (place >= 0) & (place < tokens.shape[1])


def labels_at(batch: Batch, predict: Int[Array, "B P"], weights: Float[Array, "B P"]) -> Int[Array, "B P"]:
    """The tokens of the text at the predicted places; 0 at unused slots."""
    return jnp.where(weights > 0, jnp.take_along_axis(jnp.asarray(batch.tokens), predict, axis=1), 0)


def positions(document: Int[Array, "B L"]) -> Int[Array, "B L"]:
    """The index of each token within its document, counted from where the window first shows it."""
    index = jnp.arange(document.shape[1])[None]
    begins = document != jnp.pad(document, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    return index - jax.lax.cummax(jnp.where(begins, index, 0), axis=1)


def hide_padding(order: Int[Array, "B L"], batch: Batch) -> Int[Array, "B L"]:
    """The order, with padding invisible to everybody."""
    return jnp.where(jnp.asarray(batch.document) != 0, order, VOID)


def show(
    batch: Batch,
    *,
    order: Int[Array, "B L"],
    predict: Int[Array, "B P"],
    tokens: Int[Array, "B L"] | None = None,
    blind: bool = False,
    reuse: int | None = None,
) -> Inputs:
    """The batch as inputs: `tokens` in place of its own where they were corrupted, padding hidden."""
    document = jnp.asarray(batch.document)
    return Inputs(
        tokens=jnp.asarray(batch.tokens) if tokens is None else tokens,
        segments=jnp.asarray(batch.segments),
        document=document,
        position=positions(document),
        order=hide_padding(order, batch),
        predict=predict,
        blind=jnp.full(document.shape[0], blind),
        summary=jnp.asarray(batch.summary),
        direction=None if batch.direction is None else jnp.asarray(batch.direction),
        query_stream=blind,
        reuse=reuse,
    )


def scale(coefficient: float, weights: Float[Array, "*shape"]) -> Float[Array, ""]:
    """The coefficient over the sum of weights; 0 where there is nothing to divide by."""
    total = weights.sum()
    return jnp.where(total > 0, coefficient / jnp.where(total > 0, total, 1.0), 0.0)


def token_loss(model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
    """The negative log-likelihood in nats per target, and how often the most probable token is the right one."""
    surprise, right = surprises(model, output.hidden, targets.labels)
    losses = {"loss": weighted_mean(surprise, targets.weights)}
    return losses, {"accuracy": weighted_mean(right.astype(jnp.float32), targets.weights)}


def asked_pairs(batch: Batch) -> dict[str, Any]:
    """The fields of targets for the decision about pairs: what the data knows of them, and that each row has one."""
    real = (jnp.asarray(batch.document) != 0).any(axis=1)
    return {"task": batch.task, "task_weights": None if batch.task is None else real.astype(jnp.float32)}


def token_and_pair_scales(pair_weight: float, targets: Targets) -> Scales:
    """Each loss is a mean of its own; that of pairs, where it has a weight, counts by it."""
    scales = {"loss": scale(1.0, targets.weights)}
    if pair_weight:
        assert targets.task_weights is not None, "checked when the experiment was built"
        scales["pair_loss"] = scale(pair_weight, targets.task_weights)
    return scales


def token_and_pair_loss(pair_weight: float, model: Any, output: Output, targets: Targets) -> tuple[Losses, Metrics]:
    """The loss over tokens; and where pairs have a weight, -log p of their labels in nats, and how many are right."""
    losses, metrics = token_loss(model, output, targets)
    if pair_weight:
        assert targets.task is not None and targets.task_weights is not None, "checked when built"
        logits, label = model.pair_logits(output.pooled), jnp.asarray(targets.task.label)
        surprise = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        right = (logits.argmax(axis=-1) == label).astype(jnp.float32)
        losses["pair_loss"] = weighted_mean(surprise, targets.task_weights)
        metrics["pair_accuracy"] = weighted_mean(right, targets.task_weights)
    return losses, metrics
