"""Learning rates of fine-tuning: which one is tried by default, and the grids of the papers."""

from batch import InputError

BASE, SMALL = 768, 512
"""Widths from which a model counts as base, and as small."""

PAPER_BASE = (5e-5, 3e-5, 2e-5)
"""Devlin et al. 2019, appendix A.3."""

PAPER_SMALL = (3e-4, 1e-4, 5e-5, 3e-5)
"""Turc et al. 2019, for models below base."""


def rates_of(text: str, model_dim: int, times: float = 1.0) -> tuple[float, ...]:
    """The rates that a flag names: "default" is one, by the width of the model; "paper" a grid; or numbers.

    The default is 5e-5 from the width of BERT base on, 1e-4 from 512 on, and 3e-4 below: what is narrower needs and
    bears more. So does what learns little of a model: it is multiplied by `times`. Raises InputError for anything else.
    """
    if text == "default":
        rate = 5e-5 if model_dim >= BASE else 1e-4 if model_dim >= SMALL else 3e-4
        return (round(rate * times, 6),)  # 0.003, not 0.0029999999999999996
    if text == "paper":
        return PAPER_BASE if model_dim >= BASE else PAPER_SMALL
    try:
        rates = tuple(float(rate) for rate in text.split(","))
    except ValueError:
        rates = ()
    if not rates or not all(0 < rate < 1 for rate in rates) or len(set(rates)) < len(rates):
        raise InputError(
            f"--rates={text}: must be default, paper, or different numbers between 0 and 1, as in 1e-3,3e-4."
        )
    return rates
