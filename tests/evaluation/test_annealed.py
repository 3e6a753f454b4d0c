"""Annealed importance sampling against the exact log-likelihood of probabilistic PCA, and continued after a stop."""

from __future__ import annotations

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.trained_models import TEXT, some, untrained
from scipy import stats

from experiments.claims import bed
from vae_jax import objective
from vae_jax.evaluation.annealed import simulate, temperatures
from vae_jax.runs import annealing
from vae_jax.runs.annealing import Plan, annealed, parse_plan
from vae_jax.types import Prior, UserError

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


WEIGHTS, CENTRES = np.array([0.3, 0.7]), np.array([[1.5] * 6, [-0.5] * 6])
MIXTURE = Prior(
    init=lambda key, latent_dim: {},
    log_prob=lambda params, z, c: jax.nn.logsumexp(
        jnp.log(WEIGHTS) + jnp.sum(jax.scipy.stats.norm.logpdf(z, CENTRES, 0.7), axis=-1)
    ),
    sample=lambda params, key, latent_dim, c: (
        jnp.asarray(CENTRES)[jax.random.choice(jax.random.fold_in(key, 1), 2, p=jnp.asarray(WEIGHTS))]
        + 0.7 * jax.random.normal(key, (latent_dim,))
    ),
)


def test_another_prior_is_in_the_bracket_and_the_standard_one_is_out_of_it():
    """Of a mixture and a linear decoder log p(x) is that of a mixture: N(x; W m_k, .49 W W' + sigma^2 I)."""
    r, z = run(), jax.vmap(lambda key: MIXTURE.sample(None, key, 6, None))(jax.random.split(KEY, 24))
    r.vae = bed.LINEAR._replace(prior=MIXTURE)
    x = np.asarray(simulate(r.vae, bed.FIXED, PARAMS, KEY, z))
    covariance = 0.49 * W @ W.T + SIGMA2 * np.eye(len(W))
    parts = [np.log(w) + stats.multivariate_normal.logpdf(x, W @ m, covariance) for w, m in zip(WEIGHTS, CENTRES)]
    found, exact = annealed(r, PARAMS, x, PLAN), np.logaddexp(*parts)
    assert abs(found["log_px"] - exact.mean()) < 0.1
    np.testing.assert_allclose(found["log_px_per_example"], exact, atol=1.0)
    assert -0.1 < found["simulated"]["gap"] < 0.3
    assert abs(exact.mean() - bed.bed_log_likelihood(PARAMS, x).mean()) > 0.5


def test_sentences_are_between_the_bounds_of_the_words_that_the_model_writes():
    """Log p(x) of a small recurrent model with one latent, by quadrature."""
    model = untrained(TEXT, latent_dim=1, cell="gru")
    r = SimpleNamespace(vae=model.vae, likelihood=model.likelihood, key=KEY, config=model.config, event=model.x_event)
    x = np.stack([model.view(KEY, row) for row in model.read(some(TEXT, 6)).raw])
    found = annealed(r, model.params, x, Plan(16, 100))
    z = jnp.linspace(-8.0, 8.0, 1601)[:, None]

    def integral(x):
        theta = objective.decode(model.vae, model.params, x, z)
        log_p = jax.vmap(model.likelihood.log_prob, in_axes=(None, 0, None))({}, theta, x)
        return jax.nn.logsumexp(log_p + jax.scipy.stats.norm.logpdf(z[:, 0])) + math.log(0.01)

    np.testing.assert_allclose(found["log_px_per_example"], jax.vmap(integral)(x), atol=0.1)
    assert abs(found["simulated"]["gap"]) < 0.05


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


def test_codes_without_a_gradient_are_refused_in_a_line():
    with pytest.raises(UserError, match="posterior=categorical are discrete"):
        annealing.check(SimpleNamespace(posterior="categorical"))


def test_temperatures_and_plans():
    ladder = temperatures(100)
    assert ladder[0] == 0 and ladder[-1] == 1 and np.all(np.diff(ladder) > 0)
    assert parse_plan("16,1000") == Plan(16, 1000)
    for text in ("16", "0,100", "4,3", "a,b", "1,2,3", ""):
        with pytest.raises(UserError, match="CHAINS,TEMPERATURES"):
            parse_plan(text)
