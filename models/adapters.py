"""Small parts that are learned inside of a trunk that is not; before the first step they change nothing."""

import math

from flax import nnx
from jaxtyping import Array, Float

from models.layers import ACTIVATIONS, Linear
from models.parameters import ZEROS, Normal, TruncatedNormal
from models.precision import Precision
from models.trunk import TrunkConfig


class LowRank(nnx.Module):
    """`(alpha / rank) x A B`, which is added to a projection `x W` (Hu et al. 2021, section 4.1).

    The projection is then that of a kernel `W + (alpha / rank) A B`. A is drawn, with the deviation of the release,
    and B is zero.
    """

    def __init__(
        self, inputs: tuple[int, ...], outputs: tuple[int, ...], rank: int, alpha: float, *, precision: Precision
    ):
        init = Normal((3 * math.prod(inputs)) ** -0.5)
        self.down = Linear(inputs, (rank,), init, bias=False, precision=precision)
        self.up = Linear((rank,), outputs, ZEROS, bias=False, precision=precision)
        self.factor = alpha / rank

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.factor * self.up(self.down(x))


class Adapter(nnx.Module):
    """`x + up act(down x)` through a narrow middle, over what a part of a block returns (Houlsby et al. 2019, fig. 2).

    The paper draws both kernels with a deviation of 0.01, so that it starts near the identity, and finds that less does
    no harm (section 3.6). Here `up` is zero: it starts as the identity.
    """

    def __init__(self, config: TrunkConfig, width: int, *, precision: Precision):
        dim, middle = (config.model_dim,), (width,)
        self.down = Linear(dim, middle, TruncatedNormal(0.01), bias=True, precision=precision)
        self.up = Linear(middle, dim, ZEROS, bias=True, precision=precision)
        self.activation = config.activation

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        return x + self.up(ACTIVATIONS[self.activation](self.down(x)))
