"""Two ways to the bed's optima: BFGS on the noise-free loss, and Adam through the training step of real runs."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from vae_jax import objective
from vae_jax.train.optimizers import Rates, adam
from vae_jax.train.recipe import Recipe
from vae_jax.train.step import init_state, make_train_step
from vae_jax.types import KLWeight, Likelihood, Objective, Params, Terms

from .bed import DIM, EXACT, FIXED, LINEAR, bed_data, exact_terms


class Minimum(NamedTuple):
    """Where BFGS ended: the loss, the parameters and their noise-free terms."""

    loss: float
    params: Params
    terms: Terms


def minimise(value_and_grad: Callable, start) -> Any:
    """The minimum that BFGS finds from the vector ``start``, to the last digits that 64 bits have."""
    from scipy import optimize
    from threadpoolctl import threadpool_limits

    def function(v):
        value, gradient = value_and_grad(v)
        return float(value), np.asarray(gradient)

    options = {"gtol": 1e-7, "maxiter": 5000}
    with threadpool_limits(1):  # matrices of 128 rows: more threads only wait for each other
        return optimize.minimize(function, np.asarray(start), jac=True, method="BFGS", options=options)


def start_of(seed: int) -> Params:
    """Small random weights of the linear model."""
    return jax.jit(LINEAR.init)(jax.random.key(seed))


@functools.cache
def _bound():
    """``(flat, beta, log sigma, learned) -> loss and its gradient``; ``flat`` ends with a learned log sigma."""
    _, unravel = ravel_pytree(start_of(0))
    x = bed_data()

    def loss(flat, beta, log_sigma, learned):
        own = {"log_sigma": log_sigma + learned * flat[-1]}
        return -objective.elbo(exact_terms(FIXED, {"model": unravel(flat[:-1]), "likelihood": own}, x), beta)

    return jax.jit(jax.value_and_grad(loss)), unravel


@functools.cache
def minimum(beta: float, sigma2: float | None = None, seed: int = 0) -> Minimum:
    """Where BFGS ends from small random weights, in 64 bits; sigma is learned if None."""
    loss, unravel = _bound()
    log_sigma, learned = (0.0, 1.0) if sigma2 is None else (0.5 * math.log(sigma2), 0.0)
    found = minimise(lambda v: loss(v, beta, log_sigma, learned), np.append(ravel_pytree(start_of(seed))[0], 0.0))
    own = {"log_sigma": jnp.asarray(log_sigma + learned * found.x[-1])}
    params = {"model": unravel(jnp.asarray(found.x[:-1])), "likelihood": own}
    return Minimum(found.fun, params, exact_terms(FIXED, params, bed_data()))


def train(
    weight: Callable[[Any], KLWeight],
    bound: Objective = objective.elbo,
    steps: int = 2000,
    likelihood: Likelihood = FIXED,
) -> Callable:
    """``(arguments, seed) -> (terms at the end, metrics of each update, last state)``, by Adam on the whole bed.

    Args:
      weight: ``arguments -> KLWeight``.
      bound: the objective.
      steps: of Adam.
      likelihood: whose own parameters have the networks' learning rate.
    """
    falling = optax.schedules.cosine_decay_schedule(0.02, steps)
    optimizer = adam(Rates(falling, falling), likelihood)
    x = bed_data()

    @jax.jit
    def run(arguments=None, seed=0):
        recipe = Recipe(EXACT, likelihood, optimizer, weight(arguments), bound)
        step, state = make_train_step(recipe), init_state(recipe, (DIM,), jax.random.key(seed))
        state, metrics = jax.lax.scan(lambda state, _: step(state, x), state, length=steps)
        return exact_terms(likelihood, state.params, x), metrics, state

    return run
