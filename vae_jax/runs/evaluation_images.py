"""What a run shows at each evaluation: some test images, their reconstructions, and samples, as one grid each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import priors
from vae_jax.evaluation.batches import is_on_devices
from vae_jax.gaussian import at_least_float32
from vae_jax.randomness import PIXELS, PRIOR, TEST, example_keys, purpose_key
from vae_jax.runs.build import Run
from vae_jax.types import Given, Params, condition_of, value_of

SHOWN = 8  # images in a row of a grid
LARGEST = 256 * 256 * 3  # numbers of an image: of larger ones nothing is shown


def make_images(r: Run, test: Any) -> Callable[[Params], dict[str, np.ndarray]]:
    """Makes ``params -> {"reconstructions", "samples"}``, uint8 grids ``[h, w, c]``; of other data than images nothing.

    Inputs stand above their reconstructions, E[x|z] at the posterior mean; the samples are E[x|z] of the same codes
    each time. Every process calls it.
    """
    event = r.dataset.event
    if r.is_text or len(event) != 3 or event[-1] not in (1, 3, 4) or r.data_dim > LARGEST:
        return lambda params: {}
    n = min(SHOWN, len(test))
    on_devices = is_on_devices(test)

    def show(params, raw, key):
        raw = raw[:n]
        x = jax.vmap(r.preprocess)(example_keys(purpose_key(key, PIXELS), jnp.arange(n)), raw)
        means = jax.vmap(lambda x: r.vae.encode(params["model"], x).mean)(x)
        x, c, sampled = value_of(x), condition_of(x), purpose_key(key, PRIOR)
        if c is None:
            codes = jnp.concatenate([means, priors.draw(r.vae, params, sampled, SHOWN, r.config.code_dim)])
        else:
            keys, again = jax.random.split(sampled, SHOWN), c[jnp.arange(SHOWN) % n]
            draw = jax.vmap(lambda key, c: priors.draw(r.vae, params, key, 1, r.config.code_dim, c)[0])
            codes = Given(jnp.concatenate([means, draw(keys, again)]), jnp.concatenate([c, again]))
        theta = jax.vmap(lambda z: r.vae.decode(params["model"], z))(codes)
        made = jax.vmap(lambda theta: r.likelihood.mean(params["likelihood"], at_least_float32(theta)))(theta)
        shown = jnp.concatenate([x, made]).astype(jnp.float32)
        return jnp.rint(255.0 * jnp.clip(jnp.nan_to_num(shown), 0.0, 1.0)).astype(jnp.uint8)

    program = r.spread.measure(show)

    def images(params):
        shown = np.asarray(
            program(params, test if on_devices else jax.tree.map(np.asarray, test[:n]), purpose_key(r.key, TEST))
        )
        rows = (shown[:n], shown[n : 2 * n]), (shown[2 * n :],)
        return dict(zip(("reconstructions", "samples"), map(_grid, rows)))

    return images


def _grid(rows) -> np.ndarray:
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
