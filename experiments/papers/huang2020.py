"""What a decoder could do at every rate, and what its encoder does (Huang 2020, 2008.06653).

    python -m experiments.papers.huang2020 --workdir=runs/huang2020      digits, about 8 minutes, two quiet CPU cores

Trains one network at several beta, and anneals each decoder from the prior to its posteriors: one set of chains gives
the least distortion at every rate, whatever the encoder (an upper bound of the rate). Expect each encoder above the
curve of its own decoder, by what it loses; and the decoder of a large beta better at low rates only. (A
curve ends at the rate of its decoder's posterior at beta = 1; an encoder of a smaller beta lies beyond it.)
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vae_jax.runs.settings import Config as TrainConfig
from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import write_atomic

from . import arms

if TYPE_CHECKING:
    from vae_jax.report.figure import Figure


@dataclasses.dataclass(frozen=True)
class Config(arms.ImageFlags):
    """The flags that all runs share."""

    workdir: str = option("runs/huang2020", "where the runs, the table and the figure live", identity=False)
    betas: str = option("0.3,1,3,10", "the weights of the runs")
    sigma: float = option(0.12, "the decoders' noise, the same for all", above=0)
    ais: str = option("16,1000", "CHAINS,TEMPERATURES of each decoder")
    examples: int = option(100, "test examples that are annealed", least=1)
    seed: int = option(0, "of everything random")


def main(config: Config) -> None:
    """Trains and anneals every run, writes table.json and figure.png, prints the table."""
    from vae_jax.linear_vae import predict
    from vae_jax.randomness import TEST, purpose_key
    from vae_jax.runs import annealing
    from vae_jax.runs.build import build, material
    from vae_jax.runs.evaluate import seen
    from vae_jax.runs.loop import trained
    from vae_jax.runs.results import make_instruments

    root, plan = Path(config.workdir), annealing.parse_plan(config.ais)
    flags = config.of_train() | {"seed": config.seed, "precision": "fixed", "sigma": config.sigma}
    shared = material(TrainConfig(**flags, workdir=str(root)))
    rows = []
    for beta in map(float, config.betas.split(",")):
        given = flags | {"beta": beta}
        arms.train_one(root / f"beta_{beta:g}", given, shared)
        r = build(TrainConfig(**given, workdir=str(root / f"beta_{beta:g}")), shared)
        examples, params = r.dataset.test[: config.examples], trained(r).params
        scores = make_instruments(r).scores(params, examples, purpose_key(r.key, TEST))
        point = {key: float(np.mean(getattr(scores, key), dtype=np.float64)) for key in ("rate", "distortion")}
        found = annealing.annealed(r, params, np.asarray(seen(r, examples, r.key)), plan, root / f"beta_{beta:g}")
        rows.append({"beta": beta} | point | {"annealed": found})
    values, dim = shared.spectrum, len(shared.spectrum)
    constant = 0.5 * dim * math.log(2 * math.pi * config.sigma**2)
    linear = [predict(values, beta, config.sigma**2, config.latent_dim) for beta in np.geomspace(0.05, 100, 60)]
    theory = np.array([(p.rate, 0.5 * p.distortion / config.sigma**2 + constant) for p in linear])
    figure = curves(rows, theory)
    write_atomic(root / figure.name, figure.png)
    heads = ("beta", "rate", "distortion", "the decoder's at that rate", "lost by the encoder", "log p(x), annealed")
    arms.conclude(root, rows, arms.markdown(heads, map(cells, rows)), figure.name)


def cells(row) -> list[str]:
    """Returns a row of the table: the encoder's point, and its decoder's curve at the same rate."""
    curve = row["annealed"]["curve"]
    best = float(np.interp(row["rate"], curve["rate"], curve["distortion"]))
    beyond = row["rate"] > max(curve["rate"])
    lost = "beyond the curve" if beyond else f"{row['distortion'] - best:.2f}"
    numbers = [f"{row[key]:.2f}" for key in ("rate", "distortion")]
    return [f"{row['beta']:g}", *numbers, "" if beyond else f"{best:.2f}", lost, f"{row['annealed']['log_px']:.2f}"]


def curves(rows, theory: np.ndarray) -> Figure:
    """Draws each decoder's curve with the point of its encoder, and the linear theory, ``theory [n, 2]``."""
    from matplotlib import colormaps

    from vae_jax.report.figure import FAINT, Figure, draw

    def paint(figure):
        axes = figure.subplots()
        axes.plot(*theory.T, color=FAINT, linewidth=0.9, linestyle="--", label="linear theory")
        colours = colormaps["viridis"](np.linspace(0.0, 0.85, len(rows)))
        for row, colour in zip(rows, colours):
            curve = row["annealed"]["curve"]
            axes.plot(curve["rate"], curve["distortion"], color=colour, linewidth=1.1, label=f"β = {row['beta']:g}")
            axes.plot(row["rate"], row["distortion"], "o", color=colour, markersize=4)
        high = max(row["rate"] for row in rows)
        points = [row["distortion"] for row in rows]
        axes.set_xlim(0.0, 1.15 * high)
        axes.set_ylim(min(points) - 0.3 * np.ptp(points) - 1, max(points) + 0.6 * np.ptp(points) + 1)
        axes.set_xlabel("rate (nats)")
        axes.set_ylabel("distortion (nats)")
        axes.legend(frameon=False)

    caption = (
        "The least distortion of each decoder at every rate, by annealed importance sampling of the first test "
        "examples (line; the rate is an upper bound); the rate and distortion of its own encoder on the same examples "
        "(dot of the same colour); and a linear model of as many latents (dashed)."
    )
    return Figure("figure.png", caption, draw(paint, height=3.0))


if __name__ == "__main__":
    launch(main, Config)
