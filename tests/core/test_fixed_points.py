"""Where every way of choosing the weight ends, trained on the exact linear bed and held against closed forms.

All of it in 64 bits and without sampling noise, through the terms, the objectives, the controllers and the training
step that real runs use. What the closed forms themselves say, and the learned variance at five weights, is in
``test_linear_vae.py`` and ``test_objective.py``.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import BED_EIGENVALUES, BED_LATENTS, golden
from jax.flatten_util import ravel_pytree
from linear_bed import (
    DIM,
    FIXED,
    SIGMA2,
    WATER_LEVELS,
    batch_terms,
    bed_data,
    bed_log_likelihood,
    bed_optimum,
    exact_terms,
    minimum,
    second_moments,
    sse_and_rate,
    train,
)

from experiments.claims.fixed_points import ENDING_AT_ONE
from vae_jax import objective, schedules, weighting
from vae_jax.linear_vae import predict

CAPACITY = 4.023594781  # the rate at s = 0.4, that is beta = 4 at the bed's sigma^2 = 0.1


def close(expected, rel=1e-3):
    return pytest.approx(expected, rel=rel)


# ---------------------------------------------------------------- minima


def test_the_noise_free_terms_are_the_traces(x64):
    """The bed's loss as closed-form traces, at weights that are no optimum."""
    rng = np.random.default_rng(0)
    w, v, d = rng.normal(size=(DIM, BED_LATENTS)), rng.normal(size=(BED_LATENTS, DIM)), rng.uniform(0.1, 2, BED_LATENTS)
    x = np.asarray(bed_data())
    cov = x.T @ x / len(x)
    residual = np.eye(DIM) - w @ v
    sse = np.trace(residual @ cov @ residual.T) + np.trace(w * d @ w.T)
    kl = 0.5 * (np.trace(v @ cov @ v.T) + d.sum() - np.log(d).sum() - BED_LATENTS)
    model = {"w": jnp.asarray(w), "v": jnp.asarray(v), "log_d": jnp.log(d)}
    t = exact_terms(FIXED, {"model": model, "likelihood": {"log_sigma": 0.5 * jnp.log(SIGMA2)}}, jnp.asarray(x))
    assert sse_and_rate(t) == pytest.approx((sse, kl), rel=1e-12)


@pytest.mark.parametrize(("s", "sse", "kl", "active"), WATER_LEVELS)
def test_a_beta_vae_ends_on_the_water_filling_curve(s, sse, kl, active, x64):
    _, _, t = minimum(s / SIGMA2, SIGMA2)
    assert sse_and_rate(t) == (pytest.approx(float(sse), rel=1e-6), pytest.approx(float(kl), rel=1e-6, abs=1e-7))
    per_latent = np.sort(np.mean(t.q.kl(), 0))[::-1]
    expected = predict(BED_EIGENVALUES, s / SIGMA2, SIGMA2, BED_LATENTS).kl_per_latent
    np.testing.assert_allclose(per_latent, expected, atol=1e-5)
    assert np.sum(np.var(t.q.mean, axis=0) > 0.01) == active
    np.testing.assert_allclose(second_moments(t), 1.0, atol=1e-5)


def test_a_water_level_off_by_two_is_off_the_curve(x64):
    """Planted: an error term without its half is sigma^2 = 1/2 read as 1, half the water level."""
    assert sse_and_rate(minimum(4.0, SIGMA2)[2]) == (close(2.475), close(CAPACITY))
    for wrong in (2.0, 8.0):
        sse, rate = sse_and_rate(minimum(wrong, SIGMA2)[2])
        assert abs(sse / 2.475 - 1) > 0.1 and abs(rate / CAPACITY - 1) > 0.1


