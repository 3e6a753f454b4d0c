"""The figures of ways through the code: one latent moved at a time, and from one example to another."""

from __future__ import annotations

import numpy as np

from vae_jax.report.loading import Run
from vae_jax.report.sheets import drawn_groups, is_image, sheet
from vae_jax.report.style import Plate


def traversals(run: Run) -> Plate:
    """One latent moved along the prior, the others at an example's posterior mean; the most informative first."""
    held = run.pictures
    values, latents, kl, z = (held.get(k) for k in ("traversals", *(f"traversal_{k}" for k in ("latents", "kl", "z"))))
    labels = [] if latents is None or kl is None else [f"z{i}\n{nats:.2f}" for i, nats in zip(latents, kl)]
    ends = f" ({z[0]:.1f} to {z[-1]:.1f})".replace("-", "\N{MINUS SIGN}") if z is not None and len(z) else ""
    caption = (
        "Latent traversals: the decoder's mean with one latent moved from the 2% to the 98% quantile of the prior"
        f"{ends}, all others at the posterior mean of the first test example. Beside each row its latent, and that "
        "latent's mean KL in nats, largest first."
    )
    return drawn_groups("traversals.png", "Latent traversals", caption, values, labels)


def interpolations(run: Run) -> Plate:
    """From one test example to another along the straight line between their posterior means."""
    values, ends = run.pictures.get("interpolations"), run.pictures.get("interpolation_ends")
    caption = (
        "Interpolations: the decoder's mean at equal steps on the straight line between the posterior means of two "
        "test examples"
    )
    if values is None or ends is None or not is_image(values[0] if len(values) else values):
        labels = [] if values is None else [f"pair {i + 1}" for i in range(len(values))]
        return drawn_groups("interpolations.png", "Interpolations", f"{caption}.", values, labels)
    values = np.concatenate([ends[:, :1], values, ends[:, 1:]], axis=1)
    last = values.shape[1] - 1

    def ends_apart(rows, labels):
        return sheet(rows, labels, extra_columns=(1, last))

    caption += "; the examples themselves stand at the two ends."
    return drawn_groups("interpolations.png", "Interpolations", caption, values, [""] * len(values), ends_apart)
