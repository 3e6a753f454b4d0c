"""The exact test bed: a linear VAE without sampling noise, on data of a known spectrum, and its optima in closed form.

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
from conftest import BED_EIGENVALUES, BED_LATENTS
from scipy import optimize, stats
from threadpoolctl import threadpool_limits

from vae_jax import objective
from vae_jax.gaussian import DiagGaussian
from vae_jax.likelihoods import gaussian
from vae_jax.linear_vae import predict
from vae_jax.types import VAE

DIM = len(BED_EIGENVALUES)
SIGMA2 = 0.1  # the variance of the bed's fixed points
FIXED = gaussian("fixed", sigma=math.sqrt(SIGMA2))


# The water level, the squared error, the rate and the active latents of the optimum.
WATER_LEVELS = [
    (0.01, ".285", "14.855231329", 6),
    (0.1, ".825", "7.947476050", 6),
    (0.3, "1.975", "4.742799962", 5),
    (0.4, "2.475", "4.023594781", 5),
    (0.7, "3.775", "2.792791430", 4),
    (3.0, "9.975", ".634255663", 2),
    (10.0, "15.975", "0", 0),
]


def _basis():
    return np.linalg.qr(np.random.default_rng(0).normal(size=(DIM, DIM)))[0]


def bed_data():
    """Twenty rows of mean 0 whose covariance (ddof 0) has exactly the bed's eigenvalues, in a random basis."""
    half = np.sqrt(DIM * BED_EIGENVALUES)[:, None] * _basis().T
    return jnp.asarray(np.concatenate([half, -half]))


LINEAR = VAE(
    init=lambda key: {
        "w": 0.1 * jax.random.normal(key, (DIM, BED_LATENTS)),
        "v": 0.1 * jax.random.normal(jax.random.fold_in(key, 1), (BED_LATENTS, DIM)),
        "log_d": jnp.zeros(BED_LATENTS),
    },
    encode=lambda params, x: DiagGaussian(params["v"] @ x, params["log_d"]),
    decode=lambda params, z: params["w"] @ z,
)


class _SigmaPoints(DiagGaussian):
    __slots__ = ()

    def sample(self, key, num_samples):
        """The ``2 d`` sigma points, whatever the key and the number."""
        step = math.sqrt(self.mean.shape[-1]) * jnp.diag(jnp.exp(0.5 * self.logvar))
        return jnp.concatenate([self.mean + step, self.mean - step])


EXACT = LINEAR._replace(encode=lambda params, x: _SigmaPoints(*LINEAR.encode(params, x)))


def bed_optimum(beta=1.0, sigma2=None):
    """The closed-form optimum as parameters, in 64 bits, with the prediction that it realises."""
    prediction = predict(BED_EIGENVALUES, beta, sigma2, BED_LATENTS)
    head, s = BED_EIGENVALUES[:BED_LATENTS], prediction.water_level
    w = _basis()[:, :BED_LATENTS] * np.sqrt(np.maximum(head - s, 0.0))
    model = {
        "w": jnp.asarray(w),
        "v": jnp.asarray((w / head).T),
        "log_d": jnp.asarray(np.log(np.minimum(1.0, s / head))),
    }
    own = {"log_sigma": jnp.asarray(0.5 * math.log(prediction.sigma2))}
    return FIXED, {"model": model, "likelihood": own}, prediction


def bed_log_likelihood(params, x):
    """log N(x; 0, W W^T + sigma^2 I) of each row, by scipy."""
    w, sigma = np.asarray(params["model"]["w"]), math.exp(float(params["likelihood"]["log_sigma"]))
    return stats.multivariate_normal.logpdf(np.asarray(x), np.zeros(DIM), w @ w.T + sigma**2 * np.eye(DIM))


@functools.partial(jax.jit, static_argnames="likelihood")
def exact_terms(likelihood, params, x):
    """Terms of rows ``x`` without noise."""
    return jax.vmap(lambda x: objective.terms(EXACT, likelihood, params, x, jax.random.key(0)))(x)


@functools.partial(jax.jit, static_argnames=("likelihood", "num_samples", "vae"))
def batch_terms(likelihood, params, x, key, num_samples=1, vae=LINEAR):
    keys = jax.random.split(key, len(x))
    return jax.vmap(lambda x, key: objective.terms(vae, likelihood, params, x, key, num_samples))(x, keys)


def squared_error(distortion, sigma2):
    """The expected squared error of a distortion in nats, for a Gaussian of this variance."""
    return 2.0 * sigma2 * (distortion - 0.5 * DIM * np.log(2.0 * np.pi * sigma2))


def minimise(value_and_grad, start):
    """The minimum that BFGS finds from the vector ``start``, to the last digits that 64 bits have."""

    def function(v):
        value, gradient = value_and_grad(v)
        return float(value), np.asarray(gradient)

    options = {"gtol": 1e-7, "maxiter": 5000}
    with threadpool_limits(1):  # matrices of 128 rows: more threads only wait for each other
        return optimize.minimize(function, np.asarray(start), jac=True, method="BFGS", options=options)
