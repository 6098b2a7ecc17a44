"""What the models have in common: the fields of a trunk, and one scan over its stacked layers."""

import contextvars
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from batch import InputError

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]
NormPosition = Literal["post", "pre"]

Remat = Literal["none", "cheap", "all"]
"""What the backward pass computes again instead of keeping it: nothing; all but the projections (attention weights,
norms, activations: quadratic in memory, or cheap); or whole layers, of which only the inputs are kept."""

UNROLLED = 4
"""A trunk that keeps everything and has no more layers than this is laid out without a loop: what a layer leaves for
the backward pass need then not be copied onto a stack and off it, a seventh of a step on a CPU (docs/findings.md).
More layers would take longer to compile. And where something is to be computed again, the loop has to stay: without
one XLA finds that it has been computed already, and keeps it."""

KEPT = {"cheap": jax.checkpoint_policies.dots_with_no_batch_dims_saveable, "all": None}


ENTERING: contextvars.ContextVar[Callable[[Any], Any]] = contextvars.ContextVar("ENTERING", default=lambda rows: rows)
"""What is done, while a model is traced, to rows that enter a layer: nothing, unless training holds them in place."""


@dataclasses.dataclass(frozen=True)
class TrunkConfig:
    """The fields every model has. A model declares anew those whose default is another in its own release."""

    epsilon: ClassVar[float]  # of every norm, as in the release

    num_layers: int = 2
    num_heads: int = 2
    model_dim: int = 128
    mlp_dim: int = 512
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.1
    initializer_range: float = 0.02  # deviation of the initial weights; narrow models learn sooner from wider ones
    norm: Literal["layer", "rms"] = "layer"  # LayerNorm; RMSNorm, without mean and shift (Zhang and Sennrich 2019)
    norm_position: NormPosition = "post"  # after each sum; or before each part of a block, and after the last block
    activation: Activation = "gelu"
    gated: bool = False  # act(gate x) * (up x) in the feed-forward block, half as many weights more (Shazeer 2020)
    qk_norm: bool = False  # queries and keys of each head are divided by their root mean square
    tied: bool = True  # the head scores against the table of tokens; False: against one of its own

    def __post_init__(self):
        for field in ("num_layers", "num_heads", "model_dim", "mlp_dim"):
            value = getattr(self, field)
            if value < 1:
                raise InputError(f"model.{field}={value}: must be at least 1.")
        if self.model_dim % self.num_heads:
            raise InputError(
                f"model.num_heads={self.num_heads}: must divide model.model_dim={self.model_dim}; change one of them."
            )
        if self.model_dim % 2:
            raise InputError(f"model.model_dim={self.model_dim}: must be even.")
        if self.initializer_range <= 0:
            raise InputError(f"model.initializer_range={self.initializer_range}: must be above 0.")
        for field in ("dropout_rate", "attention_dropout_rate"):
            value = getattr(self, field)
            if not 0 <= value < 1:
                raise InputError(f"model.{field}={value}: must be at least 0 and below 1.")


def scan_layers(
    body: Callable[[Any, Any, Key[Array, ""] | None], tuple[Any, Any]],
    carry: Any,
    per_layer: Any,
    *,
    key: Key[Array, ""] | None,
    remat: Remat,
) -> tuple[Any, Any]:
    """Runs `body(carry, per_layer[i], key_i)` over the layers: one compiled body, whatever the depth, but for few."""

    def step(carry, xs):
        inputs, index = xs
        own = None if key is None else jax.random.fold_in(key, index)
        return body(ENTERING.get()(carry), inputs, own)

    if remat != "none":
        step = jax.checkpoint(step, prevent_cse=False, policy=KEPT[remat])
    num_layers = len(jax.tree.leaves(per_layer)[0])
    unroll = num_layers if remat == "none" and num_layers <= UNROLLED else 1
    return jax.lax.scan(step, carry, (per_layer, jnp.arange(num_layers)), unroll=unroll)
