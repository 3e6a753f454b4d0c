"""Priors of discrete latents: independent groups of classes, uniform over them, or learned."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.types import Array, Prior

# DreamerV3 (Hafner 2023, 2301.04104) mixes so much of the uniform distribution into each group of posterior and prior,
# and no KL is infinite.
UNIMIX = 0.01


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
        discrete=True,
    )


def learned_categorical(classes: int, unimix: float = UNIMIX, width: int = 0) -> Prior:
    """Makes the same with probabilities that are learned: logits of each group, and with c linear functions of it.

    A c that is a label has logits of its own for each class then: p(z|c). It begins as the uniform one for every c.
    KL(q || p) is exact, of each group: ``kl`` reads q's probabilities as its means.

    Args:
      classes: k.
      unimix: the share of the uniform distribution in each group, from 0 to below 1.
      width: how many numbers c has; 0 where there is none, or it is not to be known.
    """
    check_group(classes, unimix)

    def init(key, latent_dim):
        own = {"logits": jnp.zeros(latent_dim)}
        return {**own, "kernel": jnp.zeros((width, latent_dim))} if width else own

    def log_probs(params, c):
        own = params["prior"]
        logits = own["logits"] + c @ own["kernel"] if width else own["logits"]
        return mixed_log_probs(logits, classes, unimix)

    def sample(params, key, latent_dim, c):
        return jax.nn.one_hot(jax.random.categorical(key, log_probs(params, c)), classes).reshape(-1)

    def kl(params, q, c):
        p = q.mean.reshape(-1, classes)
        # A probability that has underflown adds nothing.
        log_p = jnp.log(jnp.where(p > 0, p, 1.0))
        return jnp.maximum(jnp.sum(p * (log_p - log_probs(params, c)), axis=-1), 0.0)

    return Prior(
        init=init,
        log_prob=lambda params, z, c: jnp.sum(z * log_probs(params, c).reshape(-1), axis=-1),
        sample=sample,
        kl=kl,
        discrete=True,
    )


def mixed_log_probs(logits: Array, classes: int, unimix: float) -> Array:
    """Returns log((1 - unimix) softmax + unimix / k) of each group, ``[groups, k]``."""
    log_p = jax.nn.log_softmax(logits.reshape(-1, classes), axis=-1)
    return jnp.logaddexp(log_p + jnp.log1p(-unimix), jnp.log(unimix / classes)) if unimix else log_p


def check_group(classes: int, unimix: float) -> None:
    """Refuses what is no group of classes.

    Raises:
      ValueError: for fewer than two classes, or a share that is none.
    """
    if classes < 2 or not 0 <= unimix < 1:
        raise ValueError(f"a group has 2 classes or more and a share in [0, 1), not {classes} and {unimix}")
