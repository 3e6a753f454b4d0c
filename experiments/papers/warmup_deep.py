"""When do the latents of deep networks wake, beside what the linear theory foretells (Lucas 2019, 1911.02469; here).

    python -m experiments.papers.warmup_deep --workdir=runs/warmup_deep                          digits and the grammar
    python -m experiments.papers.warmup_deep --workdir=runs/warmup_mnist --beds="mnist mlp"      where MNIST is

Each bed is trained at seven water levels, shares of its largest eigenvalue, and under five ramps of the weight, shares
of the run, as one program. The code is awake from the step on from which its rate is at least half of what it ends
with, foretold and observed alike. The linear model begins close to the collapsed saddle: a deep network without a ramp
forgets its random code first. A text has no covariance of its own: its eigenvalues are those of what a bigram model
leaves of each word, whitened by the noise of that model, and its level is beta. ``warmup`` is the same for linear
networks. Stopped, it goes on where it was; finished beds are read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vae_jax.errors import UserError
from vae_jax.runs.settings import Config as TrainConfig
from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import write_atomic, write_json

from . import arms

if TYPE_CHECKING:
    from vae_jax.report.figure import Figure

SHARES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)  # of the largest eigenvalue: the water levels
RAMPS = (0.0, 0.1, 0.2, 0.4, 0.8)  # of the run
IMAGES = {"precision": "fixed", "latent_dim": 10}
TEXT = {"likelihood": "tokens", "model": "recurrent", "hidden": "64", "embedding": 32, "batch_size": 32}
TEXT |= {"latent_dim": 8, "clip_norm": 5.0}
BEDS: dict[str, dict[str, Any]] = {
    "digits mlp": {"dataset": "digits", "model": "mlp", "num_steps": 1500} | IMAGES,
    "digits conv": {"dataset": "digits", "model": "conv", "num_steps": 600, "hidden": "64", "batch_size": 64} | IMAGES,
    "mnist mlp": {"dataset": "mnist", "model": "mlp", "num_steps": 1500} | IMAGES,
    "mnist conv": {"dataset": "mnist", "model": "conv", "num_steps": 600, "batch_size": 64} | IMAGES,
    "grammar lstm": {"dataset": "grammar", "num_steps": 600} | TEXT,
}
FIRST = 2.0  # the lowest step that the figure shows
RECORDS = 40  # evaluations of a run
SENTENCES = 8000  # that a text's eigenvalues are computed from


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags that all beds share."""

    workdir: str = option("runs/warmup_deep", "where the runs, the table and the figure live", identity=False)
    beds: str = option("digits mlp;digits conv;grammar lstm", f"separated by semicolons: {'; '.join(BEDS)}")
    data_dir: str | None = option(None, "where prepared TFDS data sets are", identity=False)
    seed: int = option(0, "of everything random")


def main(config: Config) -> None:
    """Trains the beds, writes table.json and figure.png, prints the table."""
    wanted = [name.strip() for name in config.beds.split(";")]
    if unknown := [name for name in wanted if name not in BEDS]:
        raise UserError(f"--beds={config.beds}: no bed {unknown[0]!r}; they are {'; '.join(BEDS)}")
    root, rows = Path(config.workdir), []
    for name in wanted:
        rows += bed_rows(name, root / name.replace(" ", "_"), {"data_dir": config.data_dir, "seed": config.seed})
        write_json(root / "table.json", {"rows": rows, "summary": summary(rows)})
    write_atomic(root / "figure.png", figure(rows).png)
    print("", *table_lines(rows), f"figure: {root / 'figure.png'}", sep="\n")


