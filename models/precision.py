"""Matrix products: the one place that knows in which precision operands are multiplied.

Parameters, activations, softmax, norms and losses are float32 everywhere. With "bfloat16" the operands of a product,
those of its backward products included, are rounded to bfloat16 and accumulated in float32.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Precision = Literal["float32", "bfloat16"]


def contract(spec: str, a: Float[Array, "..."], b: Float[Array, "..."], precision: Precision) -> Float[Array, "..."]:
    """`jnp.einsum(spec, a, b)` in float32, from operands of the given precision.

    Every letter of an operand must occur in the other operand or in the result.
    """
    if precision == "float32":
        return jnp.einsum(spec, a, b, precision=jax.lax.Precision.HIGHEST)
    return _rounded(spec, a, b)


def _product(spec: str, a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    """The product of the rounded operands, accumulated in float32.

    XLA's CPU backend multiplies bfloat16 in some layouts only, and which ones it meets depends on its own rewriting:
    there the rounded operands are multiplied as float32, which gives the same numbers at float32's speed.
    """
    if jax.default_backend() == "cpu":
        return jnp.einsum(spec, jax.lax.reduce_precision(a, 8, 7), jax.lax.reduce_precision(b, 8, 7))
    return jnp.einsum(spec, a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _rounded(spec: str, a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    return _product(spec, a, b)


def _forward(spec, a, b):
    return _product(spec, a, b), (a, b)


def _backward(spec, operands, cotangent):
    (a, b), (inputs, out) = operands, spec.split("->")
    left, right = inputs.split(",")
    return _product(f"{out},{right}->{left}", cotangent, b), _product(f"{out},{left}->{right}", cotangent, a)


_rounded.defvjp(_forward, _backward)
