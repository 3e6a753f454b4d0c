"""Losses written differently and equal in weight have one gradient, but for a factor: so they train one model.

The losses are written out by hand here, as other code writes them, and never through the project's likelihoods. That
training then ends in one place is in the ledger (``convention_invariance``, ``beta_is_sigma``).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import objective
from vae_jax.conventions import canonical
from vae_jax.gaussian import DiagGaussian
from vae_jax.likelihoods import gaussian
from vae_jax.theory.known_losses import KNOWN

D, M, B = 16, 8, 12  # dimensions, latents, batch
S = 0.01  # the water level of the five losses

# Each loss has x[b, D] in [0, 1], the decoder's output h[b, D] before any squashing, and mu and lv [b, M].


def kl_terms(mu, lv):
    return -0.5 * (1.0 + lv - mu**2 - jnp.exp(lv))


def half_sum_and_sum(x, h, mu, lv):
    error = 0.5 * jnp.sum((x - jax.nn.sigmoid(h)) ** 2, axis=1)
    return jnp.mean(error + 0.01 * jnp.sum(kl_terms(mu, lv), axis=1))


def mean_and_sum(x, h, mu, lv):
    """The commonest: b D / 2 is 0.01 at b = 0.00125."""
    error = jnp.mean((x - jax.nn.sigmoid(h)) ** 2)
    return error + 0.00125 * jnp.mean(jnp.sum(kl_terms(mu, lv), axis=1))


def mean_and_mean(x, h, mu, lv):
    return jnp.mean((x - jax.nn.sigmoid(h)) ** 2) + 0.01 * jnp.mean(kl_terms(mu, lv))


def bytes_batch_summed(x, h, mu, lv):
    """Pixels 0..255 and a mean over the latents, both terms summed over the batch, the error weighed by 2."""
    error = jnp.sum((255.0 * x - 255.0 * jax.nn.sigmoid(h)) ** 2)
    return 2.0 * error + 20808.0 * jnp.sum(jnp.mean(kl_terms(mu, lv), axis=1))


def tanh_and_half_mean(x, h, mu, lv):
    """Pixels -1..1; the error is averaged over pixels and summed over the batch, the KL the other way round."""
    error = 0.5 * jnp.sum(jnp.mean(((2.0 * x - 1.0) - jnp.tanh(h / 2.0)) ** 2, axis=1))
    return 10.0 * error + 0.3 * jnp.mean(jnp.sum(kl_terms(mu, lv), axis=1))


def half_the_weight(x, h, mu, lv):
    """Planted: the half of the squared error forgotten, which halves the water level."""
    error = jnp.sum((x - jax.nn.sigmoid(h)) ** 2, axis=1)
    return jnp.mean(error + 0.01 * jnp.sum(kl_terms(mu, lv), axis=1))


# The loss, and what ``canonical`` is told of it: recon, its reduction, the KL's, its weight; and the rest.
EQUAL = {
    half_sum_and_sum: (("half_squared_error", "sum", "sum", 0.01), {}),
    mean_and_sum: (("squared_error", "mean", "sum", 0.00125), {}),
    mean_and_mean: (("squared_error", "mean", "mean", 0.01), {}),
    bytes_batch_summed: (
        ("squared_error", "sum+batch_sum", "mean+batch_sum", 20808.0),
        {"recon_weight": 2.0, "pixel_scale": 255.0},
    ),
    tanh_and_half_mean: (
        ("half_squared_error", "mean+batch_sum", "sum", 0.3),
        {"recon_weight": 10.0, "pixel_scale": 2.0},
    ),
}


# Recipes as their repositories write them, on pixels in [0, 1] with our sizes; named as in ``known_losses``.


def vanilla_vae(x, h, mu, lv):
    error = jnp.mean((x - jax.nn.sigmoid(h)) ** 2)
    return error + 2.5e-4 * jnp.mean(jnp.sum(kl_terms(mu, lv), axis=1))


def bolts_vae(x, h, mu, lv):
    return jnp.mean((x - jax.nn.sigmoid(h)) ** 2) + 0.1 * jnp.mean(kl_terms(mu, lv))


def gaussian_disentangling_vae(x, h, mu, lv):
    """The squared error of pixels 0..255, divided by 255."""
    error = jnp.sum((255.0 * x - 255.0 * jax.nn.sigmoid(h)) ** 2) / 255.0 / len(x)
    return error + jnp.sum(jnp.mean(kl_terms(mu, lv), axis=0))


RECIPES = {
    "PyTorch-VAE, VanillaVAE": vanilla_vae,
    "lightning-bolts, VAE": bolts_vae,
    "disentangling-vae, VAE, gaussian": gaussian_disentangling_vae,
}


def ours(sigma):
    """Our bound at beta = 1. Its z only says what the distortion is of: ``h`` is its decoder's output."""

    def loss(x, h, mu, lv):
        def score(x, h, mu, lv):
            q, own = DiagGaussian(mu, lv), {"log_sigma": jnp.log(sigma)}
            return objective.score(gaussian("fixed"), own, x, q, mu[None], jax.nn.sigmoid(h)[None])

        return -objective.elbo(jax.vmap(score)(x, h, mu, lv))

    return loss


def direction(loss):
    """The gradient of a loss in (h, mu, lv) at random ones, divided by its length: what Adam sees of it."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.uniform(size=(B, D)))
    outputs = tuple(jnp.asarray(rng.normal(size=(B, n))) for n in (D, M, M))
    gradient = jax.jit(jax.grad(lambda outputs: loss(x, *outputs)))(outputs)
    flat = np.concatenate([np.ravel(leaf) for leaf in gradient])
    return flat / np.linalg.norm(flat)


def test_five_losses_of_one_water_level_have_one_gradient(x64):
    first = direction(half_sum_and_sum)
    for loss, (arguments, rest) in EQUAL.items():
        assert canonical(*arguments, D, M, batch_size=B, **rest).water_level == pytest.approx(S, rel=1e-12)
        np.testing.assert_allclose(direction(loss), first, rtol=1e-9, atol=1e-15, err_msg=loss.__name__)
    assert np.abs(direction(half_the_weight) - first).max() > 1e-3


@pytest.mark.parametrize("name", RECIPES)
def test_a_copied_recipe_is_our_loss_at_the_converted_sigma(name, x64):
    (row,) = (row for row in KNOWN if row.name == name)
    here = row._replace(data_dim=D, latent_dim=M).convention
    theirs = direction(RECIPES[name])
    np.testing.assert_allclose(theirs, direction(ours(here.sigma)), rtol=1e-6, atol=1e-12)
    assert np.abs(theirs - direction(ours(1.01 * here.sigma))).max() > 1e-5  # planted: 2% off in the water level
