"""A recurrent encoder and an autoregressive decoder of one sentence (Bowman 2015, 1511.06349).

x is ``[2, t]``, the targets and the decoder's inputs (``likelihoods/tokens.py``). Axes besides the package's: ``e``
width of a word's embedding, ``h`` width of the hidden state, ``k`` token ids. Parameters and arithmetic are float32.

A step of a scan holds one product with the weights of all gates, and under ``vmap`` one for the whole batch. What the
words contribute is computed once for each word where they are few (``lstm.few_words``); else for the LSTM input and
state go through one product side by side, and for the GRU the inputs' share of all steps is one product before the
scan. What z contributes is the same in every step and always outside.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from vae_jax.likelihoods.tokens import BOS, EOS, PAD, possible
from vae_jax.models import gru, lstm
from vae_jax.models.fully_connected import posterior
from vae_jax.types import Array, Given, Params

GATES = {"lstm": 4, "gru": 3}
STATES = {"lstm": 2, "gru": 1}  # arrays in the state; the last of them is h


def each_gate(initializer, gates: int):
    """An initializer of ``[n, gates * h]`` that draws the block of each gate by itself, with its own fans."""

    def init(key, shape, dtype=jnp.float32):
        blocks = jax.random.split(key, gates)
        return jnp.concatenate([initializer(k, (shape[0], shape[1] // gates), dtype) for k in blocks], axis=1)

    return init


class Cell(nn.Module):
    """An LSTM (Hochreiter 1997, Gers 2000) or a GRU (Cho 2014, with the reset gate after the product, as in cuDNN).

    Called outside of a scan with what is the same in every step, ``constant [c]`` or None, it returns two pure
    functions: the step, ``(state, input [e]) -> state``, for whoever chooses the next input by it; and all steps of
    words that are known, ``(state, table [v, e], tokens [t]) -> the h after each, [t, h]``. A
    state is (c, h) of an LSTM, (h,) of a GRU, each ``[h]``. Orthogonal recurrent and uniform (Glorot)
    other weights, gate by gate; the LSTM's forget gate has 1 added to its bias, which starts at 0.
    """

    cell: str
    embedding: int
    hidden: int

    @nn.compact
    def __call__(self, constant=None):
        """The two functions."""
        gates = GATES[self.cell]
        uniform = each_gate(nn.initializers.glorot_uniform(), gates)
        orthogonal = each_gate(nn.initializers.orthogonal(), gates)
        width = gates * self.hidden
        kernel = self.param("input", uniform, (self.embedding, width), jnp.float32)
        recurrent = self.param("recurrent", orthogonal, (self.hidden, width), jnp.float32)
        offset = self.param("bias", nn.initializers.zeros, (width,), jnp.float32)
        if constant is not None:
            offset = offset + constant @ self.param("constant", uniform, (constant.shape[-1], width), jnp.float32)
        if self.cell == "lstm":
            both = jnp.concatenate([kernel, recurrent])
            return (
                lambda state, x: lstm.step(both, offset, state, x),
                lambda start, table, tokens: lstm.through(both, offset, start, table, tokens),
            )

        return (
            lambda state, x: gru.step(kernel, recurrent, offset, state, x),
            lambda start, table, tokens: gru.through(kernel, recurrent, offset, start, table, tokens),
        )


class Encoder(nn.Module):
    """``x[2, t] -> (mean[d], logvar[d])`` from the state after EOS, the last target that is not PAD."""

    latent_dim: int
    vocabulary: int
    cell: str = "lstm"
    embedding: int = 128
    hidden: int = 256

    @nn.compact
    def __call__(self, x):
        """One sentence."""
        targets = x[0].astype(jnp.int32)
        table = nn.Embed(self.vocabulary, self.embedding, name="embed").embedding  # [v, e]
        _, through = Cell(self.cell, self.embedding, self.hidden, name="steps")()
        start = (jnp.zeros(self.hidden, table.dtype),) * STATES[self.cell]
        # After EOS there is PAD only, so that the largest place of another token is that of EOS.
        last = jnp.max(jnp.where(targets == PAD, 0, jnp.arange(targets.size)))
        h = through(start, table, targets)[last]
        return posterior(h, self.latent_dim)


class Decoder(nn.Module):
    """``(z[d], x[2, t]) -> logits [t, k]`` of each next word, reading the inputs x[1]; ``z -> logits`` reading its own.

    z enters every step and the initial state: (c, tanh c), or tanh c, of a linear c(z).
    """

    vocabulary: int
    length: int
    cell: str = "lstm"
    embedding: int = 128
    hidden: int = 256

    def setup(self):
        """All parameters, so that they are there outside of every scan."""
        self.embed = nn.Embed(self.vocabulary, self.embedding)
        self.steps = Cell(self.cell, self.embedding, self.hidden)
        self.start = nn.Dense(self.hidden)
        self.kernel = self.param(
            "logits_kernel", nn.initializers.lecun_normal(), (self.hidden, self.vocabulary), jnp.float32
        )
        self.bias = self.param("logits_bias", nn.initializers.zeros, (self.vocabulary,), jnp.float32)

    def __call__(self, z, x=None):
        """One code, with the sentence whose words are given, or without: the most probable word is then read."""
        if x is None:
            return self.run(z, None, self.length)[1]
        _, through = self.steps(z)
        return through(self.begin(z), self.embed.embedding, x[1].astype(jnp.int32)) @ self.kernel + self.bias

    def begin(self, z):
        """The initial state."""
        c = self.start(z)
        return (c, jnp.tanh(c))[-STATES[self.cell] :]

    def read(self, z, state, token):
        """``(state, logits [k])`` after one more word, in the state that ``begin`` or this function returned."""
        state = self.steps(z)[0](state, self.embed.embedding[token])
        return state, state[-1] @ self.kernel + self.bias

    def run(self, z, key, length):
        """``(tokens [length], logits [length, k])`` of the decoder that reads its own words; see ``generate``."""
        (step, _), table, kernel, bias = self.steps(z), self.embed.embedding, self.kernel, self.bias

        def write(carry, key):
            state, token, ended = carry
            state = step(state, table[token])
            logits = state[-1] @ kernel + bias
            allowed = possible(logits)
            token = jnp.argmax(allowed) if key is None else jax.random.categorical(key, allowed)
            token = jnp.where(ended, PAD, token).astype(jnp.int32)
            return (state, token, ended | (token == EOS)), (token, logits)

        # By position, so that a longer sentence begins with the same words.
        keys = None if key is None else jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(length))
        start = (self.begin(z), jnp.asarray(BOS, jnp.int32), jnp.asarray(False))
        return jax.lax.scan(write, start, keys, length)[1]


def generate(params: Params, z: Array, key: Array | None, length: int) -> Array:
    """A sentence from a code, the decoder reading its own words: ``[length]``, int32, PAD after EOS.

    One compilation for every sentence: jit it with ``static_argnames="length"``, and ``vmap`` it over z and keys.

    Args:
      params: of a ``models.recurrent`` (its ``"model"`` part); cell and widths are read from their shapes.
      z: one code, ``[d]``; a ``Given`` of a model with a condition, whose decoder reads c after z.
      key: consumed: words are drawn. None: each word is the most probable one after those before it (greedy).
      length: at most so many tokens; another than that of training is possible.
    """
    z = jnp.concatenate([z.value, z.c.astype(z.dtype)]) if isinstance(z, Given) else z
    return _decoder(params, length)("run", z, key, length)[0]


def spell(params: Params) -> tuple[Callable, Callable]:
    """The decoder word by word, for whoever chooses them; ``params`` as for ``generate``.

    The first function is ``z [d] -> state`` before ``BOS``, the second ``(z [d], state, token) -> (state, logits [k])``
    of the word after the token.
    """
    decoder = _decoder(params, 1)
    return functools.partial(decoder, "begin"), functools.partial(decoder, "read")


def _decoder(params: Params, length: int) -> Callable:
    """``(method, *arguments) -> `` what that method of the decoder of these parameters returns."""
    own = params["decoder"]
    (vocabulary, embedding), (hidden, width) = own["embed"]["embedding"].shape, own["steps"]["recurrent"].shape
    cell = {gates: name for name, gates in GATES.items()}[width // hidden]
    decoder = Decoder(vocabulary, length, cell, embedding, hidden)
    return lambda method, *arguments: decoder.apply({"params": own}, *arguments, method=method)
