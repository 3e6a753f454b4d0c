"""When the latents of a run will wake, by the linear theory: a sentence, ``waking.json``, and the length of a ramp."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.devices import processes
from vae_jax.runs.names import HIERARCHIES
from vae_jax.runs.weightings import CONTROLLED, given_beta
from vae_jax.runtime.files import write_json
from vae_jax.theory import waking
from vae_jax.theory.dynamics import LinearRun, Optimizer, simulate
from vae_jax.theory.saddle import Start, expected_start
from vae_jax.train.optimizers import learning_rates
from vae_jax.types import UserError

if TYPE_CHECKING:
    from vae_jax.runs.build import Run
    from vae_jax.runs.settings import Config

FILE = "waking.json"
AUTO = "auto"
NO_RAMP = ("constant", "free_bits", "geco", "pi")
OWN_LENGTH = ("cyclical", "capacity")  # weightings whose --warmup_steps is not that of one ramp of beta
LEAST = 0.02  # nats: a direction that is worth less at the optimum is taken for one that sleeps
RECORDS = 120  # points of the curves in waking.json
LENGTHS = 24  # ramps that the sentence is made from
LONGEST = 0.5  # of a run, the longest ramp that auto takes: the weight that is asked for comes after it
# How many times as late as foretold codes woke: the median over levels and ramps of experiments/papers/warmup_deep.py.
MEASURED = {"mlp": 0.4, "conv": 0.58}
NEAR = 1e-3  # of the size of dense layers: a deep network forgets its random code before it learns one


def check(config: Any) -> None:
    """Refuses ``--warmup_steps=auto`` where the weighting has no ramp of beta.

    Raises:
      UserError: naming the weighting.
    """
    if config.warmup_steps != AUTO or config.weighting not in (*NO_RAMP, *OWN_LENGTH):
        return
    has = "has no ramp" if config.weighting in NO_RAMP else "has another length than that of one ramp"
    raise UserError(
        f"--warmup_steps=auto is the length of a ramp, and --weighting={config.weighting} {has}: give "
        "--weighting=linear, sigmoid or cosine, or a number of steps"
    )


def out_of_reach(config: Any) -> str | None:
    """Returns what of a run the theory does not know, as the end of a sentence; None where it knows all of it."""
    known = {
        "likelihood": ("gaussian",),
        "posterior": ("gaussian",),
        "prior": ("standard_normal",),
        "objective": ("elbo",),
        "beta_range": (None,),
        "encoder_steps": (0,),
        "init_from": (None,),
    }
    for name, values in known.items():
        if getattr(config, name) not in values:
            return f"--{name}={getattr(config, name)}"
    return f"--model={config.model}" if config.model in HIERARCHIES else None


def linear_run(config: Config, spectrum: np.ndarray) -> LinearRun:
    """Returns the linear model that stands for a run, from close to the collapsed saddle on."""
    rates = learning_rates(config.lr_schedule, config.learning_rate, config.num_steps)
    first = expected_start(spectrum, config.latent_dim, 0.0, config.sigma**2)
    model, likelihood = table(lambda step: (rates.model(step), rates.likelihood(step)), config.num_steps)
    return LinearRun(
        eigenvalues=spectrum,
        latent_dim=config.latent_dim,
        sigma2=config.sigma**2,
        # Functions of the step: a ramp is looked for in a part of the run.
        optimizer=Optimizer(model.__getitem__, likelihood.__getitem__),
        steps=config.num_steps,
        precision=config.precision if config.precision in ("fixed", "optimal") else "learned",
        least=config.min_sigma**2,
        start=Start(NEAR * first.decoder, NEAR * first.encoder),
        free_nats=config.free_nats if config.weighting == "free_bits" else 0.0,
        batch_size=config.batch_size,
    )


def table(schedule: Callable, steps: int) -> Any:
    """Returns what a function of the step is at all steps, as one program: each operation would be one by itself."""
    found = jax.device_get(jax.jit(schedule)(jnp.arange(steps)))
    return jax.tree.map(lambda values: np.broadcast_to(values, (steps,)), found)


def ramp_of(config: Config, weightings: Mapping[str, Any], dim: int) -> Callable[[int], Callable]:
    """Returns ``length -> schedule``, the ramp of a configuration with another length."""

    def make(length: int) -> Callable:
        weight, _ = weightings[config.weighting].make(
            dataclasses.replace(config, warmup_steps=length), given_beta(config, dim)
        )
        return lambda step: weight.value((), step)

    return make


def auto_steps(config: Config, weightings: Mapping[str, Any], spectrum: np.ndarray | None, dim: int) -> int:
    """Returns the length of a ramp for ``--warmup_steps=auto``.

    It is the shortest one, up to half of the run, with which the linear model ends within a quarter of a nat of its
    best: 0 where waking early buys nothing. Two digits, so that it does not depend on the last bit of an eigenvalue.

    Args:
      config: settled, but for this.
      weightings: by name.
      spectrum: the eigenvalues of the data's covariance; None of a text.
      dim: D.

    Raises:
      UserError: the theory does not know such a run.
    """
    missing = out_of_reach(config) or (None if spectrum is not None else f"--dataset={config.dataset}")
    if missing:
        raise UserError(
            "--warmup_steps=auto is what the linear theory of a Gaussian asks for, and it does not know "
            f"{missing}: give a number of steps"
        )
    longest = max(1, int(LONGEST * config.num_steps))
    return waking.best_ramp(linear_run(config, spectrum), ramp_of(config, weightings, dim), longest=longest)


def foretell(r: Run) -> dict[str, Any] | None:
    """Returns what ``waking.json`` of a run holds; None where the theory does not know it, or no latent is kept.

    ``said`` is the sentence of the start line; ``rates`` [n, k] the nats of each direction of the data at ``steps``,
    and ``woke`` the steps at which each is half awake, None where it is not within the run.
    """
    if r.spectrum is None or r.forecast is None or r.spectrum[0] <= 0 or out_of_reach(r.config):
        return None
    beta = _weight(r)
    return None if beta is None else told(linear_run(r.config, r.spectrum), beta, r.config.model)


def told(run: LinearRun, beta: Any, model: str) -> dict[str, Any] | None:
    """Returns what ``foretell`` does, of a linear model and its weight: a number, or an array of one a step.

    The ramps of the sentence are straight ones to the same weight, simulated beside it: lengths a fifth apart.
    """
    last = float(np.asarray(beta).reshape(-1)[-1])
    lengths = np.unique([_round(n) for n in np.geomspace(10, run.steps, LENGTHS) if n >= 10])
    ramps = [last * np.minimum(1.0, np.arange(run.steps) / n) for n in lengths]
    path = simulate(run, [beta, *ramps], records=RECORDS)
    # What is worth next to nothing was there before the first update.
    kept = -0.5 * np.log1p(-path.ends[0]) >= LEAST
    if not kept.any():
        return None
    wakes = np.isfinite(path.woke[0]) & kept
    woke = [int(step) if awake else None for step, awake in zip(path.woke[0], wakes)]
    asleep = [int(np.sum(own[wakes] > n)) for own, n in zip(path.woke[1:], lengths)]
    rates = [[float(f"{rate:.4g}") for rate in row] for row in path.rates[:, 0]]
    said = in_words(woke, int(kept.sum()), lengths.tolist(), asleep, model)
    return {"said": said, "steps": path.step.tolist(), "rates": rates, "woke": woke}


def _weight(r: Run) -> Any:
    """Returns the weight of a run over its steps as the theory takes it; a controller's is where it comes to rest."""
    c = r.config
    if c.weighting == "capacity":
        return None  # its weight is what holds a rate that rises, not one that is given
    if c.weighting in CONTROLLED or c.weighting in ("constant", "free_bits"):
        return r.choice.beta
    return table(lambda step: r.weight.value((), step), c.num_steps)


