"""Known findings about causal, masked and permutation language models, each claimed before it is run.

The models are tiny and the sources known, so that what is claimed has a value: E1, E2, E5 and E10 are closed forms,
computed here from the sources, and must pass. The others are directions and thresholds of the literature; they fall as
they fall. All arms have one trunk, XLNet's, without its memory but for E5; arms of one finding read the same text and
spend the same compute, so that they differ in their objectives alone. Margins are a tenth of what the finding is
about, for what tiny models have not learned, unless it says why not.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

from ablation.change import Change
from ablation.claims import Claim, claim
from ablation.findings import consistency, echoes, masses, pairs, rates, reversal, shown, sides, words
from ablation.findings.asking import optimum
from ablation.suite import Suite
from data.config import DataConfig
from data.sources.coupled import Coupled
from data.sources.echo import Echo
from data.sources.facts import Facts
from data.sources.lexicon import Lexicon
from data.sources.markov import Markov
from models import XlnetConfig
from objectives import CausalLm, MaskedDiffusion, MaskedLm, Objective, PermutationLm
from training.config import Experiment, OptimizerConfig, TrainingConfig

LENGTH, BATCH, STEPS = 32, 32, 1000

MODEL = XlnetConfig(
    num_layers=2,
    num_heads=4,
    model_dim=32,
    mlp_dim=128,
    dropout_rate=0.0,
    attention_dropout_rate=0.0,
    initializer_range=0.1,
    norm_position="pre",
)

MARKOV, COUPLED, ECHO, FACTS, LEXICON = Markov(symbols=8, length=29), Coupled(), Echo(), Facts(), Lexicon()
CORPORA = {  # documents of 31 tokens, with newline and end: windows of 32 begin anywhere in them
    "markov": f"markov:symbols={MARKOV.symbols},length={MARKOV.length},documents=20000",
    "pairs": "coupled:",
    "echo": "echo:",
    "facts": "facts:",
    "words": "lexicon:",
}

CAUSAL, MASKED, PERMUTED, ALL_RATES = CausalLm(), MaskedLm(), PermutationLm(), MaskedDiffusion()
NO_NOISE = MaskedLm(mask_share=1.0, random_share=0.0)  # all targets behind [MASK], 100/0/0

BASE = Experiment(
    MODEL,
    CAUSAL,
    DataConfig(corpus=CORPORA["markov"], tokenizer="bytes", length=LENGTH, batch_size=BATCH, validation=0.02, test=0.0),
    OptimizerConfig(total_steps=STEPS, peak_rate=4e-3, warmup_steps=40, beta2=0.99, weight_decay=0.0),
    TrainingConfig(log_every=100, eval_every=100_000, save_every=100_000, eval_batches=8),
)

RATES = (0.15, 0.3, 0.5, 0.9)
SLACK = 0.01
"""Bits beside a tenth of the smallest losses, which would otherwise be asked for to a few thousandths."""


LONG: Change = {"optimizer.total_steps": 2 * STEPS, "optimizer.warmup_steps": 80}
"""For windows of half the length, and for coupled pairs: in 1,000 steps 2 of 10 seeds had not learned to look there."""


def arms_on(name: str, objectives: Mapping[str, Objective], more: Change = MappingProxyType({})) -> dict[str, Change]:
    """An arm for each objective on the text of a source."""
    text = {"data.corpus": CORPORA[name], **more}
    return {f"{name}: {own}": {"objective": each, **text} for own, each in objectives.items()}


def arm_of_echo(memory: int) -> Change:
    """A causal arm that reads windows of a period, one after the other, and remembers so many symbols."""
    corpus = {"data.corpus": CORPORA["echo"], "data.layout": "streams", "data.length": ECHO.period}
    return {**corpus, **LONG, "model.memory_length": memory, "model.empty_memory": "masked"}


ARMS = {
    **arms_on("markov", {"causal": CAUSAL, "masked": MASKED, "no noise": NO_NOISE, "all rates": ALL_RATES}),
    **arms_on("markov", {"permuted": PERMUTED}),
    **arms_on("pairs", {"causal": CAUSAL, "all rates": ALL_RATES, "permuted": PERMUTED}, LONG),
    **{f"echo: memory {memory}": arm_of_echo(memory) for memory in (0, ECHO.period)},
    **arms_on("facts", {"causal": CAUSAL, "masked": MASKED, "all rates": ALL_RATES, "permuted": PERMUTED}),
    **arms_on("words", {"all rates": ALL_RATES, "masked": MASKED}),
}


def closed(text: str, metric: str, arm: str, value: float, within: float) -> Claim:
    """A closed form, which must pass."""
    return claim(text, metric, arm, equals=value, within=within, expected=True)


def of_pairs() -> tuple[Claim, ...]:
    """A slope is known to a twentieth: many contexts make it."""
    found = pairs.FOUND.name
    return (
        closed(
            "E1: two symbols at once cost their mutual information more", pairs.LOST.name, "pairs: all rates", 1, 0.05
        ),
        closed("E1: a permutation model finds their mutual information", found, "pairs: permuted", 1, 0.05),
        closed("E1: a causal model finds their mutual information", found, "pairs: causal", 1, 0.05),
    )


def of_rates() -> tuple[Claim, ...]:
    told = "E2: at rate {}, predictions at once lose the total correlation of what is hidden"
    values = {rate: rates.total_correlation(MARKOV, rate) for rate in RATES}
    return tuple(
        closed(told.format(rate), rates.name(rate), "markov: all rates", value, 0.1 * value + SLACK)
        for rate, value in values.items()
    )


def of_echoes() -> tuple[Claim, ...]:
    without, known = math.log2(ECHO.symbols), ECHO.entropy / math.log(2)
    margin, metric = 0.1 * (without - known), echoes.REPEATS.name
    return (
        closed("E5: without memory, a far repetition is news", metric, "echo: memory 0", without, margin),
        closed("E5: with memory, it is known", metric, f"echo: memory {ECHO.period}", known, margin),
    )


def of_masses() -> tuple[Claim, ...]:
    """An exact sum has an exact margin: rounding in float32."""
    arm, best = "markov: all rates", optimum(MARKOV)
    pseudo, gained = float(masses.mass(MARKOV, best)[1].mean()), sides.sides(MARKOV, best)[sides.GAINED.name].value
    return (
        closed("E10: the chain rule adds up to 1", masses.CHAIN.name, arm, 1, 1e-3),
        closed("E10: pseudo-likelihoods do not", masses.PSEUDO.name, arm, pseudo, 0.1 * (pseudo - 1)),
        closed("E10: PPPL is below PPL, by what both sides say", sides.GAINED.name, arm, gained, 0.1 * gained),
    )


def of_noise() -> tuple[Claim, ...]:
    clean, noisy = "markov: no noise", "markov: masked"
    return (
        claim("E3: noise makes shown symbols known, a bit each", shown.OWN.name, noisy, better_than=clean, by=1.0),
        claim("E3: noise costs where symbols are masked", sides.BOTH.name, clean, better_than=noisy),
    )


def of_sides() -> tuple[Claim, ...]:
    causal, masked, left = "markov: causal", "markov: masked", sides.LEFT.name
    return (
        claim("E6: causal beats permuted from the left", left, causal, better_than="markov: permuted"),
        claim(
            "E6: masked beats causal, by Bayes' rule, between both sides", sides.BOTH.name, masked, better_than=causal
        ),
    )


def of_facts() -> tuple[Claim, ...]:
    """Chance is 1 in as many as there are facts."""
    own, causal, all_rates = reversal.OWN.name, "facts: causal", "facts: all rates"
    return (
        claim("E8: a causal model does not know facts backward", own, causal, below=0.1),
        claim("E8: a permutation model does, by 30 points", own, "facts: permuted", better_than=causal, by=0.3),
        claim("E8: a masked one does at all rates, by 30 points", own, all_rates, better_than=causal, by=0.3),
        claim("E8: at one rate it does less well", own, all_rates, better_than="facts: masked"),
        claim("E8: a causal model does, by Bayes' rule", reversal.BAYES.name, causal, above=0.5),
    )


def of_words() -> tuple[Claim, ...]:
    """A perfect model's PLL gives a long word its entropy as a present."""
    full, fair = words.theory(LEXICON), 0.1 * words.theory(LEXICON)
    return (
        claim("E9: PLL inflates words of several pieces", words.PLL.name, "words: masked", above=full / 2),
        claim("E9: PLL-word-l2r is fair to them", words.WORD.name, "words: all rates", equals=0, within=fair),
    )


def of_orders() -> tuple[Claim, ...]:
    spread, masked = consistency.SPREAD.name, "markov: masked"
    return (
        claim("E13: masked at one rate depends more on the order", spread, "markov: permuted", better_than=masked),
        claim("E13: masked at all rates depends less on it", spread, "markov: all rates", better_than=masked),
    )


CLOSED = (of_pairs, of_rates, of_echoes, of_masses)
OPEN = (of_noise, of_sides, of_facts, of_words, of_orders)


def get_suite() -> Suite:
    return Suite(
        question="Which findings about causal, masked and permutation models hold in models that take seconds?",
        base=BASE,
        arms=ARMS,
        yardsticks=(
            pairs.lost_at_once(),
            pairs.found_in_turn(),
            rates.lost_at_rates(RATES),
            masses.masses(),
            sides.both_sides(),
            echoes.repeated_symbols(),
            shown.shown_symbols(),
            reversal.reversal(),
            reversal.by_bayes(),
            words.inflation(),
            consistency.spread_over_orders(),
        ),
        claims=tuple(each for family in (*CLOSED, *OPEN) for each in family()),
        match=("flops",),
        seeds=10,
        mode="matched",
    )
