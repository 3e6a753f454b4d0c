"""How much many runs as one program save: K models together against one at a time, in one process, in alternation.

    python -m experiments.benchmark.sweep_speed --runs=1,4,16               the mlp, on random grey images of 28x28
    python -m experiments.benchmark.sweep_speed --model=conv --side=64 --runs=1,4     the convolutions of Burgess 2018
    python -m experiments.benchmark.sweep_speed --runs=1,4,16,64,256 --num_steps=200  for an accelerator

A ratio below 1 says that a step of the program costs less than K steps of one model. On a CPU one model fills the
machine, so expect 1; on an accelerator expect far less. Compilation is not counted. Only ratios within one call
compare: machines are shared.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np

from vae_jax.data import from_arrays
from vae_jax.devices.parallel import parallel
from vae_jax.devices.run_mesh import run_mesh
from vae_jax.runs.build import Material, build, first_state, training_chunk
from vae_jax.runs.names import MODELS
from vae_jax.runs.settings import Config as TrainConfig
from vae_jax.runs.sweep.plan import Job, Program
from vae_jax.runs.sweep.training import compiled, first_sweep_state
from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import write_json
from vae_jax.types import UserError

from .timing import Timer, alternate, ratio, stepper


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags."""

    workdir: str | None = option(None, "where sweep_speed.json goes (default: nowhere)", identity=False)
    model: str = option("mlp", "the encoder and decoder", tuple(MODELS))
    hidden: str = option("256,256", "widths of the hidden layers")
    latent_dim: int = option(20, "the number of latents")
    side: int = option(28, "of the images, pixels")
    batch_size: int = option(128, "examples per update of each run")
    runs: str = option("1,2,4,8", "how many models, separated by commas")
    num_steps: int = option(100, "updates of each timed chunk")
    repeats: int = option(5, "alternations")
    side_by_side: int | None = option(None, "runs computed at once (default: 1 on a CPU, else all)")


def _program(config: Config, count: int) -> Program:
    """``count`` runs at as many weights, on images of noise: what they learn does not matter here."""
    images = np.random.default_rng(0).integers(0, 256, (4096, config.side, config.side, 1), np.uint8)
    shared = Material(from_arrays("noise", images, images[:256]), np.full(config.side**2, 1 / 12))
    flags = {name: getattr(config, name) for name in ("model", "hidden", "latent_dim", "batch_size")}
    spread, jobs = parallel("jit", jax.device_count()), []
    for i, beta in enumerate(np.geomspace(0.1, 10.0, count)):
        flags_of_run = TrainConfig(**flags, beta=float(beta), workdir="unused")
        jobs.append(Job(str(i), {}, build(flags_of_run, shared, spread)))
    return Program(Path(), jobs)


def compare(config: Config, count: int) -> dict[str, float]:
    """Milliseconds of a step of one model and of ``count`` together, and the median of their ratio per model."""
    program = _program(config, count)
    r, steps = program.first, config.num_steps
    alone = r.spread.compile(training_chunk(r))
    state, data = r.spread.place(first_state(r)), r.spread.place(r.dataset.train)
    mesh = run_mesh(count, config.batch_size)
    together = compiled(program, config.side_by_side, mesh)
    many, shared = mesh.place(first_sweep_state(program)), mesh.whole(r.dataset.train)
    timers = {
        "one": Timer(stepper(alone, state, data, steps), steps),
        "together": Timer(stepper(together, many, shared, steps), steps),
    }
    for timer in timers.values():
        timer.run(1)  # compiles
    rates = alternate(timers, dict.fromkeys(timers, 1), config.repeats)
    singles, sweeps = 1e3 / rates["one"], 1e3 / rates["together"]
    median, spread = ratio(sweeps, count * singles)
    return {
        "runs": count,
        "one_ms": float(np.median(singles)),
        "together_ms": float(np.median(sweeps)),
        "models_per_second_per_step": float(1e3 * count / np.median(sweeps)),
        "ratio": median,
        "ratio_least": spread[0],
        "ratio_greatest": spread[1],
    }


def main(config: Config) -> None:
    """Prints the table, a line as soon as it is measured."""
    try:
        counts = [int(text) for text in config.runs.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1 or config.repeats < 1 or config.num_steps < 1:
        raise UserError(f"--runs={config.runs} must be positive numbers such as 1,4,16; --repeats and --num_steps too")
    rows, device = [], jax.devices()[0].device_kind
    print(f"{config.model} ({config.hidden}, {config.side}x{config.side}, batch {config.batch_size}) on {device}")
    print("runs   one alone   together   ratio per model   models x steps per second")
    for count in counts:
        row = compare(config, count)
        rows.append(row)
        print(
            f"{count:4d} {row['one_ms']:8.2f} ms {row['together_ms']:8.2f} ms   {row['ratio']:.3f} "
            f"[{row['ratio_least']:.3f}, {row['ratio_greatest']:.3f}]   {row['models_per_second_per_step']:.0f}",
            flush=True,
        )
    if config.workdir:
        Path(config.workdir).mkdir(parents=True, exist_ok=True)
        write_json(Path(config.workdir) / "sweep_speed.json", {"device": device, "rows": rows})
        print(f"written: {Path(config.workdir) / 'sweep_speed.json'}")


if __name__ == "__main__":
    launch(main, Config)
