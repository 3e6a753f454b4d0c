"""The Gaussian posterior with a covariance between the latents, by its Cholesky factor."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.gaussian import LOG_2PI, DiagGaussian
from vae_jax.types import Posterior


def full_covariance() -> Posterior:
    """Makes q(z|x) = N(mean, L L') with L = diag(tau) (I + S), S strictly lower triangular (Kingma 2016, 1606.04934).

    S is what the encoder puts out times a gain of each entry that begins at zero, where q is the diagonal Gaussian.
    The KL to N(0, I) has a closed form, in parts by the chain rule: part i is that of z_i given the latents before it,
    0.5 (mean_i^2 + sum_{j <= i} L_ij^2 - 1 - 2 log L_ii).
    """

    def factor(own, h):
        """Returns the diagonal Gaussian of mean and tau, and the rows of S ``[d, d]``."""
        d = own["gains"].shape[0]
        # Row i of the square holds S_i0 to S_i,i-1; all above them is zero.
        below = jnp.zeros((d, d), h.dtype).at[np.tril_indices(d, -1)].set(h[2 * d :])
        return DiagGaussian(h[:d], h[d : 2 * d]), own["gains"] * below

    def draw(own, h, key, num_samples):
        first, s = factor(own, h)
        noise = jax.random.normal(key, (num_samples, first.mean.shape[0]), h.dtype)
        z = first.mean + jnp.exp(0.5 * first.logvar) * (noise + noise @ s.T)
        return z, -0.5 * jnp.sum(jnp.square(noise) + first.logvar + LOG_2PI, axis=-1)

    def moments(own, h):
        first, s = factor(own, h)
        return first._replace(logvar=first.logvar + jnp.log1p(jnp.sum(jnp.square(s), axis=-1)))

    def kl(own, h):
        first, s = factor(own, h)
        return first.kl() + 0.5 * jnp.exp(first.logvar) * jnp.sum(jnp.square(s), axis=-1)

    def log_prob(own, h, z):
        first, s = factor(own, h)
        scaled = (z - first.mean) * jnp.exp(-0.5 * first.logvar)
        # The diagonal of I + S is one, and is not read.
        noise = jax.scipy.linalg.solve_triangular(s, scaled, lower=True, unit_diagonal=True)
        return -0.5 * jnp.sum(jnp.square(noise) + first.logvar + LOG_2PI, axis=-1)

    return Posterior(
        numbers=lambda latent_dim: 2 * latent_dim + latent_dim * (latent_dim - 1) // 2,
        init=lambda key, latent_dim: {"gains": jnp.zeros((latent_dim, latent_dim))},
        draw=draw,
        moments=moments,
        kl=kl,
        log_prob=log_prob,
    )
