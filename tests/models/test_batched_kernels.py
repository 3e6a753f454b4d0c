"""The convolutional model under ``vmap`` over its kernels, as in a sweep: matrix products, no grouped convolutions."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.parameters import drawn

from vae_jax import models

EVENT = (8, 8, 1)
X = np.random.default_rng(0).uniform(size=(2, *EVENT)).astype(np.float32)


def make(**options):
    return models.conv(EVENT, EVENT, 3, (8,), **options)


def gradients(vae):
    """``params -> gradient`` of an error through encoder and decoder, the mean over a batch of images."""

    def error(params):
        return jnp.mean(jax.vmap(lambda x: jnp.sum(jnp.square(x - vae.decode(params, vae.encode(params, x).mean))))(X))

    return jax.grad(error)


def runs(vae, count=3):
    return jax.vmap(vae.init)(jax.random.split(jax.random.key(0), count))


def lowered(vae, platform):
    """The program of a sweep of three runs, as StableHLO for ``platform``, which need not be here."""
    params = jax.eval_shape(lambda: runs(vae))
    return jax.jit(jax.vmap(gradients(vae))).trace(params).lower(lowering_platforms=(platform,)).as_text()


def largest_group_count(text):
    return max(map(int, re.findall(r"(?:feature|batch)_group_count = (\d+)", text)), default=0)


@pytest.mark.parametrize("beta_range", [None, (0.1, 10.0)])
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_batched_kernels_are_matrix_products_on_every_platform(platform, beta_range):
    text = lowered(make(batched_kernels=True, beta_range=beta_range), platform)
    assert "stablehlo.convolution" not in text and "stablehlo.dot_general" in text


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_plain_model_becomes_grouped_convolutions(platform):
    """Planted: what the test above must reject. The runs multiply the groups."""
    text = lowered(make(), platform)
    assert "stablehlo.convolution" in text and largest_group_count(text) >= 3


def test_the_parameters_and_the_numbers_are_the_same():
    plain, batched = make(), make(batched_kernels=True)
    params = drawn(jax.eval_shape(lambda: runs(plain)))
    # Their first parameters are the same: the programs of the initialisers are.
    programs = [jax.jit(lambda vae=vae: runs(vae)).lower().as_text() for vae in (plain, batched)]
    assert programs[0] == programs[1]
    swept = [jax.jit(jax.vmap(gradients(vae)))(params) for vae in (batched, plain)]
    for a, b in zip(*map(jax.tree.leaves, swept)):
        # On this platform both are matrix products: what differs is the order of sums of some hundred terms.
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(np.max(np.abs(b))))
