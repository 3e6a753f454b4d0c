"""A map of the code: the posterior means in two dimensions."""

from __future__ import annotations

import numpy as np

ACTIVE = 0.01  # the variance of its mean from which a latent is used (Burda 2016, 1509.00519, section 5)


def embed(means, kl) -> tuple[np.ndarray, list[str]]:
    """Two coordinates of each example: the two latents in use, where there are no more, else principal components.

    Args:
      means: posterior means, ``[n, d]``.
      kl: nats of each latent, ``[d]``.

    Returns:
      ``[n, 2]`` float32 and the names of the two axes. With a single latent the second coordinate is the share of
      examples below: its distribution function.
    """
    means = np.nan_to_num(np.asarray(means, np.float64))
    order = np.argsort(-np.asarray(kl), kind="stable")
    if means.shape[1] == 1:
        share = np.argsort(np.argsort(means[:, 0], kind="stable")) / len(means)
        return np.stack([means[:, 0], share], axis=1).astype(np.float32), ["latent 0", "share of examples below"]
    if np.sum(means.var(axis=0) > ACTIVE) <= 2:
        first, second = order[:2]
        return means[:, [first, second]].astype(np.float32), [f"latent {first}", f"latent {second}"]
    centred = means - means.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    vectors = vectors[:, ::-1][:, :2]
    # An eigenvector has no sign of its own: its largest entry is made positive, so that a map looks the same twice.
    vectors = vectors * np.sign(vectors[np.argmax(np.abs(vectors), axis=0), [0, 1]])
    shares = values[::-1][:2] / values.sum()
    names = [f"component {i + 1} ({100 * share:.0f}% of the variance)" for i, share in enumerate(shares)]
    return (centred @ vectors).astype(np.float32), names
