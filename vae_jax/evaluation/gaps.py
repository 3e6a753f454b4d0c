"""The inference gaps: what the bound loses to the family of q, and what it loses to the encoder.

log p(x) - ELBO[q] = (log p(x) - ELBO[q*]) + (ELBO[q*] - ELBO[q]), the approximation and the amortisation gap (Cremer
2018, 1801.03558): q is the encoder's, q* the best diagonal Gaussian for this one example, found here by gradient with
the decoder fixed. All numbers are in nats.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax import objective as bounds
from vae_jax import priors
from vae_jax.evaluation.batches import gather
from vae_jax.gaussian import DiagGaussian, at_least_float32
from vae_jax.randomness import example_keys
from vae_jax.types import VAE, Array, Given, Likelihood, Params


class Gaps(NamedTuple):
    """Per example, ``[n]``, nats; an ``_error`` is the standard error of the Monte Carlo estimate of one example.

    Attributes:
      log_px: log p(x) by ``num_samples`` importance samples from q*: a lower bound in expectation. q* is narrower than
        a correlated posterior, so a few samples of the tails may carry much of it.
      elbo_optimised, elbo: of q* and of the encoder's q, with the same noise.
      approximation: log_px - elbo_optimised >= 0; too small by what ``log_px`` falls short of log p(x).
      amortisation: elbo_optimised - elbo; below 0 only by its error, or where q* was not found.
      effective_samples: of the importance weights, (sum w)^2 / sum w^2: where it is a handful, ``log_px`` is not
        log p(x) yet.
    """

    log_px: Any
    log_px_error: Any
    elbo_optimised: Any
    elbo: Any
    approximation: Any
    amortisation: Any
    amortisation_error: Any
    effective_samples: Any


class Search(NamedTuple):
    """How the best q of an example is looked for.

    Attributes:
      steps, learning_rate: of Adam; the mean can move about ``steps * learning_rate / 2`` tau.
      gradient_samples: of z in each step, an even number.
    """

    steps: int = 500
    learning_rate: float = 0.1
    gradient_samples: int = 8


THOROUGH = Search()


def _encode(vae, params, x):
    q = vae.encode(params["model"], x)
    return DiagGaussian(at_least_float32(q.mean), at_least_float32(q.logvar))


def _log_weights(vae, likelihood, params, x, q, noise, density=None):
    """Returns log p(x, z) - log q(z|x) at z = mean + tau noise, ``[s]``; log q is ``density``'s where one is given."""
    z = q.mean + jnp.exp(0.5 * q.logvar) * noise
    theta = bounds.decode(vae, params, x, z)
    t = bounds.score(likelihood, params["likelihood"], x, q if density is None else density, z, theta)
    return t.log_px_z + priors.log_prob(vae, params, z, x.c if isinstance(x, Given) else None) - t.log_qz


