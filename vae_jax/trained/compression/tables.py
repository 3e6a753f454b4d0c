"""What a model says of codes and levels, as integers that every machine agrees on.

Two machines differ in the last digits of a network's outputs, and one other integer in a probability table would turn
all that is decoded after it into noise. So the networks are computed in double precision, their outputs rounded to
grids that are coarse beside any such difference, and what comes so near the middle of two grid points that it might be
rounded either way is written into the file (``Rounding``). From there on all is integers, and tables made by exact
decimal arithmetic.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.gaussian import at_least_float32
from vae_jax.likelihoods import Grid, is_discrete
from vae_jax.trained.model import TrainedVAE
from vae_jax.types import UserError

FINE = 64  # steps a nat of log p: rounding costs 1e-5 nats a dimension
LOWEST = 16  # nats: no level is less probable than e^-16
SCALE = 2**22  # the largest weight of a level; the sum of 512 of them is exact in double precision
SPREAD = 32  # steps of log tau a factor of e
NEAR = 1e-9  # of a step: a thousand times what double precision loses on numbers of a thousand steps
AT_ONCE = 8  # examples a call of the networks; the first so many wait for bits to be spent


class Rounding:
    """Rounds to a grid, and remembers each value that another machine might round otherwise.

    Args:
      known: such values of an earlier rounding: (call, position, integer); None where this one is to find them.
    """

    def __init__(self, known: list[tuple[str, int, int]] | None = None):
        self.known, self.finding = known or [], known is None

    def round(self, call: str, values: np.ndarray) -> np.ndarray:
        """Returns integers for ``values``, which are in units of the grid; ``call`` names them among all."""
        whole = np.rint(values).astype(np.int64)
        if self.finding:
            near = np.flatnonzero(np.abs(np.abs(values - whole) - 0.5).ravel() < NEAR)
            self.known += [(call, int(i), int(whole.ravel()[i])) for i in near]
        else:
            for name, i, value in self.known:
                if name == call:
                    whole.ravel()[i] = value
        return whole


class Networks(NamedTuple):
    """A model in double precision, ``AT_ONCE`` examples a call.

    Attributes:
      posterior: ``x [b, *event] -> (mean, log tau) [b, d]``.
      log_probs: ``z [b, d] -> [b, D, k]``, nats, of each level of each dimension.
      levels: the values of the levels, ``[k, D]``; a dimension that has fewer repeats its last.
      counts: how many levels each dimension has, ``[D]``.
    """

    posterior: Callable[[Any], tuple[np.ndarray, np.ndarray]]
    log_probs: Callable[[Any], np.ndarray]
    levels: np.ndarray
    counts: np.ndarray


def networks(model: TrainedVAE, rows: int = AT_ONCE, options: dict[str, Any] | None = None) -> Networks:
    """Returns the networks of a model whose data are levels.

    Args:
      model: the model.
      rows: of a call, at least ``AT_ONCE``; the others are padding.
      options: of the compiler. Neither changes what is written.

    Raises:
      UserError: it is a density, or its dimensions depend on each other.
    """
    likelihood, event = model.likelihood, model.x_event
    if not is_discrete(likelihood.support) or model.config.pixels not in ("grey", "binary"):
        raise UserError(
            f"--workdir: the model is a density (--likelihood={model.config.likelihood}, "
            f"--pixels={model.config.pixels}), and only probabilities of levels are code lengths: train with "
            "bernoulli, categorical, discretized_logistic, or --columns of such"
        )
    levels, counts = _levels(likelihood.support, event)
    values = levels.reshape(len(levels), *event)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), model.params)

    def posterior(params, x):
        q = model.vae.encode(params["model"], x)
        return q.mean, 0.5 * q.logvar

    def log_probs(params, z):
        theta = at_least_float32(model.vae.decode(params["model"], z))
        return jax.vmap(lambda x: likelihood.terms(params["likelihood"], theta, x), out_axes=-1)(jnp.asarray(values))

    def of_many(function):
        compiled = jax.jit(jax.vmap(function, in_axes=(None, 0)), compiler_options=options)

        def run(given):
            given = np.asarray(given, np.float64)
            padded = np.concatenate([given, np.zeros((rows - len(given), *given.shape[1:]))])
            with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
                out = jax.device_get(compiled(params, padded))
            return jax.tree.map(lambda leaf: leaf[: len(given)], out)

        return run

    def tables(z):
        table = of_z(z)
        if table[0].size != levels.size:
            raise UserError("--workdir: the channels of a pixel share a component; train with --components=1")
        return table.reshape(len(z), -1, len(levels))

    if likelihood.terms is None or model.vae.decode_given is not None:
        raise UserError("--workdir: the dimensions of this family depend on each other; no table holds them")
    of_z = of_many(log_probs)
    return Networks(of_many(posterior), tables, levels, counts)


def _levels(support, event) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values of the levels ``[k, D]`` and how many there are ``[D]``."""
    parts = support if isinstance(support, tuple) and not isinstance(support, Grid) else ((support, np.prod(event)),)
    columns = []
    for own, width in parts:
        values = np.arange(2.0) if own == "binary" else own.step * np.arange(own.count)
        columns += [values] * int(width)
    most = max(map(len, columns))
    counts = np.array([len(column) for column in columns])
    return np.stack([np.pad(column, (0, most - len(column)), mode="edge") for column in columns], axis=1), counts


def weights(log_probs: np.ndarray, counts: np.ndarray, call: str, rounding: Rounding) -> np.ndarray:
    """Returns probabilities ``[..., D, k]`` for log probabilities: whole weights over their sum, exact everywhere."""
    there = np.arange(log_probs.shape[-1]) < counts[:, None]
    steps = np.clip(-FINE * np.where(there, log_probs, -LOWEST), 0.0, FINE * LOWEST)
    chosen = np.where(there, _exponentials()[rounding.round(call, steps)], 0)
    return chosen / chosen.sum(axis=-1, keepdims=True)


@functools.cache
def _exponentials() -> np.ndarray:
    """The weights of 0, 1, 2, ... steps below the largest: exact decimal arithmetic, the same everywhere."""
    return np.array([max(1, int((Decimal(-j) / FINE).exp() * SCALE)) for j in range(FINE * LOWEST + 1)], np.int64)


@functools.lru_cache(4096)
def _spread(step: int) -> float:
    return float((Decimal(step) / SPREAD).exp())


def gaussian(mean, log_tau, bits: int, call: str, rounding: Rounding) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and deviation of q in units of 2^-bits, on grids: a sixteenth of a unit, and 3% of tau."""
    steps = rounding.round(f"{call} tau", np.clip(SPREAD * log_tau, -20.0 * SPREAD, 20.0 * SPREAD))
    middle = rounding.round(f"{call} mean", 16.0 * 2.0**bits * mean) / 16.0
    return middle, np.vectorize(_spread, otypes=[float])(steps) * 2.0**bits
