"""The Householder flow: a diagonal Gaussian, turned by reflections."""

from __future__ import annotations

import jax.numpy as jnp

from vae_jax.gaussian import DiagGaussian
from vae_jax.types import Posterior


def householder(steps: int = 4) -> Posterior:
    """Makes z = U (mean + tau * noise), U the product of 2 T reflections I - 2 v v' / |v|^2 (Tomczak 2016, 1611.09630).

    The encoder puts out the first v, and each further one is a linear map of the one before. The maps begin as the
    identity, where two reflections undo each other: q begins as the diagonal Gaussian. A turn keeps volumes and
    N(0, I), so the KL is that of the Gaussian before it, in parts of its own axes and not of the latents.

    Args:
      steps: T pairs of reflections, at least 1.
    """
    if steps < 1:
        raise ValueError(f"a Householder flow has at least one pair of reflections, not {steps}")

    def init(key, latent_dim):
        # The bias keeps v off zero, where it has no direction, even if the encoder puts out nothing at first.
        return {"bias": jnp.ones(latent_dim), "maps": jnp.zeros((2 * steps - 1, latent_dim, latent_dim))}

    def before(h):
        d = h.shape[-1] // 3
        return DiagGaussian(h[:d], h[d : 2 * d])

    def vectors(own, h):
        v = h[2 * (h.shape[-1] // 3) :] + own["bias"]
        found = [v / jnp.linalg.norm(v)]
        for change in own["maps"]:
            v = found[-1] + change @ found[-1]
            found.append(v / jnp.linalg.norm(v))
        return found

    def reflect(z, ordered):
        for v in ordered:
            z = z - 2.0 * jnp.outer(z @ v, v)
        return z

    def draw(own, h, key, num_samples):
        q = before(h)
        z = q.sample(key, num_samples)
        return reflect(z, vectors(own, h)), q.log_prob(z)

    def moments(own, h):
        q, v = before(h), vectors(own, h)
        # Each row of the factor's transpose is an axis of the ellipsoid; turned, their squares add up to the variance.
        axes = reflect(jnp.diag(jnp.exp(0.5 * q.logvar)), v)
        return DiagGaussian(reflect(q.mean[None], v)[0], jnp.log(jnp.sum(jnp.square(axes), axis=0)))

    def log_prob(own, h, z):
        return before(h).log_prob(reflect(z[None], vectors(own, h)[::-1])[0])

    return Posterior(
        numbers=lambda latent_dim: 3 * latent_dim,
        init=init,
        draw=draw,
        moments=moments,
        kl=lambda own, h: before(h).kl(),
        log_prob=log_prob,
    )
