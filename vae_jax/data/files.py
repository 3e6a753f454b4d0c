"""The user's own arrays: an .npz file, of which nothing is believed before it has been checked."""

from __future__ import annotations

import os
import zipfile

import numpy as np

from vae_jax.data.dataset import Dataset, from_arrays
from vae_jax.data.npz_members import check_members
from vae_jax.types import UserError, one_line

KEYS = ("train", "test", "train_factors", "test_factors", "factor_names")


def read_npz(path: str) -> Dataset:
    """Reads FILE.npz.

    Args:
      path: a file with arrays ``train`` and ``test``: uint8 images ``[n, h, w]`` or ``[n, h, w, c]``, or
        float rows ``[n, f]``; optionally ``train_factors`` and ``test_factors``, ``[n]`` or ``[n, f]``, and
        ``factor_names``, ``f`` strings.

    Returns:
      A ``Dataset`` named as the path.

    Raises:
      UserError: the file is missing, empty, damaged, no .npz, lacks an array, holds pickled objects or more than the
        memory does; and for arrays that ``from_arrays`` refuses.
    """
    if not os.path.exists(path):
        raise UserError(f"{path}: there is no such file")
    if not os.path.isfile(path):
        raise UserError(f"{path}: cannot be read, it is no regular file; give an .npz file, or a folder of images")
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise UserError(f"{path}: the file is empty")
            if not zipfile.is_zipfile(file):
                raise UserError(f"{path}: the file is truncated, or no .npz; write one with numpy.savez")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                there = sorted(arrays.files)
                missing = [key for key in ("train", "test") if key not in there]
                if missing:
                    raise UserError(
                        f"{path}: no array `{'` and no array `'.join(missing)}` (it holds "
                        f"{', '.join(there) or 'nothing'}); save both, numpy.savez(file, train=..., "
                        "test=...), with examples in test that train lacks"
                    )
                keys = [key for key in KEYS if key in there]
                check_members(path, arrays.zip, keys)
                found = {key: arrays[key] for key in keys}
    except (UserError, MemoryError):
        raise
    except Exception as error:  # of a zip file, its compression and numpy's format: errors of many kinds
        raise UserError(f"{path}: cannot be read, it is damaged or not accessible ({error})") from error
    if "factor_names" in found:
        found["factor_names"] = _names(path, found)
    return from_arrays(path, **found)


def _names(path, found):
    names = np.atleast_1d(found["factor_names"])
    widths = [found[k].reshape(len(found[k]), -1).shape[1] for k in ("train_factors", "test_factors") if k in found]
    if names.dtype.kind != "U" or names.ndim != 1 or any(width != len(names) for width in widths):
        raise UserError(
            f"{path}: factor_names has dtype {names.dtype} and shape {names.shape}; it must be one string for each "
            f"column of the factors ({widths[0] if widths else 'of which there are none'})"
        )
    return tuple(one_line(str(name), 100) for name in names)
