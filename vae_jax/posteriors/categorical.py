"""Discrete latents: groups of classes, z one-hot in each, and a gradient through what has none."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.gaussian import DiagGaussian
from vae_jax.priors.discrete import UNIMIX, check_group, mixed_log_probs, uniform_categorical
from vae_jax.types import Posterior


def categorical(classes: int, temperature: float | None = None, unimix: float = UNIMIX) -> Posterior:
    """Makes q(z|x) of d / k independent groups of k classes, z ``[d]`` one-hot in each group.

    Its prior is uniform over the classes (``priors.uniform_categorical``) unless another discrete one is given, and the
    KL to that exact, log k - H nats of each group.

    A draw has no derivative. What stands for it:

    * without a temperature that of the probabilities ("straight-through", Bengio 2013, 1308.3432; DreamerV2): right
      where the decoder is linear in z, else biased.
    * with one z itself is soft, softmax((log p + Gumbel noise) / temperature) (Jang 2016, 1611.01144; Maddison 2016,
      1611.00712): the bias falls with the temperature, and the variance rises. It is for training: z is no longer
      one-hot, and no bound holds.

    Args:
      classes: k, at least 2.
      temperature: above 0; None for one-hot draws.
      unimix: the share of the uniform distribution, from 0 to below 1.
    """
    check_group(classes, unimix)

    def log_probs(h):
        """Returns the log probabilities ``[groups, k]``."""
        return mixed_log_probs(h, classes, unimix)

    def draw(own, h, key, num_samples):
        log_p = log_probs(h)
        noisy = log_p + jax.random.gumbel(key, (num_samples, *log_p.shape), log_p.dtype)
        if temperature is not None:
            z = chosen = jax.nn.softmax(noisy / temperature, axis=-1)
        else:
            chosen = jax.nn.one_hot(jnp.argmax(noisy, axis=-1), classes, dtype=log_p.dtype)
            p = jnp.exp(log_p)
            # The difference is zero, exactly, and its derivative is that of the probabilities.
            z = chosen + (p - jax.lax.stop_gradient(p))
        log_q = jnp.sum(chosen * log_p, axis=(-2, -1))
        return z.reshape(num_samples, -1), log_q

    def moments(own, h):
        p = jnp.exp(log_probs(h)).reshape(-1)
        tiny = jnp.finfo(p.dtype).tiny
        return DiagGaussian(p, jnp.log(jnp.maximum(p * (1.0 - p), tiny)))

    def kl(own, h):
        log_p = log_probs(h)
        # Never below zero but by its rounding.
        return jnp.maximum(jnp.log(classes) + jnp.sum(jnp.exp(log_p) * log_p, axis=-1), 0.0)

    return Posterior(
        numbers=lambda latent_dim: latent_dim,
        init=lambda key, latent_dim: {},
        draw=draw,
        moments=moments,
        kl=kl,
        prior=uniform_categorical(classes),
    )
