"""Beta, categorical, discretised logistic, Student-t, Laplace, counts, log-normal and blocks of columns.

Densities are held against quadrature and scipy, probabilities against enumeration in float64; each claim has a planted
mistake that it must reject.
"""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import golden, within_standard_errors
from scipy import special, stats

from vae_jax.likelihoods import (
    Grid,
    bernoulli,
    beta,
    beta_log_prob,
    blocks,
    categorical,
    categorical_log_prob,
    charbonnier,
    continuous_bernoulli,
    discretized_logistic,
    discretized_logistic_log_prob,
    gaussian,
    huber,
    is_discrete,
    laplace,
    laplace_log_prob,
    log_normal,
    negative_binomial,
    negative_binomial_log_prob,
    poisson,
    poisson_log_prob,
    student_t,
    student_t_log_prob,
)
from vae_jax.likelihoods.shared import between
from vae_jax.models.convolutional import pixels_to_theta
from vae_jax.train.optimizers import adam, learning_rates

KEY = jax.random.key(3)
S = 1 / 512  # the squeeze of 256 grey levels
WIDE = S / (1 - 2 * S)  # how far beyond 0 and 1 the Beta's x goes
NEW = {
    "beta": beta(S),
    "categorical": categorical(5),
    "discretized_logistic": discretized_logistic(5),
    "mixture": discretized_logistic(5, components=3),
    "student_t": student_t(),
    "laplace": laplace(),
    "huber": huber(),
    "charbonnier": charbonnier(),
    "poisson": poisson(),
    "negative_binomial": negative_binomial(),
    "log_normal": log_normal(),
    "blocks": blocks([(gaussian(), 1), (bernoulli(), 2), (categorical(5, scale=1.0), 1)]),
}


def many(fn, *args):
    """``fn`` over the leading axis of each argument, compiled once."""
    return np.asarray(jax.jit(jax.vmap(fn))(*map(jnp.asarray, args)))


def enumerated(likelihood, theta, values):
    """The probabilities of all ``values`` and their mean; they sum to 1 and have the moments that the family names."""
    p = np.exp(many(lambda x: likelihood.log_prob({}, theta, x), values))
    mean = np.tensordot(p, values, 1)
    assert p.sum() == pytest.approx(1.0, rel=1e-12)
    ours = _moments(likelihood, {}, theta)
    np.testing.assert_allclose(next(ours), mean, rtol=1e-12)
    np.testing.assert_allclose(next(ours), np.tensordot(p, (values - mean) ** 2, 1), rtol=1e-10)
    return p, mean


def test_the_density_at_an_end_depends_on_the_squeeze(x64):
    half = jnp.log(jnp.asarray(0.5))
    for squeeze, text in ((1 / 512, "1.975409944"), (1e-4, "3.460490")):
        for x in (0.0, 1.0):
            # The reference is a density of the squeezed value.
            assert float(beta_log_prob(jnp.asarray(x), half, half, squeeze) - math.log1p(-2 * squeeze)) == golden(text)


def test_a_student_t_of_many_degrees_of_freedom_is_a_gaussian(x64):
    assert float(student_t_log_prob(0.3, 0.0, jnp.log(0.1), 1e6)) == golden("-3.116337940")
    for df in (1e9, 1e15, 1e30, 1e300):  # where two gammaln differ by less than they are rounded
        limit = stats.norm.logpdf(0.3, 0.0, 0.1)
        assert float(student_t_log_prob(0.3, 0.0, jnp.log(0.1), df)) == pytest.approx(limit, abs=2e-8)
    family, x = student_t(3e38, 0.1), jnp.float32([0.3])
    assert float(family.log_prob(family.init((1,)), 0 * x, x)) == pytest.approx(limit, abs=1e-5)


# ---------------------------------------------------------------- every family


FAMILIES = NEW | {"bernoulli": bernoulli(), "continuous_bernoulli": continuous_bernoulli()}
FAMILIES |= {name: gaussian(name) for name in ("fixed", "learned", "per_dimension", "optimal")}


