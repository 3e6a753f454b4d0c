"""Every way to choose the weight, on equal footing: the same network, data, steps and seeds; one score for all.

    python -m experiments.papers.weightings --workdir=runs/weightings --dataset=mnist    about 17 minutes, one CPU core
    python -m experiments.papers.weightings --workdir=runs/digits_weightings --num_steps=500 --seeds=1   about 4 minutes

The score is the held-out ELBO at beta = 1 with sigma recalibrated: the weights of a squared error can be declared at
any sigma, so each model is scored at the sigma that its own training error asks for (``evaluation/bounds.py``).
Expect the learned and the solved sigma first, a tuned sigma near them, and a mean of squares + sum of KL collapsed. A
controller ends where its target says, which is not a matter of quality. Stopped, it goes on where it was.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from vae_jax.errors import UserError
from vae_jax.runs.settings import Config as TrainConfig
from vae_jax.runtime.config import launch, option

from .arms import ImageFlags, conclude, sweep_one

# name -> the flags in which it differs; {targets} are filled in from this binary's own flags
ARMS = {
    "sigma learned": {},
    "sigma solved for": {"precision": "optimal"},
    "sum of squares + KL": {"precision": "fixed", "sigma": math.sqrt(0.5)},
    "mean of squares + KL": {"precision": "fixed"},  # sigma = sqrt(D / 2), filled in below
    "sigma = 0.1 by hand": {"precision": "fixed", "sigma": 0.1},
    "beta = 4": {"beta": 4.0},
    "linear": {"weighting": "linear"},
    "sigmoid": {"weighting": "sigmoid"},
    "cosine": {"weighting": "cosine"},
    "cyclical": {"weighting": "cyclical"},
    "free bits": {"weighting": "free_bits"},
    "capacity": {"weighting": "capacity", "target_kl": None},
    "PI": {"weighting": "pi", "target_kl": None},
    "GECO": {"weighting": "geco", "target_distortion": None},
}
KEYS = (
    "calibrated_elbo",
    "calibrated_distortion",
    "elbo",
    "rate",
    "distortion",
    "rmse",
    "sigma",
    "beta",
    "water_level",
)
KEYS += ("active_units", "seconds")


@dataclasses.dataclass(frozen=True)
class Config(ImageFlags):
    """The flags that all arms share."""

    workdir: str = option("runs/weightings", "where the runs, the table and the figure live", identity=False)
    seeds: int = option(3, "how many seeds, from 0 on")
    target_kl: float = option(25.0, "the rate that pi and capacity hold, nats")
    target_distortion: float = option(-400.0, "the distortion that geco holds, nats")
    only: str | None = option(None, "names of arms, separated by commas (default: all)")


def arms(config: Config, data_dim: int) -> dict[str, dict]:
    """Returns the flags of each arm that is asked for."""
    targets = {"target_kl": config.target_kl, "target_distortion": config.target_distortion}
    filled = {name: {k: targets.get(k, v) for k, v in flags.items()} for name, flags in ARMS.items()}
    filled["mean of squares + KL"]["sigma"] = math.sqrt(data_dim / 2)
    wanted = ARMS if config.only is None else [name.strip() for name in config.only.split(",")]
    unknown = [name for name in wanted if name not in ARMS]
    if unknown:
        raise UserError(f"--only={config.only}: no arm {unknown[0]!r}; they are {', '.join(ARMS)}")
    return {name: filled[name] for name in wanted}


def main(config: Config) -> None:
    """Trains all arms, writes table.json and figure.png, prints the table."""
    from vae_jax.runs.build import material

    from .figures import comparison, table_lines

    root, shared, rows = Path(config.workdir), config.of_train(), []
    event = material(TrainConfig(**shared, workdir=str(root))).dataset.event
    shared |= {"seed": ",".join(map(str, range(config.seeds)))}
    for name, flags in arms(config, math.prod(event)).items():
        for row in sweep_one(root / name.replace(" ", "_"), shared | flags):
            row |= {"calibrated_distortion": -(row["calibrated_elbo"] + row["rate"]), "rmse": math.sqrt(row["mse"])}
            rows.append({"name": name, "seed": row["seed"]} | {key: row[key] for key in KEYS})
    (root / "figure.png").write_bytes(comparison(rows).png)
    conclude(root, rows, table_lines(rows), "figure.png")


if __name__ == "__main__":
    launch(main, Config)
