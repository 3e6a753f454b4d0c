"""When the latents of the exact bed wake: foretold by ``theory/dynamics.py``, and in training as it is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax import schedules, weighting
from vae_jax.theory.dynamics import LinearRun, Optimizer, Path, simulate
from vae_jax.theory.saddle import Start, expected_start
from vae_jax.train.optimizers import Rates, adam
from vae_jax.train.recipe import Recipe
from vae_jax.train.step import init_state, make_train_step
from vae_jax.types import Likelihood

from .bed import DIM, EIGENVALUES, EXACT, FIXED, SIGMA2, basis, bed_data
from .ledger import Measured, Settings, claim_of


class Way(NamedTuple):
    """How the bed is trained: gradient descent or Adam, its constant rate, the steps, the ramps to full weight."""

    adam: bool
    rate: float
    steps: int
    ramps: tuple[int, ...]
    cycles: int


DESCENT = Way(False, 5e-4, 20_000, (0, 300, 1_000, 2_500, 5_000), 8)
ADAM = Way(True, 1e-3, 3_000, (0, 100, 300, 1_000, 3_000), 8)
BETA = 1.0  # the water is at .1: lower, and a weight of 0 would wake strong latents at nearly the same steps
MANY, SMALL = 16, 0.01  # latents, and the size of the first weights


def optimizer_of(way: Way, likelihood: Likelihood, sigma_factor: float = 20.0) -> optax.GradientTransformation:
    """Returns the optimiser of the training step; with gradient descent log sigma has the networks' rate."""
    if way.adam:
        return adam(Rates(lambda _: way.rate, lambda _: sigma_factor * way.rate), likelihood)
    labels = {"model": "model", "likelihood": "frozen" if likelihood.frozen else "model"}
    return optax.partition({"model": optax.sgd(way.rate), "frozen": optax.set_to_zero()}, labels)


def schedules_of(way: Way, beta: float = BETA) -> dict[str, Callable]:
    """Returns the schedules by name: no ramp, ramps of each length, and cycles."""
    found = {f"ramp of {n:,}" if n else "no ramp": schedules.linear(beta, n) for n in way.ramps}
    return found | {f"{way.cycles} cycles": schedules.cyclical(beta, way.steps // 2, way.cycles, 0.5)}


@functools.cache
def _training(way: Way, likelihood: Likelihood, size: float, latents: int):
    """``(table of beta, seed) -> (w v of each direction before each update [steps, k], first params, sigma^2)``."""
    x, eigenvectors, optimizer = bed_data(), jnp.asarray(basis()), optimizer_of(way, likelihood)
    vae = EXACT._replace(init=lambda key: _init(key, latents, size))

    @jax.jit
    def run(betas, seed):
        recipe = Recipe(vae, likelihood, optimizer, weighting.from_schedule(lambda step: betas[step]))
        step, state = make_train_step(recipe), init_state(recipe, (DIM,), jax.random.key(seed))

        def body(state, _):
            model = state.params["model"]
            passed = jnp.einsum("dk,dm,mc,ck->k", eigenvectors, model["w"], model["v"], eigenvectors)
            sigma2 = jnp.square(likelihood.sigma(state.params["likelihood"]))
            return step(state, x)[0], (passed, sigma2)

        return jax.lax.scan(body, state, length=way.steps)[1], state.params["model"]

    return run


def _init(key, latents: int, size: float) -> dict[str, Any]:
    w, v = jax.random.normal(key, (DIM, latents)), jax.random.normal(jax.random.fold_in(key, 1), (latents, DIM))
    return {"w": size * w, "v": size * v, "log_d": jnp.zeros(latents)}


def observed(way: Way, schedule: Callable, seed: int = 0, likelihood: Likelihood = FIXED, size=SMALL, latents=MANY):
    """Trains the bed; returns w v of each direction ``[steps, k]``, sigma^2 ``[steps]`` and the first matrices."""
    betas = jnp.broadcast_to(schedule(jnp.arange(way.steps)), way.steps)
    (passed, sigma2), first = jax.device_get(_training(way, likelihood, size, latents)(betas, seed))
    return passed, sigma2, first


def foretold(way: Way, schedule, first: dict | None, simulated: Callable = simulate) -> Path:
    """Returns the theory's path of a run that starts with the matrices ``first``; of their size alone, where None."""
    if first is None:
        start = expected_start(EIGENVALUES, MANY, float(schedule(0)), SIGMA2, SMALL, SMALL)
    else:
        start = Start(first["w"], first["v"], eigenvectors=basis())
    moved = Optimizer(way.rate, adam=way.adam)
    return simulated(LinearRun(EIGENVALUES, MANY, SIGMA2, moved, way.steps, start=start), schedule)


def woke(passed: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Returns the first step at which each direction is at half of its end, ``[k]``; inf for never."""
    there = (passed[:, : len(ends)] >= 0.5 * ends) & (ends > 0)
    return np.where(there.any(0), np.argmax(there, axis=0), np.inf)


def _ratios(way: Way, simulated: Callable) -> tuple[np.ndarray, str]:
    """Returns foretold over observed waking of all latents that wake under all schedules ``[n]``, and all numbers.

    A latent that one side has awake and the other asleep at the end counts as infinitely late.
    """
    found, lines = [], []
    for name, schedule in schedules_of(way).items():
        passed, _, first = observed(way, schedule)
        path = foretold(way, schedule, first, simulated=simulated)
        seen = woke(passed, path.ends)
        either = np.isfinite(seen) | np.isfinite(path.woke)
        found.append(path.woke[either] / np.where(np.isfinite(seen), seen, 1e-9)[either])
        shown = (" ".join(f"{step:.0f}" for step in side[either]) for side in (path.woke, seen))
        lines.append(f"{name}: foretold {next(shown)}, observed {next(shown)}")
    return np.concatenate(found), "; ".join(lines)


def latents_wake_when_foretold(settings: Settings, simulated: Callable = simulate) -> Measured:
    """Trained by gradient descent, the latents of a linear VAE wake when the theory of their first matrices says.

    The bed with 16 latents, small random weights, no ramp, a ramp and eight cycles, 12,000 updates. A latent is
    awake where what passes of its direction is half of its end. The theory knows the covariance, not the data.
    Measured: the largest relative difference, of all latents that wake in the run and all schedules.

    Source: derived here, from Saxe 2013, 1312.6120, and Lucas 2019, 1911.02469
    Tolerance: a step or two that rounding may move
    """
    found, detail = _ratios(DESCENT._replace(ramps=(0, 2_500), steps=12_000), simulated)
    return Measured(float(np.max(np.abs(found - 1.0))), detail=detail)


def latents_wake_when_foretold_by_adam(settings: Settings, simulated: Callable = simulate) -> Measured:
    """Trained by Adam, the latents of a linear VAE wake when the theory of their first matrices says.

    As with gradient descent; four ramps, 3,000 updates.

    Source: derived here; Kingma and Ba 2014, 1412.6980
    Tolerance: a step or two that rounding may move
    """
    found, detail = _ratios(ADAM, simulated)
    return Measured(float(np.max(np.abs(found - 1.0))), detail=detail)


CLAIMS = [
    claim_of(latents_wake_when_foretold, "fixed_point", 0.0, 0.01, seconds=6.0),
    claim_of(latents_wake_when_foretold_by_adam, "fixed_point", 0.0, 0.01, seconds=5.0),
]
