"""The layers of a hierarchy: what each of them carries."""

from __future__ import annotations

from typing import Any

import numpy as np

# A latent whose KL given the layers above is smaller carries nothing: q is the prior.
KEPT = 0.01


def by_layer(kl_per_latent, posterior_mean, layers: tuple[int, ...], active_threshold: float = 0.01) -> dict[str, Any]:
    """Returns what each layer of a hierarchy carries, the one next to x first; nothing for one layer.

    Args:
      kl_per_latent: the mean KL of each latent given the layers above, ``[d]``, nats.
      posterior_mean: of each example, ``[n, d]``.
      layers: how many latents each has.
      active_threshold: of ``active_units`` (Burda 2016, 1509.00519, section 5).

    Returns:
      ``layers``: a list of ``latents``, ``rate`` (nats), ``kept_latents`` (with more than ``KEPT`` nats) and
      ``active_units``.
    """
    if not layers:
        return {}
    active = np.var(np.asarray(posterior_mean, np.float64), axis=0) > active_threshold
    rows, start = [], 0
    for count in layers:
        here, start = slice(start, start + count), start + count
        kl = np.asarray(kl_per_latent[here], np.float64)
        rows.append(
            {
                "latents": count,
                "rate": float(kl.sum()),
                "kept_latents": int(np.sum(kl > KEPT)),
                "active_units": int(np.sum(active[here])),
            }
        )
    return {"layers": rows}
