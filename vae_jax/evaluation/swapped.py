"""What a code tells the decoder: the distortion of examples that are decoded from the codes of others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation.batches import Evaluator, gather, in_batches, is_on_devices
from vae_jax.gaussian import at_least_float32
from vae_jax.objective import decode, infer
from vae_jax.types import Array, Params, value_of


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """Each example of a split with its partner, ``[n, 2, *event]``, put together when it is asked for."""

    data: Any
    partner: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.data.shape[0], 2, *self.data.shape[1:])

    def __getitem__(self, rows) -> np.ndarray:
        return np.stack([self.data[rows], self.data[self.partner[rows]]], axis=1)


@jax.jit
def _paired(data, partner):
    return jnp.stack([data, data[partner]], axis=1)


def make_swapped(evaluator: Evaluator) -> Callable[..., np.ndarray]:
    """Makes ``(params, data[n, *event], key) -> [n]``: -log p(x_n|z), z ~ q(z|x_m) of another example m, nats.

    Against the ``distortion`` of ``bounds.py`` it says what z is worth to the decoder: nothing where the two are equal,
    however large the rate is. The partners are a fixed rotation of a fixed order of the examples, so each code is used
    once and none by its own example. A decoder that reads the example it predicts reads x_n, with the code of x_m.
    """
    vae, likelihood, preprocess = evaluator[:3]

    def measure(params, pair, key):
        x, other = pair
        _, z, _ = infer(vae, params, other, key)
        theta = decode(vae, params, x, z)
        return -likelihood.log_prob(params["likelihood"], at_least_float32(theta[0]), value_of(x))

    def both(key, raw):
        # Another key, or the two would share the noise of their pixels.
        return preprocess(key, raw[0]), preprocess(jax.random.fold_in(key, 0), raw[1])

    parts = in_batches(evaluator._replace(preprocess=both), measure)

    def swapped(params: Params, data: Any, key: Array) -> np.ndarray:
        order = np.random.default_rng(0).permutation(len(data))
        partner = np.empty_like(order)
        partner[order] = np.roll(order, 1)
        on_devices = is_on_devices(data)

        def pairs(part):
            return _paired(part, partner) if on_devices else _Pairs(part, partner)

        return gather(parts(params, jax.tree.map(pairs, data), key))

    return swapped
