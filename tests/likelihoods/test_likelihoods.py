"""The likelihoods: normalised, with the mean, variance and samples they claim, and finite wherever a network may go.

The continuous Bernoulli is held against 50-digit decimal arithmetic, the optimal and learned Gaussian against closed
forms.
"""

from __future__ import annotations

import functools
import itertools
import math
from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import golden

from vae_jax.likelihoods import (
    bernoulli,
    continuous_bernoulli,
    continuous_bernoulli_inverse_mean,
    continuous_bernoulli_log_normalizer,
    continuous_bernoulli_mean,
    continuous_bernoulli_variance,
    gaussian,
)
from vae_jax.likelihoods.continuous_bernoulli import continuous_bernoulli_icdf
from vae_jax.likelihoods.gaussian import PRECISIONS, gaussian_log_prob
from vae_jax.likelihoods.shared import event_sum, log1p_of_share
from vae_jax.types import UserError

# ---------------------------------------------------------------- what holds for every family


def _own(likelihood, event):
    """The family's parameters; an optimal Gaussian as it is after some training."""
    own = likelihood.init(event)
    if likelihood.refit is not None:
        own = {"squared_error": jnp.asarray(0.5 * 0.04), "weight": jnp.asarray(0.5)}
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), own)  # 64 bits inside a 64-bit test


REAL = [gaussian(precision, sigma=0.3) for precision in PRECISIONS]
REAL_THETA = [-1.5, 0.0, 0.7]


def _theta(likelihood, value, log_sigma=0.4):
    """A theta for the event (1,): the mean and, where the decoder predicts it, a raw log sigma."""
    shape = likelihood.theta_shape((1,))
    return jnp.array([[value], [log_sigma]]) if shape == (2, 1) else jnp.array([value])


def test_gaussians_integrate_to_one_with_their_mean_and_variance(x64):
    for likelihood in REAL:
        own, thetas = _own(likelihood, (1,)), jnp.stack([_theta(likelihood, value) for value in REAL_THETA])
        std = float(likelihood.variance(own, thetas[0])[0]) ** 0.5
        # The trapezoid rule is exact to rounding here.
        nodes = np.array(REAL_THETA)[:, None] + np.linspace(-12 * std, 12 * std, 4001)
        over_nodes = jax.vmap(lambda theta, x, f=likelihood, own=own: f.log_prob(own, theta, x[None]), (None, 0))
        p = np.exp(np.asarray(jax.vmap(over_nodes)(thetas, jnp.asarray(nodes)))) * (nodes[0, 1] - nodes[0, 0])
        mean = np.sum(p * nodes, axis=1)
        np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-9)
        np.testing.assert_allclose(mean, [likelihood.mean(own, theta)[0] for theta in thetas], rtol=0, atol=1e-9)
        np.testing.assert_allclose(np.sum(p * np.square(nodes - mean[:, None]), axis=1), std**2, rtol=1e-9)
        if likelihood.sigma is not None:
            assert float(likelihood.sigma(own)) == pytest.approx(std, rel=1e-9)


