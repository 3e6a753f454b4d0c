"""The eigenvalues of the data's covariance: all that the linear theory of the weight asks of the data."""

from __future__ import annotations

import numpy as np

from vae_jax.data.split import held_out

MAX_DIMENSIONS = 2000  # beyond this a covariance matrix costs more than it tells
MAX_EXAMPLES = 2000  # of the Gram matrix then used instead
MAX_PRODUCTS = 5e10  # multiplications for the covariance matrix


def eigenvalues(x: np.ndarray) -> np.ndarray:
    """The spectrum of the covariance (ddof = 0) of flattened examples.

    Up to 2,000 dimensions the full covariance is used, over a fixed choice of examples if all of them would
    be slow. Beyond, the Gram matrix of at most 2,000 examples, which has the same non-zero eigenvalues; the
    largest ones are then estimates from few examples (biased upwards), and all after the 2,000th are zero.

    Args:
      x: ``[n, ...]``, preprocessed examples, [0, 1] pixels or rows.

    Returns:
      ``[D]`` float64, descending, not negative; D is the number of dimensions of one example.
    """
    x = np.asarray(x)
    x = x.reshape(len(x), -1)
    dimensions = x.shape[1]
    if dimensions <= MAX_DIMENSIONS:
        x = _some(x, int(max(MAX_PRODUCTS / dimensions**2, MAX_DIMENSIONS)))
        second_moment = np.zeros((dimensions, dimensions))
        mean = x.mean(axis=0, dtype=np.float64)
        for start in range(0, len(x), 4096):  # products in float32, their sum in float64, no copy of the data
            rows = (x[start : start + 4096] - mean).astype(np.float32)
            second_moment += rows.T @ rows
        found = np.linalg.eigvalsh(second_moment / len(x))
    else:
        x = _some(x, MAX_EXAMPLES)
        rows = (x - x.mean(axis=0, dtype=np.float64)).astype(np.float32)
        found = np.linalg.eigvalsh((rows @ rows.T).astype(np.float64) / len(x))
    found = np.maximum(found[::-1], 0.0)[:dimensions]
    return np.concatenate([found, np.zeros(dimensions - len(found))])


def _some(x, most):
    n = len(x)
    return x if n <= most else x[held_out(n, most)[1]]