def test_the_best_loss_changes_with_beta_by_the_rate(x64):
    for beta, rate in ((1.0, "7.947476"), (4.0, "4.023595")):
        low, high = (minimum(beta + step, SIGMA2)[0] for step in (-1e-2, 1e-2))
        assert (high - low) / 2e-2 == close(float(rate), 1e-4)
    assert sse_and_rate(minimum(1.0, SIGMA2)[2])[1] == golden("7.947476")


def test_importance_weights_are_constant_where_training_ends(x64):
    _, params, exact = minimum(1.0)
    log_p = bed_log_likelihood(params, bed_data())
    assert log_p.mean() == golden("-9.473207627")
    np.testing.assert_allclose(second_moments(exact), 1.0, atol=1e-6)
    t = batch_terms(FIXED, params, bed_data(), jax.random.key(0), 50)
    assert np.std(t.log_px_z + t.log_pz - t.log_qz, axis=1).max() < 1e-6
    for k in (1, 5, 50):
        some = t._replace(**{name: getattr(t, name)[:, :k] for name in ("log_px_z", "log_pz", "log_qz")})
        assert float(objective.iwae(some)) == pytest.approx(log_p.mean(), abs=1e-6)
    # Planted: away from that optimum they vary, and fewer samples give a lower bound.
    t = batch_terms(FIXED, minimum(4.0, SIGMA2)[1], bed_data(), jax.random.key(0), 50)
    assert np.std(t.log_px_z + t.log_pz - t.log_qz, axis=1).min() > 0.1


# ---------------------------------------------------------------- runs: Adam through the training step


def test_every_schedule_that_ends_at_one_reaches_the_same_optimum(x64):
    """Trap 46: a schedule changes the path, not the optimum."""
    steps = 2000
    run = train(lambda table: weighting.from_schedule(lambda step: table[step]), steps=steps)
    for name, schedule in ENDING_AT_ONE.items():
        table = jnp.broadcast_to(schedule(np.arange(steps)), steps)
        assert table[-1] == pytest.approx(1.0)
        t, metrics, _ = run(table)
        np.testing.assert_allclose(metrics["beta"], table, rtol=1e-6, err_msg=name)
        assert -float(objective.elbo(t)) == close(9.748936, 1e-6), name
        np.testing.assert_allclose(second_moments(t), 1.0, atol=1e-3)
    t, *_ = run(jnp.full(steps, 0.5))  # planted: a run that never got to weight 1
    assert -float(objective.elbo(t)) > 9.748936 * (1 + 1e-2)


@pytest.mark.parametrize(("kp", "ki", "start"), [(0.01, 0.01, None), (0.3, 0.03, 20.0)])
def test_the_pi_controller_finds_the_beta_of_its_target(kp, ki, start, x64):
    t, metrics, last = train(lambda _: weighting.pi(CAPACITY, kp, ki, start=start))()
    assert float(last.weight_state["beta"]) == close(4.0) == float(metrics["beta"][-1])
    assert sse_and_rate(t) == (close(2.475), close(CAPACITY))
    assert metrics["saturated"][-1] == 0.0
    np.testing.assert_allclose(second_moments(t), 1.0, atol=1e-3)


def test_geco_finds_the_multiplier_of_its_tolerance(x64):
    """kappa^2 = 2.475: the multiplier on the squared error is 1 / (2 s*) = 1.25, s* = 0.4 (trap 54)."""
    target = 0.5 * DIM * math.log(2.0 * math.pi * SIGMA2) + 2.475 / (2.0 * SIGMA2)  # nats
    t, metrics, last = train(lambda _: weighting.geco(target, rate=3e-3), steps=4000)()
    on_the_error = math.exp(float(last.weight_state["log_multiplier"])) / (2.0 * SIGMA2)  # ours is held per nat
    assert on_the_error == close(1.25)
    assert float(metrics["beta"][-1]) == close(4.0) and metrics["saturated"][-1] == 0.0
    assert sse_and_rate(t) == (close(2.475), close(CAPACITY))
    np.testing.assert_allclose(second_moments(t), 1.0, atol=1e-3)


