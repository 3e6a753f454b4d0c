"""The linear theory of a sweep's data, from the entries of ``sweep.json``: its Gaussian frontier, its collapse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vae_jax.report.sweep.grouping import Row


def gaussian_distortion(error, dim: int) -> np.ndarray:
    """Returns -log p(x|z), nats, of ``dim`` values with an RMS error of ``error [n]``, at sigma = that error."""
    return 0.5 * dim * (1.0 + np.log(2 * np.pi * np.asarray(error, float) ** 2))


def reference(summary: dict[str, Any], row: Row) -> dict[str, Any] | None:
    """Returns the linear theory's entry of a run: that of its latents and precision, or of its latents."""
    entries = [e for e in summary.get("reference") or [] if e.get("latent_dim") == row.get("latent_dim")]
    same = [e for e in entries if e.get("precision") == row.get("precision")]
    return (same or entries or [None])[0]


def predicted_collapse(summary: dict[str, Any], rows: Sequence[Row], flag: str = "beta") -> float | None:
    """Tells where along ``flag`` the linear theory of one group's ``rows`` closes the last latent; None: not known.

    At a fixed sigma that is where beta sigma^2 is the largest eigenvalue; otherwise it is read from ``summary``.
    """
    row = next((r for r in rows if r.get("lambda_max")), None)
    if row and row.get("precision") == "fixed" and row.get("sigma") and row.get("calibrated_elbo") is not None:
        if flag == "sigma":
            return math.sqrt(row["lambda_max"] / row["beta"]) if (row.get("beta") or 0) > 0 else None
        return row["lambda_max"] / row["sigma"] ** 2 if flag == "beta" else None
    entry = reference(summary, rows[0]) if rows and flag == "beta" else None
    return entry.get("collapse_beta") if entry else None
