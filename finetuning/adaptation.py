"""How much of a pretrained model is learned with the head."""

from typing import Literal

from training.learned import Learned

Adapt = Literal["full", "frozen", "bias"]

HEAD = "task/"


def learned_by(adapt: Adapt) -> Learned | None:
    """Which parameters are learned: all (None), the head alone, or with it every bias (Ben Zaken et al. 2022)."""
    return {"full": None, "frozen": _of_head, "bias": _of_head_or_bias}[adapt]


def _of_head(name: str) -> bool:
    return name.startswith(HEAD)


def _of_head_or_bias(name: str) -> bool:
    return _of_head(name) or name.endswith("bias")
