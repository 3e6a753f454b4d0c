"""Does a schedule of the weight matter, when, and by how many nats: seven on equal footing, for several budgets.

    python -m experiments.papers.schedules --workdir=runs/schedules --dataset=mnist
    python -m experiments.papers.schedules --workdir=runs/schedules_text --dataset=grammar
    python -m experiments.papers.schedules --workdir=runs/ramps --dataset=mnist --ramps --budgets=1000

Equal footing: the same network, data, batches, seeds and steps; every weight ends at 1, and what is compared is the
bound at beta = 1 on the test split. The ramps take a fifth of the run, cyclical all of it, the capacity half of it on
its way to the largest rate that any arm before it ended with; free bits leave each latent a quarter of a nat. Then the
ramp of ``--warmup_steps=auto``, where the linear theory knows the likelihood. With ``--ramps`` that ramp is compared
with five that are made by hand, from a twentieth to the whole of the run. Arms that are finished are read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import write_atomic

from . import arms

if TYPE_CHECKING:
    from vae_jax.report.figure import Figure

ARMS: dict[str, dict[str, Any]] = {
    "none": {"weighting": "constant"},
    "linear": {"weighting": "linear"},
    "sigmoid": {"weighting": "sigmoid"},
    "cosine": {"weighting": "cosine"},
    "cyclical": {"weighting": "cyclical"},
    "free bits": {"weighting": "free_bits"},
    "capacity": {"weighting": "capacity"},
    "linear, auto": {"weighting": "linear", "warmup_steps": "auto"},
}
BY_HAND = (0.05, 0.1, 0.2, 0.5, 1.0)  # shares of the run that ramps
TEXTS = ("grammar", "ptb")
# What ``text`` has as its defaults.
OF_TEXT = {"likelihood": "tokens", "model": "recurrent", "latent_dim": 16, "hidden": "128", "embedding": 64}
OF_TEXT |= {"batch_size": 32, "clip_norm": 5.0}
KEYS = ("elbo", "rate", "distortion", "active_units", "warmup_steps", "seconds")


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags that all arms share."""

    workdir: str = option("runs/schedules", "where the runs, the table and the figure live", identity=False)
    dataset: str = option("mnist", "as for train; a text: grammar | ptb | FILE.txt")
    data_dir: str | None = option(None, "where prepared TFDS data sets are", identity=False)
    budgets: str = option("1000,3000,10000", "steps of a run, separated by commas")
    seed: str = option("0,1,2", "the seeds, separated by commas")
    only: str | None = option(None, "names of arms, separated by ; (default: all)")
    ramps: bool = option(False, "compare --warmup_steps=auto with five ramps that are made by hand")
    iw_samples: int = option(8, "importance samples of each run's iw_nll")


def main(config: Config) -> None:
    """Trains all arms for each budget, writes table.json and figure.png, prints the table and what it says."""
    root, rows = Path(config.workdir), []
    for steps in map(int, config.budgets.split(",")):
        rows += _ramps(config, root, steps) if config.ramps else _arms(config, root, steps)
    write_atomic(root / "figure.png", figure(rows).png)
    lines = [*table_lines(rows), "", *verdicts(rows, "linear, auto" if config.ramps else None)]
    arms.conclude(root, rows, lines, "figure.png")


def _is_text(config: Config) -> bool:
    return config.dataset in TEXTS or config.dataset.endswith(".txt")


def _shared(config: Config, steps: int) -> dict[str, Any]:
    names = ("dataset", "data_dir", "seed", "iw_samples")
    own = {name: getattr(config, name) for name in names} | {"num_steps": steps, "eval_every": steps}
    return arms.AS_PUBLISHED | own | (OF_TEXT if _is_text(config) else {})


def _arms(config: Config, root: Path, steps: int) -> list[dict[str, Any]]:
    wanted = list(ARMS) if config.only is None else [name.strip() for name in config.only.split(";")]
    rows: list[dict[str, Any]] = []
    for name in wanted:
        flags = dict(ARMS[name])
        if _is_text(config) and flags.get("warmup_steps") == "auto":
            continue
        if name == "capacity":
            means = {other: values["rate"].mean() for other, values in arms.by_arm(rows, ["rate"]).items()}
            flags["target_kl"] = float(f"{max(means.values()):.3g}")
        folder = root / f"{steps}_{name.replace(',', '').replace(' ', '_')}"
        rows += [_row(name, steps, row) for row in arms.sweep_one(folder, _shared(config, steps) | flags)]
    return rows


