"""The handwritten digits that come with scikit-learn: real images, no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from vae_jax.data.dataset import Dataset
from vae_jax.data.rows import held_out


def digits() -> Dataset:
    """1,797 images of 8x8 pixels with 17 grey levels; 1,437 train and 360 test, the split fixed.

    The one factor is the label. Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits,
    UCI repository (its test part, which is what scikit-learn carries).
    """
    images, labels = _read()
    images, labels = images.astype(np.uint8).reshape(-1, 8, 8, 1), labels.astype(np.int32)[:, None]  # values 0..16
    train, test = held_out(len(images), 360)
    return Dataset("digits", images[train], images[test], 17, labels[train], labels[test], ("label",))


def _read() -> tuple[np.ndarray, np.ndarray]:
    """The images ``[n, 64]`` and their labels ``[n]``."""
    # From the file within scikit-learn, whose own function takes fifty times as long: it brings scipy and all of
    # scikit-learn with it. Where a version keeps the file elsewhere, that function.
    package = importlib.util.find_spec("sklearn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if path.is_file():
        rows = np.loadtxt(path, delimiter=",")
        return rows[:, :-1], rows[:, -1]
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)
