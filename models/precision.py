"""Matrix products: the one place that knows in which precision operands are multiplied.

Parameters, activations, softmax, norms and losses are float32 everywhere. With "bfloat16" the operands of a product,
those of its backward products included, are rounded to bfloat16 and accumulated in float32.
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
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
    """The product of the rounded operands, accumulated in float32."""
    if jax.default_backend() != "cpu":
        return jnp.einsum(spec, a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)
    if multiplies_bfloat16():
        return by_rows(spec, a.astype(jnp.bfloat16), b.astype(jnp.bfloat16))
    return jnp.einsum(spec, jax.lax.reduce_precision(a, 8, 7), jax.lax.reduce_precision(b, 8, 7))


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether XLA's CPU backend, as it was installed and told to compile, multiplies bfloat16 into float32.

    Where it does not, rounded operands are multiplied as float32, which gives the same numbers at float32's speed.
    """
    plain, batched = (jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in ((32, 32), (2, 32, 32)))
    try:
        for spec, x in (("mk,kn->mn", plain), ("mk,nk->mn", plain), ("bmk,bkn->bmn", batched)):
            jax.jit(functools.partial(by_rows, spec)).lower(x, x).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def by_rows(spec: str, a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    """The product as one of matrices, [batch, M, K] x [batch, K, N] or x [batch, N, K], all laid out row by row.

    XLA's CPU backend multiplies bfloat16 in these layouts only. Transposes, reshapes and optimization barriers around a
    product do not keep it from choosing others; a constraint on the layout does.
    """
    inputs, out = spec.split("->")
    left, right = inputs.split(",")
    size = dict(zip(left + right, a.shape + b.shape, strict=True))
    batch = [x for x in left if x in right and x in out]
    summed = [x for x in left if x in right and x not in out]
    rows, columns = ([x for x in letters if x not in batch + summed] for letters in (left, right))

    def matrices(x: Float[Array, "..."], letters: str, *groups: list[str]) -> Float[Array, "..."]:
        ordered = x.transpose([letters.index(letter) for letter in sum(groups, batch)])
        many = [math.prod(size[letter] for letter in group) for group in ([batch] if batch else []) + list(groups)]
        return row_major(ordered.reshape(many))

    upright = not columns or right.index(columns[0]) > right.index(summed[0])
    lhs = matrices(a, left, rows, summed)
    rhs = matrices(b, right, *((summed, columns) if upright else (columns, summed)))
    last, shared = lhs.ndim - 1, tuple(range(lhs.ndim - 2))
    numbers = (((last,), (last - 1 if upright else last,)), (shared, shared))
    product = row_major(jax.lax.dot_general(lhs, rhs, numbers, preferred_element_type=jnp.float32))
    letters = batch + rows + columns
    return product.reshape([size[letter] for letter in letters]).transpose([letters.index(letter) for letter in out])


def row_major(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x`, its last axis contiguous in memory."""
    return with_layout_constraint(x, Layout(major_to_minor=tuple(range(x.ndim))))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _rounded(spec: str, a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    return _product(spec, a, b)


def _forward(spec, a, b):
    return _product(spec, a, b), (a, b)


def _backward(spec, operands, cotangent):
    """The gradient to `b`, the smaller operand first: that one is what `by_rows` transposes, where `b` is a kernel."""
    (a, b), (inputs, out) = operands, spec.split("->")
    left, right = inputs.split(",")
    to_a = _product(f"{out},{right}->{left}", cotangent, b)
    if cotangent.size <= a.size:
        return to_a, _product(f"{out},{left}->{right}", cotangent, a)
    return to_a, _product(f"{left},{out}->{right}", a, cotangent)


_rounded.defvjp(_forward, _backward)
