"""Speed: against this machine's own matrix products, and against what else one might use, measured in the same run.

    python -m experiments.benchmark                                        our own rows
    python -m experiments.benchmark --peer=torch --peer_python=PYTHON      beside PyTorch, in each of its variants
    python -m experiments.benchmark --peer=torch --peer_python=PYTHON --results=experiments/results
                                                   and the machine's table, its rows of these models and modes replaced
    python -m experiments.benchmark --peer=flax --models=mlp,conv          beside plain Flax
    python -m experiments.benchmark --growth --models=none                 how cost grows, and nothing else
    python -m experiments.benchmark --start_up --models=none               from a command to its first step

Everything of a model is warm before it is timed, and timed in alternation: ours, the peer's and the matrix products in
each round, so that what else happens on the machine meets all of them. ``share`` is floating-point operations a second
(XLA's count) over the rate of float32 matrix products, XLA's or the peer's, whichever is larger. A ratio is ours /
theirs in examples a second, the median over the rounds and [least, greatest]: above 1 we are faster. A mode that trains
is held against the peer's training, whatever the mode. On a machine that does other things ratios mean little:
``cores_in_use_by_others`` says how busy it was at the start. PyTorch's threads wait by spinning, which costs them ten
times the time when they have to share their cores, so on a busy machine they are asked to sleep instead
(OMP_WAIT_POLICY=PASSIVE).
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from vae_jax.errors import UserError
from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import write_json


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags."""

    workdir: str = option("runs/benchmark", "where benchmark.json and the figures go", identity=False)
    results: str | None = option(None, "a folder with a file a machine, whose rows are replaced", identity=False)
    models: str | None = option("all", "which of mlp,conv,resnet,lstm,gru, separated by commas, or none (default: all)")
    modes: str = option("step,chunk,sweep,evaluate", "which of step,chunk,sweep,evaluate, separated by commas")
    runs: int = option(8, "models that a sweep trains together")
    iw_samples: int = option(500, "importance samples of the mlp's NLL; of the others but the resnet a tenth")
    side: int | None = option(None, "of the images, pixels (default: each model's own)")
    dtype: str = option("float32", "of the networks while they are trained", ("float32", "bfloat16"))
    peer: str = option("none", "what is timed beside us", ("none", "torch", "flax"))
    peer_python: str | None = option(None, "an interpreter that has torch (default: this one)", identity=False)
    repeats: int = option(5, "rounds")
    seconds: float = option(1.0, "how long each timing takes at least")
    start_up: bool = option(False, "the seconds from a command to its first step, without and with compiled programs")
    growth: bool = option(False, "how time and memory grow with batch, latents, image, samples, runs and data")


def chosen(config: Config) -> tuple[list[str], tuple[str, ...]]:
    """Returns the models and modes that were asked for.

    Raises:
      UserError: a name that there is not, or a number out of range.
    """
    from .cases import available
    from .modes import MODES

    models, modes = ([name.strip() for name in text.split(",")] for text in (config.models or "", config.modes))
    models, there = [name for name in models if name not in ("", "none")], available()
    if config.models == "all":
        models = there
    for name in models:
        if name not in there:
            raise UserError(f"--models={config.models}: {name} is not there; choose among {', '.join(there)}, or none")
    if not any(modes) or set(modes) - {*MODES, ""}:
        raise UserError(f"--modes={config.modes}: give one or more of {', '.join(MODES)}, separated by commas")
    for name in ("runs", "iw_samples", "repeats", "seconds"):
        if getattr(config, name) <= 0:
            raise UserError(f"--{name}={getattr(config, name)} must be positive")
    if config.side is not None and config.side < 4:
        raise UserError(f"--side={config.side} is no side of an image; give 4 pixels or more")
    if not models and not config.growth and not config.start_up:
        raise UserError("--models=none leaves nothing to time; name some, or ask for --growth or --start_up")
    return models, tuple(mode for mode in MODES if mode in modes)


def main(config: Config) -> None:
    """Measures, prints a line as soon as it is known, and writes benchmark.json and the figures."""
    models, modes = chosen(config)
    from . import figures, growth, machine, peers, rows, start_up, table

    if config.peer == "torch":
        peers.check_python(config.peer_python or sys.executable)
    workdir = Path(config.workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    machine.forget_compilations()
    asked = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("workdir", "peer_python", "results")}
    results = {**machine.about(), "asked": asked, "matmul_gflops": None, "rows": []}
    if models:
        rows.measure(config, models, modes, results, lambda: write_json(workdir / "benchmark.json", results))
    if config.growth:
        results["growth"] = list(growth.measure(config.repeats, config.seconds))
    if config.start_up:
        results["start_up"] = start_up.measure(config.repeats)
    if results["matmul_gflops"] is None:
        results["matmul_gflops"] = rows.rate_of_products(config.repeats, config.seconds)
        results["matmul_gflops_of"] = {"xla": results["matmul_gflops"]}
    write_json(workdir / "benchmark.json", results)
    if config.results:
        print("\n".join(table.keep(results, Path(config.results))))
    for figure in figures.figures_of(results):
        (workdir / figure.name).write_bytes(figure.png)
        print(f"written: {workdir / figure.name}")
    print(f"written: {workdir / 'benchmark.json'}")


if __name__ == "__main__":
    launch(main, Config)