@pytest.mark.parametrize("name", FAMILIES)
def test_shapes_dtypes_and_finiteness_at_extreme_theta(name):
    likelihood = FAMILIES[name]
    event = (4,) if name == "blocks" else (2, 1, 3)
    own, shape = likelihood.init(event), likelihood.theta_shape(event)
    # Every sign at every size; in between 0 and where a float32 exponential overflows.
    signs = np.sign(np.random.default_rng(0).normal(size=(6, *shape)))
    theta = jnp.asarray(np.concatenate([s * signs for s in (0, 1e-3, 1, 17, 89, 104, 1e4)]), jnp.float32)
    x = jnp.asarray(np.random.default_rng(1).integers(0, 2, (len(theta), *event)), jnp.float32)
    if likelihood.support in ("count", "positive"):
        x = x * 1e6 if likelihood.support == "count" else jnp.where(x > 0, 1e30, 1e-30)

    def everything(theta, x):
        value, slope = jax.value_and_grad(likelihood.log_prob, argnums=(0, 1))(own, theta, x)
        return value, slope, (likelihood.mean(own, theta), likelihood.variance(own, theta))

    value, slope, moments = jax.jit(jax.vmap(everything))(theta, x)
    if name == "bernoulli":  # at l = 0 as well, where max, abs and the like have derivatives of their own choosing
        np.testing.assert_allclose(slope[1], x - special.expit(np.float64(theta)), atol=2e-7)
    assert value.shape == (len(theta),)
    for leaf in jax.tree.leaves((value, slope, moments)):
        assert leaf.dtype == jnp.float32 and np.all(np.isfinite(leaf))
    for array in moments:
        assert array.shape == (len(theta), *event)
    draw = jax.eval_shape(likelihood.sample, own, theta[0], KEY)
    assert (draw.shape, draw.dtype) == (event, jnp.float32)
    assert np.all(np.asarray(moments[1]) >= 0)
    if is_discrete(likelihood.support):
        assert np.all(np.asarray(value) <= 0)
    # theta in bfloat16 is read, not computed in.
    for fn, *more in (
        (likelihood.log_prob, x[0]),
        (likelihood.mean,),
        (likelihood.variance,),
        (likelihood.sample, KEY),
    ):
        assert name not in NEW or jax.eval_shape(fn, own, theta[0].astype(jnp.bfloat16), *more).dtype == jnp.float32


def test_supports():
    assert (beta().support, student_t().support, laplace().support) == ("unit", "real", "real")
    assert (poisson().support, negative_binomial().support, log_normal().support) == ("count", "count", "positive")
    assert is_discrete("count") and not is_discrete("positive")
    assert categorical(4).support == Grid(4, 1 / 3) == discretized_logistic(4).support
    assert categorical(4, scale=1.0).support == Grid(4, 1.0)
    assert NEW["blocks"].support == (("real", 1), ("binary", 2), (Grid(5, 1.0), 1))
    assert [is_discrete(s) for s in ("real", "unit", "binary", Grid(2, 1.0))] == [False, False, True, True]
    assert not is_discrete(NEW["blocks"].support) and is_discrete((("binary", 1), (Grid(2, 1.0), 1)))


def test_nonsense_is_refused():
    makes = [
        functools.partial(beta, **{name: value}) for name, value in (("squeeze", 0.0), ("squeeze", 0.5), ("low", 2))
    ]
    makes += [lambda: categorical(1), lambda: categorical(4, scale=0.0)]
    makes += [lambda: discretized_logistic(1), lambda: discretized_logistic(256, components=0)]
    makes += [functools.partial(student_t, df) for df in (2.0, math.nan)] + [lambda: student_t(scale=0.0)]
    makes += [functools.partial(laplace, scale) for scale in (1e-3, math.inf)]
    makes += [lambda: negative_binomial(0.0), lambda: log_normal(1e-3), lambda: log_normal(math.inf)]
    makes += [lambda: blocks([]), lambda: blocks([(bernoulli(), 0)]), lambda: blocks([(gaussian("optimal"), 1)])]
    makes += [lambda: NEW["blocks"].init((5,)), lambda: NEW["blocks"].theta_shape((2, 2))]
    for make in makes:
        with pytest.raises(ValueError):
            make()


def test_a_bounded_number_is_smooth_and_never_stuck(x64):
    low, high, start = -4.6, 6.9, 0.0
    u = jnp.asarray([-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4])
    value, slope = (np.asarray(v) for v in jax.vmap(jax.value_and_grad(lambda u: between(u, low, high, start)))(u))
    assert np.all(np.diff(value) > 0) and low < value[0] and value[-1] < high and value[3] == pytest.approx(start)
    assert np.all(slope > 5e-8) and 0.5 < slope[3] <= 1
    sigmoid = jax.grad(lambda u: jax.nn.sigmoid(u))  # the usual choice has no gradient out there
    assert float(sigmoid(jnp.float32(-1e4))) == 0.0
    assert float(jax.grad(lambda u: between(u, low, high, start))(jnp.float32(-1e4))) > 0


# ---------------------------------------------------------------- Beta


def _panels(low, high):
    """Gauss-Legendre panels that shrink towards both ends."""
    edges = np.concatenate([[0.0], 10.0 ** np.arange(-9.0, 0.0), np.linspace(0.2, 0.5, 16)])
    edges = low + (high - low) * np.unique(np.concatenate([edges, 1.0 - edges]))
    nodes, weights = np.polynomial.legendre.leggauss(40)
    half = 0.5 * np.diff(edges)[:, None]
    return (edges[:-1, None] + half * (nodes + 1)).ravel(), (half * weights).ravel()


