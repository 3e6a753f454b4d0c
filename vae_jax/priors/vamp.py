"""The VampPrior: the mixture of the posteriors of learned pseudo-inputs (Tomczak and Welling 2018, 1705.07120)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.gaussian import DiagGaussian
from vae_jax.priors.mixture import of_parts
from vae_jax.types import VAE, Array, Event, Given, Prior

# How far inside its range a pseudo-input begins, as a share of it: at the end no gradient would move it.
INSIDE = 0.05
# Of the numbers that a range is made of: equal pseudo-inputs would stay equal.
NOISE = 0.01


def vamp(vae: VAE, event: Event, components: int, low: Any = -np.inf, high: Any = np.inf) -> Prior:
    """Makes p(z) = (1/K) sum_k q(z|u_k), of K pseudo-inputs u_k that are learned (1705.07120, eq. 9).

    Its parameters are ``inputs [k, *event]``, which ``in_range`` takes into the range of x. Where there is a condition
    c, the encoder is handed it beside each of them: p(z|c) = (1/K) sum_k q(z|u_k, c). The first pseudo-inputs are
    training examples, where ``from_data`` is given some. There is no closed form of the KL.

    Args:
      vae: the model, whose ``encode`` is q(z|x), a diagonal Gaussian.
      event: the shape of x.
      components: K, at least 1.
      low, high: the range of x, numbers or arrays ``[event]``; infinite where there is no end.

    Raises:
      ValueError: for no pseudo-input.
    """
    if components < 1:
        raise ValueError(f"a VampPrior has at least 1 pseudo-input, not {components}")
    low, high = np.broadcast_to(low, event), np.broadcast_to(high, event)

    def init(key, latent_dim):
        return {"inputs": NOISE * jax.random.normal(key, (components, *event))}

    def parts(params, c):
        def encode(u):
            return vae.encode(params, u if c is None else Given(u, c))

        q = DiagGaussian(*jax.vmap(encode)(in_range(params["prior"]["inputs"], low, high)))
        return jnp.full(components, -np.log(components)), q

    def from_data(own, x):
        # Where there are fewer examples than pseudo-inputs some begin at the same one, but for the noise.
        first = jnp.nan_to_num(x.value if isinstance(x, Given) else x)[jnp.arange(components) % len(x)]
        return {"inputs": own["inputs"] + out_of_range(first, low, high)}

    return of_parts(parts, init)._replace(from_data=(components, from_data))


def in_range(numbers: Array, low: np.ndarray, high: np.ndarray) -> Array:
    """Returns x between ``low`` and ``high`` of any numbers: a sigmoid, a softplus where it has no upper end, or x."""
    start, width = _ends(low, high)
    above = jnp.where(np.isfinite(low), start + jax.nn.softplus(numbers), numbers)
    return jnp.where(np.isfinite(high), start + width * jax.nn.sigmoid(numbers), above)


def out_of_range(x: Array, low: np.ndarray, high: np.ndarray) -> Array:
    """Returns the numbers of which ``in_range`` makes x, a little inside of its range."""
    start, width = _ends(low, high)
    share = INSIDE + (1.0 - 2.0 * INSIDE) * jnp.clip((x - start) / width, 0.0, 1.0)
    distance = jnp.maximum(x - start, INSIDE)
    above = jnp.where(np.isfinite(low), distance + jnp.log(-jnp.expm1(-distance)), x)
    return jnp.where(np.isfinite(high), jnp.log(share) - jnp.log1p(-share), above)


def _ends(low, high):
    """Returns where the range begins and its width, 0 and 1 where it has none."""
    start = np.where(np.isfinite(low), low, 0.0).astype(np.float32)
    return start, np.where(np.isfinite(high), high - start, 1.0).astype(np.float32)
