"""The bridges from Flax: two unbatched modules, of Linen or of nnx, as the three plain functions of a ``VAE``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vae_jax.gaussian import DiagGaussian
from vae_jax.types import VAE, Array, Event, Params


def from_linen(encoder, decoder, event: Event, latent_dim: int, beta_range: tuple[float, float] | None = None) -> VAE:
    """A ``VAE`` from two unbatched Linen modules.

    Args:
      encoder: a module ``x[event] -> (mean[d], logvar[d])``.
      decoder: a module ``z[d] -> theta``.
      event: the shape of one example.
      latent_dim: d.
      beta_range: None, or the range of beta of a multi-rate model. Its parameters then have one more leaf, ``"eta"``,
        the log beta at which it works; the modules are called with it, ``(x, eta)`` and ``(z, eta)``, and the latents
        between them are gated (``rate_gates.py``).
    """

    def at(params):
        return () if beta_range is None else (params["eta"],)

    def init(key):
        encoder_key, decoder_key = jax.random.split(key)
        eta = () if beta_range is None else (jnp.zeros(()),)
        return {
            "encoder": encoder.init(encoder_key, jnp.zeros(event), *eta)["params"],
            "decoder": decoder.init(decoder_key, jnp.zeros(latent_dim), *eta)["params"],
        }

    def encode(params, x):
        return DiagGaussian(*encoder.apply({"params": params["encoder"]}, x, *at(params)))

    def decode(params, z):
        return decoder.apply({"params": params["decoder"]}, z, *at(params))

    vae = VAE(init, encode, decode)
    if beta_range is None:
        return vae
    from vae_jax.models.rate_gates import gate_latents

    return gate_latents(vae, beta_range, latent_dim)


def from_nnx(
    make_encoder: Callable[[Any], Any],
    make_decoder: Callable[[Any], Any],
    event: Event,
    latent_dim: int,
    beta_range: tuple[float, float] | None = None,
) -> VAE:
    """A ``VAE`` from two functions, or classes, that make unbatched nnx modules: ``rngs -> module``.

    The modules' parameters (``nnx.Param``) are those of the ``VAE``, under their paths joined by slashes.

    Example::

        class Encoder(nnx.Module):
            def __init__(self, rngs):
                self.hidden, self.out = nnx.Linear(64, 32, rngs=rngs), nnx.Linear(32, 2 * 3, rngs=rngs)

            def __call__(self, x):
                return jnp.split(self.out(nnx.silu(self.hidden(x))), 2)  # mean and log variance

        vae = from_nnx(Encoder, lambda rngs: nnx.Linear(3, 64, rngs=rngs), event=(64,), latent_dim=3)

    Args:
      make_encoder: of a module ``x[event] -> (mean[d], logvar[d])``.
      make_decoder: of a module ``z[d] -> theta``.
      event, latent_dim, beta_range: as for ``from_linen``.

    Raises:
      ValueError: a module has variables that are no parameters, such as a batch's statistics or dropout's keys.
    """
    return from_linen(_AsLinen(make_encoder), _AsLinen(make_decoder), event, latent_dim, beta_range)


class _AsLinen:
    """An nnx module with the two methods of a Linen module that ``from_linen`` calls, and as pure as one."""

    def __init__(self, make: Callable[[Any], Any]):
        from flax import nnx

        self._make = make
        # Shapes alone: what the module computes is known here, its numbers come with the parameters.
        self._graph, params, others = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))), nnx.Param, ...)
        self._params = nnx.to_flat_state(params)
        if names := [_name(path) for path, _ in nnx.to_flat_state(others)]:
            raise ValueError(f"a model's modules hold parameters and nothing else, not {', '.join(names)}")

    def init(self, key: Array, *_) -> dict[str, Params]:
        from flax import nnx

        made = nnx.to_flat_state(nnx.state(self._make(nnx.Rngs(key)), nnx.Param))
        return {"params": {_name(path): variable[...] for path, variable in made}}

    def apply(self, variables: dict[str, Params], *args):
        from flax import nnx

        own = [(path, variable.replace(variables["params"][_name(path)])) for path, variable in self._params]
        return nnx.merge(self._graph, nnx.from_flat_state(own))(*args)


def _name(path: tuple) -> str:
    return "/".join(map(str, path))