def optimise(
    vae: VAE, likelihood: Likelihood, params: Params, x: Array, key: Array, search: Search = THOROUGH
) -> DiagGaussian:
    """Finds the diagonal Gaussian of the largest ELBO for one example, the decoder fixed; consumes ``key``.

    Adam from the encoder's q, with fresh noise in pairs of opposite sign and a rate that a cosine takes to 0; the
    result is the average over the second half of the steps. The mean moves in units of the current tau, so one rate
    serves a sharp and a vague posterior. The gradient is the path derivative (Roeder 2017, 1703.09194), free of noise
    where q is the posterior.

    Args:
      x: one example, ``[event]``.
      search: how long, how fast and with how many samples.

    Raises:
      ValueError: for an odd number of samples.
    """
    steps, learning_rate, gradient_samples = search
    if gradient_samples < 2 or gradient_samples % 2:
        raise ValueError(f"gradient_samples must be even and at least 2, not {gradient_samples}")
    start = _encode(vae, params, x)
    adam = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def loss(q, noise):
        # The score of q has mean 0: without it the gradient has the same mean, and no noise where q is the posterior.
        fixed = jax.lax.stop_gradient(q)
        return -jnp.mean(_log_weights(vae, likelihood, params, x, q, noise, fixed))

    def step(carry, i):
        q, state, average = carry
        half = jax.random.normal(jax.random.fold_in(key, i), (gradient_samples // 2, *q.mean.shape), q.mean.dtype)
        gradient = jax.grad(loss)(q, jnp.concatenate([half, -half]))
        tau = jnp.exp(0.5 * q.logvar)
        change, state = adam.update(gradient._replace(mean=tau * gradient.mean), state)
        q = DiagGaussian(q.mean + tau * change.mean, q.logvar + change.logvar)
        # The average begins anew at every step of the first half, and so holds the second alone.
        late = jnp.maximum(i - steps // 2, 0) + 1
        average = jax.tree.map(lambda mean, new: mean + (new - mean) / late, average, q)
        return (q, state, average), None

    (_, _, average), _ = jax.lax.scan(step, (start, adam.init(start), start), jnp.arange(steps))
    return average


def gaps_of_example(
    vae: VAE,
    likelihood: Likelihood,
    params: Params,
    x: Array,
    key: Array,
    num_samples: int = 1000,
    chunk: int = 50,
    search: Search = THOROUGH,
) -> Gaps:
    """Computes the gaps of one example, scalars; consumes ``key``.

    Both bounds of q* come from the same samples: with log weights that do not vary the approximation gap is exactly 0.

    Args:
      x: one example, ``[event]``.
      num_samples: K of the bounds, rounded up to whole chunks, which are all that memory holds.
      chunk: samples at a time.
      search: of ``optimise``.
    """
    start = _encode(vae, params, x)
    best = optimise(vae, likelihood, params, x, jax.random.fold_in(key, 0), search)
    chunks = -(-num_samples // chunk)
    count = chunks * chunk

    def body(carry, i):
        first, second, center, moments = carry
        noise = jax.random.normal(jax.random.fold_in(key, i + 1), (chunk, *best.mean.shape), best.mean.dtype)
        star = _log_weights(vae, likelihood, params, x, best, noise)
        plain = _log_weights(vae, likelihood, params, x, start, noise)
        # Differences from a weight of the first chunk, so that the moments lose no digits to the size of log p(x).
        center = jnp.where(i == 0, star[0], center)
        star, gain = star - center, star - plain
        first = jnp.logaddexp(first, jax.nn.logsumexp(star))
        second = jnp.logaddexp(second, jax.nn.logsumexp(2.0 * star))
        moments = moments + jnp.stack([jnp.sum(star), jnp.sum(gain), jnp.sum(jnp.square(gain))])
        return (first, second, center, moments), None

    nothing = jnp.full((), -jnp.inf, best.mean.dtype)
    carry = (nothing, nothing, jnp.zeros_like(nothing), jnp.zeros(3, best.mean.dtype))
    (first, second, center, moments), _ = jax.lax.scan(body, carry, jnp.arange(chunks))
    log_mean = first - math.log(count)
    elbo, gain, square = moments / count
    effective = jnp.exp(2.0 * first - second)
    return Gaps(
        log_px=center + log_mean,
        log_px_error=jnp.sqrt(jnp.maximum(1.0 / effective - 1.0 / count, 0.0)),
        elbo_optimised=center + elbo,
        elbo=center + elbo - gain,
        approximation=log_mean - elbo,
        amortisation=gain,
        amortisation_error=jnp.sqrt(jnp.maximum(square - jnp.square(gain), 0.0) / count),
        effective_samples=effective,
    )


def make_gaps(vae: VAE, likelihood: Likelihood, batch_size: int = 50, **options) -> Callable[..., Gaps]:
    """Makes ``(params, x[n, *event], key) -> Gaps`` of numpy arrays ``[n]``, compiled once.

    x is as the encoder takes it. Each example costs ``steps * gradient_samples`` decodings with their gradient and
    ``2 num_samples`` without: a hundred examples are plenty for an MLP, and ten for convolutions on a CPU.

    Args:
      vae, likelihood: the model.
      batch_size: how many examples are worked on at a time; it changes the memory, not the numbers.
      options: of ``gaps_of_example``.
    """

    @jax.jit
    def batch(params, x, key, rows):
        of_one = functools.partial(gaps_of_example, vae, likelihood, params, **options)
        return jax.vmap(of_one)(x, example_keys(key, rows))

    def parts(params, x, key):
        n = x.shape[0]
        size = min(batch_size, n)
        for start in range(0, n, size):
            rows = np.minimum(np.arange(start, start + size, dtype=np.int32), n - 1)
            with jax.default_matmul_precision("highest"):  # as ``in_batches``, and for its reason
                part = batch(params, jax.tree.map(np.asarray, x)[rows], key, rows)
            yield part, min(size, n - start)

    def gaps(params: Params, x: Array, key: Array) -> Gaps:
        return gather(parts(params, x, key))

    return gaps


def summarise_gaps(gaps: Gaps) -> dict[str, float]:
    """Returns means over the examples and their standard errors, nats.

    The error of a mean is from its spread over the examples, which contains the Monte Carlo error, or, where that is
    all there is (a single example), from the Monte Carlo error.

    Returns:
      ``log_px``, ``approximation_gap``, ``amortisation_gap``, each with ``_error``; ``inference_gap``, their sum;
      ``elbo``, ``elbo_optimised``; ``effective_samples``, the smallest of all examples.
    """
    gaps = Gaps(*(np.asarray(v, np.float64) for v in gaps))
    n = gaps.log_px.size

    def error(values, own):
        return float(values.std(ddof=1) / math.sqrt(n) if n > 1 else own[0])

    return {
        "elbo": float(gaps.elbo.mean()),
        "elbo_optimised": float(gaps.elbo_optimised.mean()),
        "log_px": float(gaps.log_px.mean()),
        "log_px_error": error(gaps.log_px, gaps.log_px_error),
        "approximation_gap": float(gaps.approximation.mean()),
        "approximation_gap_error": error(gaps.approximation, gaps.log_px_error),
        "amortisation_gap": float(gaps.amortisation.mean()),
        "amortisation_gap_error": error(gaps.amortisation, gaps.amortisation_error),
        "inference_gap": float(gaps.approximation.mean() + gaps.amortisation.mean()),
        "effective_samples": float(gaps.effective_samples.min()),
    }
