"""The continuous Bernoulli on [0, 1] (Loaiza-Ganem and Cunningham 2019, 1907.06845), in logit space.

p(x) = C(lambda) lambda^x (1 - lambda)^(1 - x) with l = logit(lambda). Near l = 0 each function is its series, elsewhere
a closed form that never overflows; the branch not taken sees a harmless argument, so that no NaN reaches a gradient.
The switch is where the two errors meet: |l| = 0.5 in float32 (1 for the variance), 0.03 in float64. Lambda is never
clipped: clipping it at 1e-4 would cap the density at 2.22 nats a pixel.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.gaussian import at_least_float32
from vae_jax.likelihoods.bernoulli import cross_entropy_with_logits
from vae_jax.likelihoods.shared import event_sum
from vae_jax.types import Likelihood


def _split(logits, switch: float = 0.5):
    """Returns which logits use the series, their safe small value, and a safe absolute value for the closed form."""
    l = at_least_float32(logits)  # noqa: E741
    small = jnp.abs(l) < (0.03 if l.dtype == jnp.float64 else switch)
    return l, small, jnp.where(small, l, 0.0), jnp.where(small, 1.0, jnp.abs(l))


@jax.custom_jvp
def continuous_bernoulli_log_normalizer(logits):
    """Returns log C, elementwise, nats: log(l / tanh(l / 2)), even, at least log 2. Its slope is sg(l) - mean(l)."""
    _, small, s, a = _split(logits)
    s2 = s * s
    series = jnp.log(2.0).astype(a.dtype) + s2 * (1 / 12 + s2 * (-7 / 1440 + s2 * (31 / 90720 - s2 * (127 / 4838400))))
    return jnp.where(small, series, jnp.log(a) - jnp.log(jnp.tanh(0.5 * a)))


@continuous_bernoulli_log_normalizer.defjvp
def _log_normalizer_jvp(primals, tangents):
    (logits,), (tangent,) = primals, tangents
    l, small, s, a = _split(logits)  # noqa: E741
    s2 = s * s
    # sg(l) - mean(l) cancels for small l and for large |l|; these forms do not: 1/a - 1/sinh(a), odd in l.
    series = s * (1 / 6 + s2 * (-7 / 360 + s2 * (31 / 15120 - s2 * (127 / 604800))))
    closed = jnp.sign(l) * (1.0 / a - 2.0 * jnp.exp(-a) / -jnp.expm1(-2.0 * a))
    return continuous_bernoulli_log_normalizer(logits), jnp.where(small, series, closed) * tangent


@jax.custom_jvp
def continuous_bernoulli_mean(logits):
    """Returns E[x], elementwise: 1 / (1 - e^-l) - 1/l. It is not lambda: at lambda = 0.01 it is 0.207."""
    l, small, s, a = _split(logits)  # noqa: E741
    s2 = s * s
    series = 0.5 + s * (1 / 12 + s2 * (-1 / 720 + s2 * (1 / 30240)))
    lower = 1.0 / a - jnp.exp(-a) / -jnp.expm1(-a)  # the mean at -|l|
    return jnp.where(small, series, jnp.where(l < 0, lower, 1.0 - lower))


@continuous_bernoulli_mean.defjvp
def _mean_jvp(primals, tangents):
    (logits,), (tangent,) = primals, tangents
    return continuous_bernoulli_mean(logits), continuous_bernoulli_variance(logits) * tangent


def continuous_bernoulli_variance(logits):
    """Returns Var[x], elementwise, the mean's derivative: 1/l^2 - 1 / (4 sinh^2(l / 2)); 1/12 at l = 0."""
    _, small, s, a = _split(logits, switch=1.0)  # the closed form cancels like 1/l^2
    s2 = s * s
    series = 1 / 12 + s2 * (-1 / 240 + s2 * (1 / 6048 + s2 * (-1 / 172800 + s2 / 5322240)))
    closed = 1.0 / (a * a) - jnp.exp(-a) / jnp.square(jnp.expm1(-a))
    return jnp.where(small, series, closed)


def continuous_bernoulli_inverse_mean(mean, newton_steps: int = 4):
    """Returns the logit whose mean is ``mean`` in (0, 1), elementwise.

    Starts from an approximation of the inverse Langevin function (error below 5%), then Newton: 2e-6 relative in
    float32 for means in [0.001, 0.999].
    """
    mean = at_least_float32(mean)
    # By symmetry the lower half suffices, where the mean keeps its relative precision; above it 1 - mean is exact.
    upper = mean > 0.5
    mean = jnp.where(upper, 1.0 - mean, mean)
    y = 2.0 * mean - 1.0
    l = 2.0 * y * (3.0 - y * y) / (1.0 - y * y)  # noqa: E741
    for _ in range(newton_steps):
        l = l - (continuous_bernoulli_mean(l) - mean) / continuous_bernoulli_variance(l)  # noqa: E741
    return jnp.where(upper, -l, l)


def _sample(logits, key):
    u = jax.random.uniform(key, logits.shape, logits.dtype)
    return continuous_bernoulli_icdf(u, logits)


def continuous_bernoulli_icdf(u, logits):
    """Returns the inverse distribution function at ``u`` in [0, 1), elementwise."""
    l = at_least_float32(logits)  # noqa: E741
    u = jnp.asarray(u, l.dtype)
    small = jnp.abs(l) < 1e-6
    # For l > 0 by symmetry: x(u, l) = 1 - x(1 - u, -l), which never overflows.
    negative = jnp.where(small, -1.0, -jnp.abs(l))
    v = jnp.where(l > 0, 1.0 - u, u)
    x = jnp.clip(jnp.log1p(v * jnp.expm1(negative)) / negative, 0.0, 1.0)
    first_order = u + 0.5 * l * u * (1.0 - u)
    return jnp.where(small, first_order, jnp.where(l > 0, 1.0 - x, x))


def continuous_bernoulli_cdf(x, logits):
    """Returns P(X <= x) at x in [0, 1], elementwise: (e^(l x) - 1) / (e^l - 1)."""
    l = at_least_float32(logits)  # noqa: E741
    x = jnp.asarray(x, l.dtype)
    small = jnp.abs(l) < 1e-6
    negative = jnp.where(small, -1.0, -jnp.abs(l))  # for l > 0 by symmetry: u(x, l) = 1 - u(1 - x, -l)
    u = jnp.expm1(negative * jnp.where(l > 0, 1.0 - x, x)) / jnp.expm1(negative)
    return jnp.where(small, x - 0.5 * l * x * (1.0 - x), jnp.where(l > 0, 1.0 - u, u))


def continuous_bernoulli() -> Likelihood:
    """Makes independent continuous Bernoulli pixels, theta the logits ``[event]``; x in [0, 1].

    ``log_prob`` is the BCE expression plus log C, a proper density; ``mean`` is E[x], which is what to display.
    """

    def terms(own, theta, x):
        return cross_entropy_with_logits(x, theta) + continuous_bernoulli_log_normalizer(theta)

    return Likelihood(
        init=lambda event: {},
        theta_shape=lambda event: tuple(event),
        log_prob=lambda own, theta, x: event_sum(terms(own, theta, x)),
        mean=lambda own, theta: continuous_bernoulli_mean(theta),
        sample=lambda own, theta, key: _sample(theta, key),
        variance=lambda own, theta: continuous_bernoulli_variance(theta),
        support="unit",
        cdf=lambda own, theta, x: (continuous_bernoulli_cdf(x, theta),) * 2,
        terms=terms,
    )