def test_bernoulli_sums_to_one_with_its_mean_and_variance(x64):
    likelihood = bernoulli()
    images = jnp.array(list(itertools.product((0.0, 1.0), repeat=3)))
    for logit in (-20.0, -1.0, 0.0, 0.5, 30.0):
        theta = jnp.array([logit, 0.3 * logit, -logit])
        p = np.exp(jax.vmap(lambda x, theta=theta: likelihood.log_prob({}, theta, x))(images))
        assert p.sum() == pytest.approx(1.0, rel=1e-12)
        mean = p @ images
        np.testing.assert_allclose(likelihood.mean({}, theta), mean, rtol=1e-9)
        np.testing.assert_allclose(likelihood.variance({}, theta), p @ (images - mean) ** 2, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("likelihood", [*REAL, bernoulli(), continuous_bernoulli()])
def test_log_prob_is_a_sum_over_the_event_of_one_example(likelihood, x64):
    event = (3, 2)
    rng = np.random.default_rng(0)
    theta = jnp.asarray(rng.normal(size=likelihood.theta_shape(event)))
    x = jnp.asarray(rng.integers(0, 2, event).astype(float))
    own = _own(likelihood, event)
    whole = likelihood.log_prob(own, theta, x)
    assert whole.shape == ()
    pixels = 0.0
    for i, j in itertools.product(range(3), range(2)):
        one = jax.tree.map(lambda leaf, i=i, j=j: leaf[i, j] if leaf.ndim == 2 else leaf, own)
        pixels += likelihood.log_prob(one, theta[..., i, j], x[i, j])
    assert float(whole) == pytest.approx(float(pixels), rel=1e-12)
    assert likelihood.mean(own, theta).shape == event
    assert likelihood.variance(own, theta).shape == event
    assert likelihood.sample(own, theta, jax.random.key(0)).shape == event


# ---------------------------------------------------------------- extreme parameters (others: test_densities.py)


@pytest.mark.parametrize("precision", ["learned", "per_dimension", "predicted"])
def test_a_sigma_is_bounded_and_finite_at_any_parameter(precision):
    likelihood = gaussian(precision, sigma=0.1, min_sigma=1e-3)

    def at(u, x):
        own = {} if precision == "predicted" else {"u": jnp.full(jnp.shape(likelihood.init((1,))["u"]), u)}
        theta = _theta(likelihood, 0.2, u)
        return likelihood.log_prob(own, theta, x[None]), likelihood.variance(own, theta)[0]

    u, x = (v.ravel() for v in jnp.meshgrid(jnp.array([-1e3, -100, -20, 0, 20, 100, 1e3]), jnp.array([0.2, 0.9, 100])))
    (value, variance), slope = jax.jit(jax.vmap(lambda u, x: (at(u, x), jax.grad(lambda u: at(u, x)[0])(u))))(u, x)
    assert np.all(np.isfinite(value)) and np.all(np.isfinite(slope)) and np.all(variance >= 1e-6 * (1 - 1e-5))
    # Nothing exceeds the density at the lower bound of sigma.
    assert np.all(value <= -math.log(1e-3) - 0.5 * math.log(2 * math.pi) + 1e-5)


# ---------------------------------------------------------------- Bernoulli and continuous Bernoulli: numbers


def test_continuous_bernoulli_inverse_mean_round_trips():
    means = np.concatenate([np.geomspace(1e-3, 0.5, 200), 1 - np.geomspace(1e-3, 0.5, 200)]).astype(np.float32)
    inverse = jax.jit(continuous_bernoulli_inverse_mean, static_argnames="newton_steps")
    logits = np.asarray(inverse(jnp.asarray(means)))
    assert logits.dtype == np.float32
    np.testing.assert_allclose(continuous_bernoulli_mean(jnp.asarray(logits)), means, rtol=1e-6)
    with jax.enable_x64(True):
        exact = np.asarray(inverse(jnp.asarray(means, jnp.float64)))
        np.testing.assert_allclose(continuous_bernoulli_mean(exact), np.float64(means), rtol=1e-12)
        # Newton from its starting value: the relative errors 2.4e-3 and 3.2e-11 of the reference.
        for steps, bound in ((1, 2.5e-3), (3, 4e-11)):
            rough = np.asarray(inverse(jnp.asarray(means, jnp.float64), newton_steps=steps))
            assert np.all(np.abs(rough - exact) <= (bound + 1e-12) * np.abs(exact))
        np.testing.assert_allclose(logits, exact, rtol=2e-6, atol=1e-6)
    slope = jax.jit(jax.vmap(jax.grad(continuous_bernoulli_inverse_mean)))(jnp.array([0.2, 0.5, 0.8]))
    np.testing.assert_allclose(slope[1], 12.0, rtol=1e-4)
    np.testing.assert_allclose(slope[0], slope[2], rtol=1e-4)


def test_continuous_bernoulli_icdf(x64):
    assert float(continuous_bernoulli_icdf(0.3, jnp.asarray(2.0))) == golden(".535229305150")
    assert float(continuous_bernoulli_icdf(0.3, jnp.asarray(-2.0))) == golden(".150146910321")
    assert float(continuous_bernoulli_icdf(0.3, 2)) == golden(".535229305150", single=True)  # an integer logit
    u = jnp.linspace(0.0, 1.0, 101)[:-1]
    for l in (-1e4, -30.0, -0.5, -5e-4, -1e-7, 0.0, 1e-7, 5e-4, 0.5, 30.0, 1e4):  # noqa: E741
        x = np.asarray(continuous_bernoulli_icdf(u, jnp.asarray(l)))
        assert np.all(np.diff(x) > 0) and 0.0 <= x[0] and x[-1] < 1.0
        back = np.expm1(-abs(l) * (x if l < 0 else 1 - x)) / math.expm1(-abs(l)) if l else x
        np.testing.assert_allclose(back if l <= 0 else 1 - back, u, atol=1e-9)


# ---------------------------------------------------------------- continuous Bernoulli: precision


LIMIT = 1e-6
CLOSED_FORMS = (
    continuous_bernoulli_log_normalizer,
    continuous_bernoulli_mean,
    continuous_bernoulli_variance,
    jax.grad(continuous_bernoulli_log_normalizer),
)


@functools.cache
def _reference():
    """Logits in [-1e4, 1e4], dense around every switch of a series; log C, mean, variance and d log C / dl there.

    In 50-digit arithmetic: plain formulas, no series.
    """
    switches = [np.linspace(0.8 * s, 1.25 * s, 60) for s in (0.03, 0.5, 1.0)]
    size = np.concatenate([[0.0, 1e-20, 1e-3, 5e-3, 1e4], *switches, 10.0 ** np.linspace(-9, 4, 300)])
    grid, rows = np.concatenate([size, -size]).astype(np.float32), []
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 50, -(10**9), 10**9
        for number in grid:
            l = Decimal(float(number))  # noqa: E741
            if abs(l) < Decimal("1e-12"):  # the leading terms of the series are all that float32 can see
                rows.append([Decimal(2).ln(), Decimal("0.5") + l / 12, Decimal(1) / 12, l / 6])
                continue
            e = (-abs(l)).exp()
            mean = 1 / (1 - (-l).exp()) - 1 / l
            log_c, variance = (abs(l) * (1 + e) / (1 - e)).ln(), 1 / l**2 - e / (1 - e) ** 2
            rows.append([log_c, mean, variance, 1 / (1 + (-l).exp()) - mean])
    return grid, np.array(rows, dtype=np.float64).T


def test_continuous_bernoulli_in_float32():
    grid, reference = _reference()
    together = jax.jit(jax.vmap(lambda l: [fn(l) for fn in CLOSED_FORMS]))  # noqa: E741
    for got, expected in zip(together(jnp.asarray(grid)), reference, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=LIMIT)
    # The slope of log C keeps its relative precision, where a narrow series, a clamp or atanh would lose it.
    far = (np.abs(grid) >= 1e-3) & (np.abs(grid) <= 100)
    np.testing.assert_allclose(got[far], reference[3][far], rtol=3e-6)
    # Clipping lambda at 1e-4 would cap a pixel at 2.22 nats.
    assert float(continuous_bernoulli().log_prob({}, jnp.array([-30.0]), jnp.zeros(1))) == golden("3.401197", True)


def test_continuous_bernoulli_gradients_in_float32():
    grid, reference = _reference()
    slope = jax.jit(jax.vmap(jax.grad(continuous_bernoulli_mean)))(grid)
    np.testing.assert_allclose(slope, reference[2], rtol=1e-5, atol=LIMIT)
    for fn in (continuous_bernoulli_variance, jax.grad(continuous_bernoulli_mean)):
        assert np.all(np.isfinite(jax.jit(jax.vmap(jax.grad(fn)))(grid)))
    assert float(jax.grad(continuous_bernoulli_log_normalizer)(0.0)) == 0.0


def test_continuous_bernoulli_in_float64(x64):
    grid, reference = _reference()
    of_family = [lambda l, f=f: f({}, l) for f in (continuous_bernoulli().mean, continuous_bernoulli().variance)]  # noqa: E741
    together = jax.jit(jax.vmap(lambda l: [fn(l) for fn in (*CLOSED_FORMS, *of_family)]))  # noqa: E741
    for got, expected in zip(together(jnp.asarray(grid, jnp.float64)), [*reference, *reference[1:3]], strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------- Gaussian: constants and sigma


def test_slope_in_log_sigma_is_dim_minus_calibration(x64):
    # d NLL / d log sigma = D - SSE / sigma^2. Without D log sigma the first term would be missing: sigma would grow.
    x = jnp.asarray(np.random.default_rng(0).normal(size=20))
    nll = lambda log_sigma: -gaussian("fixed").log_prob({"log_sigma": log_sigma}, jnp.zeros(20), x)  # noqa: E731
    for sigma in (0.3, 1.0, 2.0):
        slope = float(jax.grad(nll)(jnp.log(jnp.asarray(sigma))))
        assert slope == pytest.approx(20 - float(jnp.sum(x**2)) / sigma**2, rel=1e-9)


RESIDUALS = np.array([[0.1, 0.2], [0.3, 0.4]])  # b = 2, D = 2


def test_optimal_variance_shared_per_dimension_and_per_example(x64):
    """The batch-mean NLL at the three optimal variances: golden numbers through the library's own families."""
    x = jnp.asarray(RESIDUALS)
    theta = jnp.zeros((2, 1, 2))
    optimal = gaussian("optimal", min_sigma=1e-6)
    own, _ = optimal.refit(optimal.init((2,)), theta, x, lambda v: v)

    def nll(likelihood, own, theta):
        return -np.mean([float(likelihood.log_prob(own, theta[i], x[i])) for i in range(2)])

    assert nll(optimal, own, np.zeros((2, 2))) == golden(".247609901")

    raw = lambda variance, low: np.log(np.expm1(0.5 * np.log(variance) - np.log(low)))  # noqa: E731
    free = gaussian("per_dimension", min_sigma=1e-6)
    own = {"u": jnp.asarray(raw(np.mean(RESIDUALS**2, 0), 1e-6))}
    assert nll(free, own, np.zeros((2, 2))) == golden(".188718383")

    predicted = gaussian("predicted", sigma=0.1, min_sigma=1e-6)
    offset = raw(0.1**2, 1e-6)
    per_example = np.broadcast_to(np.mean(RESIDUALS**2, 1, keepdims=True), (2, 2))
    theta = np.stack([np.zeros((2, 2)), raw(per_example, 1e-6) - offset], 1)
    assert nll(predicted, {}, theta) == golden("-.046283431")


def _refit(likelihood, own, mse, all_mean=lambda v: v):
    """Feeds a batch of mean squared error ``mse``."""
    return likelihood.refit(own, jnp.zeros((3, 2, 5)), jnp.full((3, 5), math.sqrt(mse)), all_mean)


def test_optimal_sigma_is_the_unbiased_moving_average(x64):
    likelihood = gaussian("optimal", decay=0.99)
    own = likelihood.init((5,))
    assert float(likelihood.sigma(own)) == pytest.approx(0.1)  # before any data: the initial sigma
    for mse, expected in ((0.04, ".04"), (0.02, ".029949748744"), (0.03, ".029966667789")):
        now, own = _refit(likelihood, own, mse)
        assert float(likelihood.sigma(now)) ** 2 == golden(str(mse))  # the step itself uses its own batch
        # The state starts in float32; 1e-9 is met because every later number is in 64 bits.
        assert float(likelihood.sigma(own)) ** 2 == golden(expected)
        assert float(likelihood.variance(own, jnp.zeros(5))[3]) == golden(expected)


def test_optimal_sigma_keeps_its_shapes_and_types_when_compiled():
    likelihood = gaussian("optimal")
    own = likelihood.init((5,))
    kept = jax.eval_shape(lambda own: _refit(likelihood, own, 0.04)[1], own)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), kept) == jax.tree.map(lambda a: (a.shape, a.dtype), own)


