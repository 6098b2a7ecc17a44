"""The distance term as a product of what stands at the query's place with what stands at the key's.

Distances enter attention only as sines and cosines, and sin(a - b), cos(a - b) are sums of products of those of a and
of b. So there need be no scores by distance, and nothing to shift. docs/positions.md has the derivation.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from models.layers import Linear
from models.precision import contract

TOLERANCE = 1e-7  # of the compressed sinusoids, absolute: float32 itself is no more exact
LARGEST = 8.0  # coefficient: larger ones would cancel, and rounding would not
STRETCHES = (1.12, 1.2, 1.3, 1.5, 1.75)  # a Fourier series fits best on an interval longer than the one that matters


@dataclasses.dataclass(frozen=True)
class Basis:
    """Waves that span the sinusoids of all distances of a window: those of more frequencies than distances tell apart.

    sin(d w) = sines @ sin(d t) and cos(d w) = cosines @ cos(d t) + a constant, for the frequencies t; None: t is w.
    """

    frequencies: Float[np.ndarray, " half"]
    sines: Float[np.ndarray, "D2 half"] | None = None
    cosines: Float[np.ndarray, "D2 half"] | None = None


def frequencies(dim: int) -> Float[np.ndarray, " D2"]:
    """w_m = 10000^(-2m/D) for each of the D / 2 pairs of a sine and a cosine."""
    return 10_000.0 ** (-np.arange(0, dim, 2) / dim)


def waves(
    places: Float[np.ndarray, " n"] | Int[np.ndarray, " n"], frequencies: Float[np.ndarray, " half"]
) -> Float[np.ndarray, "n E"]:
    """[sin(x w), cos(x w)] of each place, in float64: a float32 angle is off by 3e-5 at a distance of 900."""
    angle = np.multiply.outer(places, frequencies)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


@functools.lru_cache(maxsize=64)
def basis(dim: int, num_keys: int) -> Basis:
    """The smallest basis that fits the D sinusoids of all distances below `num_keys`, or the sinusoids themselves."""
    own, distances = frequencies(dim), np.arange(num_keys)
    for chosen in sorted(candidates(dim, num_keys), key=len):
        if len(chosen) >= len(own):
            break
        fitted = fit(own, chosen, distances)
        if misfit(fitted, own, distances) <= TOLERANCE:
            return fitted
    return Basis(own)


def candidates(dim: int, num_keys: int) -> Iterator[Float[np.ndarray, " half"]]:
    """Sets of frequencies: the upper ones of the model as they are, and below them those of a Fourier series.

    The model's are geometric: further down they lie closer together than a window of that length can tell apart.
    """
    own, ratio = frequencies(dim), 1 - 10_000 ** (-2 / dim)
    for stretch in STRETCHES:
        step = math.pi / (stretch * max(num_keys - 1, 1))
        edge = min(1.0, step / ratio)  # below it the model's are denser than the series
        for extra in range(9):
            yield np.concatenate([own[own > edge], step * np.arange(1, math.ceil(edge / step) + extra + 1)])


def fit(own: Float[np.ndarray, " D2"], chosen: Float[np.ndarray, " half"], distances: Int[np.ndarray, " n"]) -> Basis:
    """The least squares fit; a cosine's constant is left out, as it is the same for every key of a query."""
    (sine, cosine), (sines, cosines) = (np.split(waves(distances, w), 2, axis=1) for w in (own, chosen))
    by_sine = np.linalg.lstsq(sines, sine, rcond=1e-12)[0]
    with_constant = np.concatenate([cosines, np.ones_like(cosines[:, :1])], axis=1)
    by_cosine = np.linalg.lstsq(with_constant, cosine, rcond=1e-12)[0][:-1]
    return Basis(chosen, by_sine.T, by_cosine.T)


def misfit(fitted: Basis, own: Float[np.ndarray, " D2"], distances: Int[np.ndarray, " n"]) -> float:
    """The largest error at any distance, up to the constants; infinite where coefficients are too large to be used."""
    assert fitted.sines is not None and fitted.cosines is not None
    if max(np.abs(fitted.sines).max(), np.abs(fitted.cosines).max()) > LARGEST:
        return math.inf
    (sine, cosine), (sines, cosines) = (np.split(waves(distances, w), 2, axis=1) for w in (own, fitted.frequencies))
    by_sine = np.abs(sines @ fitted.sines.T - sine).max()
    by_cosine = np.ptp(cosines @ fitted.cosines.T - cosine, axis=0).max() / 2
    return float(max(by_sine, by_cosine))


@struct.dataclass(kw_only=True)
class Factored:
    """How far keys are from queries, told by a product: E features of a query's place times E of a key's."""

    queries: Float[Array, "B T E"]
    keys: Float[Array, "S E"]
    sines: Float[Array, "D2 half"] | None  # of the basis
    cosines: Float[Array, "D2 half"] | None
    direction: Int[Array, " B"] | None

    def scores(self, query: Float[Array, "B T H K"], distance: Linear) -> Float[Array, "B H T S"]:
        """(q_i + v) . r_(i-j), for every query and key, up to a number for each query.

        One product of `[query, turned]` with `[key, features]` would give content and distance at once, but the
        features of a key are those of every row and head: apart they are not copied, and have no gradient to compute.
        """
        projected = contract("bthk,ehk->bthe", query, self.kernel(distance), distance.precision)
        sine, cosine = jnp.split(projected, 2, axis=-1)
        if self.direction is not None:
            sine = sine * self.direction[:, None, None, None]  # sin(-x) = -sin(x)
        at_sine, at_cosine = jnp.split(self.queries[:, :, None], 2, axis=-1)
        turned = jnp.concatenate([cosine * at_sine - sine * at_cosine, sine * at_sine + cosine * at_cosine], axis=-1)
        return contract("bthe,se->bhts", turned, self.keys, distance.precision)

    def kernel(self, distance: Linear) -> Float[Array, "E H K"]:
        """The projection of the sinusoids, told for the basis: a product of constants and parameters alone."""
        kernel = distance.kernel[...]
        if self.sines is None or self.cosines is None:
            return kernel
        sine, cosine = jnp.split(kernel, 2)
        parts = [contract("de,dhk->ehk", m, w, "float32") for m, w in ((self.sines, sine), (self.cosines, cosine))]
        return jnp.concatenate(parts)


def factored(rows: Int[Array, "B T"], length: int, past: int, dim: int, direction: Int[Array, " B"] | None) -> Factored:
    """Distances of queries that stand at `rows` from the memory's M slots and the window's L tokens."""
    found, places = basis(dim, past + length), np.arange(-past, length)
    features = jnp.asarray(waves(places, found.frequencies), jnp.float32)
    return Factored(
        queries=features[past:][rows],
        keys=features,
        sines=None if found.sines is None else jnp.asarray(found.sines, jnp.float32),
        cosines=None if found.cosines is None else jnp.asarray(found.cosines, jnp.float32),
        direction=direction,
    )
