"""The shapes of a model, and parameters drawn by numpy: compiling an initialiser takes as long as a gradient does."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def drawn(shapes, scale=0.5, seed=0):
    """A tree of float32 arrays of these shapes: normals, of kernels divided by the root of their inputs; eta is 0."""
    rng = np.random.default_rng(seed)

    def leaf(path, shape):
        if path[-1].key == "eta":
            return np.zeros((), np.float32)
        fan_in = np.prod(shape.shape[:-1]) if len(shape.shape) > 1 else 1.0
        return (scale * rng.standard_normal(shape.shape) / np.sqrt(fan_in)).astype(np.float32)

    return jax.tree.map_with_path(leaf, shapes)


def shapes_of(vae, event, theta_shape, latent_dim):
    """The shapes of a model's parameters; holds that what it returns has the right shape, in float32 under x64."""
    with jax.enable_x64(True):
        params = jax.eval_shape(vae.init, jax.random.key(0))
        q = jax.eval_shape(vae.encode, params, jax.ShapeDtypeStruct(event, jnp.float32))
        theta = jax.eval_shape(vae.decode, params, q.mean)
    assert q.mean.shape == q.logvar.shape == (latent_dim,) and theta.shape == theta_shape
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((params, q, theta)))
    return params
