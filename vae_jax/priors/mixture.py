"""A mixture of diagonal Gaussians, and with one component a diagonal Gaussian whose mean and variance are learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vae_jax.gaussian import LOG_2PI, DiagGaussian, at_least_float32, kl_divergence
from vae_jax.types import Array, Params, Prior

# How far apart the first components are: equal ones would stay equal. The first mixture is N(0, I) but for 0.005 nats
# of a latent at most.
SPREAD = 0.1


def mixture(components: int) -> Prior:
    """Makes p(z) = sum_k pi_k N(z; m_k, diag(v_k)), all of it learned; it knows no condition.

    Its parameters are ``logits [k]``, ``mean`` and ``logvar`` ``[k, d]``. The first one is nearly N(0, I), with one
    component exactly. Only one component has the KL of a diagonal Gaussian in closed form.

    Args:
      components: k, at least 1.

    Raises:
      ValueError: for no component.
    """
    if components < 1:
        raise ValueError(f"a mixture has at least 1 component, not {components}")
    spread = 0.0 if components == 1 else SPREAD

    def init(key, latent_dim):
        mean = spread * jax.random.normal(key, (components, latent_dim))
        logvar = jnp.full((components, latent_dim), jnp.log1p(-(spread**2)))
        return {"logits": jnp.zeros(components), "mean": mean, "logvar": logvar}

    def parts(params, c):
        own = params["prior"]
        return jax.nn.log_softmax(own["logits"]), DiagGaussian(own["mean"], own["logvar"])

    def kl(params, q, c):
        return kl_divergence(q, DiagGaussian(params["prior"]["mean"][0], params["prior"]["logvar"][0]))

    return of_parts(parts, init)._replace(kl=kl if components == 1 else None)


def of_parts(parts: Callable[[Params, Any], tuple[Array, DiagGaussian]], init: Callable[[Array, int], Params]) -> Prior:
    """Makes a mixture of what its parts are, ``(params, c) -> (log weights [k], DiagGaussian [k, d])``."""
    return Prior(
        init=init,
        log_prob=lambda params, z, c: mixture_log_prob(*parts(params, c), z),
        sample=lambda params, key, latent_dim, c: mixture_sample(*parts(params, c), key),
        mixture=parts,
    )


def mixture_log_prob(log_weights: Array, parts: DiagGaussian, z: Array) -> Array:
    """Returns log sum_k pi_k N(z; m_k, diag(v_k)), nats: ``log_weights [k]``, ``parts [k, d]``, ``z [d]``."""
    mean, logvar, z = (at_least_float32(v) for v in (*parts, z))
    constant = jnp.sum(logvar + LOG_2PI, axis=-1)
    squares = _squared_distances(mean, jnp.exp(-logvar), z)
    return jax.nn.logsumexp(at_least_float32(log_weights) - 0.5 * (squares + constant))


def mixture_sample(log_weights: Array, parts: DiagGaussian, key: Array) -> Array:
    """Draws ``z [d]`` of the mixture; consumes ``key``."""
    k = jax.random.categorical(jax.random.fold_in(key, 0), at_least_float32(log_weights))
    return DiagGaussian(parts.mean[k], parts.logvar[k]).sample(jax.random.fold_in(key, 1), 1)[0]


@jax.custom_jvp
def _squared_distances(mean, precision, z):
    """Returns sum_d precision (z - mean)^2, ``[k]``: as it stands, which loses no digits where a variance is small."""
    return jnp.sum(precision * jnp.square(z - mean), axis=-1)


@_squared_distances.defjvp
def _(primals, tangents):
    # The derivative is that of products of matrices once there is a batch of z: 500 components, 40 latents and a batch
    # of 100 take .8 ms, and 24 to 28 with the derivative of the sum above.
    return _squared_distances(*primals), jax.jvp(_expanded, primals, tangents)[1]


def _expanded(mean, precision, z):
    scaled = precision * mean
    return precision @ jnp.square(z) - 2.0 * (scaled @ z) + jnp.sum(scaled * mean, axis=-1)
