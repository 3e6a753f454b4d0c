"""The GRU's own derivative: that of a plain scan, in both modes and in second order, and no loop adds weights up."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.jaxprs import loops

from vae_jax.models import gru, lstm

STEPS, INPUT, STATE = 5, 3, 4
TOKENS = jnp.array([4, 0, 4, 2, 2])
EVERY = (0, 1, 2, 3, 4)


def plain(kernel, recurrent, offset, start, table):
    """The equations at the top of the file, step by step, with the derivative that JAX finds by itself."""
    h, states = start[0], []
    for token in TOKENS:
        a, s = jnp.split(table[token] @ kernel + offset, 3), jnp.split(h @ recurrent, 3)
        r, k = (1.0 / (1.0 + jnp.exp(-(a[i] + s[i]))) for i in (0, 1))
        h = k * h + (1.0 - k) * jnp.tanh(a[2] + r * s[2])
        states.append(h)
    return jnp.stack(states)


def own(*args):
    return gru.through(*args, TOKENS)


def arguments(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    shapes = (INPUT, 3 * STATE), (STATE, 3 * STATE), (3 * STATE,), (STATE,), (5, INPUT)
    kernel, recurrent, offset, h, table = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)
    return kernel, recurrent, offset, (h,), table


def scalar(states):
    """Of every state, so that no derivative is zero by chance."""
    return lambda *args: jnp.sum(jnp.sin(states(*args)) * jnp.arange(1.0, 1.0 + STEPS * STATE).reshape(STEPS, STATE))


def assert_close(found, expected, rtol=1e-11):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * float(jnp.max(jnp.abs(b))))


@pytest.mark.parametrize("few", [True, False])
def test_every_derivative_is_that_of_a_plain_loop(x64, monkeypatch, few):
    """Few words, looked up behind the product, or many, before it; reverse, forward and second order."""
    monkeypatch.setattr(lstm, "SENTENCES", 16 if few else 0)
    args, direction = arguments(), arguments(1)
    assert_close(own(*args), plain(*args))
    assert_close(jax.grad(scalar(own), EVERY)(*args), jax.grad(scalar(plain), EVERY)(*args))
    assert_close(jax.jvp(own, args, direction), jax.jvp(plain, args, direction))

    def curvature(states):
        return jax.jvp(jax.grad(scalar(states), EVERY), args, direction)[1]

    assert_close(curvature(own), curvature(plain), 1e-9)


def test_a_batch_has_the_gradient_of_its_sentences(x64):
    kernel, recurrent, *_ = arguments()
    each = [arguments(seed)[2:] for seed in range(3)]
    offset, start, table = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)

    def loss(states):
        over = jax.vmap(scalar(states), (None, None, 0, 0, 0))
        return lambda *args: jnp.sum(over(*args))

    args = (kernel, recurrent, offset, start, table)
    assert_close(jax.grad(loss(own), EVERY)(*args), jax.grad(loss(plain), EVERY)(*args))


def test_no_loop_adds_the_gradient_of_the_weights_up():
    kernel, recurrent, offset, start, table = arguments(dtype=np.float32)

    def loss(recurrent):
        many = jax.vmap(own, (None, None, 0, None, None))(kernel, recurrent, jnp.stack([offset] * 7), start, table)
        return jnp.sum(many)

    for eqn in loops(jax.make_jaxpr(jax.grad(loss))(recurrent).jaxpr):
        begin, count = eqn.params["num_consts"], eqn.params["num_carry"]
        assert all(np.prod(v.aval.shape) < recurrent.size for v in eqn.invars[begin : begin + count])
