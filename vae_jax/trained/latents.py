"""Codes: ways between them, and how far from the middle they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vae_jax.randomness import PRIOR, example_keys, purpose_key
from vae_jax.types import Prior, UserError, condition_of


def between(a: np.ndarray, b: np.ndarray, share: np.ndarray, kind: str) -> np.ndarray:
    """Returns codes on the way from ``a [n, 1, d]`` to ``b``, ``share [t, 1]`` of it: ``[n, t, d]``."""
    linear = a + share * (b - a)
    if kind == "linear":
        return linear
    lengths = np.linalg.norm(a, axis=-1, keepdims=True) * np.linalg.norm(b, axis=-1, keepdims=True)
    cosine = np.sum(a * b, axis=-1, keepdims=True) / np.maximum(lengths, np.finfo(np.float32).tiny)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    sine = np.sin(angle)
    # Where both point one way, or straight apart, there is no one great circle.
    degenerate = sine < 1e-4
    sine = np.where(degenerate, 1.0, sine)
    arc = (np.sin((1.0 - share) * angle) * a + np.sin(share * angle) * b) / sine
    return np.where(degenerate, linear, arc).astype(np.float32)


def check_temperature(temperature: Any, learned: str | None) -> None:
    """Refuses a temperature that is no number, or that is of another prior than N(0, I); ``learned`` is its name.

    Raises:
      UserError: saying so.
    """
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 <= temperature < np.inf:
        raise UserError(f"sample(temperature={temperature!r}): expected a number of at least 0")
    if temperature != 1 and learned is not None:
        raise UserError(
            f"sample(temperature={temperature}): it scales draws of N(0, I), and this model has --prior={learned}; "
            "leave it at 1"
        )


def drawn_code(prior: Prior, latent_dim: int) -> Callable:
    """Makes ``(params, key, row, nothing) -> z[d]``, a draw of p(z), or of p(z|c) of the c beside nothing."""

    def code(params, key, row, nothing):
        own = example_keys(purpose_key(key, PRIOR), row[None])[0]
        return prior.sample(params["model"], own, latent_dim, condition_of(nothing))

    return code
