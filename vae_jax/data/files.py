"""The user's own data: an .npz file of arrays, or a folder of images."""

from __future__ import annotations

import os
import zipfile
import zlib

import numpy as np

from vae_jax.data import images
from vae_jax.data.dataset import Dataset, from_arrays
from vae_jax.data.split import held_out
from vae_jax.types import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".pgm", ".ppm", ".tif", ".tiff")
GREY_MODES = ("1", "L", "LA", "La")
DEEP_MODES = ("I", "F")  # and "I;16" and its like: more than 8 bits a channel, which a conversion would clip


def read_npz(path: str) -> Dataset:
    """Reads FILE.npz.

    Args:
      path: a file with arrays ``train`` and ``test``: uint8 images ``[n, h, w]`` or ``[n, h, w, c]``, or
        float rows ``[n, f]``; optionally ``train_factors`` and ``test_factors``, ``[n]`` or ``[n, f]``, and
        ``factor_names``, ``f`` strings.

    Returns:
      A ``Dataset`` named as the path.

    Raises:
      UserError: the file is missing, empty, damaged, no .npz, lacks an array or holds pickled objects; and
        for arrays that ``from_arrays`` refuses.
    """
    if not os.path.exists(path):
        raise UserError(f"{path}: there is no such file")
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
                keys = [k for k in ("train", "test", "train_factors", "test_factors", "factor_names") if k in there]
                found = {key: _array(path, arrays, key) for key in keys}
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
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
    return tuple(str(name) for name in names)


def _array(path, arrays, key):
    try:
        array = arrays[key]
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise UserError(
                f"{path}: `{key}` holds pickled Python objects, which are never loaded; save it as one numeric array"
            ) from error
        raise UserError(f"{path}: `{key}` is damaged ({error})") from error
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: `{key}` is not an array; write the file with numpy.savez")
    return array


def read_folder(path: str) -> Dataset:
    """Reads a folder of 8-bit images of one size, subfolders included.

    If it has subfolders ``train`` and ``test``, they are the splits. Otherwise a fixed choice of a tenth of
    the images, in the order of their names, is the test split. If every image is grey the result has one
    channel, else three; transparency is dropped.

    Args:
      path: the folder.

    Returns:
      A ``Dataset`` of uint8 images, named as the path.

    Raises:
      UserError: no such folder, no images, one image only, sizes that differ (two files are named), an image
        that is broken (it is named) or deeper than 8 bits.
    """
    if not os.path.isdir(path):
        raise UserError(f"{path}: there is no such folder")
    parts = [os.path.join(path, split) for split in ("train", "test")]
    if all(os.path.isdir(part) for part in parts):
        splits = [_image_files(part) for part in parts]
        for part, files in zip(parts, splits):
            if not files:
                raise UserError(f"{part}: no images ({', '.join(SUFFIXES)}) in this folder")
    else:
        files = _image_files(path)
        if len(files) < 2:
            count = "only one image" if files else "no images"
            raise UserError(f"{path}: {count} ({', '.join(SUFFIXES)}) in this folder; it needs at least two")
        splits = [[files[i] for i in chosen] for chosen in held_out(len(files), max(1, len(files) // 10))]
    channels = _common_channels([file for files in splits for file in files])
    train, test = (_read(files, channels, path) for files in splits)
    return from_arrays(path, train, test)


def _image_files(folder):
    found = []
    for where, subfolders, names in os.walk(folder):
        subfolders[:] = [s for s in subfolders if not s.startswith(".")]
        found += [os.path.join(where, n) for n in names if n.lower().endswith(SUFFIXES) and not n.startswith(".")]
    return sorted(found)


def _common_channels(files):
    """1 if all images are grey, else 3; looks at headers only, and refuses sizes that differ."""
    from PIL import Image

    first_size, channels = None, 1
    for file in files:
        try:
            with Image.open(file) as image:
                size, mode = image.size, image.mode
                grey = mode in GREY_MODES or (mode == "P" and _grey_palette(image.getpalette("RGB")))
        except Exception as error:  # pillow's decoders raise errors of many kinds
            raise _broken(file, error) from error
        if mode.startswith(DEEP_MODES):
            raise UserError(f"{file}: more than 8 bits a channel (mode {mode}); convert it, or give floats as .npz")
        first_size = first_size or size
        if size != first_size:
            sizes = [f"{width}x{height}" for width, height in (first_size, size)]
            raise UserError(
                f"images must have one size, but {files[0]} is {sizes[0]} and {file} is {sizes[1]}; crop or resize them"
            )
        channels = channels if grey else 3
    return channels


def _grey_palette(palette):
    return palette[0::3] == palette[1::3] == palette[2::3]


def _broken(file, error):
    return UserError(f"{file}: the image cannot be read, it is broken or of an unknown kind ({error}); remove it")


def _read(files, channels, what):
    def some(indices):
        return [one(files[i]) for i in indices]

    def one(file):
        try:
            return images.decode(file, channels)
        except Exception as error:  # as above
            raise _broken(file, error) from error

    return images.decode_all(some, len(files), what)
