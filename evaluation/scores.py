"""What a scorer found: a log-probability for each token, and what that number is."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float64, Int64

from evaluation.blocks import Blocks


@dataclasses.dataclass(frozen=True, eq=False)
class TokenScores:
    """One entry for each scored token of the blocks, in the order of the text."""

    log_p: Float64[np.ndarray, " T"]  # nats, over the ids that text can hold; NaN where it was not asked
    leaked: Float64[np.ndarray, " T"]  # probability that went to all other ids before renormalization
    weight: Float64[np.ndarray, " T"]  # how many tokens of its block it stands for; 0 where it was not asked
    byte_length: Int64[np.ndarray, " T"]
    block: Int64[np.ndarray, " T"]
    document: Int64[np.ndarray, " T"]

    @property
    def nats(self) -> Float64[np.ndarray, " T"]:
        """What each token adds to the (estimated) negative log-probability of the text."""
        return np.where(self.weight > 0, -self.weight * np.where(self.weight > 0, self.log_p, 0.0), 0.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Totals:
    """Sums over the tokens of each unit: documents, or blocks."""

    nats: Float64[np.ndarray, " U"]
    num_bytes: Float64[np.ndarray, " U"]
    num_tokens: Float64[np.ndarray, " U"]


@dataclasses.dataclass(frozen=True, eq=False)
class Score:
    """A number that a model gives to a text.

    `normalised` says that exp(score) sums to 1 over all texts of the same shape: only then may it be compared with
    another model's as a likelihood.
    """

    name: str
    normalised: bool
    context: str  # what each token was predicted from
    passes: float  # forward passes a block
    flops: float  # of these passes, a block
    tokens: TokenScores

    def by_document(self) -> Totals:
        return totals(self.tokens, self.tokens.document)

    def by_block(self) -> Totals:
        return totals(self.tokens, self.tokens.block)

    @property
    def leaked(self) -> float:
        """The mean probability of ids that text cannot hold."""
        asked = self.tokens.weight > 0
        return float(np.average(self.tokens.leaked[asked], weights=self.tokens.weight[asked]))

    def sampling_variance(self) -> Float64[np.ndarray, " N"]:
        """Of each block's nats, where its positions were sampled: n^2 (1 - m/n) s^2 / m; 0 where all were asked."""
        asked, block = self.tokens.weight > 0, self.tokens.block
        count = lambda values: np.bincount(block, values, block.max() + 1)  # noqa: E731
        log_p = np.where(asked, self.tokens.log_p, 0.0)
        size, sample = count(np.ones(len(block))), count(asked)
        mean = count(log_p) / np.maximum(sample, 1)
        squares = count(np.where(asked, (log_p - mean[block]) ** 2, 0.0)) / np.maximum(sample - 1, 1)
        return np.where(sample < size, size * (size - sample) * squares / np.maximum(sample, 1), 0.0)


def totals(tokens: TokenScores, unit: Int64[np.ndarray, " T"]) -> Totals:
    """The sums for each value of `unit` that occurs, in increasing order."""
    _, index = np.unique(unit, return_inverse=True)
    sums = (np.bincount(index, values) for values in (tokens.nats, tokens.byte_length, np.ones(len(unit))))
    return Totals(*sums)


def token_scores(
    blocks: Blocks,
    log_p: Float64[np.ndarray, "N L"],
    leaked: Float64[np.ndarray, "N L"],
    asked: Bool[np.ndarray, "N L"] | None = None,
) -> TokenScores:
    """The entries of the scored tokens; of a block of which m of n were asked, each stands for n / m."""
    asked = blocks.scored if asked is None else asked
    size, sample = blocks.scored.sum(axis=1), asked.sum(axis=1)
    weight = np.where(asked, (size / np.maximum(sample, 1))[:, None], 0.0)
    number = np.broadcast_to(np.arange(blocks.num_blocks)[:, None], blocks.scored.shape)
    document = np.broadcast_to(blocks.document[:, None], blocks.scored.shape)
    chosen = blocks.scored
    return TokenScores(
        log_p=np.where(asked, log_p, np.nan)[chosen],
        leaked=np.where(asked, leaked, np.nan)[chosen],
        weight=weight[chosen],
        byte_length=blocks.byte_length[chosen].astype(np.int64),
        block=number[chosen],
        document=document[chosen],
    )


def block_sums(score: Score, num_blocks: int) -> Float64[np.ndarray, " N"]:
    """The log-probability of every block, 0 of one without scored tokens."""
    return -np.bincount(score.tokens.block, score.tokens.nats, num_blocks)
