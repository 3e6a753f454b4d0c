"""A GRU that reads a sentence, with a derivative that adds the weights' gradient up outside of its loop, as ``lstm``.

With a_t = x_t W_x + b of the word and s_t = h_t-1 W_h of the state, each for the gates reset, keep, new side by side
(Cho 2014, 1406.1078, with the reset gate after the product, as in cuDNN),

    n = tanh(a_new + r s_new),    h_t = k h_t-1 + (1 - k) n,    r, k the sigmoids of a + s,

so the tangent is linear in da and ds with slopes that differ for ``new`` only, and ds = dh_t-1 W_h + h_t-1 dW_h.
All but the term with dh_t-1 is computed for all steps at once.

Axes: ``t`` steps, ``v`` words, ``e`` width of an input, ``h`` width of the state.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.models.lstm import few_words
from vae_jax.types import Array


def advance(h: Array, of_word: Array, of_state: Array) -> tuple[Array, tuple[Array, Array]]:
    """The h ``[h]`` after a step, and what its derivative needs: (reset, keep, new), ``[3, h]``, and s_new, ``[h]``.

    Args:
      h: before it.
      of_word, of_state: what word and state contribute to the gates, ``[3h]`` each.
    """
    (reset, keep, new), (reset_h, keep_h, new_h) = jnp.split(of_word, 3), jnp.split(of_state, 3)
    reset, keep = jax.nn.sigmoid(reset + reset_h), jax.nn.sigmoid(keep + keep_h)
    new = jnp.tanh(new + reset * new_h)
    return keep * h + (1.0 - keep) * new, (reset, keep, new, new_h)


def step(kernel: Array, recurrent: Array, offset: Array, state: tuple[Array], x: Array) -> tuple[Array]:
    """``(h,)`` after a step from ``(h,)`` before it, with the input ``x [e]``; the others as for ``through``."""
    (h,) = state
    return (advance(h, x @ kernel + offset, h @ recurrent)[0],)


def _given(kernel, table, tokens):
    """``(of_word, given)``: what a step's word contributes is ``of_word(given_t)``."""
    if few_words(table, tokens):
        each = table @ kernel
        return lambda token: each[token], tokens
    # The inputs' share of all steps in one product: only that of the state has to wait for its turn.
    return lambda share: share, table[tokens] @ kernel


@jax.custom_jvp
def through(kernel: Array, recurrent: Array, offset: Array, start: tuple[Array], table: Array, tokens: Array) -> Array:
    """The h after each step, ``[t, h]``.

    Args:
      kernel, recurrent: the weights of the input ``[e, 3h]`` and of the state ``[h, 3h]``.
      offset: ``[3h]``.
      start: ``(h,)`` before the first step.
      table, tokens: the vector of each word ``[v, e]``, and the words ``[t]``, integers.
    """
    of_word, given = _given(kernel, table, tokens)

    def one(h, given):
        h, _ = advance(h, of_word(given) + offset, h @ recurrent)
        return h, h

    return jax.lax.scan(one, start[0], given)[1]


@through.defjvp
def _tangent(primals, tangents):
    kernel, recurrent, offset, start, table, tokens = primals
    d_kernel, d_recurrent, d_offset, d_start, d_table, _ = tangents
    of_word, given = _given(kernel, table, tokens)

    def remember(h, given):
        h, gates = advance(h, of_word(given) + offset, h @ recurrent)
        return h, (h, gates)

    out, (reset, keep, new, new_h) = jax.lax.scan(remember, start[0], given)[1]
    h = jnp.concatenate([start[0][None], out[:-1]])
    by_new = (1.0 - keep) * (1.0 - new * new)
    by_reset = by_new * new_h * reset * (1.0 - reset)
    by_keep = (h - new) * keep * (1.0 - keep)
    of_words = jnp.concatenate([by_reset, by_keep, by_new], axis=-1)  # [t, 3h]
    of_states = (by_reset, by_keep, by_new * reset)
    # All that does not need the tangent of the state, for all steps in one product each.
    words = table[tokens] @ d_kernel + d_offset + d_table[tokens] @ kernel
    states = h @ d_recurrent
    known = sum(jnp.split(of_words * words, 3, axis=-1)) + sum(
        slope * part for slope, part in zip(of_states, jnp.split(states, 3, axis=-1))
    )
    transposed = jax.lax.optimization_barrier(recurrent.T)  # as in ``lstm``

    def linear(d_h, given):
        known, (by_reset, by_keep, by_new), keep = given
        d_reset, d_keep, d_new = jnp.split(jax.lax.dot_general(d_h, transposed, (((0,), (1,)), ((), ()))), 3)
        d_h = keep * d_h + known + by_reset * d_reset + by_keep * d_keep + by_new * d_new
        return d_h, d_h

    return out, jax.lax.scan(linear, d_start[0], (known, of_states, keep))[1]
