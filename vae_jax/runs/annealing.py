"""Annealed importance sampling of a trained run: its phases one after the other, continued wherever they stopped.

First the data: leapfrog steps are adapted in a shorter pass and then frozen, and chains go from the prior to each
posterior. Then as many examples that the model made itself, whose posterior can be drawn from exactly: the same chains
forwards and backwards hold the true log p(x) between them, and say how far a forward chain is below it.
"""

from __future__ import annotations

import contextlib
import io
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation.annealed import (
    Chains,
    Estimate,
    Trace,
    count_of,
    draw_prior,
    estimate,
    first_chains,
    make_anneal,
    simulate,
    temperatures,
)
from vae_jax.likelihoods.tokens import with_inputs
from vae_jax.randomness import ANNEALING, purpose_key
from vae_jax.runs.build import Run
from vae_jax.runtime.files import write_atomic
from vae_jax.types import VAE, Params, UserError, beside, condition_of

FILE = "annealing.npz"  # of a run's folder while the chains go; removed once evaluation.json holds their numbers
LEAPFROG = 10
CUTS = 4  # of the temperatures, one in so many is enough to find the steps
PART = 25  # temperatures a call: what a kill costs, with what one call takes
SAVE_EVERY = 10.0  # seconds
CURVE = 40  # points of the rate-distortion curve that are kept
DATA, STEPS, BELOW, ABOVE, SIMULATED = range(5)  # folds of the key


class Plan(NamedTuple):
    """So many chains of each example, through so many temperatures."""

    chains: int
    temperatures: int


def parse_plan(text: str) -> Plan:
    """Reads ``--ais=CHAINS,TEMPERATURES``.

    Raises:
      UserError: for anything else.
    """
    with contextlib.suppress(ValueError):
        chains, count = map(int, text.split(","))
        if 1 <= chains <= 10_000 and 2 * CUTS <= count <= 10_000_000:
            return Plan(chains, count)
    raise UserError(
        f"--ais={text} must be CHAINS,TEMPERATURES, such as 16,1000: chains of each example, at least 8 steps"
    )


def check(config: Any) -> None:
    """Refuses a run whose codes have no gradient to move along.

    Raises:
      UserError: its latents are discrete.
    """
    if config.posterior == "categorical":
        raise UserError(
            f"--ais moves codes along the gradient of log p(x|z), and those of --posterior={config.posterior} are "
            "discrete; --iw_samples has a bound for them"
        )


def forget(folder: Path) -> None:
    """Removes the state of chains whose numbers have been written."""
    (folder / FILE).unlink(missing_ok=True)


def annealed(r: Run, params: Params, x: np.ndarray, plan: Plan, folder: Path | None = None) -> dict[str, Any]:
    """Returns what annealed chains say of log p(x), nats per example: as evaluation.json has it.

    Args:
      r: the run.
      params: its parameters.
      x: the examples as the model sees them, ``[n, *event]``, with their conditions where there are some.
      plan: the chains.
      folder: where their state is kept, to continue after a kill; None for nowhere.

    Raises:
      UserError: the decoder reads what it predicts, and cannot be asked for its words one after another.
    """
    key = purpose_key(r.key, ANNEALING)
    chains = _Chains(r.vae, make_anneal(r.vae, r.likelihood, LEAPFROG), params, plan, r.config.latent_dim, folder)
    chains.restore(_identity(params, x, plan))
    below, curve, moved = chains.forward("data", x, purpose_key(key, DATA))
    z, n = draw_prior(r.vae, params, purpose_key(key, SIMULATED), x, r.config.latent_dim), count_of(x)
    made = _made(r, params, purpose_key(key, SIMULATED, 1), z, x)
    low, _, _ = chains.forward("simulated", made, purpose_key(key, SIMULATED, 2))
    high = chains.backward("simulated", made, z, purpose_key(key, SIMULATED, 3))
    gap = high.log_px - low.log_px
    return {
        "chains": plan.chains,
        "temperatures": plan.temperatures,
        "leapfrog_steps": LEAPFROG,
        "examples": n,
        "log_px": float(below.log_px.mean()),
        "log_px_error": float(np.sqrt(np.sum(np.square(below.error))) / n),
        "effective_chains": float(below.effective.min()),
        "acceptance": moved,
        "simulated": {
            "below": float(low.log_px.mean()),
            "above": float(high.log_px.mean()),
            "gap": float(gap.mean()),
            "gap_error": float(gap.std(ddof=1) / np.sqrt(n)) if n > 1 else None,
        },
        "log_px_per_example": below.log_px.tolist(),
        "log_px_error_per_example": below.error.tolist(),
        "curve": curve,
    }


def _made(r: Run, params: Params, key: jax.Array, z: jax.Array, x: Any) -> Any:
    """Returns what the model makes of the codes ``z [n, d]``, of sentences word by word."""
    if r.vae.decode_given is None:
        return simulate(r.vae, r.likelihood, params, key, z, x)
    from vae_jax.models.autoregressive import generate

    if r.config.model != "recurrent":
        raise UserError(f"--ais: --model={r.config.model} cannot be asked for its words one after another")
    length = r.event[-1]
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(len(z)))
    write = jax.jit(jax.vmap(lambda z, key: with_inputs(generate(params["model"], z, key, length))))
    return beside(np.asarray(write(beside(z, condition_of(x)), keys)), condition_of(x))


def _identity(params: Params, x: Any, plan: Plan) -> int:
    """Returns a checksum of all that decides the numbers: another model, data or plan begins anew."""
    digest = zlib.crc32(repr((tuple(plan), jax.tree.map(np.shape, x), LEAPFROG)).encode())
    for leaf in jax.tree.leaves((params, x)):
        digest = zlib.crc32(np.ascontiguousarray(leaf), digest)
    return digest