def test_optimal_sigma_averages_squared_errors_over_devices_not_sigmas(x64):
    likelihood = gaussian("optimal")
    rng = np.random.default_rng(0)
    theta, x = jnp.asarray(rng.normal(size=(4, 3, 5))), jnp.asarray(3 * rng.normal(size=(4, 5)))
    whole, _ = likelihood.refit(likelihood.init((5,)), theta, x, lambda v: v)
    shard = lambda rows, all_mean: likelihood.refit(likelihood.init((5,)), theta[rows], x[rows], all_mean)[0]  # noqa: E731
    rows = [slice(0, 1), slice(1, 2), slice(2, 3), slice(3, 4)]
    local = [shard(r, lambda v: v) for r in rows]
    errors = jnp.array([own["squared_error"] for own in local])
    for r in rows:
        everywhere = shard(r, lambda v: jnp.mean(errors))
        assert float(likelihood.sigma(everywhere)) == pytest.approx(float(likelihood.sigma(whole)), rel=1e-12)
    averaged_sigma = np.mean([float(likelihood.sigma(own)) for own in local])
    assert averaged_sigma != pytest.approx(float(likelihood.sigma(whole)), rel=1e-3)
    mean_over_samples = float(jnp.mean(jnp.square(theta - x[:, None])))
    assert float(likelihood.sigma(whole)) ** 2 == pytest.approx(mean_over_samples, rel=1e-12)


