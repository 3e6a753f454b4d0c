"""What is said and chosen before training: the forecast in nats, the headline, the weightings of a configuration."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import BED_EIGENVALUES, BED_LATENTS, golden

from vae_jax.evaluation.bounds import calibrated_elbo
from vae_jax.runs.checks import check
from vae_jax.runs.names import BUILT_IN
from vae_jax.runs.settings import Config
from vae_jax.runs.settling import without_data
from vae_jax.runs.weightings import WEIGHTINGS, given_beta, settle
from vae_jax.theory.forecast import (
    Forecast,
    at_beta,
    beta_for_distortion,
    beta_for_rate,
    distortion_at,
    headline,
    slopes,
)
from vae_jax.types import KLWeight, UserError

FIXED = Forecast(BED_EIGENVALUES, BED_LATENTS, 0.1)
LEARNED = Forecast(BED_EIGENVALUES, BED_LATENTS, None)


class Chosen(NamedTuple):
    beta: float | None
    headline: str
    warnings: list[str]
    weight: KLWeight
    objective: Callable | None


NEEDED = {"pi": ["target_kl"], "capacity": ["target_kl"], "geco": ["target_distortion"]}


def chosen(forecast=FIXED, **flags):
    """The settled flags, the weight's own choice and its function, and all warnings."""
    config, dim = Config(latent_dim=BED_LATENTS, **flags), len(BED_EIGENVALUES)
    warnings = check(config, BUILT_IN)
    config, choice = settle(without_data(config, BUILT_IN), WEIGHTINGS, forecast, dim)
    made = WEIGHTINGS[config.weighting].make(config, given_beta(config, dim))
    return config, Chosen(*choice, *made), warnings + choice.warnings


def test_distortion_in_nats_is_the_tables_loss():
    # The reference table of the bed: beta = 1 at sigma^2 = .1, and the pPCA optimum, where -ELBO = rate + distortion.
    assert distortion_at(FIXED, 1.0) + at_beta(FIXED, 1.0).rate == golden("9.74893592")
    assert distortion_at(FIXED, 4.0) + 4.0 * at_beta(FIXED, 4.0).rate == golden("26.14583899")
    for beta, loss in ((0.25, ".05422187"), (0.5, "3.71748890"), (1.0, "9.473207627"), (1.5, "13.19227910")):
        assert distortion_at(LEARNED, beta) + beta * at_beta(LEARNED, beta).rate == golden(loss)


@pytest.mark.parametrize("forecast", [FIXED, LEARNED], ids=["fixed", "learned"])
@pytest.mark.parametrize("beta", [0.3, 1.0, 1.3])
def test_targets_are_turned_back_into_weights(forecast, beta):
    assert beta_for_rate(forecast, at_beta(forecast, beta).rate) == pytest.approx(beta, rel=1e-9)
    assert beta_for_distortion(forecast, distortion_at(forecast, beta)) == pytest.approx(beta, rel=1e-9)


def test_slopes_are_the_envelope_theorems():
    # dNLL = -beta dR along the curve at fixed sigma, and dR / d log s = -q / 2 (eq. 7.1).
    for forecast, beta in ((FIXED, 4.0), (LEARNED, 1.3)):
        rate, distortion = slopes(forecast, beta)
        assert rate == pytest.approx(at_beta(forecast, beta).active / 2, rel=1e-9)
        assert distortion == pytest.approx(beta * rate, rel=5e-3)  # to second order in the step of 10%


def test_the_calibrated_elbo_of_equal_weights_is_one_number():
    # Eq. 2.7: SSE .1648, KL 5.4632, D = 16 declared at sigma^2 = .01 is +8.43514, at 1 it is -20.24862.
    def results(variance):
        return {"data_dim": 16, "mse": 0.1648 / 16, "rate": 5.4632, "train": {"mse": variance}}

    assert calibrated_elbo(results(0.01)) == golden("8.43514")
    assert calibrated_elbo(results(1.0)) == golden("-20.24862")
    assert calibrated_elbo(results(0.0)) == -math.inf  # a training error that has underflown has no sigma
    best = calibrated_elbo(results(0.1648 / 16))
    assert best == pytest.approx(-8.0 * (1.0 + math.log(2.0 * math.pi * 0.1648 / 16)) - 5.4632, rel=1e-12)
    assert all(calibrated_elbo(results(v)) < best for v in (0.009, 0.01, 0.011))


def test_every_weighting_can_be_chosen_and_started():
    given = {"target_kl": 4.0, "target_distortion": 5.0}
    for name in WEIGHTINGS:
        flags = {flag: given[flag] for flag in NEEDED.get(name, ())}
        config, weighting, said = chosen(weighting=name, **flags)
        assert not said, name
        state = weighting.weight.init()
        assert jnp.isfinite(weighting.weight.value(state, 0))
        assert all(v.size == 1 for v in jax.tree.leaves(state))
        assert dataclasses.asdict(config)["weighting"] == name and weighting.headline