# theta of a and b from end to end: both at the bounds, one each, U-shaped, uniform, peaked.
BETA_THETA = np.array(
    [[-1e6, -1e6], [1e6, 1e6], [-1e6, 1e6], [1e6, -1e6], [-0.7, -0.7], [0, 0], [1, 2], [3, 2], [8, 6], [2, 30]], float
)


def _a_b():
    return np.exp(between(BETA_THETA, math.log(1e-2), math.log(1e3), 0.0))


def test_beta_integrates_to_one_with_its_mean_and_variance(x64):
    likelihood, (a, b) = beta(S), _a_b().T
    assert a.min() == pytest.approx(0.01, rel=1e-4) and a.max() == pytest.approx(1000, rel=1e-4)
    density = jax.jit(
        jax.vmap(jax.vmap(lambda t, x: likelihood.log_prob({}, t[:, None], x[None]), (None, 0)), (0, None))
    )

    def integrals(low, high):
        nodes, weights = _panels(low, high)
        p = np.exp(density(BETA_THETA, nodes)) * weights
        mean = p @ nodes
        return p.sum(1), mean, np.sum(p * np.square(nodes - mean[:, None]), 1)

    # Over [0, 1] the mass of y between the squeezes, for all parameters: the density of x with its Jacobian.
    inside, _, _ = integrals(0.0, 1.0)
    expected = special.betainc(a, b, 1 - S) - special.betainc(a, b, S)
    np.testing.assert_allclose(inside, expected, rtol=1e-8)
    assert np.all(np.abs(inside / (1 - 2 * S) / expected - 1) > 3e-3)  # the planted mistake: no Jacobian
    # Over all x that can occur it is 1; where the density is not singular a rule can see that.
    total, mean, variance = integrals(-WIDE, 1 + WIDE)
    smooth = (a >= 1) & (b >= 1)
    assert smooth.sum() >= 5
    np.testing.assert_allclose(total[smooth], 1.0, rtol=1e-8)
    ours = jax.vmap(lambda t: (likelihood.mean({}, t[:, None])[0], likelihood.variance({}, t[:, None])[0]))(BETA_THETA)
    np.testing.assert_allclose(ours[0][smooth], mean[smooth], rtol=1e-8)
    np.testing.assert_allclose(ours[1][smooth], variance[smooth], rtol=1e-7)
    # All of them in closed form; the planted mistake is the moments of y itself.
    np.testing.assert_allclose(ours[0], (a / (a + b) - S) / (1 - 2 * S), rtol=1e-9, atol=1e-12)
    of_y = a * b / ((a + b) ** 2 * (a + b + 1))
    np.testing.assert_allclose(ours[1], of_y / (1 - 2 * S) ** 2, rtol=1e-9)
    assert np.all(np.abs(of_y / np.asarray(ours[1]) - 1) > 5e-3)


def test_beta_in_float32_at_the_ends():
    grid = np.stack(np.meshgrid(np.linspace(-12, 12, 25), np.linspace(-12, 12, 25)), -1).reshape(-1, 2)
    log_a, log_b = np.asarray(between(grid, math.log(1e-2), math.log(1e3), 0.0), np.float64).T
    fn = jax.value_and_grad(lambda t, x: beta(S).log_prob({}, t[:, None], x[None]))
    at = np.array([0.0, 1 / 255, 0.5, 1.0])
    value, slope = jax.jit(jax.vmap(jax.vmap(fn, (0, None)), (None, 0)))(np.float32(grid), np.float32(at))
    assert np.all(np.isfinite(value)) and np.all(np.isfinite(slope))
    exact = stats.beta.logpdf(S + (1 - 2 * S) * at[:, None], np.exp(log_a), np.exp(log_b)) + math.log1p(-2 * S)
    np.testing.assert_allclose(value, exact, rtol=3e-5, atol=3e-4)


# ---------------------------------------------------------------- categorical


def test_categorical_by_enumeration(x64):
    likelihood = categorical(4)
    theta = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4)) * 3)
    values = np.array(list(itertools.product(range(4), repeat=2))) / 3
    enumerated(likelihood, theta, values)
    assert abs(np.exp(np.asarray(theta)[0]).sum() - 1) > 0.1  # logits without the softmax are no log probabilities
    # Class codes are the same family in other units, tokens the classes themselves.
    codes = categorical(4, scale=1.0)
    x = jnp.asarray([2.0, 1.0])
    value = float(likelihood.log_prob({}, theta, x / 3))
    for same in (codes.log_prob({}, theta, x), codes.log_prob({}, theta, x.astype(jnp.int32))):
        assert float(same) == value
    assert float(likelihood.log_prob({}, theta, x.astype(jnp.uint8))) == value
    np.testing.assert_array_equal(codes.mean({}, theta), np.argmax(theta, axis=1))  # classes have no mean
    np.testing.assert_allclose(codes.log_classes({}, theta), jax.nn.log_softmax(theta))
    np.testing.assert_allclose(codes.variance({}, theta), 9 * likelihood.variance({}, theta), rtol=1e-12)
    for outside in (-1.0, 4.0):
        assert float(codes.log_prob({}, theta, jnp.asarray([outside, 1.0]))) == -math.inf


