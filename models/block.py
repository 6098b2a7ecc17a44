"""The residual block of every model, and a run through a stack of them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from models.attention import SelfView
from models.layers import FeedForward, Norm, dropout, make_norm, split_key
from models.parameters import Initializer
from models.precision import Precision
from models.trunk import Remat, TrunkConfig, scan_layers


def _as_it_is(x: Float[Array, "*rows D"]) -> Float[Array, "*rows D"]:
    return x


class Block(nnx.Module):
    """Attention and then the feed-forward block, each added to the rows that it read.

    Post-norm (Vaswani et al. 2017): x = norm(x + attention(x)); x = norm(x + mlp(x)).
    Pre-norm (Xiong et al. 2020): x = x + attention(norm(x)); x = x + mlp(norm(x)); see `final_norm`.
    """

    # Of a model that is fine-tuned: what a part returns goes through its adapter before it is added.
    attention_adapter: Callable[..., Any] = staticmethod(_as_it_is)
    mlp_adapter: Callable[..., Any] = staticmethod(_as_it_is)

    def __init__(
        self,
        config: TrunkConfig,
        attention: Callable[..., Any],
        *,
        up: Initializer,
        down: Initializer,
        precision: Precision,
        inner_dropout: float = 0.0,
    ):
        self.attention = attention
        self.attention_norm = make_norm(config)
        self.mlp = FeedForward(config, up=up, down=down, precision=precision, inner_dropout=inner_dropout)
        self.mlp_norm = make_norm(config)
        self.pre_norm = config.norm_position == "pre"
        self.dropout_rate = config.dropout_rate

    def __call__(
        self,
        x: Float[Array, "B T D"],
        view: Any,
        context: Float[Array, "B S D"] | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B H T S"]]:
        """The rows, and their attention to `context`, which is themselves if None; `view` says who sees whom."""
        weights_key, mixed_key, mlp_key, inner_key = split_key(key, 4)
        enter, leave = self.around(self.attention_norm)
        rows = (x,) if context is None else (x, context)
        mixed, weights = self.attention(*map(enter, rows), view, key=weights_key)
        x = leave(x + self.attention_adapter(dropout(mixed, self.dropout_rate, mixed_key)))
        enter, leave = self.around(self.mlp_norm)
        inner = dropout(self.mlp(enter(x), key=inner_key), self.dropout_rate, mlp_key)
        return leave(x + self.mlp_adapter(inner)), weights

    def around(self, norm: Norm) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """What is done to the rows that a part reads, and to the sum with what it returns."""
        return (norm, _as_it_is) if self.pre_norm else (_as_it_is, norm)


def final_norm(config: TrunkConfig) -> Norm | None:
    """The norm of what the last block returns, which a post-norm block has normalized itself."""
    return make_norm(config) if config.norm_position == "pre" else None


def encode(
    layers: Block,
    x: Float[Array, "B L D"],
    view: SelfView,
    capture: Sequence[str],
    *,
    key: Key[Array, ""] | None,
    remat: Remat,
) -> tuple[Float[Array, "B L D"], Float[Array, "N1 B L D"] | None, Float[Array, "N B H L L"] | None]:
    """Runs `x` through stacked layers without memory: the last output and, if captured, all of them and attention."""

    def body(x, layer, key):
        y, weights = layer(x, view, key=key)
        return y, (y if "layers" in capture else None, weights if "attention" in capture else None)

    last, (outputs, attention) = scan_layers(body, x, layers, key=key, remat=remat)
    return last, None if outputs is None else jnp.concatenate([x[None], outputs]), attention
