"""The answer of ``weigh`` as a person reads it in a terminal: aligned tables and a few sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from vae_jax.report import page
from vae_jax.report.formatting import aligned, number, setting


def text(answer: dict[str, Any]) -> str:
    """Returns all that ``answer`` holds, its parts apart by an empty line; the words are in templates/weigh.txt."""
    parts = ("loss", "written", "known", "data", "finite", "patches", "waking")
    values = dict.fromkeys(parts) | {"warnings": []} | answer
    if values["loss"]:
        rows = [[e["text"], setting(e["weight"])] for e in answer["loss"]["equivalents"]]
        values["equivalents"] = aligned(["SE squared error, per example", "w"], rows)
    if values["known"]:
        values["implementations"] = _implementations(answer["known"])
    if values["patches"]:
        rows = [
            [code["code"], number(math.sqrt(code["mse"])), number(code["psnr"])] for code in values["patches"]["codes"]
        ]
        values["patches_table"] = aligned(["the best linear code", "error of\na pixel", "PSNR, dB"], rows, left=(0,))
    if values["data"]:
        values["weights_table"] = _weights(answer["grid"])
    written = page.template("weigh.txt").render(values)
    return re.sub(r"\n{3,}", "\n\n", written).strip("\n")


def _implementations(rows: Sequence[dict[str, Any]]) -> str:
    heads = ["implementation", "data", "loss, per example", "D", "M", "beta at\nsigma = 1", "sigma at\nbeta = 1"]
    cells = [
        [
            *(r[key] for key in ("name", "data", "text")),
            *(setting(r[key]) for key in ("data_dim", "latent_dim")),
            *(number(r[key], 3) for key in ("beta", "sigma", "beta_norm")),
        ]
        for r in rows
    ]
    return aligned([*heads, "beta_norm"], cells, left=(0, 1, 2))


def _weights(rows: Sequence[dict[str, Any]]) -> str:
    """Tells what the linear theory says of each weight of the grid, those that have a name marked."""
    heads = ["water level\ns", "sigma at\nbeta = 1", "w in sum SE\n+ w sum KL", "beta where\nsigma learned"]
    heads += ["active\nlatents", "rate", "squared\nerror", "error of\na pixel", "ELBO", ""]
    keys = ("sigma", "weight", "beta", "active", "rate", "distortion", "rms", "elbo")
    cells = [
        [number(r["water_level"]) if r["name"] else setting(r["water_level"])]
        + [number(r[key]) for key in keys]
        + [f"< {r['name']}" if r["name"] else ""]
        for r in rows
    ]
    return aligned(heads, cells, left=(len(heads) - 1,))