def test_categorical_reads_every_grey_level():
    k = np.arange(256)
    theta = jnp.asarray(np.random.default_rng(0).normal(size=(1, 256)), jnp.float32)
    for x in ((k / 255).astype(np.float32), k.astype(np.uint8)):
        got = many(lambda x: categorical(256).log_prob({}, theta, x[None]), x)
        np.testing.assert_allclose(got, jax.nn.log_softmax(theta[0]), rtol=1e-6)


# ---------------------------------------------------------------- discretised logistic


def _levels(mean, log_scale, n):
    """P of every level in float64, from the definition, each difference on the side where it keeps its digits."""
    edges = 2 * (np.arange(1, n) - 0.5) / (n - 1) - 1
    t = (edges - mean) / np.exp(log_scale)
    lower, upper = (np.concatenate([[0.0], special.expit(t), [1.0]]), np.concatenate([[1.0], special.expit(-t), [0.0]]))
    return np.where(upper[:-1] > 0.5, np.diff(lower), -np.diff(upper))


@pytest.mark.parametrize("n", [2, 17, 256])
def test_discretised_logistic_sums_to_one_with_its_exact_moments(n):
    m, s = (g.ravel() for g in np.meshgrid([-30, -1, -0.9999, -0.4, 0, 1 / 255, 0.6, 1, 7], [-8, -6, -4, -1, 0, 2.5]))
    x = np.arange(n) / (n - 1)
    over_levels = jax.vmap(discretized_logistic_log_prob, (0, None, None, None))
    with jax.enable_x64(True):
        log_p = many(lambda m, s: over_levels(jnp.asarray(x), m, s, n), m, s)
    expected = np.array([_levels(*at, n) for at in zip(m, s)])
    np.testing.assert_allclose(np.exp(log_p).sum(1), 1.0, rtol=1e-12)
    assert log_p.max() <= 0 and np.isfinite(log_p).all()
    np.testing.assert_allclose(np.exp(log_p), expected, rtol=1e-6, atol=1e-15)
    # The moments that the family reports, in float32, through theta: also where the variance is tiny.
    likelihood = discretized_logistic(n)
    shift = np.linspace(-1e3, 1e3, 54)  # raw log scales all over its range
    theta = np.stack([np.resize(m, 54), shift], 1).astype(np.float32)
    low = -math.log(n - 1) - 3
    log_scale = np.float64(between(jnp.asarray(theta[:, 1]), low, 3.0, max(-1.0, low + 1)))
    p = np.array([_levels(*at, n) for at in zip(np.float64(theta[:, 0]), log_scale)])
    mean = p @ x
    variance = np.sum(p * np.square(x - mean[:, None]), 1)
    got = many(lambda t: jnp.stack([f({}, t[:, None, None])[0] for f in (likelihood.mean, likelihood.variance)]), theta)
    np.testing.assert_allclose(got[:, 0], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[:, 1], variance, rtol=2e-3, atol=1e-30)


def test_a_level_far_off_pulls_with_a_finite_slope():
    # log(cdf - cdf), as often written, is -inf here, and its slope not a number.
    value_and_slope = jax.value_and_grad(lambda m, s: discretized_logistic_log_prob(10 / 255, m, s, 256), (0, 1))
    for mean in (0.8, -100.0):
        value, slope = value_and_slope(mean, -5.0)
        assert np.all(np.isfinite([value, *slope]))
        assert float(slope[0]) == pytest.approx(math.copysign(math.exp(5), -mean), rel=1e-4)  # it pulls m to x


@pytest.mark.parametrize("components", [1, 5])
def test_a_fresh_decoder_spreads_over_the_pixels(components):
    likelihood = discretized_logistic(256, components)
    theta = np.zeros(likelihood.theta_shape((1,)), np.float32)
    mean, variance = _moments(likelihood, {}, theta)
    assert mean[0] == pytest.approx(0.5, abs=1e-6) and 0.2 < math.sqrt(variance[0]) < 0.4  # images: about 0.3
    # No level is a surprise: none far less likely than under a uniform distribution.
    log_p = many(lambda x: likelihood.log_prob({}, theta, x[None]), (np.arange(256) / 255).astype(np.float32))
    assert (log_p + math.log(256)).min() > -1.2


