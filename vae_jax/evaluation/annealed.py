"""Annealed importance sampling: log p(x) between two bounds, and all rates and distortions of a fixed decoder.

The chain goes from the prior to the posterior through f_t(z) = p(z) p(x|z)^b_t, b_0 = 0 to b_T = 1, by Hamiltonian
moves (Neal 2001; for decoders Wu 2017, 1611.04273). Its weight has the mean p(x), so the logarithm of a
mean of weights is a lower bound in expectation. Backwards, from an exact draw of the posterior, the weight has the mean
1 / p(x): an upper bound (Grosse 2015, 1511.02543). An exact draw is known where x was simulated from the model. No
encoder is needed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import objective as bounds
from vae_jax import priors
from vae_jax.gaussian import at_least_float32
from vae_jax.given import condition_of, value_of
from vae_jax.types import VAE, Array, Given, Likelihood, Params

ACCEPTED = 0.65  # of the moves: the best share for a product of many dimensions (Neal 2011, section 5.4.4.3)
PACE = 0.1  # of log step sizes: a move that all chains refuse makes the next step 6% smaller
FIRST_STEP = 0.3  # in units of a standard normal prior's deviation


class Chains(NamedTuple):
    """Where the chains of n examples are.

    Attributes:
      z: ``[n, k, d]``.
      log_weight: ``[n, k]``, nats.
      log_step: the logarithm of the leapfrog step of each example, ``[n]``.
      accepted: the sum over the moves of the share of chains that made them, ``[n]``.
    """

    z: Array
    log_weight: Array
    log_step: Array
    accepted: Array


class Trace(NamedTuple):
    """What each temperature says of the decoder, means over the examples, ``[t]``: nats per example.

    Attributes:
      log_normaliser: log of the integral of p(z) p(x|z)^b, a lower bound in expectation.
      distortion: -E log p(x|z) under the density of that temperature.
    """

    log_normaliser: Any
    distortion: Any


def temperatures(count: int, most: float = 1.0) -> np.ndarray:
    """Returns ``count + 1`` inverse temperatures from 0 to ``most``, denser at both ends (Wu 2017, section 4.1)."""
    s = 1.0 / (1.0 + np.exp(-np.linspace(-4.0, 4.0, count + 1)))
    return most * (s - s[0]) / (s[-1] - s[0])


def draw_prior(vae: VAE, params: Params, key: Array, x: Any, latent_dim: int, chains: int | None = None) -> Array:
    """Draws codes of the prior for each of the examples ``x [n, *event]``: ``[n, d]``, or ``[n, chains, d]``."""
    prior, shape = priors.of(vae), (count_of(x), *(() if chains is None else (chains,)))
    if prior.standard:
        return jax.random.normal(key, (*shape, latent_dim))
    keys = jax.random.split(key, shape)

    def draw(key, c):
        return prior.sample(params["model"], key, latent_dim, c)

    over_chains = draw if chains is None else jax.vmap(draw, in_axes=(0, None))
    return jax.jit(jax.vmap(over_chains))(keys, condition_of(x))


def first_chains(z: Array) -> Chains:
    """Returns the chains that begin at ``z [n, k, d]``, drawn from the prior or, backwards, from the posterior."""
    zeros = jnp.zeros(z.shape[:1])
    return Chains(z, jnp.zeros(z.shape[:2]), zeros + np.log(FIRST_STEP), zeros)


def count_of(x: Any) -> int:
    """Returns how many examples there are in ``x [n, *event]``, or in such with their conditions."""
    return len(x.value) if isinstance(x, Given) else len(x)


def _hamiltonian(log_density: Callable[[Array], Array], z: Array, step: Array, key: Array, leapfrog: int):
    """Makes one Hamiltonian move of all chains ``z [k, d]`` of one example, by ``log_density``, ``[k, d] -> [k]``.

    Returns:
      Where they are, and how likely each was to go, ``[k]`` (Neal 2011, 1206.1901).
    """

    @functools.partial(jax.grad, has_aux=True)
    def slope(z):
        value = log_density(z)
        return -jnp.sum(value), value

    def leap(_, state):
        z, p = state
        z = z + step * p
        return z, p - step * slope(z)[0]

    momentum = jax.random.normal(jax.random.fold_in(key, 0), z.shape, z.dtype)
    down, start = slope(z)
    new, p = jax.lax.fori_loop(0, leapfrog - 1, leap, (z, momentum - 0.5 * step * down))
    new = new + step * p
    down, end = slope(new)
    p = p - 0.5 * step * down
    kinetic = 0.5 * jnp.sum(jnp.square(momentum) - jnp.square(p), axis=-1)
    log_ratio = end - start + kinetic
    log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)  # a step so large that it left the numbers
    go = jnp.log(jax.random.uniform(jax.random.fold_in(key, 1), log_ratio.shape)) < log_ratio
    return jnp.where(go[:, None], new, z), jnp.exp(jnp.minimum(log_ratio, 0.0))


def make_anneal(vae: VAE, likelihood: Likelihood, leapfrog: int = 10) -> Callable[..., tuple[Chains, Array, Trace]]:
    """Makes the moves through many temperatures as one program.

    The function is ``(params, x[n, *event], chains, key, first, before[t], after[t], log_step[t, n] or None, backward)
    -> (chains, log_steps [t, n], trace)``. ``first`` is the index of the first move, by which its noise is keyed, so a
    run that is cut anywhere and continued draws the same numbers. With ``log_step`` None the step is adapted to
    ``ACCEPTED``: such a run is for finding steps only, its weights are biased. Backward, ``before`` is the warmer of
    two temperatures, the move comes first and the weight after it: the reversal of a forward run.

    Args:
      vae, likelihood: the model; log p(x|z) has to be differentiable in z.
      leapfrog: steps of each move.
    """

    prior = priors.of(vae)

    def log_likelihood(params, x, z):  # one example, z [k, d] -> [k]
        theta, value = at_least_float32(bounds.decode(vae, params, x, z)), value_of(x)
        return jax.vmap(likelihood.log_prob, in_axes=(None, 0, None))(params["likelihood"], theta, value)

    def log_prior(params, x, z):  # the same of log p(z)
        return jax.vmap(lambda z: prior.log_prob(params["model"], z, condition_of(x)))(z)

    def move(params, x, z, b, step, key):
        def log_density(z):
            return log_prior(params, x, z) + b * log_likelihood(params, x, z)

        return _hamiltonian(log_density, z, step, key, leapfrog)

    def of_example(params, x, chain, key, before, after, log_step, backward):
        step = chain.log_step if log_step is None else log_step
        z, log_weight = chain.z, chain.log_weight
        if backward:
            z, likely = move(params, x, z, before, jnp.exp(step), key)
        log_p = log_likelihood(params, x, z)
        log_weight = log_weight + (after - before) * log_p
        # The moments of this temperature, before the move: the chains have its weights.
        total = jax.nn.logsumexp(log_weight)
        trace = Trace(total - np.log(log_weight.size), -jnp.sum(jnp.exp(log_weight - total) * log_p))
        if not backward:
            z, likely = move(params, x, z, after, jnp.exp(step), key)
        rate = jnp.mean(likely)
        step = step if log_step is not None else step + PACE * (rate - ACCEPTED)
        moved = Chains(z, log_weight, step, chain.accepted + rate)
        # A likelihood may work in double precision; the chains keep their own.
        return jax.tree.map(lambda new, old: new.astype(old.dtype), moved, chain), trace

    def anneal(params, x, chains, key, first, before, after, log_step=None, backward=False):
        def body(chains, inputs):
            i, b0, b1, step = inputs
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.fold_in(key, i), jnp.arange(count_of(x)))
            over = (None, 0, 0, 0, None, None, None if log_step is None else 0)
            chains, trace = jax.vmap(lambda *a: of_example(*a, backward), in_axes=over)(
                params, x, chains, keys, b0, b1, step
            )
            return chains, (chains.log_step, jax.tree.map(jnp.mean, trace))

        index = first + jnp.arange(len(before))
        chains, (steps, trace) = jax.lax.scan(body, chains, (index, before, after, log_step))
        return chains, steps, trace

    return jax.jit(anneal, static_argnames="backward")


class Estimate(NamedTuple):
    """log p(x) of each example, ``[n]``, nats: a bound in expectation, its standard error, and the effective chains."""

    log_px: np.ndarray
    error: np.ndarray
    effective: np.ndarray


def estimate(chains: Chains, backward: bool = False) -> Estimate:
    """Returns what the weights of finished chains say of log p(x): from below, or ``backward`` from above.

    The error is that of the logarithm of a mean, by the effective number of chains (Owen 2013, section 9.3); a single
    chain has none.
    """
    log_w = np.asarray(chains.log_weight, np.float64)
    top = log_w.max(axis=1, keepdims=True)
    w = np.exp(log_w - top)
    effective = w.sum(axis=1) ** 2 / np.square(w).sum(axis=1)
    log_mean = top[:, 0] + np.log(w.mean(axis=1))
    error = np.sqrt(np.maximum(1 / effective - 1 / w.shape[1], 0.0)) if w.shape[1] > 1 else np.full(len(w), np.nan)
    return Estimate(-log_mean if backward else log_mean, error, effective)


def simulate(vae: VAE, likelihood: Likelihood, params: Params, key: Array, z: Array, x: Any = None) -> Any:
    """Draws x of the model at ``z [n, d]``: ``[n, *event]``, each an exact draw whose posterior holds its z.

    The examples ``x`` are those whose conditions the draws take, where there are conditions.
    """

    def one(z, key, c):
        theta = at_least_float32(vae.decode(params["model"], z if c is None else Given(z, c)))
        return likelihood.sample(params["likelihood"], theta, key)

    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(len(z)))
    made = jax.jit(jax.vmap(one))(z, keys, condition_of(x))
    return Given(made, x.c) if isinstance(x, Given) else made
