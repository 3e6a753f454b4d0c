"""The exact bed: a linear VAE without sampling noise, on data of a known spectrum, and its optima in closed form.

The noise goes by sigma points. The distortion of a linear decoder is a quadratic in z, so its expectation over
q(z|x) = N(mu, diag(tau^2)) is its mean over the 2 M points mu +- sqrt(M) tau_i. A posterior whose "samples" are these
points runs through everything that training and evaluation call, and nothing is random.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import objective
from vae_jax.gaussian import DiagGaussian
from vae_jax.likelihoods import gaussian
from vae_jax.types import VAE, Array, Likelihood, Params, Terms

# With these eigenvalues no water level in use is near a tie.
EIGENVALUES = np.array([8, 4, 2, 1, 0.5, 0.25, 0.12, 0.06, 0.03, 0.015])
DIM, LATENTS = len(EIGENVALUES), 6
SIGMA2 = 0.1  # the variance of the bed's fixed points
FIXED = gaussian("fixed", sigma=math.sqrt(SIGMA2))

# The water level, the squared error, the rate and the active latents of the optimum, digits as printed.
WATER_LEVELS = [
    (0.01, ".285", "14.855231329", 6),
    (0.1, ".825", "7.947476050", 6),
    (0.3, "1.975", "4.742799962", 5),
    (0.4, "2.475", "4.023594781", 5),
    (0.7, "3.775", "2.792791430", 4),
    (3.0, "9.975", ".634255663", 2),
    (10.0, "15.975", "0", 0),
]


def basis() -> np.ndarray:
    """The orthogonal basis ``[D, D]`` that the bed's data have their eigenvalues in, a random one."""
    return np.linalg.qr(np.random.default_rng(0).normal(size=(DIM, DIM)))[0]


def bed_data() -> Array:
    """Twenty rows of mean 0 whose covariance (ddof 0) has exactly the bed's eigenvalues, in a random basis."""
    half = np.sqrt(DIM * EIGENVALUES)[:, None] * basis().T
    return jnp.asarray(np.concatenate([half, -half]))


LINEAR = VAE(
    init=lambda key: {
        "w": 0.1 * jax.random.normal(key, (DIM, LATENTS)),
        "v": 0.1 * jax.random.normal(jax.random.fold_in(key, 1), (LATENTS, DIM)),
        "log_d": jnp.zeros(LATENTS),
    },
    encode=lambda params, x: DiagGaussian(params["v"] @ x, params["log_d"]),
    decode=lambda params, z: params["w"] @ z,
)


class SigmaPoints(DiagGaussian):
    """A posterior whose samples are its sigma points."""

    __slots__ = ()

    def sample(self, key: Array, num_samples: int) -> Array:
        """The ``2 d`` sigma points, whatever the key and the number."""
        step = math.sqrt(self.mean.shape[-1]) * jnp.diag(jnp.exp(0.5 * self.logvar))
        return jnp.concatenate([self.mean + step, self.mean - step])


EXACT = LINEAR._replace(encode=lambda params, x: SigmaPoints(*LINEAR.encode(params, x)))


def bed_log_likelihood(params: Params, x: Array) -> np.ndarray:
    """log N(x; 0, W W^T + sigma^2 I) of each row, by scipy."""
    from scipy import stats

    w, sigma = np.asarray(params["model"]["w"]), math.exp(float(params["likelihood"]["log_sigma"]))
    return stats.multivariate_normal.logpdf(np.asarray(x), np.zeros(DIM), w @ w.T + sigma**2 * np.eye(DIM))


@functools.partial(jax.jit, static_argnames="likelihood")
def exact_terms(likelihood: Likelihood, params: Params, x: Array) -> Terms:
    """Terms of rows ``x`` without noise."""
    return jax.vmap(lambda x: objective.terms(EXACT, likelihood, params, x, jax.random.key(0)))(x)


@functools.partial(jax.jit, static_argnames=("likelihood", "num_samples", "vae"))
def batch_terms(likelihood, params, x, key, num_samples: int = 1, vae: VAE = LINEAR) -> Terms:
    """Terms of rows ``x`` with ``num_samples`` draws of z for each; consumes ``key``."""
    keys = jax.random.split(key, len(x))
    return jax.vmap(lambda x, key: objective.terms(vae, likelihood, params, x, key, num_samples))(x, keys)


def squared_error(distortion, sigma2):
    """The expected squared error of a distortion in nats, for a Gaussian of this variance."""
    return 2.0 * sigma2 * (distortion - 0.5 * DIM * np.log(2.0 * np.pi * sigma2))


def sse_and_rate(t: Terms, sigma2: float = SIGMA2) -> tuple[float, float]:
    """The mean squared error (summed over dimensions) and rate of noise-free terms."""
    distortion, rate = jnp.mean(objective.distortion(t)), jnp.mean(objective.rate(t))
    return float(squared_error(distortion, sigma2)), float(rate)


def second_moments(t: Terms) -> np.ndarray:
    """E[mu^2 + tau^2] of each latent, ``[d]``: 1 at any stationary point, whatever the weight."""
    return np.asarray(jnp.mean(t.q.mean**2 + jnp.exp(t.q.logvar), 0))