def test_envelope_theorem(x64):
    """Gradients through the optimal variance, with and without a stop-gradient, are the same."""
    likelihood = gaussian("optimal")
    rng = np.random.default_rng(0)
    theta, x = jnp.asarray(rng.normal(size=(4, 2, 5))), jnp.asarray(rng.normal(size=(4, 5)))

    def with_stop(theta):
        own, _ = likelihood.refit(likelihood.init((5,)), theta, x, lambda v: v)
        score = jax.vmap(jax.vmap(likelihood.log_prob, (None, 0, None)), (None, 0, 0))
        return -jnp.mean(score(own, theta, x))

    def without(theta):
        mse = jnp.mean(jnp.square(theta - x[:, None]))
        return -jnp.mean(jnp.sum(gaussian_log_prob(x[:, None], theta, 0.5 * jnp.log(mse)), -1))

    def closed_form(theta):
        return 2.5 * (jnp.log(2 * jnp.pi * jnp.mean(jnp.square(theta - x[:, None]))) + 1)

    assert float(with_stop(theta)) == pytest.approx(float(closed_form(theta)), rel=1e-12)
    for other in (without, closed_form):
        np.testing.assert_allclose(jax.grad(with_stop)(theta), jax.grad(other)(theta), rtol=1e-9, atol=1e-12)


