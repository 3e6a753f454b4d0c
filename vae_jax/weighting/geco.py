"""GECO: the lowest rate whose distortion is within a tolerance (Rezende and Viola 2018, 1810.00597).

The paper minimises KL + lambda (error - kappa^2); the multiplier sits on the error. Divided by lambda that is the
distortion plus KL / lambda: the same optimum, with beta = 1 / lambda on the KL. Adam's steps do not depend on the size
of a loss, so they are the same while lambda changes slowly.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from vae_jax.traced import given, log
from vae_jax.types import KLWeight

LARGEST = 1e38  # nats, of a violation


def geco(
    target_distortion: float,
    rate: float = 0.001,
    decay: float = 0.99,
    beta_min: float = 1e-6,
    beta_max: float = 1e6,
    start: float = 1.0,
    max_exponent: float = 0.05,
) -> KLWeight:
    """Makes the weight that brings the distortion to ``target_distortion`` nats: the lowest rate within that tolerance.

    With the violation C = distortion - target of an update's batch: C_ma = decay C_ma + (1 - decay) C (C at first),
    lambda = lambda exp(rate C_ma), beta = 1 / lambda. A violated constraint raises lambda. At the fixed point the
    distortion is the target, and for a Gaussian of fixed sigma lambda / (2 sigma^2), the multiplier of the squared
    error, is 1 / (2 s) at the water level s that has that error.

    Args:
      target_distortion: -E_q log p(x|z), nats per example, all constants in. For a Gaussian of fixed sigma a squared
        error kappa^2 is the target D/2 log(2 pi sigma^2) + kappa^2 / (2 sigma^2).
      rate: of the multiplier, per nat and step. The loop's time constant, about 1 / (rate d distortion / d log beta)
        steps, has to be longer than the memory of the moving average, 1 / (1 - decay), or it oscillates.
      decay: of the moving average of the violation.
      beta_min, beta_max: the range of beta; ``saturated`` is 1 in the metrics while it decides.
      start: the first beta.
      max_exponent: the largest change of log lambda in one step.

    Raises:
      ValueError: for a target that is not finite, or a range, rate or decay without sense.
    """
    if given(target_distortion) and not math.isfinite(target_distortion):
        raise ValueError(f"target_distortion must be finite, not {target_distortion}")
    known = given(rate, decay, beta_min, beta_max, start, max_exponent)
    if known and not (rate > 0 and 0 <= decay < 1 and 0 < beta_min < beta_max and start > 0 and max_exponent > 0):
        raise ValueError(
            "GECO needs rate > 0, 0 <= decay < 1, 0 < beta_min < beta_max, start > 0 and max_exponent > 0, not "
            f"{rate}, {decay}, {beta_min}, {beta_max}, {start} and {max_exponent}"
        )
    low, high = -log(beta_max), -log(beta_min)

    def init():
        log_multiplier = jnp.asarray(jnp.clip(-log(start), low, high), float)
        zeros = {name: jnp.zeros((), float) for name in ("violation", "started", "saturated")}
        return {"log_multiplier": log_multiplier} | zeros

    def update(state, step, metrics):
        dtype = state["log_multiplier"].dtype
        # Two numbers that float32 holds may differ by one that it does not, and an infinite average never comes back.
        now = jnp.clip(jnp.asarray(metrics["distortion"], dtype) - target_distortion, -LARGEST, LARGEST)
        average = jnp.where(state["started"] > 0, decay * state["violation"] + (1.0 - decay) * now, now)
        wanted = state["log_multiplier"] + jnp.clip(rate * average, -max_exponent, max_exponent)
        log_multiplier = jnp.clip(wanted, low, high)
        return {
            "log_multiplier": log_multiplier,
            "violation": average,
            "started": jnp.ones((), dtype),
            "saturated": (wanted != log_multiplier).astype(dtype),
        }

    def beta(state, step):
        return jnp.exp(-state["log_multiplier"])

    return KLWeight(
        init=init,
        value=beta,
        update=update,
        logged=lambda state, step, metrics: {"beta": beta(state, step), "saturated": state["saturated"]},
    )
