"""What a resnet of large images takes: memory and time of an update against side, batch, depth and precision.

    python -m experiments.benchmark.large_images --results=experiments/results        the table, a process for each row
    python -m experiments.benchmark.large_images --side=256 --batch_size=128 --remat   one row

``planned`` is what the compiler plans for a call: arguments and temporaries. ``resident`` is the most memory that the
process ever held, the libraries and compilation included. Memory does not depend on what else the machine does; the
seconds of a busy one say little, and the file of results tells which they are.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vae_jax.errors import UserError
from vae_jax.runtime.config import launch, option

OWN = ("side", "seconds", "results")  # flags that are none of ``train``
SMALLEST = {"side": 64, "batch_size": 16, "hidden": "32,64,128", "latent_dim": 256}
# One thing at a time is changed of the first row, in both precisions where they differ; then what 256x256 takes. Of
# --latent_map the innermost map is 16x16, so that 1024 latents are 4x16x16.
MAP, DEEP = {"latent_dim": 1024, "latent_map": True}, {"hidden": "32,64,128,256"}
BOTH = (
    {},
    {"batch_size": 64},
    DEEP,
    {"hidden": "32,64"},
    {"hidden": "32,64", **MAP},
    {"side": 128},
    {"side": 128, **MAP},
)
ROWS = (
    *({"dtype": dtype, **changes} for dtype in ("float32", "bfloat16") for changes in BOTH),
    {"batch_size": 32},
    {"batch_size": 64, "microbatches": 4},
    {"batch_size": 64, "remat": True},
    {"side": 128, "remat": True},
    {"side": 256, **DEEP, **MAP},
    {"side": 256, **DEEP, **MAP, "remat": True},
)
HEAD = (
    "| side | batch | stages | latents | precision | | planned | resident | s an update |",
    "|---|---|---|---|---|---|---|---|---|",
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
    seconds: float = option(2.0, "that updates are timed for, behind a first one; at least one is", above=0)
    results: str | None = option(None, "a folder with a file a machine, whose rows are replaced", identity=False)


def measured(config: Config) -> dict[str, Any]:
    """Returns a row: the flags, ``parameters``, ``planned`` and ``resident`` bytes, and ``seconds`` of an update."""
    import resource

    import jax
    import numpy as np

    from . import cases

    flags = {name: value for name, value in dataclasses.asdict(config).items() if name not in OWN}
    shape = (config.side, config.side, 3)
    run = cases.make("resnet", flags | {"sigma": 0.5, "likelihood": "gaussian"}, shape, 2 * config.batch_size).run
    program = cases.alone(run)
    compiled = program.chunk.lower(program.state, program.data, 1).compile()
    plan, state, taken = compiled.memory_analysis(), program.state, []
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    while len(taken) < 2 or sum(taken[1:]) < config.seconds:
        started = time.perf_counter()
        state, metrics = jax.block_until_ready(compiled(state, program.data))
        taken.append(time.perf_counter() - started)
    if not np.isfinite(metrics["loss"]).all():
        raise UserError(f"the loss of {config} is no number")
    held = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    return {"side": config.side, **flags} | {
        "parameters": parameters,
        "planned": held + plan.temp_size_in_bytes,
        "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "seconds": min(taken[1:]),
    }


def rows() -> Iterator[dict[str, Any]]:
    """Yields each row of the table, from a process of its own, and prints it."""
    print("\n".join(HEAD))
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
    """Returns a line of the table, in Markdown."""
    latents = f"{row['latent_dim'] // 256}x16x16" if row["latent_map"] else row["latent_dim"]
    saving = "remat" if row["remat"] else f"{row['microbatches']} parts" if row["microbatches"] > 1 else ""
    cells = (row["side"], row["batch_size"], row["hidden"], latents, row["dtype"], saving)
    sizes = (f"{row[name] / 2**30:.2f} GiB" for name in ("planned", "resident"))
    return f"| {' | '.join(map(str, (*cells, *sizes)))} | {row['seconds']:.2g} |"


def main(config: Config) -> None:
    """Prints a row as JSON, or measures the whole table and keeps it in the machine's file."""
    if config.side is not None:
        print(json.dumps(measured(config)))
        return
    from . import machine, table

    about = machine.about()
    found = [row | {"busy": about["busy"]} for row in rows()]
    if config.results:
        print(table.keep({**about, "rows": [], "large_images": found}, Path(config.results))[-1])


if __name__ == "__main__":
    launch(main, Config)
