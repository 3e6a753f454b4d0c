"""The capacity of Burgess 2018 (1804.03599, eq. 8): the rate is pulled to a value that rises over the run."""

from __future__ import annotations

import jax.numpy as jnp

from vae_jax.types import KLWeight, Schedule


def capacity(schedule: Schedule, gamma: float, decay: float = 0.999) -> KLWeight:
    """Makes the weighting that goes with ``objective.capacity``, which is handed the capacity, not a beta.

    The loss gamma |rate - capacity| gives the rate the weight gamma above the capacity and -gamma below it: that is
    the ``beta`` of each update's metrics. Their moving average, which is kept, is the ``multiplier`` of the constraint:
    about the beta whose optimum has this rate, as far as a mean of +gamma and -gamma can tell.

    Args:
      schedule: the capacity at each step, nats per example.
      gamma: the same as the objective's.
      decay: of the moving average.
    """

    def init():
        return {"beta": jnp.zeros((), float), "weight": jnp.zeros((), float)}

    def applied(step, metrics):
        return gamma * jnp.sign(metrics["rate"] - schedule(step))

    def update(state, step, metrics):
        mix = {"beta": applied(step, metrics), "weight": 1.0}
        return {k: decay * state[k] + (1.0 - decay) * jnp.asarray(mix[k], state[k].dtype) for k in state}

    # Divided by the weights that are in the average so far: unbiased from its first step.
    def multiplier(state):
        return state["beta"] / jnp.maximum(state["weight"], 1e-12)

    return KLWeight(
        init=init,
        value=lambda state, step: schedule(step),
        update=update,
        logged=lambda state, step, metrics: {
            "beta": applied(step, metrics),
            "capacity": schedule(step),
            "multiplier": multiplier(state),
        },
        beta=lambda state, step: multiplier(state),
    )
