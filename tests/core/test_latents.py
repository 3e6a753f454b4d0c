"""Priors and posteriors: the standard pair by the general way is the standard model, to the last bit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import objective
from vae_jax.gaussian import standard_normal_log_prob
from vae_jax.likelihoods import gaussian
from vae_jax.models import mlp
from vae_jax.posteriors import diagonal, with_latents
from vae_jax.priors import standard_normal
from vae_jax.types import Prior

EVENT, LATENTS, KEY = (6,), 3, jax.random.key(3)
VAE, LIKELIHOOD = mlp(EVENT, EVENT, LATENTS, (5,)), gaussian("learned")


def of_batch(vae, params, samples=4):
    """Returns the terms of a batch of two."""
    x = jax.random.normal(KEY, (2, *EVENT))
    return jax.vmap(lambda x, key: objective.terms(vae, LIKELIHOOD, params, x, key, samples))(x, jax.random.split(KEY))


def first_params(vae):
    return {"model": vae.init(KEY), "likelihood": LIKELIHOOD.init(EVENT)}


@pytest.mark.parametrize("bound", [objective.elbo, objective.iwae])
def test_the_standard_pair_by_the_general_way_gives_the_same_bits(bound):
    general = with_latents(VAE, standard_normal(), diagonal(), LATENTS)
    params = first_params(VAE)
    assert jax.tree.structure(params) == jax.tree.structure(first_params(general))
    expected, by_general = of_batch(VAE, params), of_batch(general, params)
    for name in ("z", "log_px_z", "log_pz", "log_qz"):
        np.testing.assert_array_equal(getattr(expected, name), getattr(by_general, name))
    assert bound(expected, 0.7) == bound(by_general, 0.7)


def test_without_a_closed_form_the_rate_is_the_mean_over_the_samples():
    shifted = Prior(
        init=lambda key, latent_dim: {"mean": jnp.full(latent_dim, 0.5)},
        log_prob=lambda params, z, c: standard_normal_log_prob(z - params["prior"]["mean"]),
        sample=lambda params, key, latent_dim, c: params["prior"]["mean"] + jax.random.normal(key, (latent_dim,)),
    )
    vae = with_latents(VAE, shifted, diagonal(), LATENTS)
    t = of_batch(vae, first_params(vae), 20_000)
    np.testing.assert_allclose(objective.rate(t), jnp.mean(t.log_qz - t.log_pz, -1), rtol=1e-6)
    # KL(N(mu, tau^2) || N(1/2, 1)) in closed form; the mean of 20,000 draws is within 5 of its standard errors.
    exact = 0.5 * jnp.sum((t.q.mean - 0.5) ** 2 + jnp.exp(t.q.logvar) - 1.0 - t.q.logvar, -1)
    error = jnp.std(t.log_qz - t.log_pz, -1) / 20_000**0.5
    assert (jnp.abs(objective.rate(t) - exact) < 5 * error).all()
