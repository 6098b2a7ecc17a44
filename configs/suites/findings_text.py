"""Known findings about language models on real text, each claimed before it is run: the twin of `findings`.

python ablate.py --suite=configs/suites/findings_text.py --workdir=runs/text --config.data.corpus=BOOKS

Text has no closed forms: these are directions and thresholds of the literature, and they fall as they fall. All arms
read one corpus, by default the embedded one; its documents should have several subjects, as chapters of books have.

How many steps an arm takes is part of what is claimed, so nothing is matched. Of E4, K = 1 stands beside K = 6 with as
many steps, with as many operations and with as many targets, all of them judged (`partial_prediction` has every K, and
judges one matching). Of E7, an arm that is better after two thirds of the steps than another after all has learned more
than one and a half times as fast.
"""

import dataclasses
from fractions import Fraction

from ablation.change import Arms, Change
from ablation.choices import cloze_tokens
from ablation.claims import Claim, claim
from ablation.findings.topics import decided_pairs, of_words
from ablation.suite import Suite
from ablation.yardsticks import any_other, likelihood, random_orders
from data.config import DataConfig
from data.tokenizer import Tokenizer
from models import XlnetConfig
from models.flops import training_flops
from objectives import CausalLm, MaskedDiffusion, MaskedLm, PermutationLm
from training.config import Experiment, OptimizerConfig, TrainingConfig

LENGTH, BATCH, STEPS = 64, 8, 1000

MODEL = XlnetConfig(
    num_layers=2,
    num_heads=4,
    model_dim=64,
    mlp_dim=256,
    dropout_rate=0.0,
    attention_dropout_rate=0.0,
    initializer_range=0.08,
    norm_position="pre",
)

BASE = Experiment(
    MODEL,
    CausalLm(),
    DataConfig(tokenizer="bytes", vocab_size=1024, length=LENGTH, batch_size=BATCH, validation=0.1, test=0.0),
    OptimizerConfig(total_steps=STEPS, peak_rate=4e-3, warmup_steps=STEPS // 20, beta2=0.99, weight_decay=0.0),
    TrainingConfig(log_every=100, eval_every=100_000, save_every=100_000, eval_batches=8),
)


def permuted(k: float) -> PermutationLm:
    """Single tokens, not n-grams, whose context would change with K as well."""
    return PermutationLm(predict_one_in=k, spans="token")


ALL, SOME = permuted(1), permuted(6)


def lasting(share: Fraction) -> Change:
    """A schedule over a share of the steps."""
    return {"optimizer.total_steps": round(share * STEPS), "optimizer.warmup_steps": round(share * STEPS / 20)}


def operations(objective: PermutationLm) -> int:
    """Of a training step."""
    vocab, targets = Tokenizer("bytes").vocab, targets_of(objective)
    return training_flops(MODEL, vocab.size, BATCH, LENGTH, targets, query_stream=True)


def targets_of(objective: PermutationLm) -> int:
    """Of a row."""
    return sum(count for _, count in objective.halves(LENGTH))


CAUSAL, ENOUGH, TOO_FEW = "causal", "causal, 2/3 of the steps", "causal, 1/5 of the steps"
SIXTH, BY_STEP = "K = 6", "K = 1"
BY_OPERATION, BY_TARGET = "K = 1, the operations of K = 6", "K = 1, the targets of K = 6"
NEXT, ORDER, NO_PAIRS = "pairs: next sentence", "pairs: sentence order", "pairs: no loss"

PAIRED: Change = {"model.pair_head": True, "data.layout": "pairs", "data.tokenizer": "unigram", "data.length": 96}

ARMS: Arms = {
    CAUSAL: {},
    ENOUGH: lasting(Fraction(2, 3)),
    TOO_FEW: lasting(Fraction(1, 5)),
    SIXTH: {"objective": SOME},
    BY_STEP: {"objective": ALL},
    BY_OPERATION: {"objective": ALL, **lasting(Fraction(operations(SOME), operations(ALL)))},
    BY_TARGET: {"objective": ALL, **lasting(Fraction(targets_of(SOME), targets_of(ALL)))},
    **{f"rate {rate}": {"objective": MaskedLm(rate=rate)} for rate in (0.15, 0.4, 0.8)},
    "any rate": {"objective": MaskedDiffusion()},
    NEXT: {**PAIRED, "objective": MaskedLm(pair_weight=1.0), "data.pair_balance": "balanced"},
    ORDER: {**PAIRED, "objective": MaskedLm(pair_weight=1.0), "data.pair_task": "order"},
    NO_PAIRS: {**PAIRED, "objective": MaskedLm(), "data.pair_balance": "balanced"},
}

LEFT, ORDERS, CLOZE = "left to right", "any order", "token cloze"


def of_partial_prediction() -> tuple[Claim, ...]:
    """Endpoints under three matchings."""
    return (
        claim("E4: a step of K = 1 teaches more from left to right", LEFT, BY_STEP, better_than=SIXTH),
        claim("E4: a step of K = 1 teaches more in any order", ORDERS, BY_STEP, better_than=SIXTH),
        claim("E4: a step of K = 6 teaches more of blanks", CLOZE, SIXTH, better_than=BY_STEP),
        claim("E4: so do as many operations of K = 6", CLOZE, SIXTH, better_than=BY_OPERATION),
        claim("E4: with as many targets, K = 1 catches up", CLOZE, BY_TARGET, better_than=SIXTH),
    )


def of_efficiency() -> tuple[Claim, ...]:
    """By a factor of 1.5 to 5. That masked models cross over between both sides is E6, of `findings`."""
    return (
        claim("E7: from left to right, causal learns 1.5 times as fast as K = 1", LEFT, ENOUGH, better_than=BY_STEP),
        claim("E7: and 1.5 times as fast as masked at any rate", LEFT, ENOUGH, better_than="any rate"),
        claim("E7: but not 5 times as fast as K = 1", LEFT, BY_STEP, better_than=TOO_FEW),
    )


def of_pairs() -> tuple[Claim, ...]:
    """Chance is a half."""
    return (
        claim("E11: next sentence is solved by topic", of_words("next").name, NEXT, above=0.6),
        claim("E11: sentence order is not", of_words("order").name, ORDER, below=0.55),
        claim("E11: blanks are filled better without next sentence", CLOZE, NO_PAIRS, better_than=NEXT),
    )


def of_rates() -> tuple[Claim, ...]:
    return (
        claim("E12: rate 0.4 fills blanks better than 0.8", CLOZE, "rate 0.4", better_than="rate 0.8"),
        claim("E12: any rate reads better from left to right than 0.15", LEFT, "any rate", better_than="rate 0.15"),
        claim("E12: so does rate 0.4", LEFT, "rate 0.4", better_than="rate 0.15"),
        claim("E12: so does rate 0.8", LEFT, "rate 0.8", better_than="rate 0.15"),
    )


def get_suite() -> Suite:
    blanks = dataclasses.replace(cloze_tokens(), asks=any_other)  # Bayes' rule over all bytes costs as much as training
    return Suite(
        question="Which findings about causal, masked and permutation models hold on real text?",
        base=BASE,
        arms=ARMS,
        yardsticks=(
            likelihood(positions=4),
            random_orders(positions=4),
            blanks,
            *(decided_pairs(task) for task in ("next", "order")),
        ),
        claims=(*of_partial_prediction(), *of_efficiency(), *of_pairs(), *of_rates()),
        match=("none",),
        seeds=10,
    )