def bed_rows(name: str, root: Path, more: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Trains a bed at all levels and ramps; returns a row each, with the steps foretold and observed."""
    from vae_jax.report import load
    from vae_jax.report.waking_figure import observed
    from vae_jax.runs.build import material

    own = arms.AS_PUBLISHED | BEDS[name] | more | {"validation": 0.1, "lr_schedule": "constant", "iw_samples": 1}
    shared = material(TrainConfig(**own))
    spectrum = shared.spectrum
    if spectrum is None:
        spectrum = text_spectrum(np.asarray(shared.dataset.train[:SENTENCES]), shared.dataset.levels)
    level = spectrum[0] * np.array(SHARES)
    swept = {"beta": level} if shared.spectrum is None else {"sigma": np.sqrt(level)}
    every = max(1, own["num_steps"] // RECORDS)
    flags = own | {"weighting": "linear", "log_every": every, "eval_every": every, "checkpoint_every": 10**6}
    flags |= {flag: ",".join(f"{value:.6g}" for value in values) for flag, values in swept.items()}
    flags |= {"warmup_steps": ",".join(str(round(share * own["num_steps"])) for share in RAMPS)}
    rows = []
    for row in arms.sweep_one(root, flags):
        s = row["beta"] * (1.0 if shared.spectrum is None else row["sigma"] ** 2)
        steps, rates = observed(load(root / "runs" / row["run"]))
        told = foretold(row, spectrum, is_text=shared.spectrum is None)
        rows.append({"bed": name, "share": float(f"{s / spectrum[0]:.3g}"), "ramp": row["warmup_steps"]})
        rows[-1] |= {"steps": row["num_steps"], "rate": row["rate"], "foretold": told, "observed": awake(steps, rates)}
    return rows


def awake(steps: np.ndarray, rates: np.ndarray) -> float | None:
    """Returns the step from which on a code has half of the rate that it ends with; None where it ends asleep."""
    from vae_jax.report.waking_figure import half_awake

    found = float(half_awake(np.asarray(steps, float), rates.sum(1, keepdims=True))[0])
    return float(f"{found:.4g}") if np.isfinite(found) else None


def foretold(row: Mapping[str, Any], spectrum: np.ndarray, is_text: bool) -> float | None:
    """Returns the same of the linear model of a run."""
    from vae_jax.runs.waking_forecast import linear_run
    from vae_jax.theory.dynamics import simulate

    names = ("latent_dim", "num_steps", "learning_rate", "lr_schedule", "batch_size")
    flags = {name: row[name] for name in names} | {"sigma": 1.0 if is_text else row["sigma"]}
    run = linear_run(TrainConfig(**flags, precision="fixed"), spectrum)
    beta = row["beta"] * np.minimum(1.0, np.arange(run.steps) / max(row["warmup_steps"], 1e-9))
    path = simulate(run, beta, records=run.steps)
    return awake(path.step[1:], path.rates[1:])


def text_spectrum(tokens: np.ndarray, levels: int) -> np.ndarray:
    """Returns the eigenvalues that stand for a text: of what a bigram model leaves of each word, in units of its noise.

    A decoder that adds W z to the logits of each position has the gradient E[(x - p) z'] and the curvature F, the mean
    of diag(p) - p p', so F^(-1/2) (x - p) is to a text what x / sigma is to a Gaussian: a direction is worth its rate
    where its eigenvalue is above beta. Directions that lie within one word have about 1, those that tie words more.

    Args:
      tokens: ``[n, t]``, PAD (0) after the end of a sentence.
      levels: how many different tokens there are.
    """
    n, length = tokens.shape
    before = np.concatenate([np.ones((n, 1), tokens.dtype), tokens[:, :-1]], axis=1)  # BOS is 1
    counts = np.zeros((levels, levels))
    there = tokens != 0
    np.add.at(counts, (before[there], tokens[there]), 1.0)
    p = counts / np.maximum(counts.sum(1, keepdims=True), 1.0)
    parts = []
    for t in range(length):
        given = p[before[:, t]] * there[:, t, None]  # [n, levels]
        left = np.eye(levels)[tokens[:, t]] * there[:, t, None] - given
        fisher = np.diag(given.mean(0)) - given.T @ given / n
        values, vectors = np.linalg.eigh(fisher)
        kept = values > 1e-3  # what fewer than some of a thousand sentences have says nothing
        parts.append(left @ (vectors[:, kept] / np.sqrt(values[kept])))
    whitened = np.concatenate(parts, axis=1)
    return np.linalg.eigvalsh(np.cov(whitened.T, bias=True))[::-1]


def steps_of(rows: arms.Rows) -> np.ndarray:
    """Returns the foretold and the observed steps, ``[2, n]``; infinity where a code ends asleep."""
    return np.array([[np.inf if row[key] is None else row[key] for row in rows] for key in ("foretold", "observed")])


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Returns Spearman's rank correlation, equal values sharing their rank; NaN where all values of one are equal."""
    ranks = [[np.sum(v < x) + 0.5 * np.sum(v == x) for x in v] for v in (np.asarray(one), np.asarray(other))]
    if min(map(np.ptp, ranks)) == 0:
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])


