"""How much of a permutation to predict: XLNet predicts the last sixth of its order (Yang et al. 2019, section 2.3)."""

from ablation.change import sweep
from ablation.choices import cloze_tokens, cloze_words
from ablation.claims import claim
from ablation.suite import Suite
from ablation.yardsticks import likelihood, random_orders
from configs.shared import TINY


def get_suite() -> Suite:
    return Suite(
        question="Should a permutation language model predict all tokens, or the last of each order?",
        base=TINY.xlnet(),
        arms=sweep("objective.predict_one_in", (6, 1, 2, 3, 12), "K = {}"),
        yardsticks=(likelihood(), random_orders(), cloze_tokens(), cloze_words()),
        claims=(
            claim("K = 1 reads better from left to right than K = 6", "left to right", "K = 1", better_than="K = 6"),
            claim("K = 1 reads better in any order than K = 6", "any order", "K = 1", better_than="K = 6"),
            claim("K = 6 fills blanks better than K = 1", "token cloze", "K = 6", better_than="K = 1"),
        ),
        match=("tokens", "flops", "predicted"),
    )
