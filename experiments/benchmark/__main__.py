"""Speed: against this machine's own matrix products, and against what else one might use, measured in the same run.

    python -m experiments.benchmark                                        our own rows
    python -m experiments.benchmark --peer=torch --peer_python=PYTHON      beside PyTorch, eager and compiled
    python -m experiments.benchmark --peer=flax --models=mlp,conv          beside plain Flax
    python -m experiments.benchmark --growth --models=none                 how cost grows, and nothing else
    python -m experiments.benchmark --start_up --models=none               from a command to its first step

Everything of a model is warm before it is timed, and timed in alternation: ours, the peer's and the matrix products in
each round, so that what else happens on the machine meets all of them. ``share`` is floating-point operations a second
(XLA's count) over those of the largest rate of float32 matrix products. A ratio is ours / theirs in examples a second,
the median over the rounds and [least, greatest]: above 1 we are faster. A mode that trains is held against the peer's
training, whatever the mode. On a machine that does other things ratios mean little: ``cores_in_use_by_others`` says
how busy it was at the start. PyTorch's threads wait by spinning, which costs them ten times the time when they have to
share their cores, so on a busy machine they are asked to sleep instead (OMP_WAIT_POLICY=PASSIVE).
"""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import write_json
from vae_jax.types import UserError

PEERS = ("none", "torch", "flax")
BUSY = 0.25  # of the cores, kept busy by others: more and no figure means much


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags."""

    workdir: str = option("runs/benchmark", "where benchmark.json and the figures go", identity=False)
    models: str | None = option("all", "which of mlp,conv,resnet,lstm, separated by commas, or none (default: all)")
    modes: str = option("step,chunk,sweep,evaluate", "which of step,chunk,sweep,evaluate, separated by commas")
    runs: int = option(8, "models that a sweep trains together")
    iw_samples: int = option(500, "importance samples of the NLL that is timed for the mlp")
    peer: str = option("none", "what is timed beside us", PEERS)
    peer_python: str | None = option(None, "an interpreter that has torch (default: this one)", identity=False)
    repeats: int = option(5, "rounds")
    seconds: float = option(1.0, "how long each timing takes at least")
    start_up: bool = option(False, "the seconds from a command to its first step, without and with compiled programs")
    growth: bool = option(False, "how time and memory grow with batch, latents, image, samples, runs and data")


def chosen(config: Config) -> tuple[list[str], tuple[str, ...]]:
    """The models and modes that were asked for.

    Raises:
      UserError: a name that there is not, or a number out of range.
    """
    from .cases import available
    from .modes import MODES

    models, there = [], available()
    for name in there if config.models == "all" else _names(config.models):
        if name not in there:
            raise UserError(f"--models={config.models}: {name} is not there; choose among {', '.join(there)}, or none")
        models.append(name)
    modes = _names(config.modes)
    wrong = [name for name in modes if name not in MODES]
    if wrong or not modes:
        raise UserError(f"--modes={config.modes}: give one or more of {', '.join(MODES)}, separated by commas")
    for name in ("runs", "iw_samples", "repeats", "seconds"):
        if getattr(config, name) <= 0:
            raise UserError(f"--{name}={getattr(config, name)} must be positive")
    if not models and not config.growth and not config.start_up:
        raise UserError("--models=none leaves nothing to time; name some, or ask for --growth or --start_up")
    return models, tuple(mode for mode in MODES if mode in modes)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip() not in ("", "none")]


def about(config: Config) -> dict[str, Any]:
    """The machine and the versions, as benchmark.json has them."""
    import platform
    from importlib.metadata import version

    import jax

    from .peer import threads

    others = cores_in_use()
    return {
        "device": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "threads": threads(),
        "cores_in_use_by_others": others,
        "busy": others is not None and others > BUSY * threads(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("jax", "jaxlib", "flax")},
        },
        "asked": {k: v for k, v in dataclasses.asdict(config).items() if k not in ("workdir", "peer_python")},
    }


def cores_in_use(seconds: float = 0.5) -> float | None:
    """How many cores other work of this machine keeps busy, while this process sleeps; None where it does not say."""
    before = _idle_seconds()
    time.sleep(seconds)
    after = _idle_seconds()
    if before is None or after is None:
        return None
    return max(0.0, (os.cpu_count() or 1) - (after - before) / seconds)


def _idle_seconds() -> float | None:
    """What all cores have idled since the machine was started (Linux)."""
    try:
        idle, waiting = Path("/proc/stat").read_text().split("\n", 1)[0].split()[4:6]
        return (int(idle) + int(waiting)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None


def forget_compilations() -> None:
    """From here on everything is compiled anew: what that takes is measured, and not what reading an old one does."""
    import jax

    jax.config.update("jax_enable_compilation_cache", False)


def main(config: Config) -> None:
    """Measures, prints a line as soon as it is known, and writes benchmark.json and the figures."""
    models, modes = chosen(config)
    if config.peer == "torch":
        import sys

        from .peer import check_python

        check_python(config.peer_python or sys.executable)
    workdir = Path(config.workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    forget_compilations()
    from . import growth, measuring, start_up

    found = {**about(config), "matmul_gflops": None, "rows": []}
    if models:
        measuring.measure(config, models, modes, found, lambda: write_json(workdir / "benchmark.json", found))
    if config.growth:
        print(growth.HEAD)
        found["growth"] = []
        for axis in growth.measure(config.repeats, config.seconds):
            found["growth"].append(axis)
            print(growth.line(axis), flush=True)
    if config.start_up:
        found["start_up"] = start_up.measure(config.repeats, lambda line: print(line, flush=True))
    if found["matmul_gflops"] is None:
        found["matmul_gflops"] = measuring.rate_of_products(config.repeats, config.seconds)
    write_json(workdir / "benchmark.json", found)
    from . import figures

    for plate in figures.plates(found):
        (workdir / plate.name).write_bytes(plate.png)
        print(f"written: {workdir / plate.name}")
    print(f"written: {workdir / 'benchmark.json'}")


if __name__ == "__main__":
    launch(main, Config)