def _mixture(event, n=3, seed=0):
    likelihood = discretized_logistic(n, components=2)
    shape = likelihood.theta_shape(event)
    assert shape == (3, 2, *event)
    theta = np.random.default_rng(seed).normal(size=shape) * np.array([1.0, 3.0, 1.0]).reshape(
        3, *(1,) * (1 + len(event))
    )
    values = np.array(list(itertools.product(range(n), repeat=math.prod(event)))).reshape(-1, *event) / (n - 1)
    return likelihood, theta, values


@pytest.mark.parametrize("event", [(3,), (1, 1, 3), (2, 1, 1)])
def test_a_mixture_by_enumeration(event, x64):
    likelihood, theta, values = _mixture(event)
    p, mean = enumerated(likelihood, theta, values)
    # The channels of a pixel share their component; columns and pixels are independent.
    flat = (values - mean).reshape(len(values), -1)
    covariance = np.einsum("n,ni,nj->ij", p, flat, flat)
    off = np.abs(covariance - np.diag(np.diag(covariance))).max()
    assert off > 1e-3 if event == (1, 1, 3) else off < 1e-12
    if event == (1, 1, 3):  # the planted mistake: one component for each channel, another distribution
        log_prob = jax.jit(likelihood.log_prob)
        rows = log_prob({}, theta.reshape(3, 2, 3), np.zeros(3))
        assert abs(float(rows) - math.log(p[0])) > 1e-2
        # Weights are the softmax of the logits summed over the channels; locations start at -1/2 and 1/2.
        weights = special.softmax(theta[2, :, 0, 0].sum(-1))
        scales = between(theta[1, :, 0, 0], -math.log(2) - 3, 3.0, -1 - math.log(2))
        at = np.array([[-0.5], [0.5]]) + theta[0, :, 0, 0]
        black = [math.prod(_levels(at[k, c], scales[k, c], 3)[0] for c in range(3)) for k in range(2)]
        assert p[0] == pytest.approx(weights @ black, rel=1e-9)


def test_a_mixture_of_one_is_the_discretised_logistic():
    likelihood = discretized_logistic(256)
    assert likelihood.theta_shape((4, 4, 3)) == (2, 1, 4, 4, 3)
    rng = np.random.default_rng(0)
    theta, x = rng.normal(size=(2, 1, 4, 4, 3)).astype(np.float32), np.float32(rng.integers(0, 256, (4, 4, 3)) / 255)

    def by_hand(theta):
        log_scale = between(theta[1, 0], -math.log(255) - 3, 3.0, -1.0)
        return jnp.sum(discretized_logistic_log_prob(x, theta[0, 0], log_scale, 256))

    assert float(jax.jit(likelihood.log_prob)({}, theta, x)) == pytest.approx(float(jax.jit(by_hand)(theta)), rel=1e-5)


def test_convolutions_reach_every_part_of_a_mixture():
    event, shape = (4, 8, 3), discretized_logistic(256, 5).theta_shape((4, 8, 3))
    h = jnp.arange(math.prod(shape)).reshape(4, 8, 45)
    theta = pixels_to_theta(h, event, shape)
    assert theta.shape == shape
    np.testing.assert_array_equal(theta[:, :, 2, 5].ravel(), h[2, 5])


# ---------------------------------------------------------------- Student-t and Laplace


@pytest.mark.parametrize("likelihood", [student_t(df=2.5), student_t(), student_t(df=30.0), laplace()])
def test_heavy_tails_integrate_to_one_with_their_mean_and_variance(likelihood, x64):
    own, theta = jax.tree.map(lambda v: jnp.asarray(v, float), likelihood.init((1,))), jnp.asarray([0.7])
    # x = m + 0.1 sinh(t) from m outwards: the kink of Laplace is an end point, far tails a few steps away. Panels of
    # Gauss-Legendre in t; the tail of the variance at df = 2.5 is below 1e-12 at t = 60.
    edges = np.linspace(0.0, 60.0, 121)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    t = (edges[:-1, None] + 0.25 * (nodes + 1)).ravel()
    weight = np.tile(0.25 * weights, 120) * 0.1 * np.cosh(t)
    error = np.concatenate([0.1 * np.sinh(t), -0.1 * np.sinh(t)])
    p = np.exp(many(lambda e: likelihood.log_prob(own, theta, theta + e), error)) * np.tile(weight, 2)
    assert p.sum() == pytest.approx(1.0, rel=1e-9)
    assert float(likelihood.mean(own, theta)[0]) == 0.7 and p @ error == pytest.approx(0.0, abs=1e-6)
    assert float(likelihood.variance(own, theta)[0]) == pytest.approx(p @ error**2, rel=1e-6)


