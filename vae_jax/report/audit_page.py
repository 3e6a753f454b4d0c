"""An audit as a person reads it: a table and sentences in a terminal, figures and one page in a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.report import page
from vae_jax.report.figure import FAINT, MARK, TEST, TRAIN, Figure, draw, letters
from vae_jax.report.formatting import aligned, number
from vae_jax.report.reading.finding import Finding
from vae_jax.runtime.files import write_atomic, write_json

SHOWN = 12  # latents or channels in the terminal's table
Answer = dict[str, Any]


def summary(answer: Answer) -> list[tuple[str, str]]:
    """Returns the main numbers, a name and a value with its unit each; those that are not known are left out."""
    pixels, levels = answer["pixels"] or {}, answer["levels"] or {}
    error = f" +- {number(answer['water_level_se'], 2)}" if answer["water_level"] is not None else ""
    rows = [
        ("water level s = beta sigma^2", answer["water_level"], error),
        ("sigma at beta = 1", answer["sigma_at_beta_1"], ""),
        ("beta at the calibrated sigma", pixels.get("beta_calibrated"), ""),
        ("beta_norm", answer["beta_norm"], ""),
        ("identity missed by", answer["identity_residual"], ""),
        ("scatter of the latents' levels", levels.get("scatter"), ""),
        ("rate", answer["rate"], f" +- {number(answer['rate_se'], 2)} nats per example" if answer["rate"] else ""),
        ("bits per dimension of the rate", answer["bits_per_dim_rate"], ""),
        ("active latents or channels", answer["active"], ""),
        ("squared error, z drawn", pixels.get("squared_error"), ""),
        ("share of it from drawing z", pixels.get("noise_share"), ""),
        ("calibrated ELBO", answer["calibrated_elbo"], " nats per example"),
        ("scale factor of the code", (answer["code"] or {}).get("scale_factor"), ""),
    ]
    return [(name, number(value) + unit) for name, value, unit in rows if value is not None]


def text(answer: Answer) -> str:
    """Returns the audit for a terminal."""
    rows = [list(row) for row in summary(answer)]
    values = {
        "answer": answer,
        "table": aligned(["", answer["outputs"]], rows, left=(0, 1)),
        "latents": _latents(answer, SHOWN),
    }
    return re.sub(r"\n{3,}", "\n\n", page.template("audit.txt").render(values)).strip("\n")


def _cells(answer: Answer, most: int) -> list[list[str]]:
    kl = answer["kl_per_latent"]
    order = np.argsort(-np.asarray(kl))[:most]
    levels = answer["levels"] or {}
    columns = [kl, answer["latents"]["posterior_variance"], answer["code"]["variance"]]
    if levels.get("per_latent") is not None:
        columns.append([value if np.isfinite(value) else None for value in levels["per_latent"]])
    return [[str(i), *(number(None if c[i] is None else float(c[i]), 3) for c in columns)] for i in order]


def _heads(answer: Answer) -> list[str]:
    own = ["own s"] if (answer["levels"] or {}).get("per_latent") is not None else []
    return ["latent" if answer["latents"]["positions"] == 1 else "channel", "KL, nats", "tau^2", "variance", *own]


def _latents(answer: Answer, most: int) -> str:
    return aligned(_heads(answer), _cells(answer, most)) if answer["kl_per_latent"] is not None else ""


def figures(answer: Answer) -> list[Figure]:
    """Draws the KL and the level of each latent or channel, and the model beside linear ones."""
    if answer["kl_per_latent"] is None:
        return []
    levels, linear = answer["levels"] or {}, answer["linear"]
    kl = np.asarray(answer["kl_per_latent"])
    order = np.argsort(-kl)
    what = "latent" if answer["latents"]["positions"] == 1 else "channel"
    own = levels.get("per_latent")
    panels = [lambda axes: _kl(axes, kl[order], what)]
    caption = f"(a) Rate of each {what}, by rank."
    if own is not None and np.isfinite(own).any() and answer["water_level"] is not None:
        panels.append(lambda axes: _own(axes, own[order], levels["per_latent_se"][order], answer, what))
        caption += f" (b) The water level that each active {what} tells, with its standard error; the line is s."
    if linear is not None:
        panels.append(lambda axes: _spectrum(axes, linear, answer))
        caption += (
            f" ({'abc'[len(panels) - 1]}) Eigenvalues of the examples' covariance; above s a linear VAE uses them."
        )

    def paint(figure):
        made = np.atleast_1d(figure.subplots(1, len(panels)))
        for axes, panel in zip(made, panels):
            panel(axes)
        letters(made)

    return [Figure("audit.png", "What the outputs tell. " + caption, draw(paint, height=2.6))]


def _kl(axes, kl, what):
    axes.plot(np.arange(1, len(kl) + 1), kl, color=TRAIN, marker=".", markersize=4, linewidth=0.8)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"{what}, by rank")
    axes.set_ylabel("KL, nats per example")


def _own(axes, own, errors, answer, what):
    shown = np.flatnonzero(np.isfinite(own))
    axes.errorbar(shown + 1, own[shown], errors[shown], color=TRAIN, fmt=".", markersize=4, linewidth=0.8)
    axes.axhline(answer["water_level"], color=TEST, linewidth=1.0)
    axes.set_ylim(min(0.0, float(np.nanmin(own - errors))), 1.2 * float(np.nanmax(own + errors)))
    axes.set_xlabel(f"{what}, by rank")
    axes.set_ylabel("own water level")


def _spectrum(axes, linear, answer):
    values = np.asarray(linear["eigenvalues"])
    values = values[values > 1e-6 * values[0]]
    axes.loglog(np.arange(1, len(values) + 1), values, color=FAINT, linewidth=1.2)
    axes.axhline(answer["water_level"], color=TEST, linewidth=1.0)
    size = answer["latents"]["positions"] * answer["latents"]["channels"]
    if size <= len(values):
        axes.axvline(size, color=MARK, linewidth=0.6, linestyle=":")
    axes.set_xlabel("direction of the examples")
    axes.set_ylabel("eigenvalue, s")


def write(workdir: Path, answer: Answer) -> list[Path]:
    """Writes ``audit.json``, ``report.html`` and the figures, and returns the paths of the first two."""
    drawn = figures(answer)
    table = page.Table(("", ""), ("name", "value"), summary(answer))
    latents = None
    if answer["kl_per_latent"] is not None:
        heads = _heads(answer)
        latents = page.Table(heads, ("name", *("value",) * (len(heads) - 1)), _cells(answer, 64))
    said = [Finding(f["topic"].capitalize(), f["attention"], f["sentence"]) for f in answer["findings"]]
    html = page.render(
        "audit.html",
        title="What this VAE weighs",
        answer=answer,
        findings=said,
        figures=drawn,
        table=table,
        latents=latents,
    )
    write_json(workdir / "audit.json", _plain(answer))
    page.write_figures(workdir / "figures", drawn)
    write_atomic(workdir / "report.html", html)
    return [workdir / "audit.json", workdir / "report.html"]


def _plain(value: Any) -> Any:
    """Numbers and lists in place of arrays; what is not finite is None."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(part) for part in (value.tolist() if isinstance(value, np.ndarray) else value)]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