def summary(rows: arms.Rows) -> list[dict[str, Any]]:
    """Returns for each bed and ramp the rank correlation over the levels, the median ratio and how many codes wake."""
    found = []
    for bed in dict.fromkeys(row["bed"] for row in rows):
        for ramp in sorted({row["ramp"] for row in rows if row["bed"] == bed}):
            told, seen = steps_of([row for row in rows if (row["bed"], row["ramp"]) == (bed, ramp)])
            both = np.isfinite(told) & np.isfinite(seen)
            ratio, rho = (
                (float(np.median(seen[both] / told[both])) if both.any() else None),
                rank_correlation(told, seen),
            )
            found.append({"bed": bed, "ramp": ramp, "rank_correlation": None if np.isnan(rho) else rho, "ratio": ratio})
            found[-1] |= {"foretold": _finite(told), "observed": _finite(seen)}
    return found


def _finite(steps: np.ndarray) -> list[float | None]:
    return [float(step) if np.isfinite(step) else None for step in steps]


def table_lines(rows: arms.Rows) -> list[str]:
    """Returns the table in Markdown: a row a bed and ramp, with the steps at each level, ascending."""
    heads = ["", "rank correlation", "observed / foretold", "foretold", "observed"]
    cells = []
    for each in summary(rows):
        numbers = ["" if each[key] is None else f"{each[key]:.2f}" for key in ("rank_correlation", "ratio")]
        steps = [", ".join("-" if v is None else f"{v:,.0f}" for v in each[key]) for key in ("foretold", "observed")]
        cells.append([f"{each['bed']}, ramp {each['ramp']:,}", *numbers, *steps])
    return arms.markdown(heads, cells)


def figure(rows: arms.Rows) -> Figure:
    """Draws the steps observed and foretold over the water level, a panel a bed, a colour a ramp."""
    from matplotlib import colormaps

    from vae_jax.report.figure import FAINT, WIDTH, Figure, draw, letters

    beds = list(dict.fromkeys(row["bed"] for row in rows))
    wide = min(len(beds), 2)
    high = -(-len(beds) // wide)

    def paint(figure):
        panels = figure.subplots(high, wide, squeeze=False, sharey=True).ravel()
        top = 1.3 * max(v for v in steps_of(rows).ravel() if np.isfinite(v))
        for axes, bed in zip(panels, beds):
            own = [row for row in rows if row["bed"] == bed]
            for i, ramp in enumerate(sorted({row["ramp"] for row in own})):
                line = sorted((row for row in own if row["ramp"] == ramp), key=lambda row: row["share"])
                shares, (told, seen) = [row["share"] for row in line], steps_of(line)
                color = colormaps["viridis"](0.22 * i)
                axes.plot(shares, told, color=color, linewidth=0.9, linestyle="--")
                shown = np.where(np.isfinite(seen), np.maximum(seen, FIRST), np.nan)
                axes.plot(shares, shown, "o-", color=color, markersize=3)
                slept = [share for share, step in zip(shares, seen) if not np.isfinite(step)]
                axes.plot(slept, [top * 0.93**i] * len(slept), "^", color=color, markersize=3.5)
            axes.set(xscale="log", yscale="log", xlabel="water level s / λ₁", ylim=(0.8 * FIRST, 1.15 * top))
            axes.set_xticks(SHARES, [f"{share:g}" for share in SHARES], fontsize=7)
            axes.minorticks_off()
            axes.set_title(bed, fontsize=8.5)
        for axes in panels[::wide]:
            axes.set_ylabel("step of waking")
        for axes in panels[len(beds) :]:
            axes.remove()
        if len(beds) > 1:
            letters(panels[: len(beds)])
        _legend(figure, colormaps["viridis"], FAINT)

    caption = (
        "Waking in deep networks: the step from which on the code of a run has half of the rate that it ends with, as "
        "it was (dots) and as the linear theory foretells it (dashed), at seven water levels, shares of the largest "
        "eigenvalue, and under five ramps of the weight (colour: their share of the run). Triangles: asleep at the "
        "end. What is awake before the second step is drawn there."
    )
    return Figure("figure.png", caption, draw(paint, height=0.8 + 2.2 * high, width=WIDTH if wide > 1 else 4.4))


def _legend(figure, colors, faint: str) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colors(0.22 * i), label=f"ramp {share:g}") for i, share in enumerate(RAMPS)]
    handles += [Line2D([], [], marker="o", markersize=3, color=faint, label="observed")]
    handles += [Line2D([], [], linestyle="--", color=faint, label="foretold")]
    handles += [Line2D([], [], marker="^", markersize=3.5, linewidth=0, color=faint, label="asleep")]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, columnspacing=1.2, fontsize=7.5)


if __name__ == "__main__":
    launch(main, Config)