def test_what_the_scale_weighs(x64):
    # An error e pulls like a Gaussian of variance (df S^2 + e^2) / (df + 1).
    for e in (1e-3, 0.1, 3.0):
        pull = float(jax.grad(lambda m, e=e: student_t_log_prob(e, m, math.log(0.2), 5.0))(0.0))
        assert pull == pytest.approx(e * 6 / (5 * 0.2**2 + e**2), rel=1e-9)
    # An absolute error of weight a and a KL of weight b: beta scale = b / a. The pull depends on the error's sign
    # alone, and there is none where there is no error.
    for e in (-3.0, -1e-3, 0.0, 1e-3, 3.0):
        slope = float(jax.grad(lambda m, e=e: laplace_log_prob(e, m, math.log(0.2)))(0.0))
        assert slope == pytest.approx(5.0 * np.sign(e))
    # A learned Laplace scale settles at the mean absolute error, where its gradient is zero.
    x = jnp.asarray([0.1, -0.4, 0.7])
    slope = jax.grad(lambda log_scale: jnp.sum(laplace_log_prob(x, 0.0, log_scale)))
    assert float(slope(jnp.log(0.4))) == pytest.approx(0.0, abs=1e-12) and float(slope(jnp.log(0.3))) > 0.5


@pytest.mark.parametrize("make, deviation", [(student_t, math.sqrt(2)), (laplace, math.sqrt(2))])
def test_the_scale_asked_for_is_the_one_in_use(make, deviation):
    for learn in (True, False):
        likelihood = make(scale=0.05, learn_scale=learn)
        own = likelihood.init((3,))
        np.testing.assert_allclose(likelihood.variance(own, jnp.zeros(3)), (0.05 * deviation) ** 2, rtol=1e-5)
        assert likelihood.frozen != learn and likelihood.sigma is None and likelihood.refit is None
        assert likelihood.sigma_bound == (pytest.approx(1e-3 * deviation) if learn else None)
        assert list(own) == ["u" if learn else "log_scale"]
    lowest = make().variance({"u": jnp.asarray(-1e3)}, jnp.zeros(1))
    np.testing.assert_allclose(lowest, (1e-3 * deviation) ** 2, rtol=1e-4)


# ---------------------------------------------------------------- counts and values above 0


@pytest.mark.parametrize("likelihood", [poisson(), negative_binomial(0.7), negative_binomial(1e7)])
def test_counts_sum_to_one_with_their_mean_and_variance(likelihood, x64):
    x, own = np.arange(60_000.0), jax.tree.map(lambda v: jnp.asarray(v, float), likelihood.init((1,)))
    log_prob = jax.jit(jax.vmap(lambda theta, x: likelihood.log_prob(own, theta, x), (None, 0)))
    for theta in jnp.asarray([[-1e4], [-15.0], [0.0], [1.7], [7.0]]):  # means from 1e-8 to 700
        p = np.exp(np.asarray(log_prob(theta, x[:, None])))
        mean, variance = (float(v[0]) for v in _moments(likelihood, own, theta))
        assert p.sum() == pytest.approx(1.0, rel=1e-9)
        assert p @ x == pytest.approx(mean, rel=1e-8) and p @ (x - mean) ** 2 == pytest.approx(variance, rel=1e-7)
        below, up_to = jax.jit(jax.vmap(lambda x: likelihood.cdf(own, theta, x)))(x[:50, None])  # noqa: B023
        np.testing.assert_allclose(up_to[:, 0], np.cumsum(p)[:50], rtol=1e-6, atol=1e-300)
        np.testing.assert_allclose(below[:, 0], np.cumsum(p)[:50] - p[:50], atol=1e-6)
    # The planted mistake: without log x! it is a weight and no probability.
    assert np.sum(p * np.exp(special.gammaln(np.minimum(x, 100.0) + 1.0))) > 2.0


@pytest.mark.parametrize("make", [poisson, lambda start: negative_binomial(start=start)])
def test_counts_begin_at_the_mean_that_is_asked_for(make):
    means = np.array([1e-3, 1.0, 20.0, 3e5, 1e9])
    likelihood = make(means)
    own = likelihood.init((5,))
    np.testing.assert_allclose(likelihood.mean(own, jnp.zeros(5)), means, rtol=2e-5)
    slope = jax.jacobian(lambda theta: jnp.log(likelihood.mean(own, theta)))(jnp.zeros(5))
    np.testing.assert_allclose(np.diag(slope), 1.0, rtol=1e-3)  # and goes on from there, as a logarithm does
    for bad in (0.0, 1e11, np.array([1.0, -1.0])):
        with pytest.raises(ValueError, match="mean of counts"):
            make(bad)


COUNTS = np.array([0, 1, 3, 40, 1e3, 1e6, 1e9])


