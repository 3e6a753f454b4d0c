"""A flow of affine couplings (RealNVP; Dinh 2017, 1605.08803): z = f(e) with e ~ N(0, I) and f invertible."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.gaussian import at_least_float32, standard_normal_log_prob
from vae_jax.types import Array, Params, Prior

# The log scale of a coupling is between -MOST and MOST: no single step of learning makes a latent's scale 0.
MOST = 2.0


def flow(couplings: int = 6, width: int = 128) -> Prior:
    """Makes p(z) = N(e; 0, I) |det de/dz|, e = f^-1(z), of couplings that are learned; it knows no condition.

    Each coupling shifts and scales one half of the latents by what a network makes of the other half, the halves in
    turn (Dinh 2017, eq. 7 to 9). Density and samples cost the same. The last layer of each network begins at 0, so the
    first prior is N(0, I) exactly. There is no closed form of the KL.

    Args:
      couplings: how many; two at least move every latent.
      width: of the hidden layer of each coupling's network.

    Raises:
      ValueError: for fewer than two couplings, or no hidden unit.
    """
    if couplings < 2 or width < 1:
        raise ValueError(f"a flow has at least 2 couplings and 1 hidden unit, not {couplings} and {width}")

    def init(key, latent_dim):
        first = jax.random.normal(key, (couplings, latent_dim, width)) / latent_dim**0.5
        last = jnp.zeros((couplings, width, 2 * latent_dim))
        offsets = {"hidden": jnp.zeros((couplings, width)), "out": jnp.zeros((couplings, 2 * latent_dim))}
        return {"first": first, "last": last, **offsets}

    def log_prob(params, z, c):
        e, log_det = inverse(params["prior"], at_least_float32(z))
        return standard_normal_log_prob(e) + log_det

    def sample(params, key, latent_dim, c):
        return forward(params["prior"], jax.random.normal(key, (latent_dim,)))[0]

    return Prior(init, log_prob, sample)


def forward(own: Params, e: Array) -> tuple[Array, Array]:
    """Returns z = f(e) ``[d]`` and log |det dz/de|."""
    total = jnp.zeros((), e.dtype)
    for i in range(len(own["first"])):
        log_scale, shift = _coupling(own, i, e)
        e, total = e * jnp.exp(log_scale) + shift, total + jnp.sum(log_scale)
    return e, total


def inverse(own: Params, z: Array) -> tuple[Array, Array]:
    """Returns e = f^-1(z) ``[d]`` and log |det de/dz|."""
    total = jnp.zeros((), z.dtype)
    for i in reversed(range(len(own["first"]))):
        log_scale, shift = _coupling(own, i, z)
        z, total = (z - shift) * jnp.exp(-log_scale), total - jnp.sum(log_scale)
    return z, total


def _coupling(own, i, z):
    """Returns log scale and shift of coupling ``i``, ``[d]`` each: 0 in the half that it reads, and that stays."""
    moved = _moved(z.shape[0], i)
    h = jax.nn.silu((z * (1.0 - moved)) @ own["first"][i] + own["hidden"][i])
    log_scale, shift = jnp.split(h @ own["last"][i] + own["out"][i], 2)
    return moved * (MOST * jnp.tanh(log_scale / MOST)), moved * shift


def _moved(latent_dim: int, i: int) -> np.ndarray:
    """Returns 1 for each latent that coupling ``i`` moves: every second one or one half of a row, in turn."""
    index = np.arange(latent_dim)
    side = index % 2 if i // 2 % 2 == 0 else index // max((latent_dim + 1) // 2, 1)
    return (side == i % 2).astype(np.float32)
