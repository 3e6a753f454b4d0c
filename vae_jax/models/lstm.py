"""An LSTM that reads a sentence, with a derivative that adds the weights' gradient up outside of its loop.

Left to itself, reverse mode adds the gradient of all weights up in every step of time. But of the tangents of what goes
into the gates,

    da_t = dx_t W_x + [x_t, h_t-1] dW + db + dh_t-1 W_h,

only the last term needs the step before. ``through`` computes the others for all steps at once and leaves a linear
recurrence, so that transposed, too, the weights' gradient is one product over all steps and examples. It is the same
derivative, in forward and in reverse mode and of every order. On two CPU cores a training step of a sequence VAE takes
0.8 of the time with 512 units, and the same with 128, whose weights stay in the cache anyway.

Axes: ``t`` steps, ``e`` width of an input, ``h`` width of the state; the gates are side by side, in the order write,
keep, new, read (Hochreiter 1997; Gers 2000, whose forget gate is ``keep``).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.types import Array


def gates(weights: Array, offset: Array, h: Array, x: Array) -> tuple[Array, Array, Array, Array]:
    """Write, keep, new and read, each ``[h]``, of one step; 1 is added to what goes into ``keep``.

    Args:
      weights: those of the input over those of the state, ``[e + h, 4h]``.
      offset: ``[4h]``.
      h, x: the state ``[h]`` before the step, and its input ``[e]``.
    """
    write, keep, new, read = jnp.split(jnp.concatenate([x, h]) @ weights + offset, 4)
    # A memory that begins by keeping (Gers 2000; Jozefowicz 2015).
    return jax.nn.sigmoid(write), jax.nn.sigmoid(keep + 1.0), jnp.tanh(new), jax.nn.sigmoid(read)


def advance(c: Array, of_step: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
    """``(c, h)`` after a step, each ``[h]``, of the c before it and the step's gates."""
    write, keep, new, read = of_step
    c = keep * c + write * new
    return c, read * jnp.tanh(c)


def step(weights: Array, offset: Array, state: tuple[Array, Array], x: Array) -> tuple[Array, Array]:
    """``(c, h)`` after a step from ``(c, h)`` before it, each ``[h]``; the others as for ``gates``."""
    c, h = state
    return advance(c, gates(weights, offset, h, x))


@jax.custom_jvp
def through(weights: Array, offset: Array, start: tuple[Array, Array], x: Array) -> Array:
    """The h after each step, ``[t, h]``.

    Args:
      weights, offset: as for ``gates``.
      start: ``(c, h)`` before the first step, each ``[h]``.
      x: the inputs, ``[t, e]``.
    """

    def read(state, x):
        state = step(weights, offset, state, x)
        return state, state[1]

    return jax.lax.scan(read, start, x)[1]


@through.defjvp
def _tangent(primals, tangents):
    weights, offset, start, x = primals
    d_weights, d_offset, d_start, d_x = tangents

    def remember(state, x):
        of_step = gates(weights, offset, state[1], x)
        after = advance(state[0], of_step)
        return after, (state, of_step, after)

    (c, h), (write, keep, new, read), (c_after, out) = jax.lax.scan(remember, start, x)[1]
    width = x.shape[-1]
    # All that does not need the tangent of the state, for all steps in one product: transposed, the gradient of the
    # weights is then one product as well, and no loop carries a running sum of their size.
    known = jnp.concatenate([x, h], axis=-1) @ d_weights + d_offset + d_x @ weights[:width]  # [t, 4h]
    squashed = jnp.tanh(c_after)
    slopes = (
        new * write * (1.0 - write),
        c * keep * (1.0 - keep),
        write * (1.0 - new * new),
        squashed * read * (1.0 - read),
    )
    shown = read * (1.0 - squashed * squashed)  # dh / dc

    def linear(state, given):
        d_c, d_h = state
        known, (of_write, of_keep, of_new, of_read), keep, shown = given
        d_write, d_keep, d_new, d_read = jnp.split(known + d_h @ weights[width:], 4)
        d_c = keep * d_c + of_write * d_write + of_keep * d_keep + of_new * d_new
        d_h = shown * d_c + of_read * d_read
        return (d_c, d_h), d_h

    return out, jax.lax.scan(linear, d_start, (known, slopes, keep, shown))[1]
