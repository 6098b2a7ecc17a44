"""The learning rate as a function of the step."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from training.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, step: int | Int[ArrayLike, ""]) -> Float[Array, ""]:
    """The rate of the update that follows `step` finished ones: steps count from 0. Usable inside jit.

    Warm-up: `peak_rate * (step + 1) / warmup_steps`, so that the first step already learns and the last step of the
    warm-up has the peak rate. Then from the peak, without a jump, to `end_rate * peak_rate` at `total_steps`, that
    is, one step after the last; `constant` alone stays at the peak.

    The releases of BERT and XLNet differ: their warm-up is `step / warmup_steps` (`warmup="from_zero"`), whose step 0
    has a rate of 0. BERT's decay counts from step 0 (`decay_from="start"`), so that its rate drops by
    `warmup_steps / total_steps` where the warm-up ends.
    """
    step = jnp.asarray(step, jnp.float32)
    counted = step + 1 if config.warmup == "from_one" else step
    warmup = counted / max(config.warmup_steps, 1)
    return config.peak_rate * jnp.where(step < config.warmup_steps, warmup, _decay(config, step))


def _decay(config: OptimizerConfig, step: Float[Array, ""]) -> Float[Array, ""]:
    """The share of the peak rate that the schedule leaves: 1 where it begins, `end_rate` where it ends.

    `wsd` (warm-up, stable, decay; Hu et al. 2024) stays at the peak and falls linearly over the last `decay_steps`.
    """
    if config.schedule == "constant":
        return jnp.ones_like(step)
    begin = config.warmup_steps if config.decay_from == "warmup" else 0
    steps = config.decay_steps if config.schedule == "wsd" else config.total_steps - begin
    progress = jnp.clip(1 - (config.total_steps - step) / max(steps, 1), 0.0, 1.0)
    remaining = (1 + jnp.cos(jnp.pi * progress)) / 2 if config.schedule == "cosine" else 1 - progress
    return config.end_rate + (1 - config.end_rate) * remaining
