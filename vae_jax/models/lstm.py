"""An LSTM that reads a sentence, with a derivative that adds the weights' gradient up outside of its loop.

Left to itself, reverse mode adds the gradient of all weights up in every step of time. But of the tangents of what goes
into the gates,

    da_t = dx_t W_x + [x_t, h_t-1] dW + db + dh_t-1 W_h,

only the last term needs the step before. ``through`` computes the others for all steps at once and leaves a linear
recurrence, so that transposed, too, the weights' gradient is one product over all steps and examples. It is the same
derivative, in forward and in reverse mode and of every order.

A step is short on a CPU: what is between two products takes as long as they do, unless it is few loops over few arrays.
So the four gates are squashed as one array, and only that array and the states are remembered. Where there are fewer
words than a batch has places, what each word gives to the gates is computed once, and a step looks it up.

Axes: ``t`` steps, ``v`` words, ``e`` width of an input, ``h`` width of the state; the gates are side by side, in the
order write, keep, new, read (Hochreiter 1997; Gers 2000, whose forget gate is ``keep``).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vae_jax.types import Array

# ``few_words`` supposes that many sentences at a time.
SENTENCES = 16


def few_words(table: Array, tokens: Array) -> bool:
    """Whether a batch of sentences ``[t]`` has more places than there are words in ``table [v, e]``."""
    return table.shape[0] <= SENTENCES * tokens.shape[0]


def reader(weights: Array, table: Array, tokens: Array) -> tuple[Callable, Array]:
    """``(input, given)``: ``input(given_t, h) -> [gates]`` is what a step's word and the state before it contribute.

    Args:
      weights: those of the input over those of the state, ``[e + h, gates]``.
      table: the vector of each word, ``[v, e]``.
      tokens: the words, ``[t]`` integers.
    """
    width = table.shape[1]
    if few_words(table, tokens):
        of_word, of_state = table @ weights[:width], weights[width:]
        return lambda token, h: of_word[token] + h @ of_state, tokens
    return lambda x, h: jnp.concatenate([x, h]) @ weights, table[tokens]


def squash(into: Array) -> Array:
    """What the gates let through, ``[4h]``, of what goes into them; 1 is added to what goes into ``keep``.

    A memory that begins by keeping: Gers 2000; Jozefowicz 2015. sigmoid(a) is (1 + tanh(a / 2)) / 2, so that one loop
    over one array does all four.
    """
    h = into.shape[-1] // 4
    gate = jnp.arange(4 * h) // h
    half = jnp.where(gate == 2, 1.0, 0.5).astype(into.dtype)
    shift = jnp.where(gate == 1, 0.5, 0.0).astype(into.dtype)
    return jnp.tanh(into * half + shift) * half + (1.0 - half)


def advance(c: Array, gates: Array) -> tuple[Array, Array]:
    """``(c, h)`` after a step, each ``[h]``, of the c before it and the step's squashed gates ``[4h]``."""
    write, keep, new, read = jnp.split(gates, 4)
    c = keep * c + write * new
    return c, read * jnp.tanh(c)


def step(weights: Array, offset: Array, state: tuple[Array, Array], x: Array) -> tuple[Array, Array]:
    """``(c, h)`` after a step from ``(c, h)`` before it, each ``[h]``, with the input ``x [e]``."""
    c, h = state
    return advance(c, squash(jnp.concatenate([x, h]) @ weights + offset))


@jax.custom_jvp
def through(weights: Array, offset: Array, start: tuple[Array, Array], table: Array, tokens: Array) -> Array:
    """The h after each step, ``[t, h]``.

    Args:
      weights, table, tokens: as for ``reader``, the gates ``4h``.
      offset: ``[4h]``.
      start: ``(c, h)`` before the first step, each ``[h]``.
    """
    read, given = reader(weights, table, tokens)

    def one(state, given):
        state = advance(state[0], squash(read(given, state[1]) + offset))
        return state, state[1]

    return jax.lax.scan(one, start, given)[1]


@through.defjvp
def _tangent(primals, tangents):
    weights, offset, start, table, tokens = primals
    d_weights, d_offset, d_start, d_table, _ = tangents
    read, given = reader(weights, table, tokens)

    def remember(state, given):
        gates = squash(read(given, state[1]) + offset)
        state = advance(state[0], gates)
        return state, (gates, *state)

    gates, c_after, out = jax.lax.scan(remember, start, given)[1]
    c, h = (jnp.concatenate([first[None], after[:-1]]) for first, after in zip(start, (c_after, out)))
    width = table.shape[1]
    # All that does not need the tangent of the state, for all steps in one product: transposed, the gradient of the
    # weights is then one product as well, and no loop carries a running sum of their size.
    known = jnp.concatenate([table[tokens], h], axis=-1) @ d_weights + d_offset + d_table[tokens] @ weights[:width]
    write, keep, new, read = jnp.split(gates, 4, axis=-1)
    squashed = jnp.tanh(c_after)
    slopes = (
        new * write * (1.0 - write),
        c * keep * (1.0 - keep),
        write * (1.0 - new * new),
        squashed * read * (1.0 - read),
    )
    shown = read * (1.0 - squashed * squashed)  # dh / dc
    # Transposed here and not in each step backwards; without the barrier the compiler would undo it.
    of_state = jax.lax.optimization_barrier(weights[width:].T)

    def linear(state, given):
        d_c, d_h = state
        known, (of_write, of_keep, of_new, of_read), keep, shown = given
        into = jax.lax.dot_general(d_h, of_state, (((0,), (1,)), ((), ()))) + known
        d_write, d_keep, d_new, d_read = jnp.split(into, 4)
        d_c = keep * d_c + of_write * d_write + of_keep * d_keep + of_new * d_new
        d_h = shown * d_c + of_read * d_read
        return (d_c, d_h), d_h

    return out, jax.lax.scan(linear, d_start, (known, slopes, keep, shown))[1]