def test_counts_of_any_size_in_float32():
    x, mean, r = (v.ravel() for v in np.meshgrid(COUNTS, [1e-6, 0.3, 5, 999.0, 1.002e6], [1e-3, 0.5, 30, 1e4, 1e7]))
    nb = jax.value_and_grad(negative_binomial_log_prob, (1, 2))
    value, slope = (np.asarray(v) for v in jax.jit(jax.vmap(nb))(*map(jnp.float32, (x, np.log(mean), np.log(r)))))
    m, k = np.exp(np.float64(np.float32(np.log(mean)))), np.exp(np.float64(np.float32(np.log(r))))  # what float32 holds
    with jax.enable_x64(True):
        exact, exact_slope = jax.vmap(nb)(jnp.asarray(x), jnp.log(m), jnp.log(k))
    # 64 bits against the plain form, which is exact to 1e-16 of its largest part.
    plain = special.gammaln(x + k) - special.gammaln(k) - special.gammaln(x + 1)
    plain += -k * np.log1p(m / k) - x * np.log1p(k / m)
    np.testing.assert_allclose(exact, plain, rtol=1e-12, atol=1e-5)
    np.testing.assert_allclose(value, exact, rtol=2e-5, atol=2e-3)
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(slope, np.asarray(exact_slope), rtol=2e-4, atol=1e-3 * np.sqrt(1 + x.max()))
    # In float32 it is wrong by more than a nat.
    log_mean = jnp.log(jnp.float32(1e6))
    plain = 1e6 * log_mean - 1e6 - jax.scipy.special.gammaln(jnp.float32(1e6 + 1))
    assert abs(float(plain) + 7.8267) > 0.1
    one = float(poisson_log_prob(jnp.float32(1e6), jnp.log(jnp.float32(1e6))))
    assert one == pytest.approx(float(stats.poisson.logpmf(10**6, 10**6)), abs=2e-3)
    assert float(poisson_log_prob(jnp.float32(-1), 0.0)) == -math.inf == float(negative_binomial_log_prob(-1.0, 0, 0))


def test_a_log_normal_integrates_to_one_with_its_mean_and_variance(x64):
    likelihood = log_normal(0.4)
    own = jax.tree.map(lambda v: jnp.asarray(v, float), likelihood.init((1,)))
    t = np.linspace(-8.0, 8.0, 4001)
    for location in (-30.0, 0.0, 2.0):
        theta, x = jnp.asarray([location]), np.exp(location + t)
        density = np.exp(many(lambda x: likelihood.log_prob(own, theta, x), x[:, None]))  # noqa: B023
        p = density * x * (t[1] - t[0])
        mean = p @ x
        assert p.sum() == pytest.approx(1.0, rel=1e-9)
        assert abs(density.sum() * (t[1] - t[0]) - 1.0) > (location == 0.0) * 0.01  # no Jacobian: rejected
        assert float(likelihood.mean(own, theta)[0]) == pytest.approx(mean, rel=1e-7)
        assert float(likelihood.variance(own, theta)[0]) == pytest.approx(p @ (x - mean) ** 2, rel=1e-7)
        assert float(likelihood.cdf(own, theta, jnp.exp(theta))[0][0]) == pytest.approx(0.5)
    # Another unit is a constant, the log of the unit, whatever the unit.
    x = jnp.asarray([3.7])
    for unit in (1e-6, 1e9):
        same = likelihood.log_prob(own, theta + math.log(unit), x * unit) + math.log(unit)
        assert float(same) == pytest.approx(float(likelihood.log_prob(own, theta, x)), abs=1e-8)
    assert float(likelihood.log_prob(own, theta, -x)) == -math.inf


# ---------------------------------------------------------------- samplers (others: evaluation/test_reliability.py)

DRAWS = 20_000


def _draws(likelihood, own, theta):
    """Draws of one example, as one example that repeats its first axis: what is drawn in it is independent.

    theta is of the event (1, ...); a vmap over keys would say the same in ten times the time.
    """
    axis = next(i for i, n in enumerate(likelihood.theta_shape((7, 1))) if n == 7)
    many = jnp.repeat(theta, DRAWS, axis=axis)
    return np.asarray(jax.jit(likelihood.sample)(own, many, jax.random.key(7)), np.float64)


def _moments(likelihood, own, theta):
    """E[x] and Var[x] in one compilation."""
    both = jax.jit(lambda own, theta: (likelihood.mean(own, theta), likelihood.variance(own, theta)))
    return (np.asarray(v, np.float64) for v in both(own, theta))


