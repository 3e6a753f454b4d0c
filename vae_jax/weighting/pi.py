"""A proportional-integral controller that holds the rate at a target (ControlVAE: Shao 2020, 2004.05988, eq. 7 to 9).

The published controllers' anti-windup either never acts (the integral winds up, and takes tens of thousands of steps
to come back) or locks the weight at its bound for ever. Here the integral is calculated back from the weight that was
really applied, so it can do neither.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.traced import given
from vae_jax.types import KLWeight


def pi(
    target_kl: float,
    kp: float = 0.01,
    ki: float = 0.001,
    beta_min: float = 0.0,
    beta_max: float = 1000.0,
    start: float | None = None,
) -> KLWeight:
    """Makes the weight that brings the rate to ``target_kl`` nats.

    With the error e = target - rate of an update's batch: P = kp sigmoid(-e), u = beta_min + P + I - ki e, beta =
    clip(u, beta_min, beta_max), and then I = beta - beta_min - P. The weight found from one update is applied by the
    next. At the fixed point e = 0 and beta is the weight whose optimum has that rate, whatever the gains.

    Args:
      target_kl: nats per example.
      kp, ki: the gains. The defaults are the paper's, for runs of a million steps; the loop's time constant is about
        1 / (ki |d rate / d beta|) steps.
      beta_min, beta_max: the weight's range. ``saturated`` is 1 in the metrics while the range, not the controller,
        decides: for long, and the target cannot be reached.
      start: the first weight; None for ``beta_min`` and an integral of 0.

    Raises:
      ValueError: for a negative target or gain, or an empty range.
    """
    if given(target_kl, kp, ki) and not (target_kl >= 0 and kp >= 0 and ki > 0):
        raise ValueError(f"a PI controller needs target_kl >= 0, kp >= 0 and ki > 0, not {target_kl}, {kp}, {ki}")
    if given(beta_min, beta_max) and not 0 <= beta_min < beta_max:
        raise ValueError(f"the range of beta needs 0 <= beta_min < beta_max, not {beta_min} and {beta_max}")

    def init():
        beta = beta_min if start is None else jnp.clip(start, beta_min, beta_max)
        integral = 0.0 if start is None else beta - beta_min - 0.5 * kp
        return {name: jnp.asarray(v, float) for name, v in (("beta", beta), ("integral", integral), ("saturated", 0.0))}

    def update(state, step, metrics):
        error = target_kl - jnp.asarray(metrics["rate"], state["beta"].dtype)
        proportional = kp * jax.nn.sigmoid(-error)
        wanted = beta_min + proportional + state["integral"] - ki * error
        beta = jnp.clip(wanted, beta_min, beta_max)
        # Back-calculation: the integral that would have given the weight as it was clipped, so that at a bound the next
        # error decides at once.
        return {
            "beta": beta,
            "integral": beta - beta_min - proportional,
            "saturated": (wanted != beta).astype(beta.dtype),
        }

    return KLWeight(
        init=init,
        value=lambda state, step: state["beta"],
        update=update,
        logged=lambda state, step, metrics: {"beta": state["beta"], "saturated": state["saturated"]},
    )
