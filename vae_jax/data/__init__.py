"""Arrays in, arrays out: every source of data returns a ``Dataset``.

A new data set is a function that returns one; put it into ``DATASETS``, or save its arrays as FILE.npz.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from vae_jax.data import digits, sprites, tfds_source
from vae_jax.data.dataset import Dataset, from_arrays, validate
from vae_jax.data.fitting import Look
from vae_jax.data.folder import read_folder
from vae_jax.data.held_out import with_held_out
from vae_jax.data.npz import read_npz
from vae_jax.data.reading import Reading
from vae_jax.data.resizing import resized
from vae_jax.data.table import is_table, read_table
from vae_jax.data.units import in_units
from vae_jax.types import UserError

# Everything held, nothing changed but what the defaults of a run change.
AS_IT_COMES = Reading()

# What --dataset=NAME means before anything else is looked for: functions of nothing. Those of a --plugin join these.
DATASETS: dict[str, Callable[[], Dataset]] = {"digits": digits.digits, "sprites": sprites.sprites}

__all__ = ["DATASETS", "Dataset", "Reading", "from_arrays", "load", "validate"]


def load(
    name: str,
    reading: Reading = AS_IT_COMES,
    datasets: Mapping[str, Callable[[], Dataset]] = DATASETS,
) -> Dataset:
    """Finds a data set by what the user wrote.

    Args:
      name: one of ``datasets``, a path that ends in .npz, a table (``table_files.SUFFIXES``) or a folder of tables, a
        folder of images, or a TFDS name (also ``NAME/CONFIG``), looked for in this order. A folder whose bare name is
        also a TFDS name is meant only when written as a path (``./mnist``): otherwise a run's own folder could take
        the place of its data.
      reading: how.
      datasets: the names that stand for functions, each of which returns a ``Dataset``.

    Returns:
      A validated ``Dataset``; the splits that the data do not bring are held out of train (``held_out``), and the
      floats of a file are in the units of ``units.in_units``.

    Raises:
      UserError: with one line that says what is wrong and what to do.

    Example:
      >>> load("digits").event
      (8, 8, 1)
    """
    dataset = with_held_out(_read(name, reading, datasets), reading)
    return dataset if name in datasets else in_units(dataset, reading)


def _read(name: str, reading: Reading, datasets: Mapping[str, Callable[[], Dataset]]) -> Dataset:
    """The data as they come: without a test or a validation split where they bring none."""
    look = Look.of(reading)
    if name in datasets:
        dataset = datasets[name]()
        if not isinstance(dataset, Dataset):
            raise UserError(
                f"--dataset={name}: its function returns {type(dataset).__name__} and no Dataset; return "
                "vae_jax.data.from_arrays(name, train, test)"
            )
        return resized(validate(dataset), look)
    path = os.path.expanduser(name)
    if is_table(path):
        return read_table(path, reading)
    if path.endswith(".npz"):
        return resized(read_npz(path, reading.layout), look)
    if os.sep in path and os.path.isdir(path):
        return read_folder(path, reading)
    if tfds_source.known(name, reading.data_dir):
        return tfds_source.read(name, reading)
    if os.sep in path or os.path.isdir(path):
        return read_folder(path, reading)
    raise tfds_source.unknown(name, datasets)