def test_optimal_sigma_respects_its_bound():
    likelihood = gaussian("optimal", min_sigma=1e-2)
    now, kept = _refit(likelihood, likelihood.init((5,)), 1e-8)
    for own in (now, kept):
        assert float(likelihood.sigma(own)) == pytest.approx(1e-2, rel=1e-6)
    for mse in (0.0, 1e30):  # a perfect or a diverged batch leaves everything finite
        own, _ = _refit(likelihood, likelihood.init((5,)), mse)
        assert np.isfinite(float(likelihood.log_prob(own, jnp.zeros(5), jnp.zeros(5))))


@pytest.mark.parametrize("precision", ["learned", "per_dimension"])
def test_learned_sigma_is_recovered(precision):
    likelihood, steps, theta = gaussian(precision, sigma=0.1), 2000, jnp.zeros(4)
    optimizer = optax.adam(optax.schedules.cosine_decay_schedule(0.05, steps))
    x = np.random.default_rng(0).normal(size=(200, 4))
    x = jnp.asarray(x / np.sqrt(np.mean(x**2, 0)), jnp.float32)  # a mean squared value of 1, in each dimension

    @jax.jit
    def fit(mse):
        def loss(own):
            return -jnp.mean(jax.vmap(lambda x: likelihood.log_prob(own, theta, x))(x * jnp.sqrt(mse)))

        def step(carry, _):
            own, state = carry
            updates, state = optimizer.update(jax.grad(loss)(own), state)
            return (optax.apply_updates(own, updates), state), None

        own = likelihood.init((4,))
        return jax.lax.scan(step, (own, optimizer.init(own)), None, steps)[0][0]

    for mse in (1e-4, 0.5):
        own = fit(mse)
        np.testing.assert_allclose(likelihood.variance(own, theta), mse, rtol=1e-2)
        if precision == "learned":
            assert float(likelihood.sigma(own)) == pytest.approx(math.sqrt(mse), rel=1e-2)


