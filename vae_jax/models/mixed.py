"""Networks in a narrow floating-point type, everything else in float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.types import VAE


def mixed(vae: VAE, dtype) -> VAE:
    """The same networks computed in ``dtype``; parameters, posterior and theta stay in float32.

    What is summed over many dimensions (KL, likelihood) and what is updated by small amounts (parameters, moments)
    loses too much in 8 bits of mantissa; the products inside the networks do not (Micikevicius 2018, 1710.03740).

    Args:
      vae: with float32 parameters.
      dtype: of the computation, e.g. ``jnp.bfloat16``.
    """

    def narrow(tree):
        return jax.tree.map(lambda v: v.astype(dtype) if jnp.issubdtype(v.dtype, jnp.floating) else v, tree)

    def wide(tree):
        return jax.tree.map(lambda v: v.astype(jnp.float32) if jnp.issubdtype(v.dtype, jnp.floating) else v, tree)

    def decode_given(params, z, x):
        return wide(vae.decode_given(narrow(params), narrow(z), narrow(x)))

    return VAE(
        init=vae.init,
        encode=lambda params, x: wide(vae.encode(narrow(params), narrow(x))),
        decode=lambda params, z: wide(vae.decode(narrow(params), narrow(z))),
        decode_given=None if vae.decode_given is None else decode_given,
    )
