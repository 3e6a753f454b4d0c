"""The bound, written once: terms of one example, and objectives that are functions of those terms.

``terms`` works on one example; ``vmap`` supplies the samples of z and the batch, ``jit`` the devices. Training and
evaluation call the same functions, the first with the applied weight, the second with weight 1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.gaussian import at_least_float32, standard_normal_log_prob
from vae_jax.types import VAE, Array, Likelihood, Params, Terms


def infer(vae: VAE, params: Params, x: Array, key: Array, num_samples: int = 1):
    """Encodes one example, samples z and decodes: ``x[event] -> (q[d], z[s, d], theta[s, ...])``; consumes ``key``."""
    q = vae.encode(params["model"], x)
    z = q.sample(key, num_samples)
    theta = jax.vmap(vae.decode, in_axes=(None, 0))(params["model"], z)
    return q, z, theta


def score(likelihood: Likelihood, own: Params, x: Array, q, z: Array, theta: Array) -> Terms:
    """The terms of one example from what ``infer`` returned; log densities in nats."""
    log_px_z = jax.vmap(likelihood.log_prob, in_axes=(None, 0, None))(own, at_least_float32(theta), x)
    return Terms(q, z, log_px_z, standard_normal_log_prob(z), q.log_prob(z))


def terms(vae: VAE, likelihood: Likelihood, params: Params, x: Array, key: Array, num_samples: int = 1) -> Terms:
    """The terms of the bound for one example; ``vmap`` over ``x`` and ``key`` for a batch.

    Args:
      vae, likelihood: the model; ``params`` is ``{"model": ..., "likelihood": ...}``.
      x: one example, ``[event]``.
      key: consumed by the draw of z.
      num_samples: how many samples of z.
    """
    return score(likelihood, params["likelihood"], x, *infer(vae, params, x, key, num_samples))


def rate(t: Terms) -> Array:
    """KL(q(z|x) || p(z)) per example, nats, analytic: ``[...]``."""
    return jnp.sum(t.q.kl(), axis=-1)


def distortion(t: Terms) -> Array:
    """-E_q log p(x|z) per example, nats, the mean over the samples: ``[...]``."""
    return -jnp.mean(t.log_px_z, axis=-1)


def elbo(t: Terms, weight=1.0) -> Array:
    """The evidence lower bound, the mean over the batch of -(distortion + weight * rate), nats, to be maximised.

    At weight 1 it bounds log p(x) (Kingma and Welling 2013, 1312.6114, eq. 3); at any other weight it is the beta-VAE's
    training objective (Higgins 2017) and bounds nothing. Takes the terms of one example or of a batch.
    """
    return -jnp.mean(distortion(t) + weight * rate(t))


def iwae(t: Terms, weight=1.0) -> Array:
    """The importance-weighted bound L_K with K = s, the mean over the batch, nats (Burda 2016, 1509.00519, eq. 8).

    K weights for each example, their mean inside the log, then the mean over examples. With a weight other than 1,
    log p(z) - log q(z|x) is multiplied by it, which bounds nothing.
    """
    return jnp.mean(iwae_per_example(t, weight))


def iwae_per_example(t: Terms, weight=1.0) -> Array:
    """L_K of each example, ``[...]``, nats; ``iwae`` is its mean."""
    log_w = t.log_px_z + weight * (t.log_pz - t.log_qz)
    return jax.nn.logsumexp(log_w, axis=-1) - jnp.log(log_w.shape[-1])
