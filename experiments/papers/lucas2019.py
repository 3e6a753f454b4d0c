"""What the linear theory predicts of a weight, and what a deep network does with it (Lucas 2019, 1911.02469).

    python -m experiments.papers.lucas2019 --workdir=runs/lucas2019 --dataset=mnist    about 5 minutes, one CPU core

Trains one network at several water levels s = sigma^2 (beta = 1) and sets its active units, rate and error beside those
of the linear VAE, which ``python -m experiments.weigh`` prints before training. Expect the same collapse, at the
largest eigenvalue of the data, and the same trend; below it a deep network spends more nats, in fewer units.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from vae_jax.errors import UserError
from vae_jax.runs.settings import Config as TrainConfig
from vae_jax.runtime.config import launch, option

from . import arms


@dataclasses.dataclass(frozen=True)
class Config(arms.ImageFlags):
    """The flags that all runs share."""

    workdir: str = option("runs/lucas2019", "where the runs and the table live", identity=False)
    levels: str = option("6,3,1,0.3,0.1,0.03,0.01", "the water levels s, on [0, 1] pixels")
    latent_dim: int = option(50, "the number of latents")
    hidden: str = option("512,512", "widths of the hidden layers")
    seed: int = option(0, "of everything random")


def water_levels(text: str) -> list[float]:
    """Returns ``"1,0.1"`` as ``[1.0, 0.1]``."""
    try:
        levels = [float(v) for v in text.split(",")]
    except ValueError:
        levels = []
    if not levels or min(levels) <= 0 or not math.isfinite(max(levels)):
        raise UserError(f"--levels={text} must be positive numbers separated by commas, such as 1,0.1")
    return levels


def main(config: Config) -> None:
    """Trains at every level, writes table.json and prints it."""
    from vae_jax.linear_vae import predict
    from vae_jax.runs.build import material

    levels, root, rows = water_levels(config.levels), Path(config.workdir), []
    flags = config.of_train() | {"seed": config.seed}
    spectrum = material(TrainConfig(**flags, workdir=str(root))).spectrum
    sigmas = ",".join(f"{math.sqrt(s):.9g}" for s in levels)
    for trained in arms.sweep_one(root, flags | {"precision": "fixed", "sigma": sigmas}):
        s = float(f"{trained['sigma'] ** 2:.6g}")
        linear = predict(spectrum, 1.0, s, config.latent_dim)
        error = math.sqrt(linear.distortion / len(spectrum))
        found = {"active": trained["active_units"], "rate": trained["rate"], "rmse": math.sqrt(trained["mse"])}
        predicted = {"active": linear.active, "rate": linear.rate, "rmse": error}
        rows.append({"water_level": s, "predicted": predicted, "found": found})
    heads = ("active units: linear theory", "trained", "rate: linear theory", "trained", "RMS error: linear", "trained")
    cells = []
    for row in rows:
        digits = {"active": "d", "rate": ".2f", "rmse": ".3f"}.items()
        pairs = [f"{row[side][key]:{form}}" for key, form in digits for side in ("predicted", "found")]
        cells.append([f"{row['water_level']:g}", *pairs])
    arms.conclude(root, rows, arms.markdown(("s", *heads), cells))


if __name__ == "__main__":
    launch(main, Config)
