"""What a resnet of large images takes: memory and time of an update against side, batch, depth and precision.

    python -m experiments.benchmark.large_images                                the table, a process for each row
    python -m experiments.benchmark.large_images --side=256 --batch_size=128 --remat --updates=1      one row

``planned`` is what the compiler plans for a call: arguments and temporaries. ``resident`` is the most memory that the
process ever held, the libraries and compilation included.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from vae_jax.errors import UserError
from vae_jax.runtime.config import launch, option

SMALLEST = {"side": 64, "batch_size": 16, "hidden": "32,64,128", "latent_dim": 256}
# One thing at a time is changed of the first row; then what 256x256 takes.
ROWS = (
    {},
    {"batch_size": 32},
    {"batch_size": 64},
    {"batch_size": 64, "microbatches": 4},
    {"batch_size": 64, "remat": True},
    {"hidden": "32,64"},
    {"hidden": "32,64,128,256"},
    {"latent_dim": 256, "latent_map": True},
    {"dtype": "bfloat16"},
    {"side": 128},
    {"side": 128, "remat": True},
    {"side": 128, "dtype": "bfloat16"},
    {"side": 128, "latent_dim": 1024, "latent_map": True},
    {"side": 128, "latent_dim": 1024, "latent_map": True, "dtype": "bfloat16"},
    {"side": 256, "latent_dim": 1024, "latent_map": True, "hidden": "32,64,128,256"},
    {"side": 256, "latent_dim": 1024, "latent_map": True, "hidden": "32,64,128,256", "remat": True},
)


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags: none, or those of one row."""

    side: int | None = option(None, "of the images, which have three channels; left out: the whole table", least=8)
    batch_size: int = option(SMALLEST["batch_size"], "examples of an update", least=1)
    hidden: str = option(SMALLEST["hidden"], "channels of the stages")
    latent_dim: int = option(SMALLEST["latent_dim"], "the number of latents", least=1)
    latent_map: bool = option(False, "the latents lie on a map")
    dtype: str = option("float32", "of the networks", ("float32", "bfloat16"))
    remat: bool = option(False, "each stage is made again for its gradient")
    microbatches: int = option(1, "parts of a batch", least=1)
    updates: int = option(3, "that are timed, behind a first one", least=1)


def measured(config: Config) -> dict[str, Any]:
    """Returns a row: the flags, ``parameters``, ``planned`` and ``resident`` bytes, and ``seconds`` of an update."""
    import resource

    import jax
    import numpy as np

    from . import cases

    flags = {name: value for name, value in dataclasses.asdict(config).items() if name not in ("side", "updates")}
    shape = (config.side, config.side, 3)
    run = cases.make("resnet", flags | {"sigma": 0.5, "likelihood": "gaussian"}, shape, 2 * config.batch_size).run
    program = cases.alone(run)
    compiled = program.chunk.lower(program.state, program.data, 1).compile()
    plan, state, taken = compiled.memory_analysis(), program.state, []
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    for _ in range(config.updates + 1):
        started = time.perf_counter()
        state, metrics = jax.block_until_ready(compiled(state, program.data))
        taken.append(time.perf_counter() - started)
    if not np.isfinite(metrics["loss"]).all():
        raise UserError(f"the loss of {config} is no number")
    held = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    return dataclasses.asdict(config) | {
        "parameters": parameters,
        "planned": held + plan.temp_size_in_bytes,
        "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "seconds": min(taken[1:]),
    }


def table() -> Iterator[dict[str, Any]]:
    """Yields what benchmark.json has under ``large_images``: each row from a process of its own; prints each."""
    print("side batch widths           latents    dtype    remat parts   planned  resident   s an update")
    for changes in ROWS:
        flags = [f"--{name}={value}" for name, value in (SMALLEST | changes).items()]
        command = [sys.executable, "-m", __spec__.name, *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"{' '.join(flags)}: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
        row = json.loads(done.stdout.splitlines()[-1])
        print(in_words(row), flush=True)
        yield row


def in_words(row: dict[str, Any]) -> str:
    """Returns a line of the table."""
    latents = f"{row['latent_dim']}{' on a map' if row['latent_map'] else ''}"
    return (
        f"{row['side']:4d}{row['batch_size']:6d} {row['hidden']:16s} {latents:14s}{row['dtype']:9s}"
        f"{'yes' if row['remat'] else 'no':6s}{row['microbatches']:4d}{row['planned'] / 2**30:8.2f} GiB"
        f"{row['resident'] / 2**30:6.2f} GiB{row['seconds']:9.2f}"
    )


def main(config: Config) -> None:
    """Prints a row as JSON, or measures the whole table."""
    if config.side is None:
        for _ in table():
            pass
    else:
        print(json.dumps(measured(config)))


if __name__ == "__main__":
    launch(main, Config)
