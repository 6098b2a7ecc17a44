"""Multinomial logistic regression with a penalty on its squared weights, on all rows at once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Float, Float32, Float64, Int

SEARCH = {"gtol": 1e-4, "ftol": 1e-12, "maxiter": 1000}
"""The search ends where no slope is steeper, where float32 losses no longer fall, or after so many steps."""


@dataclasses.dataclass(frozen=True, eq=False)
class Axes:
    """The standardized features of some rows along their principal axes, which leave a penalty what it is."""

    mean: Float64[np.ndarray, " D"]
    scale: Float64[np.ndarray, " D"]
    rotation: Float64[np.ndarray, "D D"]
    variance: Float64[np.ndarray, " D"]

    def rows(self, features: Float32[np.ndarray, "I D"]) -> Float32[np.ndarray, "I D1"]:
        """Features along these axes, and a 1 for the bias."""
        turned = ((features - self.mean) / self.scale) @ self.rotation
        return np.concatenate([turned, np.ones((len(turned), 1))], axis=1).astype(np.float32)


def axes_of(features: Float32[np.ndarray, "I D"]) -> Axes:
    """The principal axes of features, once each has mean 0 and variance 1; one that never varies stays 0."""
    exact = features.astype(np.float64)
    mean, deviation = exact.mean(axis=0), exact.std(axis=0)
    scale = np.where(deviation > 1e-6 * np.abs(mean), deviation, np.inf)
    standard = (exact - mean) / scale
    variance, rotation = np.linalg.eigh(standard.T @ standard / len(standard))
    return Axes(mean, scale, rotation, np.maximum(variance, 0))


def fit(
    axes: Axes,
    rows: Float32[np.ndarray, "I D1"],
    labels: Int[np.ndarray, " I"],
    num_classes: int,
    penalty: float,
    start: Float64[np.ndarray, "D1 C"] | None = None,
) -> Float64[np.ndarray, "D1 C"]:
    """The weights of least mean loss plus penalty / 2 times their squares, which spares the biases.

    Along principal axes the curvature is nearly known, and the search is done in units in which it is nearly 1. The
    device multiplies in float32; the search is in float64.
    """
    shares = (np.bincount(labels, minlength=num_classes) + 1) / (len(labels) + num_classes)
    penalties = np.append(np.full(len(axes.variance), penalty), 0.0)[:, None]
    curvature = np.append(axes.variance, 1.0)[:, None] * (shares * (1 - shares)) + penalties
    unit = 1 / np.sqrt(curvature)
    given, wanted = jnp.asarray(rows), jnp.asarray(np.eye(num_classes, dtype=np.float32)[labels])

    def objective(point: Float64[np.ndarray, " D1C"]) -> tuple[float, Float64[np.ndarray, " D1C"]]:
        weights = point.reshape(unit.shape) * unit
        losses, slope = jax.device_get(_losses(weights.astype(np.float32), given, wanted))
        value = losses.mean(dtype=np.float64) + (penalties * weights**2).sum() / 2
        return float(value), ((slope / len(rows) + penalties * weights) * unit).ravel()

    begin = (np.zeros(unit.shape) if start is None else start / unit).ravel()
    found = scipy.optimize.minimize(objective, begin, jac=True, method="L-BFGS-B", options=SEARCH)
    return found.x.reshape(unit.shape) * unit


def right(
    weights: Float64[np.ndarray, "D1 C"], rows: Float32[np.ndarray, "I D1"], labels: Int[np.ndarray, " I"]
) -> Float64[np.ndarray, " I"]:
    """1 where the most probable class is the label, else 0."""
    return ((rows @ weights).argmax(axis=1) == labels).astype(np.float64)


@jax.jit
def _losses(
    weights: Float[Array, "D1 C"], rows: Float[Array, "I D1"], wanted: Float[Array, "I C"]
) -> tuple[Float[Array, " I"], Float[Array, "D1 C"]]:
    """-log p of each row's label, and the slope of their sum."""
    logits = jnp.einsum("id,dc->ic", rows, weights, precision=jax.lax.Precision.HIGHEST)
    losses = jax.nn.logsumexp(logits, axis=1) - (logits * wanted).sum(axis=1)
    wrong = jax.nn.softmax(logits, axis=1) - wanted
    return losses, jnp.einsum("id,ic->dc", rows, wrong, precision=jax.lax.Precision.HIGHEST)