@pytest.mark.parametrize(("gamma", "sse", "rate"), [(3.0, 1.975, 4.742799962), (5.0, 2.475, CAPACITY)])
def test_a_capacity_below_and_above_its_threshold(gamma, sse, rate, x64):
    """beta*(C) = 4: a smaller gamma gives the beta-VAE of beta = gamma, a larger one holds the rate at C (trap 48)."""

    def weight(_):
        return weighting.capacity(schedules.linear(CAPACITY, 500), gamma)

    t, metrics, last = train(weight, objective.capacity(gamma))()
    assert sse_and_rate(t) == (close(sse), close(rate))
    assert metrics["capacity"][-1] == close(CAPACITY, 1e-6)
    # What the loss applied is +gamma or -gamma; its mean is the multiplier, the beta whose optimum this is.
    multiplier = min(gamma, 4.0)
    assert float(jnp.mean(metrics["beta"][1000:])) == close(multiplier, 0.02)
    assert float(weight(None).beta(last.weight_state, 2000)) == close(multiplier, 0.2)


def test_the_threshold_of_the_capacity_is_the_slope_of_the_curve(x64):
    """If gamma >= 4 nothing near the optimum of rate C is better; if not, the way to the optimum of beta = 3 is."""
    x, rate = bed_data(), predict(BED_EIGENVALUES, 4.0, SIGMA2, BED_LATENTS).rate
    (_, at_four, _), (_, at_three, _) = bed_optimum(4.0, SIGMA2), bed_optimum(3.0, SIGMA2)
    flat, unravel = ravel_pytree(at_four["model"])
    towards = ravel_pytree(at_three["model"])[0] - flat
    rng = np.random.default_rng(0)
    moves = [size * rng.normal(size=(50, flat.size)) for size in (1e-3, 1e-2, 0.1)]
    moves = np.concatenate([np.zeros((1, flat.size)), np.linspace(0.02, 1.0, 50)[:, None] * towards, *moves])

    @jax.jit
    @jax.vmap
    def terms(move):
        t = exact_terms(FIXED, {**at_four, "model": unravel(flat + move)}, x)
        bounds = {gamma: objective.capacity(gamma) for gamma in (3.0, 4.0, 20.0)}
        return {gamma: -bound(t, rate) for gamma, bound in bounds.items()}

    loss = {gamma: np.asarray(values) for gamma, values in terms(moves).items()}
    for gamma in (4.0, 20.0):
        assert np.all(loss[gamma][1:] > loss[gamma][0] - 1e-12)
    assert loss[3.0].min() < loss[3.0][0] - 0.05


def test_free_bits_reach_their_own_optimum(x64):
    """s = 0.4, floor 0.25: 7.216213, with KLs that no water level gives (trap 50)."""
    run = train(lambda _: weighting.from_schedule(schedules.constant(4.0)), objective.free_bits(0.25))
    level, naive = 0.4, np.maximum(0.25, 0.5 * np.log(BED_EIGENVALUES[:BED_LATENTS] / 0.4))
    for seed in range(3):
        t, *_ = run(seed=seed)
        sse, _ = sse_and_rate(t)
        kl = np.sort(np.mean(t.q.kl(), 0))[::-1]
        loss = sse / (2 * level) + np.maximum(kl, 0.25).sum()
        assert loss == close(7.216213, 1e-5)
        np.testing.assert_allclose(kl, [1.4979, 1.1513, 0.8047, 0.25, 0.25, 0.25], atol=1e-3)
    # Planted: each axis at its floor or on its water level. Axis by axis, lambda exp(-2 KL) is left of lambda.
    error = np.sum(BED_EIGENVALUES[:BED_LATENTS] * np.exp(-2 * naive)) + BED_EIGENVALUES[BED_LATENTS:].sum()
    assert error / (2 * level) + naive.sum() == golden("7.261895")
    assert loss < 7.261895 - 0.04
