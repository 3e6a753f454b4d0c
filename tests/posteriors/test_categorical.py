"""Discrete latents against sums over every code: the KL, the draws, and what stands for their gradient."""

from __future__ import annotations

import itertools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import within_standard_errors

from vae_jax.posteriors import categorical, closed_form
from vae_jax.posteriors.categorical import UNIMIX

KEY = jax.random.key(4)
GROUPS, CLASSES = 2, 3
H = np.asarray([0.3, -0.8, 1.1, 0.6, 0.2, -1.4])
CODES = np.asarray(
    [np.eye(CLASSES)[list(chosen)].reshape(-1) for chosen in itertools.product(range(CLASSES), repeat=GROUPS)]
)


def probabilities(h, classes=CLASSES, unimix=UNIMIX):
    """Returns the probability of each class, ``[groups, k]``, and of each of ``CODES``."""
    p = (1 - unimix) * jax.nn.softmax(h.reshape(-1, classes), -1) + unimix / classes
    return p, jnp.prod(jnp.sum(CODES.reshape(len(CODES), -1, CLASSES) * p, -1), -1) if classes == CLASSES else None


def error(z):
    """Returns what a decoder that bends makes of a code: no linear function of it."""
    return -jnp.sum((jnp.asarray([0.4, -0.2]) - jnp.tanh(jnp.asarray(WEIGHTS)[:, : z.shape[-1]] @ z)) ** 2)


WEIGHTS = [[0.9, -0.5, 0.1, 1.2, 0.3, -0.7], [0.2, 0.8, -1.1, -0.4, 0.6, 0.5]]


def test_the_kl_is_the_sum_over_all_codes_and_never_more_than_n_log_k(x64):
    q = categorical(CLASSES)
    _, of_code = probabilities(H)
    prior = CLASSES**-GROUPS
    assert float(jnp.sum(of_code)) == pytest.approx(1.0, rel=1e-12)
    parts = q.kl({}, H)
    assert parts.shape == (GROUPS,)
    np.testing.assert_allclose(jnp.sum(parts), jnp.sum(of_code * jnp.log(of_code / prior)), rtol=1e-12)
    np.testing.assert_allclose(q.prior.log_prob({}, CODES[0], None), np.log(prior), rtol=1e-12)
    assert closed_form(q.prior, q)
    # DreamerV3's 32 groups of 32 classes, as sure as they can be: a class has at least its share of the uniform 1%.
    q, sure = categorical(32), 1e3 * jax.random.normal(KEY, (32 * 32,))
    p = q.moments({}, sure).mean
    assert p.min() == pytest.approx(UNIMIX / 32, rel=1e-9)
    rest = UNIMIX / 32
    entropy = -(1 - 31 * rest) * np.log(1 - 31 * rest) - 31 * rest * np.log(rest)
    np.testing.assert_allclose(q.kl({}, sure), np.log(32) - entropy, rtol=1e-6)
    np.testing.assert_allclose(q.kl({}, jnp.zeros(32 * 32)), 0.0, atol=1e-12)


def test_draws_are_one_hot_and_as_frequent_as_their_probabilities(x64):
    q = categorical(CLASSES)
    z, log_q = q.draw({}, H, KEY, 20_000)
    assert set(np.unique(z)) == {0.0, 1.0} and (z.reshape(-1, GROUPS, CLASSES).sum(-1) == 1).all()
    p, of_code = probabilities(H)
    assert within_standard_errors(z, p.reshape(-1), 5)
    np.testing.assert_allclose(jnp.exp(log_q), of_code[jnp.argmax(z @ CODES.T, -1)], rtol=1e-12)
    found = q.moments({}, H)
    np.testing.assert_allclose(found.mean, p.reshape(-1), rtol=1e-12)
    np.testing.assert_allclose(jnp.exp(found.logvar), (p * (1 - p)).reshape(-1), rtol=1e-12)
    drawn = jax.vmap(lambda key: q.prior.sample({}, key, GROUPS * CLASSES, None))(jax.random.split(KEY, 2_000))
    assert (drawn.reshape(-1, GROUPS, CLASSES).sum(-1) == 1).all() and within_standard_errors(drawn, 1 / CLASSES, 5)


def straight_through(f):
    """Returns the gradients of E f(z) by all codes: the exact one, and the mean of the straight-through one."""
    exact = jax.grad(lambda h: jnp.sum(probabilities(h)[1] * jax.vmap(f)(CODES)))(H)

    def of_code(code):
        # Noise that makes this code the one that is drawn.
        with mock.patch("jax.random.gumbel", lambda *args: 1e3 * code.reshape(1, GROUPS, CLASSES)):
            return jax.grad(lambda h: f(categorical(CLASSES).draw({}, h, KEY, 1)[0][0]))(H)

    return exact, probabilities(H)[1] @ jnp.stack([of_code(code) for code in CODES])


def test_straight_through_is_right_of_a_linear_decoder_and_biased_of_one_that_bends(x64):
    exact, found = straight_through(lambda z: jnp.asarray(WEIGHTS[0]) @ z)
    np.testing.assert_allclose(found, exact, rtol=1e-10)
    squared = lambda z: -jnp.sum((jnp.asarray([0.4, -0.2]) - jnp.asarray(WEIGHTS) @ z) ** 2)  # noqa: E731
    # Of a squared error it is off by six tenths of the gradient's length, and of one that saturates by all of it.
    for bends, bias in ((squared, 0.600), (error, 1.013)):
        exact, found = straight_through(bends)
        assert float(jnp.linalg.norm(found - exact) / jnp.linalg.norm(exact)) == pytest.approx(bias, abs=1e-3)


def test_soft_codes_come_to_the_gradient_as_the_temperature_falls(x64):
    h = jnp.asarray([0.4, -0.3])
    exact = jax.grad(lambda h: probabilities(h, 2)[0][0] @ jax.vmap(error)(jnp.eye(2)))(h)
    # Of two classes only the difference of the two noises counts, which is logistic: one quadrature, of midpoints.
    u = (np.arange(20_000) + 0.5) / 20_000
    noise = jnp.asarray(np.stack([np.log(u / (1 - u)), 0 * u], -1)[:, None, None])

    def bias(temperature):
        q = categorical(2, temperature)

        def slope(noise):
            with mock.patch("jax.random.gumbel", lambda *args: noise):
                return jax.grad(lambda h: error(q.draw({}, h, KEY, 1)[0][0]))(h)

        return float(jnp.linalg.norm(jnp.mean(jax.vmap(slope)(noise), 0) - exact) / jnp.linalg.norm(exact))

    at = [bias(t) for t in (1.0, 0.3, 0.1)]
    # 0.42, 0.14 and 0.04 of the gradient's length.
    assert at[1] < 0.4 * at[0] and at[2] < 0.4 * at[1] and at[2] < 0.05 < at[0]


def test_what_a_group_cannot_be():
    for wrong in ({"classes": 1}, {"classes": 3, "unimix": 1.0}):
        with pytest.raises(ValueError, match="2 classes or more"):
            categorical(**wrong)
