"""A masked network and the affine step that it makes: each latent scaled and shifted by those before it.

The step is that of the inverse autoregressive flow (Kingma 2016, 1606.04934, eq. 10), z -> sigma(z) * z + m(z), in one
pass; its inverse takes as many passes as there are latents. A posterior goes forwards (``posteriors/iaf.py``), a prior
backwards (``autoregressive.py``).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.types import Array, Params

# Hidden units for each latent: at 20 latents 320 units, as in the smaller networks of Kingma 2016.
WIDTH = 16


def init_step(key: Array, d: int, context: int = 0) -> Params:
    """Makes the parameters of a step of ``d`` latents that reads ``context`` numbers too: the identity, at first."""
    normal, width = jax.nn.initializers.lecun_normal(), WIDTH * d
    keys = jax.random.split(key)
    return {
        "latents": normal(keys[0], (d, width)),
        **({"context": normal(keys[1], (context, width))} if context else {}),
        "bias": jnp.zeros(width),
        "out": jnp.zeros((width, 2 * d)),
        "out_bias": jnp.zeros(2 * d),
    }


def scale_and_shift(step: Params, z: Array, context: Array | None = None) -> tuple[Array, Array]:
    """Returns ``(log sigma, m)`` of each latent, ``[..., d]``: functions of the latents before it and the context.

    A masked network of one hidden layer (MADE, Germain 2015, 1502.03509). sigma = 2 sigmoid(s), so no step more than
    doubles a scale.
    """
    d = z.shape[-1]
    # A hidden unit of degree g reads the first g latents, and is read by those after them; degree 0 the context alone.
    degree, place = np.arange(WIDTH * d) % d, np.arange(d)
    reads, read_by = place[:, None] < degree, degree[:, None] <= place
    h = z @ (step["latents"] * reads)
    if "context" in step:
        h = h + context @ step["context"]
    out = jax.nn.silu(h + step["bias"]) @ (step["out"] * np.tile(read_by, 2)) + step["out_bias"]
    return jnp.log(2.0) + jax.nn.log_sigmoid(out[..., :d]), out[..., d:]


def invert(step: Params, after: Array, context: Array | None = None) -> tuple[Array, Array]:
    """Returns the z that the step takes to ``after``, ``[..., d]``, and the sum of log sigma there, ``[...]``."""

    def one_more(i, z):
        log_scale, shift = scale_and_shift(step, z, context)
        now = jnp.arange(z.shape[-1]) == i
        # A latent whose turn has not come stays zero: what it would be is wrong, and may overflow.
        return jnp.where(now, (after - shift) * jnp.exp(-jnp.where(now, log_scale, 0.0)), z)

    # A latent depends on those before it only, which are known when its turn comes.
    z = jax.lax.fori_loop(0, after.shape[-1], one_more, jnp.zeros_like(after))
    return z, jnp.sum(scale_and_shift(step, z, context)[0], axis=-1)