def in_words(woke: list[int | None], kept: int, lengths: list[int], asleep: list[int], model: str) -> str:
    """Returns the sentence of when latents wake and what a ramp leaves asleep.

    Args:
      woke: the step of each direction, None where it does not wake within the run.
      kept: how many latents the last weight keeps.
      lengths: of ramps, ascending.
      asleep: how many of those that wake each leaves asleep at its end.
      model: of the network, whose measured delay is said where there is one.
    """
    awake = sorted(step for step in woke if step is not None)
    if not awake:
        return f"at these settings none of the {kept} latents that a linear model would keep wakes within the run"
    when = f"steps {_round(awake[0]):,} to {_round(awake[-1]):,}" if len(awake) > 1 else f"step {_round(awake[0]):,}"
    line = f"at these settings {len(awake)} of the {kept} latents that a linear model would keep wake, at about {when}"
    if model in MEASURED:
        line += f" (on digits, a deep {model} took {MEASURED[model]:.2g} times as long)"
    enough = [n for n, left in zip(lengths, asleep) if left == 0]
    shorter = [(n, left) for n, left in zip(lengths, asleep) if enough and n < enough[0] and left > 0]
    if not shorter:
        return line
    length, left = min(shorter, key=lambda pair: abs(pair[0] - enough[0] / 2))
    return (
        f"{line}; a ramp of {length:,} steps leaves {left} of these asleep at its end, one of {enough[0]:,} leaves none"
    )


def _round(steps: float) -> int:
    return int(float(f"{steps:.2g}"))


@contextlib.contextmanager
def beside(r: Run, workdir: Path, say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Yields a function that says when the latents of a run will wake, and writes ``waking.json``, where it can.

    It is done beside the training, from the function's first call on, so that no start waits for it.
    """
    begun: list[Future] = []

    def tell():
        found = foretell(r)
        if found is not None:
            say(found["said"])
            write_json(workdir / FILE, found)

    with ThreadPoolExecutor(1) as pool:
        yield lambda: begun or not processes.is_first() or begun.append(pool.submit(tell))
    for each in begun:
        each.result()
