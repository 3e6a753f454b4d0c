"""A plugin with one name of each kind, to be copied: --plugin=experiments/plugin_example.py, from any folder.

Each is a function, and the tables at the end give it the name of the command line.
"""

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import VAE, Likelihood, data
from vae_jax.gaussian import DiagGaussian


def exponential():
    """Waiting times, x >= 0; theta is the logarithm of the mean. The constant stays, or bounds do not compare."""
    return Likelihood(
        init=lambda event: {},  # it has no parameters of its own
        theta_shape=lambda event: tuple(event),
        log_prob=lambda own, theta, x: -jnp.sum(theta + x * jnp.exp(-theta)),
        mean=lambda own, theta: jnp.exp(theta),
        variance=lambda own, theta: jnp.exp(2 * theta),
        sample=lambda own, theta, key: jnp.exp(theta) * jax.random.exponential(key, theta.shape, theta.dtype),
        support="real",
    )


def staircase(beta, steps):
    """A quarter of beta at first, a quarter more after each quarter of the warm-up."""
    return lambda step: beta * jnp.minimum(1.0, (1 + 4 * step // max(steps, 1)) / 4)


def renyi(t, weight=1.0, alpha=0.5):
    """The Renyi bound (Li and Turner 2016, 1602.02311), between the ELBO and log p(x)."""
    log_w = t.log_px_z + weight * (t.log_pz - t.log_qz)  # [batch, samples]
    return jnp.mean(jax.nn.logsumexp((1 - alpha) * log_w, axis=-1, b=1 / log_w.shape[-1])) / (1 - alpha)


def linear(event, theta_shape, latent_dim, hidden=(), beta_range=None, batched_kernels=False):
    """Nothing but matrices, for one example: probabilistic PCA, if the likelihood is Gaussian."""

    def init(key):
        encoder, decoder = 0.1 * jax.random.normal(key, (2, int(np.prod(event)), latent_dim))
        return {"encoder": encoder, "decoder": decoder, "logvar": jnp.zeros(latent_dim)}

    return VAE(
        init=init,
        encode=lambda params, x: DiagGaussian(x.reshape(-1) @ params["encoder"], params["logvar"]),
        decode=lambda params, z: (params["decoder"] @ z).reshape(theta_shape),
    )


def stripes():
    """Black and white stripes, at any of eight places."""
    images = np.zeros((8, 8, 8), np.uint8)
    images[np.arange(8), :, np.arange(8)] = 1
    return data.from_arrays("stripes", images.repeat(50, 0), images.repeat(5, 0))


LIKELIHOODS = {"exponential": lambda settings, levels: exponential()}
SCHEDULES = {"staircase": lambda settings, beta: staircase(beta, settings.warmup_steps)}
OBJECTIVES = {"renyi": renyi}
MODELS = {"linear": linear}
DATASETS = {"stripes": stripes}