def _ramps(config: Config, root: Path, steps: int) -> list[dict[str, Any]]:
    """Trains one program: five ramps and that of the theory, each with every seed."""
    lengths = [max(1, round(share * steps)) for share in BY_HAND]
    text = ",".join(map(str, [*lengths, "auto"]))
    flags = _shared(config, steps) | {"weighting": "linear", "warmup_steps": text}
    done = arms.sweep_one(root / f"{steps}_ramps", flags)
    named = {row["run"]: row["asked"]["warmup_steps"] for row in done}
    return [_row("linear, auto" if (n := named[row["run"]]) == "auto" else f"linear, {n}", steps, row) for row in done]


def _row(name: str, steps: int, row: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "steps": steps, "seed": row["seed"]} | {key: row[key] for key in KEYS}


def table_lines(rows: arms.Rows) -> list[str]:
    """Returns a table in Markdown for each budget: the mean over seeds ± their standard deviation, nats."""
    lines = []
    for steps, own in _by_budget(rows).items():
        found = arms.by_arm(own, KEYS)
        cells = (
            [n, *(arms.cell(v[k], 2) for k in ("elbo", "rate", "distortion")), arms.cell(v["active_units"], 1, False)]
            for n, v in found.items()
        )
        heads = (f"{steps:,} steps", "ELBO, β = 1", "rate", "distortion", "active")
        lines += [*arms.markdown(heads, cells), ""]
    return lines[:-1]


def _by_budget(rows: arms.Rows) -> dict[int, list[Mapping[str, Any]]]:
    return {steps: [row for row in rows if row["steps"] == steps] for steps in sorted({row["steps"] for row in rows})}


def verdicts(rows: arms.Rows, judged: str | None = None) -> list[str]:
    """Says for each budget how the best schedule does beside none, or ``judged`` beside the best of all others.

    A difference of two means matters where it is above twice its standard error over the seeds.
    """
    lines = []
    for steps, own in _by_budget(rows).items():
        found = {name: values["elbo"] for name, values in arms.by_arm(own, ["elbo"]).items()}
        one = judged or "none"
        others = {name: values for name, values in found.items() if name != one}
        if one not in found or not others:
            continue
        best = max(others, key=lambda name: others[name].mean())
        gain, error = difference(others[best], found[one])
        clear = "clearly" if abs(gain) > 2 * error else "no more than seeds differ"
        lines.append(
            f"{steps:,} steps: the best of the others, {best}, is {abs(gain):.2f} ± {error:.2f} nats "
            f"{'above' if gain > 0 else 'below'} {one} ({clear})"
        )
    return lines


def difference(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Returns the difference of two means over seeds, and its standard error (0 of single runs)."""
    spread = sum(np.var(values, ddof=1) / len(values) if len(values) > 1 else 0.0 for values in (one, other))
    return float(one.mean() - other.mean()), float(np.sqrt(spread))


def figure(rows: arms.Rows) -> Figure:
    """Draws for each budget how far every run is above the mean of the first arm, and its rate."""
    from vae_jax.report.figure import FAINT, TEST, TRAIN, Figure, draw, label_of, letters

    budgets = _by_budget(rows)
    names = list(dict.fromkeys(row["name"] for row in rows))

    def paint(figure):
        grid = figure.subplots(2, len(budgets), sharey=True, squeeze=False)
        for column, (steps, own) in zip(grid.T, budgets.items()):
            found = arms.by_arm(own, ("elbo", "rate"))
            base = next(iter(found.values()))["elbo"].mean()
            for i, name in enumerate(names):
                if name not in found:
                    continue
                for axes, values, color in (
                    (column[0], found[name]["elbo"] - base, TRAIN),
                    (column[1], found[name]["rate"], TEST),
                ):
                    axes.plot(values, np.full(len(values), i), "o", color=color, markersize=3, alpha=0.6)
                    axes.plot(values.mean(), i, "|", color=color, markersize=11)
            column[0].axvline(0.0, color=FAINT, linewidth=0.6, zorder=0)
            column[0].set_title(f"{steps:,} steps")
            column[0].set_xlabel(f"ELBO above {label_of(names[0])} (nats)")
            column[1].set_xlabel("rate (nats)")
        for axes in grid[:, 0]:
            axes.set_yticks(range(len(names)), [label_of(name) for name in names])
        grid[0, 0].invert_yaxis()
        letters(grid.ravel())

    caption = (
        "Schedules of the weight on equal footing, a dot a seed, a bar their mean: how far the test ELBO at beta = 1 "
        f"is above that of {names[0]} (above), and the rate (below), for each number of steps."
    )
    return Figure("figure.png", caption, draw(paint, height=0.9 + 0.36 * len(names)))


if __name__ == "__main__":
    launch(main, Config)
