"""What a person looks at: inputs, their reconstructions, and samples from the prior, as arrays."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import objective as bounds
from vae_jax.randomness import LATENT, PIXELS, PRIOR, example_keys, purpose_key
from vae_jax.types import VAE, Array, Likelihood, Params


def pictures(
    vae: VAE,
    likelihood: Likelihood,
    preprocess: Callable,
    params: Params,
    data: Array,
    key: Array,
    latent_dim: int,
    num_inputs: int = 16,
    num_samples: int = 64,
) -> dict[str, np.ndarray]:
    """``inputs`` and ``reconstructions`` [n, *event], ``samples`` [m, *event]: E[x|z] at z ~ q(z|x) and at z ~ p(z).

    Args:
      vae, likelihood, params: the model.
      preprocess: ``(key, raw[event]) -> x[event]``.
      data: the split whose first examples are shown.
      key: consumed.
      latent_dim: d.
      num_inputs, num_samples: how many.
    """
    own = params["likelihood"]
    rows = jnp.arange(min(num_inputs, data.shape[0]))

    @jax.jit
    def draw(params, raw):
        x = jax.vmap(preprocess)(example_keys(purpose_key(key, PIXELS), rows), raw)
        keys = example_keys(purpose_key(key, LATENT), rows)
        theta = jax.vmap(lambda x, key: bounds.infer(vae, params, x, key)[2][0])(x, keys)
        z = jax.random.normal(purpose_key(key, PRIOR), (num_samples, latent_dim))
        prior = jax.vmap(vae.decode, in_axes=(None, 0))(params["model"], z)
        mean = jax.vmap(likelihood.mean, in_axes=(None, 0))
        return {"inputs": x, "reconstructions": mean(own, theta), "samples": mean(own, prior)}

    return jax.tree.map(np.asarray, draw(params, data[rows]))
