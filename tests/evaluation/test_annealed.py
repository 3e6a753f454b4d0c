"""Annealed importance sampling against the exact log-likelihood of probabilistic PCA, and continued after a stop."""

from __future__ import annotations

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.claims import bed
from vae_jax.evaluation.annealed import simulate, temperatures
from vae_jax.runs import annealing
from vae_jax.runs.annealing import Plan, annealed, parse_plan
from vae_jax.types import UserError

SIGMA2 = 0.4
OWN = {"log_sigma": jnp.asarray(0.5 * math.log(SIGMA2), jnp.float32)}
W = bed.basis()[:, :6] * np.sqrt(np.maximum(bed.EIGENVALUES[:6] - SIGMA2, 0))
PARAMS = {"model": {"w": jnp.asarray(W, jnp.float32)}, "likelihood": OWN}
KEY = jax.random.key(3)
X = np.asarray(simulate(bed.LINEAR, bed.FIXED, PARAMS, KEY, jax.random.normal(KEY, (24, 6))))
PLAN = Plan(16, 400)


def run(likelihood=bed.FIXED):
    return SimpleNamespace(vae=bed.LINEAR, likelihood=likelihood, key=KEY, config=SimpleNamespace(latent_dim=6))


@pytest.fixture(scope="module")
def found():
    return annealed(run(), PARAMS, X, PLAN)


def test_the_exact_log_likelihood_lies_in_the_bracket(found):
    # The error of the mean of 24 logarithms of means of 16 weights is about .03.
    exact = bed.bed_log_likelihood(PARAMS, X)
    assert abs(found["log_px"] - exact.mean()) < 0.1
    np.testing.assert_allclose(found["log_px_per_example"], exact, atol=1.0)
    assert -0.1 < found["simulated"]["gap"] < 0.3 and 0.5 < found["acceptance"] < 0.85


def test_the_curve_is_that_of_the_linear_decoder(found):
    # Under p(z) N(x; Wz, s)^b, z is Gaussian: precision I + b W'W / s.
    for b, rate, distortion in list(zip(*found["curve"].values()))[10::7]:
        covariance = np.linalg.inv(np.eye(6) + b * W.T @ W / SIGMA2)
        mean = b * X @ W @ covariance / SIGMA2
        kl = 0.5 * (np.trace(covariance) - 6 - np.linalg.slogdet(covariance)[1] + np.square(mean).sum(1).mean())
        error = np.square(X - mean @ W.T).sum(1).mean() + np.trace(W @ covariance @ W.T)
        # -log p(x|z) varies by about 1.7 nats over a posterior of six latents; of 24 x 16 chains 240 are effective,
        # so a mean is known to .11: three times that.
        assert abs(rate - kl) < 0.33
        assert abs(distortion - 0.5 * (error / SIGMA2 + bed.DIM * math.log(2 * math.pi * SIGMA2))) < 0.33


def test_a_lost_constant_leaves_the_bracket(found):
    short = bed.FIXED._replace(log_prob=lambda own, theta, x: bed.FIXED.log_prob(own, theta, x) + 0.5)
    wrong = annealed(run(short), PARAMS, X, PLAN)
    exact = bed.bed_log_likelihood(PARAMS, X).mean()
    assert wrong["log_px"] - exact > 0.4


def test_a_sampler_of_another_sigma_turns_the_bracket_inside_out(found):
    # Its z are no draws of the posterior, so the bound from above is none.
    wide = bed.FIXED._replace(sample=lambda own, theta, key: theta + 1.5 * jax.random.normal(key, theta.shape))
    gap = annealed(run(wide), PARAMS, X, PLAN)["simulated"]
    assert gap["gap"] < -3 * gap["gap_error"] and gap["gap"] < -0.2


def test_a_stop_costs_nothing_but_time(found, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    monkeypatch.setattr(annealing, "SAVE_EVERY", -1.0)
    calls = iter(range(1000))
    whole = annealing._Chains._save

    def save(self, *args):
        whole(self, *args)
        if next(calls) == 25:
            raise Killed

    monkeypatch.setattr(annealing._Chains, "_save", save)
    with pytest.raises(Killed):
        annealed(run(), PARAMS, X, PLAN, tmp_path)
    assert (tmp_path / annealing.FILE).exists()
    again = annealed(run(), PARAMS, X, PLAN, tmp_path)
    assert again == found and next(calls) < 26 + 5 + 16 * 3  # what was done before was not done again
    (tmp_path / annealing.FILE).write_bytes(b"torn")
    annealing.forget(tmp_path)
    assert not any(tmp_path.iterdir())


def test_temperatures_and_plans():
    ladder = temperatures(100)
    assert ladder[0] == 0 and ladder[-1] == 1 and np.all(np.diff(ladder) > 0)
    assert parse_plan("16,1000") == Plan(16, 1000)
    for text in ("16", "0,100", "4,3", "a,b", "1,2,3", ""):
        with pytest.raises(UserError, match="CHAINS,TEMPERATURES"):
            parse_plan(text)
