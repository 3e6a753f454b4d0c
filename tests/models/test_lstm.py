"""The LSTM's own derivative: that of a plain scan, in both modes and in second order, and no loop adds weights up."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.jaxprs import loops

from vae_jax.models import lstm

STEPS, INPUT, STATE = 5, 3, 4


def plain(weights, offset, start, x):
    """The same states with the derivative that JAX finds by itself."""

    def read(state, x):
        state = lstm.step(weights, offset, state, x)
        return state, state[1]

    return jax.lax.scan(read, start, x)[1]


def through(weights, offset, start, x):
    """The states of ``lstm`` where each place has a word of its own."""
    return lstm.through(weights, offset, start, x, jnp.arange(STEPS))


def arguments(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    shapes = (INPUT + STATE, 4 * STATE), (4 * STATE,), (STATE,), (STATE,), (STEPS, INPUT)
    weights, offset, c, h, x = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes)
    return weights, offset, (c, h), x


def scalar(states):
    """Of every state, so that no derivative is zero by chance."""
    return lambda *args: jnp.sum(jnp.sin(states(*args)) * jnp.arange(1.0, 1.0 + STEPS * STATE).reshape(STEPS, STATE))


def assert_close(found, expected, rtol=1e-12):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * float(jnp.max(jnp.abs(b))))


def test_one_step_by_hand(x64):
    """Gers 2000: c' = keep c + write new, h' = read tanh c'."""
    weights, offset, (c, h), x = arguments()
    a = np.concatenate([x[0], h]) @ weights + offset
    sigmoid = lambda v: 1.0 / (1.0 + np.exp(-v))  # noqa: E731
    write, keep, new, read = a[:4], a[4:8] + 1.0, a[8:12], a[12:]
    after = sigmoid(keep) * c + sigmoid(write) * np.tanh(new)
    assert_close(through(weights, offset, (c, h), x)[0], sigmoid(read) * np.tanh(after))


def test_gradients_are_those_of_a_plain_scan(x64):
    args = arguments()
    assert_close(through(*args), plain(*args))
    every = (0, 1, 2, 3)
    assert_close(jax.grad(scalar(through), every)(*args), jax.grad(scalar(plain), every)(*args))


def test_forward_mode_and_second_order(x64):
    args, direction = arguments(), arguments(1)
    assert_close(jax.jvp(through, args, direction), jax.jvp(plain, args, direction))

    def curvature(states):
        return jax.jvp(jax.grad(scalar(states), (0, 1, 2, 3)), args, direction)[1]

    assert_close(curvature(through), curvature(plain), 1e-10)


@pytest.mark.parametrize("models", [False, True])
def test_a_batch_of_sentences_and_of_models(x64, models):
    """One set of weights with a start and an offset for each sentence, as in a decoder; and a set for each of many."""
    each = [arguments(seed) for seed in range(3)]
    weights, offset, start, x = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    shared = weights if models else weights[0]
    axes = (0 if models else None, 0, 0, 0)

    def loss(states):
        return lambda *args: jnp.sum(jax.vmap(scalar(states), axes)(*args))

    args = (shared, offset, start, x)
    assert_close(jax.grad(loss(through), (0, 1, 2, 3))(*args), jax.grad(loss(plain), (0, 1, 2, 3))(*args))


@pytest.mark.parametrize("few", [True, False])
def test_words_that_repeat_share_their_vectors(x64, monkeypatch, few):
    """Few words, looked up behind the product, or many, before it: the states and gradients of the vectors' copies."""
    monkeypatch.setattr(lstm, "SENTENCES", 16 if few else 0)
    weights, offset, start, table = arguments()
    tokens = jnp.array([4, 0, 4, 2, 2])
    assert lstm.few_words(table, tokens) == few

    def looked_up(*args):
        return lstm.through(*args, tokens)

    def copied(weights, offset, start, table):
        return plain(weights, offset, start, table[tokens])

    args, direction = (weights, offset, start, table), arguments(1)
    assert_close(looked_up(*args), copied(*args))
    every = (0, 1, 2, 3)
    assert_close(jax.grad(scalar(looked_up), every)(*args), jax.grad(scalar(copied), every)(*args))
    assert_close(jax.jvp(looked_up, args, direction), jax.jvp(copied, args, direction))


def carried(states, batch=7):
    """The shapes that loops of the gradient carry from step to step."""
    weights, offset, start, x = arguments(dtype=np.float32)

    def loss(weights):
        many = jax.vmap(states, (None, None, None, 0))(weights, offset, start, jnp.stack([x] * batch))
        return jnp.sum(many)

    shapes = []
    for eqn in loops(jax.make_jaxpr(jax.grad(loss))(weights).jaxpr):
        begin, count = eqn.params["num_consts"], eqn.params["num_carry"]
        shapes += [v.aval.shape for v in eqn.invars[begin : begin + count]]
    return shapes


def test_no_loop_adds_the_gradient_of_the_weights_up():
    size = (INPUT + STATE) * 4 * STATE
    assert any(np.prod(shape) >= size for shape in carried(plain))  # so this test would see it
    assert all(np.prod(shape) < size for shape in carried(through))
