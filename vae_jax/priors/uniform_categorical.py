"""The prior of discrete latents: uniform over the classes of each group."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.types import Prior


def uniform_categorical(classes: int) -> Prior:
    """Makes p(z) of d / k independent groups, z one-hot with probability 1 / k each (``posteriors.categorical``).

    Args:
      classes: k; ``latent_dim`` is d, all groups together.
    """

    def sample(params, key, latent_dim, c):
        chosen = jax.random.randint(key, (latent_dim // classes,), 0, classes)
        return jax.nn.one_hot(chosen, classes).reshape(-1)

    return Prior(
        init=lambda key, latent_dim: {},
        log_prob=lambda params, z, c: -(z.shape[-1] // classes) * jnp.log(jnp.asarray(classes, z.dtype)),
        sample=sample,
    )
