"""Arrays in, arrays out: every source of data returns a ``Dataset``.

A new data set is a function that returns one; put it into ``BUILT_IN``, or save its arrays as FILE.npz.
"""

from __future__ import annotations

import os

from vae_jax.data import digits, files, folder, sprites, tfds_source
from vae_jax.data.dataset import Dataset, from_arrays, validate

BUILT_IN = {"digits": digits.digits, "sprites": sprites.sprites}

__all__ = ["BUILT_IN", "Dataset", "from_arrays", "load", "validate"]


def load(name: str, data_dir: str | None = None, keep: int | None = None) -> Dataset:
    """Finds a data set by what the user wrote.

    Args:
      name: a built-in name, a path that ends in .npz, a folder of images, or a TFDS name (also
        ``NAME/CONFIG``), looked for in this order. A folder whose bare name is also a TFDS name is meant only
        when written as a path (``./mnist``): otherwise a run's own folder could take the place of its data.
      data_dir: where prepared TFDS sets are; else $VAE_JAX_DATA_DIR, else TFDS's default.
      keep: the most bytes of a split of decoded images to hold in memory. A larger split of a folder of images or of
        a TFDS set becomes ``Rows``, read while it is used. None: everything is held.

    Returns:
      A validated ``Dataset``.

    Raises:
      UserError: with one line that says what is wrong and what to do.

    Example:
      >>> load("digits").event
      (8, 8, 1)
    """
    if name in BUILT_IN:
        return validate(BUILT_IN[name]())
    path = os.path.expanduser(name)
    if path.endswith(".npz"):
        return files.read_npz(path)
    if os.sep in path and os.path.isdir(path):
        return folder.read_folder(path, keep)
    if tfds_source.known(name, data_dir):
        return tfds_source.read(name, data_dir, keep)
    if os.sep in path or os.path.isdir(path):
        return folder.read_folder(path, keep)
    raise tfds_source.unknown(name, BUILT_IN)
