"""What the models have in common: the shape of a trunk, and one scan over its stacked layers."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from batch import InputError, Inputs
from models.visibility import every_row, visible

Remat = Literal["none", "cheap", "all"]
"""What the backward pass computes again instead of keeping it: nothing; all but the projections (attention weights,
norms, activations: quadratic in memory, or cheap); or whole layers, of which only the inputs are kept."""

KEPT = {"cheap": jax.checkpoint_policies.dots_with_no_batch_dims_saveable, "all": None}


@dataclasses.dataclass(frozen=True)
class TrunkConfig:
    """The fields every model has."""

    num_layers: int = 2
    num_heads: int = 2
    model_dim: int = 128
    mlp_dim: int = 512
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.1
    initializer_range: float = 0.02  # deviation of the initial weights; narrow models learn sooner from wider ones

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


@runtime_checkable
class SelfAttentionLayer(Protocol):
    """A layer that needs to know nothing but who may see whom."""

    def __call__(
        self, x: Float[Array, "B L D"], mask: Bool[Array, "B 1 L L"], *, key: Key[Array, ""] | None = None
    ) -> tuple[Float[Array, "B L D"], Float[Array, "B H L L"]]: ...


def encode(
    layers: SelfAttentionLayer,
    x: Float[Array, "B L D"],
    inputs: Inputs,
    capture: Sequence[str],
    *,
    key: Key[Array, ""] | None,
    remat: Remat,
) -> tuple[Float[Array, "B L D"], Float[Array, "N1 B L D"] | None, Float[Array, "N B H L L"] | None]:
    """Runs `x` through stacked layers without memory: the last output and, if captured, all of them and attention."""
    rows = every_row(inputs)
    mask = visible(inputs, rows, None, strict=jnp.zeros_like(rows, bool))

    def body(x, layer, key):
        y, weights = layer(x, mask, key=key)
        return y, (y if "layers" in capture else None, weights if "attention" in capture else None)

    last, (outputs, attention) = scan_layers(body, x, layers, key=key, remat=remat)
    return last, None if outputs is None else jnp.concatenate([x[None], outputs]), attention


def scan_layers(
    body: Callable[[Any, Any, Key[Array, ""] | None], tuple[Any, Any]],
    carry: Any,
    per_layer: Any,
    *,
    key: Key[Array, ""] | None,
    remat: Remat,
) -> tuple[Any, Any]:
    """Runs `body(carry, per_layer[i], key_i)` over the layers: one compiled body, whatever the depth."""

    def step(carry, xs):
        inputs, index = xs
        own = None if key is None else jax.random.fold_in(key, index)
        return body(carry, inputs, own)

    if remat != "none":
        step = jax.checkpoint(step, prevent_cse=False, policy=KEPT[remat])
    num_layers = len(jax.tree.leaves(per_layer)[0])
    return jax.lax.scan(step, carry, (per_layer, jnp.arange(num_layers)))
