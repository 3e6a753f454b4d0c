"""A Gaussian prior that a condition decides."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.gaussian import DiagGaussian, kl_divergence
from vae_jax.types import Prior

HIDDEN = 64  # units of its network


def conditional(width: int, hidden: int = HIDDEN) -> Prior:
    """Makes p(z|c) = N(m(c), diag(exp(v(c)))), m and v of one layer of ``hidden`` tanh units (Sohn 2015, section 3).

    It begins as N(0, I) for every c. KL(q || p) is in closed form.

    Args:
      width: how many numbers c has.
      hidden: 0 makes m and v linear in c.
    """

    def init(key, latent_dim):
        if not hidden:
            return {"kernel": jnp.zeros((width, 2 * latent_dim)), "bias": jnp.zeros(2 * latent_dim)}
        into = jax.nn.initializers.lecun_normal()(key, (width, hidden))
        return {
            "in": {"kernel": into, "bias": jnp.zeros(hidden)},
            "kernel": jnp.zeros((hidden, 2 * latent_dim)),
            "bias": jnp.zeros(2 * latent_dim),
        }

    def density(params, c) -> DiagGaussian:
        own, h = params["prior"], c
        if "in" in own:
            h = jnp.tanh(h @ own["in"]["kernel"] + own["in"]["bias"])
        return DiagGaussian(*jnp.split(h @ own["kernel"] + own["bias"], 2))

    return Prior(
        init=init,
        log_prob=lambda params, z, c: density(params, c).log_prob(z),
        sample=lambda params, key, latent_dim, c: density(params, c).sample(key, 1)[0],
        kl=lambda params, q, c: kl_divergence(q, density(params, c)),
    )
