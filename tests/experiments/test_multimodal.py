"""Several x with one code, the paper's file: the product of experts by its formula, and the table in two units."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.papers import multimodal

WIDTHS, LATENTS, KEY = (4, 3), 2, jax.random.key(0)
ROWS = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)


def test_q_is_the_product_of_the_experts_that_are_there_and_of_the_prior():
    vae = multimodal.product_of_experts(WIDTHS, LATENTS, (5,), ROWS)
    params = vae.init(KEY)
    both = jnp.asarray(ROWS[0])
    alone = [both.at[4:].set(jnp.nan), both.at[:4].set(jnp.nan)]
    nothing = vae.encode(params, jnp.full(7, jnp.nan))
    np.testing.assert_array_equal(nothing.mean, 0.0)
    np.testing.assert_array_equal(nothing.logvar, 0.0)
    # Precisions, and means times precisions, add up; N(0, I) is in each of the three.
    q, single = vae.encode(params, both), [vae.encode(params, x) for x in alone]
    precision = sum(jnp.exp(-one.logvar) for one in single) - 1.0
    np.testing.assert_allclose(jnp.exp(-q.logvar), precision, rtol=1e-5)
    weighted = sum(one.mean * jnp.exp(-one.logvar) for one in single)
    np.testing.assert_allclose(q.mean, weighted / precision, rtol=1e-4, atol=1e-6)
    assert (np.abs(single[0].mean) > 0).all() and (q.logvar < jnp.minimum(*(one.logvar for one in single))).all()


def test_what_is_missing_is_no_part_of_the_likelihood():
    likelihood = multimodal.family(WIDTHS, None, ROWS)
    own, theta = likelihood.init((7,)), jnp.zeros(7)
    both = jnp.asarray(ROWS[0])
    first, second = (likelihood.log_prob(own, theta, x) for x in (both.at[4:].set(jnp.nan), both.at[:4].set(jnp.nan)))
    assert likelihood.log_prob(own, theta, both) == pytest.approx(float(first + second), rel=1e-5)
    drop = multimodal.dropping(WIDTHS)
    seen = jax.vmap(lambda key: ~jnp.isnan(drop(key, both)))(jax.random.split(KEY, 3000))
    kinds, counts = np.unique(np.asarray(seen), axis=0, return_counts=True)
    assert len(kinds) == 3 and (np.abs(counts - 1000) < 130).all()


def test_the_table_is_the_same_in_both_units_where_the_noise_is_learned(tmp_path, capsys):
    config = multimodal.Config(workdir=str(tmp_path), num_steps=60, hidden="8", latent_dim=2)
    multimodal.main(config)
    learned, fixed, small, _ = json.loads((tmp_path / "table.json").read_text())
    for name in ("sigma_image", "sigma_readings", "image_error_from_readings"):
        assert small[name] == pytest.approx(learned[name], rel=1e-2)
    assert fixed["sigma_image"] == pytest.approx(0.3) and "label from image" in capsys.readouterr().out
