"""The answer of experiments/weigh as a person reads it in a terminal: aligned tables and a few sentences."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from typing import Any

from vae_jax.report.formatting import number, setting

HEAD = 8  # eigenvalues shown
WIDTH = 110


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Columns under their heads, two spaces apart: those in ``left`` to the left, the others to the right.

    A head of several lines ends on the last one.
    """
    split = [head.split("\n") for head in heads]
    height = max(len(lines) for lines in split)
    top = [[*[""] * (height - len(lines)), *lines] for lines in split]
    cells = [[lines[i] for lines in top] for i in range(height)] + [list(row) for row in rows]
    widths = [max(len(row[j]) for row in cells) for j in range(len(heads))]
    pad = [str.ljust if j in left else str.rjust for j in range(len(heads))]
    lines = ["  ".join(pad[j](row[j], widths[j]) for j in range(len(heads))).rstrip() for row in cells]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([*lines[:height], rule, *lines[height:]])


def text(answer: dict[str, Any]) -> str:
    """All that ``answer`` holds, its parts apart by an empty line."""
    parts = []
    if "loss" in answer:
        parts += [loss(answer["loss"]), elsewhere(answer["loss"])]
    if "known" in answer:
        parts.append(known(answer["known"]))
    if "data" in answer:
        parts += [data(answer["data"]), predictions(answer), advice(answer)]
    return "\n\n".join(parts + [f"warning: {line}" for line in answer.get("warnings", ())])


def _said(first: str, *more: str) -> str:
    """A paragraph, wrapped, with what follows its first line set in; each of ``more`` starts a line."""
    lines = textwrap.wrap(first, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join([*lines, *(f"  {line}" for line in more)])


def loss(l: dict[str, Any]) -> str:  # noqa: E741
    """What a written loss weighs."""
    head = f"Your loss, {l['text']} with D = {l['data_dim']} and M = {l['latent_dim']}, weighs"
    if l["water_level"] is not None:
        return _said(
            head,
            f"water level  s = {number(l['water_level'])}, beta sigma^2 on [0, 1] pixels",
            f"as           beta = {number(l['beta'])} at sigma = 1, beta_norm = {number(l['beta_norm'])}",
            f"or as        sigma = {number(l['sigma'])} at beta = 1",
        )
    lines = [
        f"beta = {number(l['beta'])} on the Bernoulli ELBO, beta_norm = {number(l['beta_norm'])}",
        "no sigma and no single water level: where the decoder's mean is m, the local one is beta m (1 - m),",
        f"at most beta / 4 = {number(l['beta'] / 4)}",
    ]
    if "directions_above_local" in l:
        lines[-1] += f"; {l['directions_above_local']} directions of the data are above that: a hint, no prediction"
    return _said(head, *lines)


def elsewhere(l: dict[str, Any]) -> str:  # noqa: E741
    """The same loss in other conventions."""
    rows = [[e["text"], setting(e["weight"])] for e in l["equivalents"]]
    end = f" (batches of {l['batch_size']})" if l["batch_size"] > 1 else ""
    return f"The same loss as others write it{end}\n" + aligned(["SE squared error, per example", "w"], rows)


def known(rows: Sequence[dict[str, Any]]) -> str:
    """The table of known implementations."""
    heads = ["implementation", "data", "loss, per example", "D", "M", "beta at\nsigma = 1", "sigma at\nbeta = 1"]
    cells = [
        [
            *(r[key] for key in ("name", "data", "text")),
            *(setting(r[key]) for key in ("data_dim", "latent_dim")),
            *(number(r[key], 3) for key in ("beta", "sigma", "beta_norm")),
        ]
        for r in rows
    ]
    notes = [_said(f"{r['name']}: {r['remark']}", r["source"]) for r in rows]
    return "\n".join(
        [
            "What public code weighs by default, as read in 2026, on [0, 1] pixels",
            "(beta at sigma = 1 is the water level s; a BCE has a beta of its own and no sigma)",
            aligned([*heads, "beta_norm"], cells, left=(0, 1, 2)),
            "",
            *notes,
        ]
    )


def data(d: dict[str, Any]) -> str:
    """The data and the head of their spectrum."""
    head = " ".join(number(v) for v in d["eigenvalues"][:HEAD])
    above = ", ".join(f"{count} above {setting(level)}" for level, count in d["directions_above"])
    return (
        f"{d['dataset']}, {d['pixels']} pixels: {d['examples']} examples of D = {d['data_dim']} values; M = "
        f"{d['latent_dim']} latents\n"
        f"  covariance   trace {number(d['trace'])}, so {number(d['rms'])} per pixel about the mean image\n"
        f"  eigenvalues  {head} ...\n"
        f"  directions   {above}"
    )


def predictions(answer: dict[str, Any]) -> str:
    """The grid of weights."""
    heads = ["water level\ns", "sigma at\nbeta = 1", "w in sum SE\n+ w sum KL", "beta where\nsigma learned"]
    heads += ["active\nlatents", "rate", "squared\nerror", "error of\na pixel", "ELBO", ""]
    keys = ("sigma", "weight", "beta", "active", "rate", "distortion", "rms", "elbo")
    rows = [
        [number(r["water_level"]) if r["name"] else setting(r["water_level"])]
        + [number(r[key]) for key in keys]
        + [f"< {r['name']}" if r["name"] else ""]
        for r in answer["grid"]
    ]
    title = "What a linear VAE would do with each weight (nats per example; ELBO at beta = 1, sigma recalibrated)"
    return title + "\n" + aligned(heads, rows, left=(len(heads) - 1,))


def advice(answer: dict[str, Any]) -> str:
    """What collapses, what is calibrated, and what to do."""
    c, best = answer["collapse"], answer["calibrated"]
    lines = [
        _said(
            f"Collapse: no latent is used once s passes the largest eigenvalue, {number(c['water_level'])}",
            _weights(c),
        )
    ]
    if best is None:
        lines.append(
            _said("Calibrated: so many latents hold all of the data, and a learned sigma falls to 0: use fewer")
        )
    else:
        lines.append(
            _said(
                f"Calibrated: at beta = 1 a learned sigma settles at {number(best['sigma'])}, with {best['active']} "
                f"active latents, {number(best['rate'])} nats of rate and a log-likelihood of {best['elbo']:.6f} nats "
                "(exact: probabilistic PCA)",
                _weights(answer["calibrated_weights"]),
            )
        )
    for row in answer["grid"]:
        if row["name"].startswith("your") and best is not None and row["elbo"] is not None:
            lines.append(_said(verdict(row, best, answer["data"]["latent_dim"])))
    return "\n".join([*lines, *(_said(f"{a['topic']}: {a['said']}", a["flags"]) for a in answer["advice"])])


def verdict(row: dict[str, Any], best: dict[str, Any], latents: int) -> str:
    """What the user's own weight does."""
    ratio = row["water_level"] / best["water_level"]
    does = "collapses" if not row["active"] else f"keeps {row['active']} of {latents} latents"
    lost = best["elbo"] - row["elbo"]
    return (
        f"{row['name'].capitalize()}: at {number(ratio, 3)} times the calibrated level a linear model {does}, "
        f"{number(lost)} nats of ELBO below the calibrated one"
    )


def _weights(w: dict[str, Any]) -> str:
    said = (
        f"beta = {number(w['beta'])} at sigma = 1; w = {number(w['sum'])} in sum SE + w sum KL, {number(w['mean'])} in "
    )
    return said + "mean SE + w sum KL" + (f"; {number(w['yours'])} in your loss" if "yours" in w else "")
