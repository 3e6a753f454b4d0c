"""Ways between codes."""

from __future__ import annotations

import numpy as np


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
