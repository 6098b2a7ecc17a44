"""How far back a memory recalls (Dai et al. 2019): text repeats itself from a distance that no window reaches.

A layer reads from the memory what the layer below it was, which had a memory too: two layers could recall from twice as
far as a memory is long, if training taught them to.
"""

import math

from ablation.change import product, sweep
from ablation.claims import Claim, claim
from ablation.findings.echoes import REPEATS, repeated_symbols
from ablation.suite import Suite
from configs.suites.findings import BASE, ECHO

DISTANCES, LENGTHS, WINDOW = (16, 32, 48), (0, 16, 32, 48), 16


def get_suite() -> Suite:
    distances = {f"distance {distance}": {"data.corpus": f"echo:period={distance}"} for distance in DISTANCES}
    read = {"data.layout": "streams", "data.length": WINDOW, "model.empty_memory": "masked"}
    arms = product(distances, sweep("model.memory_length", LENGTHS, "memory {}"))
    return Suite(
        question="From how far does a memory recall?",
        base=BASE,
        arms={name: {**read, **change} for name, change in arms.items()},
        yardsticks=(repeated_symbols(),),
        claims=tuple(each for distance in DISTANCES for each in claims_at(distance)),
    )


def claims_at(distance: int) -> list[Claim]:
    """Half-way between knowing nothing of a repeated symbol and knowing all that can be known."""
    half = (math.log2(ECHO.symbols) + ECHO.entropy / math.log(2)) / 2
    without, enough = f"distance {distance}, memory 0", f"distance {distance}, memory {distance}"
    return [
        claim(f"without memory, nothing is recalled from {distance}", REPEATS.name, without, above=half),
        claim(f"a memory of {distance} recalls from {distance}", REPEATS.name, enough, below=half),
    ]
