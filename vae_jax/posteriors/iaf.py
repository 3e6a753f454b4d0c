"""The inverse autoregressive flow: a diagonal Gaussian, then steps whose scales and shifts a MADE computes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.gaussian import LOG_2PI, DiagGaussian
from vae_jax.posteriors.fixed_noise import fixed_noise
from vae_jax.types import Posterior

# Hidden units and numbers of context for each latent: at 20 latents 320 units, as in the paper's smaller networks.
WIDTH, CONTEXT = 16, 2


def iaf(steps: int = 4) -> Posterior:
    """Makes z = f_T(... f_1(mean + tau * noise)) with f_t(z) = sigma_t * z + m_t (Kingma 2016, 1606.04934, eq. 10).

    sigma_t and m_t of a latent are functions of the latents before it and of a context that the encoder puts out: a
    masked network of one hidden layer (MADE, Germain 2015, 1502.03509). The order of the latents turns round from step
    to step. sigma_t = 2 sigmoid(s_t), so no step more than doubles a scale; the last layers begin at zero, where every
    step is the identity and q the diagonal Gaussian.

    Samples and their density take one pass. The density anywhere else takes as many passes as there are latents, one
    after the other. The KL has no closed form, and the moments are those of ``fixed_noise``.

    Args:
      steps: T, at least 1.
    """
    if steps < 1:
        raise ValueError(f"an inverse autoregressive flow has at least one step, not {steps}")

    def init(key, latent_dim):
        return {f"step_{t}": _init_step(jax.random.fold_in(key, t), latent_dim) for t in range(steps)}

    def push(own, h, noise):
        """Takes ``noise [s, d]`` to ``(z[s, d], log_q[s])``."""
        first, context = _parts(h, noise.shape[-1])
        z = first.mean + jnp.exp(0.5 * first.logvar) * noise
        log_q = -0.5 * jnp.sum(jnp.square(noise) + LOG_2PI + first.logvar, axis=-1)
        for t in range(steps):
            log_scale, shift = _made(own[f"step_{t}"], z, context)
            z = (jnp.exp(log_scale) * z + shift)[..., ::-1]
            log_q = log_q - jnp.sum(log_scale, axis=-1)
        return z, log_q

    def draw(own, h, key, num_samples):
        return push(own, h, jax.random.normal(key, (num_samples, _latents(h)), h.dtype))

    def moments(own, h):
        z, _ = push(own, h, fixed_noise(_latents(h)))
        return DiagGaussian(jnp.mean(z, axis=0), jnp.log(jnp.var(z, axis=0)))

    def log_prob(own, h, z):
        first, context = _parts(h, z.shape[-1])
        log_q = jnp.zeros(z.shape[:-1], z.dtype)
        for t in reversed(range(steps)):
            after, step = z[..., ::-1], own[f"step_{t}"]

            def one_more(i, z, after=after, step=step):
                log_scale, shift = _made(step, z, context)
                now = jnp.arange(z.shape[-1]) == i
                # A latent whose turn has not come stays zero: what it would be is wrong, and may overflow.
                return jnp.where(now, (after - shift) * jnp.exp(-jnp.where(now, log_scale, 0.0)), z)

            # A latent depends on those before it only, which are known when its turn comes.
            z = jax.lax.fori_loop(0, z.shape[-1], one_more, jnp.zeros_like(z))
            log_q = log_q - jnp.sum(_made(step, z, context)[0], axis=-1)
        return log_q + first.log_prob(z)

    return Posterior(
        numbers=lambda latent_dim: (2 + CONTEXT) * latent_dim,
        init=init,
        draw=draw,
        moments=moments,
        log_prob=log_prob,
    )


def _latents(h) -> int:
    return h.shape[-1] // (2 + CONTEXT)


def _parts(h, d: int):
    """Returns the Gaussian before the flow, and the context, of the encoder's numbers."""
    return DiagGaussian(h[:d], h[d : 2 * d]), h[2 * d :]


def _init_step(key, d: int) -> dict:
    normal, width, context = jax.nn.initializers.lecun_normal(), WIDTH * d, CONTEXT * d
    keys = jax.random.split(key)
    return {
        "latents": normal(keys[0], (d, width)),
        "context": normal(keys[1], (context, width)),
        "bias": jnp.zeros(width),
        "out": jnp.zeros((width, 2 * d)),
        "out_bias": jnp.zeros(2 * d),
    }


def _made(step, z, context):
    """Returns ``(log sigma, m)`` of each latent, ``[..., d]``: functions of the latents before it and the context."""
    d = z.shape[-1]
    # A hidden unit of degree g reads the first g latents, and is read by those after them; degree 0 the context alone.
    degree, place = np.arange(WIDTH * d) % d, np.arange(d)
    reads, read_by = place[:, None] < degree, degree[:, None] <= place
    h = z @ (step["latents"] * reads) + context @ step["context"] + step["bias"]
    out = jax.nn.silu(h) @ (step["out"] * np.tile(read_by, 2)) + step["out_bias"]
    return jnp.log(2.0) + jax.nn.log_sigmoid(out[..., :d]), out[..., d:]