@pytest.mark.parametrize("name", ["categorical", "rows", "image"])
def test_discrete_samples(name):
    """The counts of every outcome against enumerated probabilities, by Pearson's statistic."""
    if name == "categorical":
        likelihood, theta = categorical(3), jax.random.normal(KEY, (1, 2, 3))
        values = np.array(list(itertools.product(range(3), repeat=2))).reshape(-1, 1, 2) / 2
    else:
        likelihood, theta, values = _mixture((1, 2) if name == "rows" else (1, 1, 2))
        theta = jnp.asarray(theta, jnp.float32)
    p = np.exp(np.float64(many(lambda x: likelihood.log_prob({}, theta, x), values.astype(np.float32))))
    x = _draws(likelihood, {}, theta)
    outcome = np.rint(2 * x).reshape(DRAWS, 2) @ [3, 1]
    counts = np.bincount(outcome.astype(int), minlength=9)

    def pearson(p):
        return np.sum((counts - DRAWS * p) ** 2 / (DRAWS * p))

    limit = stats.chi2.isf(1e-6, 8)  # a false alarm in a million
    assert len(counts) == 9 and DRAWS * p.min() > 20 and pearson(p / p.sum()) < limit
    if name == "image":  # drawing a component for each channel would lose the correlation: rejected
        rows = many(lambda x: likelihood.log_prob({}, theta.reshape(3, 2, 2), x.reshape(2)), values.astype(np.float32))
        assert pearson(np.exp(np.float64(rows))) > limit
    assert within_standard_errors(x, next(_moments(likelihood, {}, theta)), 5)


# ---------------------------------------------------------------- blocks of columns


def _table():
    """Five columns of four kinds, one of them a Gaussian whose sigma is not to be trained."""
    parts = [(gaussian("fixed", sigma=0.3), 1), (laplace(), 1), (bernoulli(), 2), (categorical(3, scale=1.0), 1)]
    likelihood = blocks(parts)
    assert likelihood.theta_shape((5,)) == (1 + 1 + 2 + 3,)
    own = likelihood.init((5,))
    assert sorted(own) == ["0", "1"] and not likelihood.frozen and likelihood.sigma is None
    return parts, likelihood, own, jnp.asarray(np.random.default_rng(0).normal(size=7), jnp.float32)


def test_blocks_are_one_explicit_sum():
    parts, likelihood, own, theta = _table()
    x = jnp.asarray([0.4, -1.0, 1.0, 0.0, 2.0])

    @jax.jit
    def by_hand(x):
        return (
            parts[0][0].log_prob(own["0"], theta[:1], x[:1])
            + parts[1][0].log_prob(own["1"], theta[1:2], x[1:2])
            + parts[2][0].log_prob({}, theta[2:4], x[2:4])
            + categorical_log_prob(x[4].astype(int), theta[4:])
        )

    log_prob = jax.jit(lambda x: likelihood.log_prob(own, theta, x))
    assert float(log_prob(x)) == pytest.approx(float(by_hand(x)), rel=1e-6)
    # Columns in another order are another model.
    assert abs(float(log_prob(x[jnp.asarray([1, 0, 2, 3, 4])])) - float(by_hand(x))) > 0.1
    draws = many(lambda key: likelihood.sample(own, theta, key), jax.random.split(KEY, 5000)).astype(float)
    assert draws.shape == (5000, 5) and set(np.unique(draws[:, 4])) == {0.0, 1.0, 2.0}
    mean, variance = _moments(likelihood, own, theta)
    codes = np.exp(jax.nn.log_softmax(theta[4:])) @ [0.0, 1.0, 2.0]
    assert mean[4] == np.argmax(theta[4:])  # of a code that has no order the most probable class
    mean[4] = codes
    assert within_standard_errors(draws, mean, 5) and within_standard_errors((draws - mean) ** 2, variance, 5)
    # Different columns have different noise: no correlation beyond 5 standard errors.
    assert np.abs(np.corrcoef(draws.T) - np.eye(5)).max() < 5 / math.sqrt(5000)


def test_blocks_train_what_is_not_fixed():
    _, likelihood, own, theta = _table()
    optimizer = adam(learning_rates("constant", 1e-2, 10), likelihood)
    params = {"model": {"theta": theta}, "likelihood": own}

    def loss(params):
        return -likelihood.log_prob(params["likelihood"], params["model"]["theta"], jnp.asarray([0.4, -1, 1, 0, 2.0]))

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return jax.tree.map(jnp.add, params, updates), state

    state = optimizer.init(params)
    for _ in range(3):
        params, state = step(params, state)
    assert float(params["likelihood"]["0"]["log_sigma"]) == float(own["0"]["log_sigma"])  # in the same bits
    assert abs(float(params["likelihood"]["1"]["u"] - own["1"]["u"])) > 0.1
    assert np.all(np.asarray(params["model"]["theta"] != theta))
    assert blocks([(gaussian("fixed"), 1), (bernoulli(), 1)]).frozen
    again = likelihood.init((5,))["1"]["u"]
    assert again is not own["1"]["u"]  # training consumes the buffers of a state