class _Chains:
    """The phases of one annealing, and the file from which it is continued."""

    def __init__(self, vae: VAE, anneal: Callable, params: Params, plan: Plan, latent_dim: int, folder: Path | None):
        self._vae, self._anneal, self._params, self._plan, self._latent_dim = vae, anneal, params, plan, latent_dim
        self._path = None if folder is None else folder / FILE
        self._store: dict[str, np.ndarray] = {}

    def restore(self, identity: int) -> None:
        """Reads what an earlier try of the same numbers left."""
        self._store = {"identity": np.array(identity)}
        with contextlib.suppress(OSError, ValueError, KeyError, EOFError):
            with np.load(self._path or "", allow_pickle=False) as kept:
                if int(kept["identity"]) == identity:
                    self._store = {name: kept[name] for name in kept.files}

    def forward(self, name: str, x: Any, key: jax.Array) -> tuple[Estimate, dict[str, list[float]], float]:
        """Finds the steps and goes from the prior to the posteriors: log p(x) from below, the curve, the acceptance."""
        count = self._plan.temperatures
        coarse, fine = temperatures(count // CUTS), temperatures(count)
        start = self._start(purpose_key(key, STEPS), x)
        _, steps, _ = self._phase(f"{name} steps", x, start, purpose_key(key, STEPS, 1), coarse, None)
        steps = np.stack([np.interp(fine[1:], coarse[1:], column) for column in steps.T], axis=1)
        self._store[f"{name} frozen"] = steps.astype(np.float32)
        start = self._start(purpose_key(key, BELOW), x)
        ended, _, trace = self._phase(f"{name} below", x, start, purpose_key(key, BELOW, 1), fine, steps)
        return estimate(ended), _curve(fine[1:], trace), float(np.mean(ended.accepted)) / count

    def backward(self, name: str, x: Any, z: jax.Array, key: jax.Array) -> Estimate:
        """Goes from exact draws ``z [n, d]`` of the posteriors to the prior, with the steps of ``forward``."""
        chains, count = self._plan
        start = first_chains(jnp.repeat(z[:, None], chains, axis=1))
        steps, fine = self._store[f"{name} frozen"][::-1], temperatures(count)[::-1]
        return estimate(self._phase(f"{name} above", x, start, purpose_key(key, ABOVE), fine, steps, True)[0], True)

    def _start(self, key: jax.Array, x: Any) -> Chains:
        return first_chains(draw_prior(self._vae, self._params, key, x, self._latent_dim, self._plan.chains))

    def _phase(self, name, x, chains, key, ladder, steps, backward=False) -> tuple[Chains, np.ndarray, Trace]:
        """Returns the chains at the end of a phase, their steps and the trace, from wherever it stopped before."""
        from tqdm import tqdm

        x, ladder = jax.tree.map(jnp.asarray, x), np.asarray(ladder, np.float32)
        count, rows = len(ladder) - 1, []
        if f"{name} at" in self._store:
            chains = Chains(*(self._store[f"{name} {field}"] for field in Chains._fields))
            rows = [tuple(self._store[f"{name} {what}"] for what in ("steps", *Trace._fields))]
        at, saved = int(self._store.get(f"{name} at", 0)), time.monotonic()
        with tqdm(total=count, initial=at, desc=f"annealing, {name}", leave=False, disable=None) as bar:
            while at < count:
                part = slice(at, min(at + PART, count))
                fixed = None if steps is None else jnp.asarray(steps[part], jnp.float32)
                with jax.default_matmul_precision("highest"):
                    chains, moved, trace = self._anneal(
                        *(self._params, x, chains, key, at, ladder[:-1][part], ladder[1:][part], fixed),
                        backward=backward,
                    )
                rows.append(tuple(map(np.asarray, (moved, *trace))))
                bar.update(part.stop - at)
                at = part.stop
                if at == count or time.monotonic() - saved > SAVE_EVERY:
                    self._save(name, at, chains, rows)
                    saved = time.monotonic()
        moved, *trace = map(np.concatenate, zip(*rows))
        return Chains(*map(np.asarray, chains)), moved, Trace(*trace)

    def _save(self, name: str, at: int, chains: Chains, rows: list) -> None:
        moved, *trace = map(np.concatenate, zip(*rows))
        kept = {**chains._asdict(), "steps": moved, **Trace(*trace)._asdict(), "at": at}
        self._store |= {f"{name} {field}": np.asarray(value) for field, value in kept.items()}
        if self._path is not None:
            content = io.BytesIO()
            np.savez(content, **self._store)
            write_atomic(self._path, content.getvalue())


def _curve(after: np.ndarray, trace: Trace) -> dict[str, list[float]]:
    """Returns the rate-distortion curve of the decoder at some temperatures (Huang 2020, 2008.06653, section 4).

    Under the density p(z) p(x|z)^b / Z_b the distortion is D_b, and the rate KL(density || p) is -b D_b - log Z_b. As
    log Z_b is estimated from below, the rate is from above: the decoder can do at least as well, whatever its encoder.
    """
    points = np.unique(np.linspace(0, len(after) - 1, CURVE).round().astype(int))
    beta, distortion = after[points].astype(float), np.asarray(trace.distortion, float)[points]
    rate = -beta * distortion - np.asarray(trace.log_normaliser, float)[points]
    return {"beta": beta.tolist(), "rate": rate.tolist(), "distortion": distortion.tolist()}