@pytest.mark.parametrize("precision", ["learned", "per_dimension", "predicted"])
def test_gradient_survives_near_the_bound(precision):
    likelihood = gaussian(precision, sigma=1.01e-3, min_sigma=1e-3)
    assert likelihood.sigma_bound == 1e-3
    own = likelihood.init((1,))
    theta = _theta(likelihood, 0.0, 0.0)
    np.testing.assert_allclose(likelihood.variance(own, theta), 1.01e-3**2, rtol=1e-4)
    grad = jax.grad(likelihood.log_prob, (0, 1))(own, theta, jnp.array([0.3]))
    slope = grad[1][1, 0] if precision == "predicted" else jnp.sum(grad[0]["u"])
    assert float(slope) > 1.0  # an error of 0.3 pulls sigma up


@pytest.mark.parametrize("sigma", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_initial_sigma_is_the_one_asked_for(precision, sigma):
    likelihood = gaussian(precision, sigma=sigma)
    variance = likelihood.variance(likelihood.init((1,)), _theta(likelihood, 0.3, 0.0))
    np.testing.assert_allclose(variance, sigma**2, rtol=1e-5)


def test_who_is_trained_and_who_has_a_sigma():
    families = {p: gaussian(p) for p in PRECISIONS}
    assert [p for p in PRECISIONS if families[p].frozen] == ["fixed", "optimal"]
    assert [p for p in PRECISIONS if families[p].sigma is None] == ["per_dimension", "predicted"]
    assert [p for p in PRECISIONS if families[p].refit is not None] == ["optimal"]
    assert [p for p in PRECISIONS if families[p].sigma_bound is None] == ["fixed"]
    assert bernoulli().sigma is None and continuous_bernoulli().sigma is None
    assert {f.support for f in families.values()} == {"real"}
    assert (bernoulli().support, continuous_bernoulli().support) == ("binary", "unit")


@pytest.mark.parametrize(
    "arguments", [{"precision": "free"}, {"sigma": 0.0}, {"sigma": -1.0}, {"sigma": math.nan}, {"sigma": 1e-3}]
)
def test_nonsense_is_refused(arguments):
    with pytest.raises((ValueError, UserError)):
        gaussian(**arguments)


def test_the_sum_over_the_event_is_a_sum_on_every_platform():
    values = jax.random.normal(jax.random.key(0), (3, 5, 7, 2))
    each = jax.vmap(event_sum)
    np.testing.assert_allclose(each(values), jnp.sum(values, (1, 2, 3)), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(jax.grad(lambda v: jnp.sum(each(v)))(values), jnp.ones_like(values))
    np.testing.assert_allclose(jax.jvp(each, (values,), (values,))[1], each(values), rtol=1e-6)
    assert event_sum(jnp.array([-jnp.inf, 1.0])) == -jnp.inf and jnp.isnan(event_sum(jnp.array([jnp.nan, 1.0])))
    for platform in ("cpu", "cuda", "tpu"):
        text = jax.jit(each).trace(values).lower(lowering_platforms=(platform,)).as_text()
        assert ("dot_general" in text) == (platform == "cpu"), platform


def test_the_polynomial_of_log1p_rounds_as_log1p_does_however_small_its_argument():
    e = np.concatenate([np.linspace(0, 1, 200_001), np.logspace(-37, 0, 100_000)]).astype(np.float32)
    exact = np.log1p(e.astype(np.float64))

    def error(values):
        return np.max(np.abs(np.asarray(values, np.float64) - exact) / np.maximum(exact, 1e-300))

    assert error(log1p_of_share(jnp.asarray(e))) < 2.5e-7  # two units in the last place
    assert error(np.float32(e - e * e / 2 + e**3 / 3)) > 1e-2  # the beginning of a series would not do
    slopes = jax.vmap(jax.grad(log1p_of_share))(jnp.asarray(e))
    np.testing.assert_allclose(np.asarray(slopes, np.float64), 1 / (1 + e.astype(np.float64)), rtol=1.3e-7)
    curvature = jax.grad(jax.grad(log1p_of_share))(jnp.float32(0.3))
    assert float(curvature) == pytest.approx(-1 / 1.3**2, rel=1e-6)