def test_gains_come_from_the_theory_and_become_flags():
    config, weighting, _ = chosen(weighting="pi", target_kl=4.023594781)
    assert weighting.beta == pytest.approx(4.0, rel=1e-8)
    assert config.ki == float(f"{config.ki:.2g}") and config.kp == pytest.approx(10 * config.ki, rel=0.1)
    # The loop's time constant, 1 / (ki |dR / dbeta|), is a thirtieth of the run.
    assert 1 / (config.ki * slopes(FIXED, 4.0)[0] / 4.0) == pytest.approx(3000 / 30, rel=0.05)
    assert float(weighting.weight.value(weighting.weight.init(), 0)) == pytest.approx(4.0, rel=1e-6)
    assert "a linear model needs beta = 4" in weighting.headline
    kept, _, _ = chosen(weighting="pi", target_kl=4.0, ki=0.5, kp=0.0)
    assert (kept.ki, kept.kp) == (0.5, 0.0)
    config, weighting, _ = chosen(weighting="geco", target_distortion=distortion_at(FIXED, 4.0), beta=2.0)
    assert weighting.beta == pytest.approx(4.0, rel=1e-8)
    assert float(weighting.weight.value(weighting.weight.init(), 0)) == pytest.approx(2.0, rel=1e-6)  # as asked
    config, weighting, _ = chosen(weighting="capacity", target_kl=4.023594781)
    assert config.gamma == 12.0 and weighting.objective is not None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"weighting": "pi", "target_kl": 4.0, "beta_max": 1.0}, "needs beta = 4.04"),
        ({"weighting": "geco", "target_distortion": -50.0}, "no linear model has a distortion of -50"),
        ({"weighting": "capacity", "target_kl": 4.0, "gamma": 3.0}, "--gamma=3 is below the weight of 4.04"),
        ({"weighting": "capacity", "target_kl": 4.0, "warmup_steps": 9000}, "never 4"),
        ({"weighting": "linear", "warmup_steps": 6000}, "beta will reach 0.5, never 1"),
        ({"weighting": "sigmoid", "warmup_steps": 3000, "num_steps": 2000}, "ends after the last step"),
        ({"weighting": "cyclical", "cycles": 7}, "do not divide"),
        ({"weighting": "free_bits", "free_nats": 3.0}, "the floor, not the data"),
        ({"weighting": "linear", "target_kl": 3.0}, "--target_kl=3 does nothing with --weighting=linear"),
        ({"gamma": 3.0}, "--gamma=3 does nothing"),
        ({"warmup_steps": 5}, "--warmup_steps=5 does nothing with --weighting=constant"),
        ({"objective": "iwae", "beta": 2.0}, "bounds nothing"),
    ],
)
def test_what_may_not_work_out_is_said_before_training(flags, words):
    assert any(words in line for line in chosen(**flags)[2])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"weighting": "pi"}, "--weighting=pi needs --target_kl"),
        ({"weighting": "geco"}, "--weighting=geco needs --target_distortion"),
        ({"weighting": "capacity", "target_kl": 4.0, "objective": "iwae"}, "--objective=elbo"),
        ({"weighting": "pi", "target_kl": -1.0}, "--target_kl=-1.0"),
        ({"weighting": "pi", "target_kl": 1.0, "beta_min": 2.0, "beta_max": 1.0}, "--beta_min=2.0"),
        ({"weighting": "geco", "target_distortion": math.nan}, "--target_distortion=NaN"),
        ({"weighting": "geco", "target_distortion": 1.0, "geco_decay": 1.0}, "--geco_decay=1.0"),
        ({"weighting": "capacity", "target_kl": 4.0, "gamma": 0.0}, "--gamma=0.0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(flags, words):
    with pytest.raises(UserError) as caught:
        chosen(**flags)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("forecast", [FIXED, LEARNED], ids=["fixed", "learned"])
@pytest.mark.parametrize("flags", [{"target_distortion": v} for v in (3e4, 1e30, -3e38)] + [{"beta": 0.0}], ids=str)
def test_geco_takes_any_number_that_a_flag_can_have(forecast, flags):
    # exp(2 * distortion / D) of a learned sigma overflows above 355 nats a dimension, and log(0) has no number.
    config, weighting, said = chosen(forecast, weighting="geco", **{"target_distortion": 5.0, **flags})
    assert "target_distortion" not in flags or any("no linear model has a distortion of" in line for line in said)
    assert 0 < float(weighting.weight.value(weighting.weight.init(), 0)) < math.inf and config.geco_rate > 0


def test_a_family_without_a_theory_still_gets_a_controller():
    config, weighting, said = chosen(None, weighting="pi", target_kl=4.0)
    assert weighting.beta is None and config.ki > 0 and not said
    line = headline(BED_EIGENVALUES, BED_LATENTS, weighting.headline, weighting.beta, "bernoulli")
    assert "the rate held at 4 nats by PI" in line and "no sigma to weigh" in line


def test_the_headline_of_a_controller_says_what_a_linear_model_needs():
    _, weighting, _ = chosen(weighting="pi", target_kl=4.023594781)
    line = headline(BED_EIGENVALUES, BED_LATENTS, weighting.headline, weighting.beta, "gaussian", "fixed", 0.1**0.5)
    assert "needs beta = 4 (beta_norm = 2.4)" in line and "water level s = beta sigma^2 = 0.4" in line
    assert "about 5 of the 6 latents" in line
    assert np.isclose(at_beta(FIXED, weighting.beta).water_level, 0.4)


def test_no_forecast_goes_below_the_bound_of_sigma():
    tiny = Forecast(1e-9 * BED_EIGENVALUES, BED_LATENTS, None)
    free, bounded = (at_beta(tiny._replace(least=least), 1.0) for least in (0.0, 1e-6))
    assert free.sigma2 < 1e-6 == bounded.sigma2 and bounded.active == 0 < free.active
    assert at_beta(tiny._replace(sigma2=1e-8, least=1e-6), 1.0).sigma2 == 1e-8  # a fixed sigma has no bound
    line = headline(tiny.eigenvalues, BED_LATENTS, "beta = 1", 1.0, "gaussian", "learned", 2e-3, 1e-3)
    assert "would stop at its lower bound 0.001" in line and "about 0 of" in line and "settle" not in line
