"""The handwritten digits that come with scikit-learn: real images, no download."""

from __future__ import annotations

import numpy as np

from vae_jax.data.dataset import Dataset
from vae_jax.data.split import held_out


def digits() -> Dataset:
    """1,797 images of 8x8 pixels with 17 grey levels; 1,437 train and 360 test, the split fixed.

    The one factor is the label. Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits,
    UCI repository (its test part, which is what scikit-learn carries).
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[..., None]  # [n, 8, 8, 1], values 0..16
    labels = bunch.target.astype(np.int32)[:, None]
    train, test = held_out(len(images), 360)
    return Dataset("digits", images[train], images[test], 17, labels[train], labels[test], ("label",))
