"""The figure of what each latent carries."""

from __future__ import annotations

import numpy as np

from vae_jax.report.loading import Run
from vae_jax.report.style import FAINT, MARK, TRAIN, Plate, draw

# A latent is active where the variance of its posterior mean exceeds 0.01 (Burda 2016, 1509.00519). A linear
# latent whose mean has that variance costs -log(1 - 0.01) / 2 nats.
THRESHOLD = -0.5 * np.log1p(-0.01)
FLOOR = 1e-5  # nats: the log axis ends here


def kl_per_latent(run: Run) -> Plate:
    """The KL of each latent, largest first, on a linear and on a log axis."""
    name = "kl_per_latent.png"
    kl = np.asarray([v or 0.0 for v in run.results.get("kl_per_latent") or []], float)
    if not kl.size:
        return Plate(name, "KL of each latent: none, because results.json does not list it.", None)
    order = np.argsort(-kl, kind="stable")
    kl = kl[order]
    active = run.results.get("active_units")
    active = int(np.sum(kl > THRESHOLD)) if active is None else min(int(active), kl.size)
    used = np.arange(kl.size) < active
    groups = (
        (used, TRAIN, TRAIN, f"used ({active})"),
        (~used, "white", FAINT, f"not used ({kl.size - active})"),
    )
    place = np.arange(kl.size)

    def paint(figure):
        left, right = figure.subplots(1, 2)
        for mask, face, edge, label in groups:
            if mask.any():
                left.bar(place[mask], kl[mask], width=0.7, color=face, edgecolor=edge, linewidth=0.8, label=label)
                height = np.maximum(kl[mask], FLOOR)
                right.plot(place[mask], height, "o", color=edge, markerfacecolor=face, markersize=4, clip_on=False)
        left.set_ylim(0.0, max(1.15 * kl.max(), 0.1))
        left.set_ylabel("KL (nats)")
        left.legend(loc="upper right")
        right.set_yscale("log")
        right.set_ylim(FLOOR, max(2.0 * kl.max(), 1.0))
        right.set_ylabel("KL (nats, log scale)")
        right.axhline(THRESHOLD, color=MARK, linewidth=0.8, linestyle="--")
        right.annotate(
            "used above",
            (1.0, THRESHOLD),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
        )
        for axes in (left, right):
            axes.set_xlim(-0.8, max(kl.size, 4) - 0.2)
            if kl.size <= 24:
                axes.set_xticks(place, [str(i) for i in order], rotation=90 if kl.size > 10 else 0)
                axes.set_xlabel("latent, by its KL")
            else:
                axes.set_xlabel("rank of the latent, by its KL")

    caption = (
        "What each latent carries on the test split, largest first, on a linear (left) and a log axis "
        "(right). A latent is used where the variance of its posterior mean is above 0.01; the dashed line "
        f"is what a linear latent of just that variance costs, {THRESHOLD:.3f} nats. Values below {FLOOR:g} "
        f"nats are drawn at {FLOOR:g}."
    )
    return Plate(name, caption, draw(paint, height=2.6))
