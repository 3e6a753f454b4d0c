"""How much many runs as one program save: K models together against one at a time, in one process, in alternation.

    python -m experiments.benchmark.sweep_speed --runs=1,4,16               the mlp, on random images of 28x28
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

from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import write_json
from vae_jax.types import UserError

from . import cases
from .timing import alternate, ratio


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags."""

    workdir: str | None = option(None, "where sweep_speed.json goes (default: nowhere)", identity=False)
    model: str = option("mlp", "the encoder and decoder", ("mlp", "conv", "resnet"))
    hidden: str = option("256,256", "widths of the hidden layers")
    latent_dim: int = option(20, "the number of latents")
    side: int = option(28, "of the images, pixels")
    batch_size: int = option(128, "examples per update of each run")
    runs: str = option("1,2,4,8", "how many models, separated by commas")
    num_steps: int = option(100, "updates of each timed chunk")
    repeats: int = option(5, "alternations")
    side_by_side: int | None = option(None, "runs computed at once (default: 1 on a CPU, else all)")


def compare(config: Config, count: int) -> dict[str, float]:
    """Returns milliseconds of a step of one model and of ``count`` together, and their ratio per model."""
    r = cases.of_flags(config, config.batch_size, jax.device_count())
    steps = config.num_steps
    programs = {"one": cases.alone(r), "together": cases.together(r, count, config.side_by_side)}
    rates = alternate({name: program.timer(steps, steps) for name, program in programs.items()}, config.repeats)
    singles, sweeps = 1e3 / rates["one"], 1e3 / rates["together"]
    median, (least, greatest) = ratio(sweeps, count * singles)
    return {
        "runs": count,
        "one_ms": float(np.median(singles)),
        "together_ms": float(np.median(sweeps)),
        "models_per_second_per_step": float(1e3 * count / np.median(sweeps)),
        "ratio": median,
        "ratio_least": least,
        "ratio_greatest": greatest,
    }


def main(config: Config) -> None:
    """Prints the table, a line as soon as it is measured."""
    counts = [int(text) if text.strip().isdigit() else 0 for text in config.runs.split(",")]
    if min(*counts, config.repeats, config.num_steps) < 1:
        raise UserError(f"--runs={config.runs} must be positive numbers such as 1,4,16; --repeats and --num_steps too")
    rows, device = [], jax.devices()[0].device_kind
    print(f"{config.model} ({config.hidden}, {config.side}x{config.side}, batch {config.batch_size}) on {device}")
    print("runs   one alone   together   ratio per model   models x steps per second")
    line = "{runs:4d} {one_ms:8.2f} ms {together_ms:8.2f} ms   {ratio:.3f} [{ratio_least:.3f}, {ratio_greatest:.3f}]"
    for count in counts:
        rows.append(compare(config, count))
        print((line + "   {models_per_second_per_step:.0f}").format(**rows[-1]), flush=True)
    if config.workdir:
        Path(config.workdir).mkdir(parents=True, exist_ok=True)
        write_json(Path(config.workdir) / "sweep_speed.json", {"device": device, "rows": rows})
        print(f"written: {Path(config.workdir) / 'sweep_speed.json'}")


if __name__ == "__main__":
    launch(main, Config)
