"""The user's own arrays: an .npz file, of which nothing is believed before it has been checked."""

from __future__ import annotations

import math
import os
import zipfile
from typing import IO

import numpy as np

from vae_jax.data.dataset import Dataset, channels_last, from_arrays
from vae_jax.data.splits import SPLITS, split_of
from vae_jax.devices import memory
from vae_jax.types import UserError, one_line

WORDS = ("factor_names", "class_names")  # what may be strings, as labels may
LABELS = tuple(f"{split}_labels" for split in SPLITS)
KEYS = (*SPLITS, *(f"{split}_factors" for split in SPLITS), *LABELS, *WORDS)
LONGEST_HEADER = 10_000  # bytes; numpy's own limit for what it evaluates
ENCRYPTED = 0x1  # a bit of a member's flags
# Version 3 of the format is for names of fields beyond ASCII, which numbers do not have.
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: str, layout: str = "hwc") -> Dataset:
    """Reads FILE.npz.

    Args:
      path: a file with an array ``train`` and where they are ``validation`` and ``test``: uint8 images ``[n, h, w]``
        or ``[n, h, w, c]``, or float rows ``[n, f]``; optionally of each SPLIT ``SPLIT_factors``, ``[n]`` or
        ``[n, f]``, with ``factor_names``, ``f`` strings, and ``SPLIT_labels``, ``[n]`` integers or strings, which
        become the first factor, ``label``, with ``class_names``.
      layout: ``chw`` where an image is ``[c, h, w]``.

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
            with np.load(file, allow_pickle=False) as archive:
                arrays, unread = _load(path, archive), sorted({*archive.files} - {*KEYS})
    except (UserError, MemoryError):
        raise
    except Exception as error:  # of a zip file, its compression and numpy's format: errors of many kinds
        raise UserError(f"{path}: cannot be read, it is damaged or not accessible ({error})") from error
    words = {key: np.atleast_1d(arrays.pop(key, np.array([], str))) for key in WORDS}
    for key, names in words.items():
        if names.dtype.kind != "U" or names.ndim != 1:
            raise UserError(f"{path}: {key} has dtype {names.dtype} and shape {names.shape}; it must be strings [f]")
    words = {key: tuple(one_line(str(name), 100) for name in names) for key, names in words.items()}
    arrays = _with_labels(path, arrays, words)
    arrays = {key: channels_last(path, key, x, layout) for key, x in arrays.items()}
    dataset = from_arrays(path, **arrays, **words, exact=True)
    shown = ", ".join(one_line(name, 60) for name in unread[:5]) + ", ..." * (len(unread) > 5)
    return dataset._replace(notes=(*dataset.notes, *[f"arrays that are not read: {shown}"] * (len(unread) > 0)))


def _load(path: str, archive: np.lib.npyio.NpzFile) -> dict[str, np.ndarray]:
    """The arrays of ``KEYS``, once it is known that they are there, are what they say, and fit into memory."""
    there = sorted(archive.files)
    if "train" not in there:
        raise UserError(
            f"{path}: no array `train` (it holds {', '.join(there) or 'nothing'}); save one, numpy.savez(file, "
            "train=..., test=...); validation and test are held out of it where there are none"
        )
    other = next((name for name in there if name not in KEYS and split_of(name)), None)
    if other:
        raise UserError(f"{path}: `{other}` stands for the {split_of(other)} split; save it as `{split_of(other)}`")
    keys = [key for key in KEYS if key in there]
    total, free = sum(checked_bytes(path, archive.zip, key) for key in keys), memory.host_available()
    if total > free:
        raise UserError(
            f"{path}: its arrays take {total / 1e9:.3g} GB, and {free / 1e9:.3g} GB of memory are free; save fewer or "
            "smaller examples, or images as a folder of files, which are read while they are used"
        )
    return {key: archive[key] for key in keys}


def _with_labels(path: str, arrays: dict[str, np.ndarray], words: dict[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
    """The arrays with the labels as the first of the factors; ``words`` get their names.

    Raises:
      UserError: labels that are neither integers nor strings ``[n]``, or not one for each example.
    """
    labels = {key.removesuffix("_labels"): arrays[key] for key in LABELS if key in arrays}
    for split, own in labels.items():
        if own.ndim != 1 or own.dtype.kind not in "biuUS" or len(own) != len(arrays.get(split, ())):
            raise UserError(
                f"{path}: {split}_labels has dtype {own.dtype} and shape {own.shape}; it must be integers or strings "
                f"[n], one for each of the {len(arrays.get(split, ())):,} examples of {split}"
            )
    arrays = {key: x for key, x in arrays.items() if key not in LABELS}
    if not labels:
        return arrays
    labels = {
        split: own.astype(str) if own.dtype.kind in "US" else own.astype(np.int64) for split, own in labels.items()
    }
    if len({own.dtype.kind for own in labels.values()}) > 1:
        raise UserError(f"{path}: the labels of one split are strings and those of another integers; give all alike")
    values, names = np.unique(np.concatenate([*labels.values()])), words["class_names"]
    if values.dtype.kind == "U" or not (0 <= values[0] and values[-1] < max(len(names), 1000)):
        labels = {split: np.searchsorted(values, own) for split, own in labels.items()}
        words["class_names"] = tuple(one_line(str(value), 100) for value in values)
    given = next((arrays[f"{split}_factors"] for split in labels if f"{split}_factors" in arrays), None)
    width = 0 if given is None else 1 if given.ndim < 2 else given.shape[1]
    names = words["factor_names"] or tuple(f"factor_{i}" for i in range(width))
    words["factor_names"] = ("label", *names[:width])
    for split, own in labels.items():
        factors = [own[:, None]] + ([arrays[f"{split}_factors"].reshape(len(own), -1)] if width else [])
        arrays[f"{split}_factors"] = np.concatenate(factors, axis=1)
    return arrays


def checked_bytes(path: str, archive: zipfile.ZipFile, key: str) -> int:
    """The bytes of an array, once its header is known to be true; nothing is allocated.

    Raises:
      UserError: a member is no array, of Python objects or of no numbers (names apart), damaged, encrypted or
        compressed in another way than numpy's, or its header claims another size than it has.
    """

    def refusal(what):
        return UserError(f"{path}: `{key}` {what}; write it with numpy.savez, as one array of numbers")

    names = archive.namelist()
    if key in names or f"{key}.npy" not in names:
        raise refusal("is not an array")
    member = archive.getinfo(f"{key}.npy")
    if member.flag_bits & ENCRYPTED or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refusal("is encrypted, or compressed as numpy does not")
    try:
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            if version not in HEADERS:
                raise ValueError(f"version {version} of the format is for tables with named columns")
            shape, _, dtype = HEADERS[version](file, max_header_size=LONGEST_HEADER)
            start = file.tell()
    except ValueError as error:
        raise refusal(f"{'is not an array' if 'magic' in str(error) else 'is damaged'} ({error})") from error
    if dtype.hasobject:
        raise refusal("holds pickled Python objects, which are never loaded")
    if dtype.kind not in "buif" and not (key in (*WORDS, *LABELS) and dtype.kind in "US"):
        raise refusal(f"has dtype {dtype}; it must hold numbers")
    size = math.prod(shape) * dtype.itemsize  # of Python's integers, which do not overflow
    if min(shape, default=1) < 0 or start + size != member.file_size:
        raise refusal(f"is damaged: its header claims {size} bytes, shape {shape}, {member.file_size - start} follow")
    return size


def open_array(path: str, archive: zipfile.ZipFile, key: str) -> tuple[tuple[int, ...], np.dtype, IO[bytes]]:
    """Opens an array of a .npz file to be read row by row: its shape, its type, and a stream of its values.

    Raises:
      UserError: as for ``read_npz``; and for an array in Fortran's order, whose rows do not follow each other.
    """
    checked_bytes(path, archive, key)
    file = archive.open(f"{key}.npy")
    shape, fortran, dtype = HEADERS[np.lib.format.read_magic(file)](file, max_header_size=LONGEST_HEADER)
    if fortran and len(shape) > 1:
        raise UserError(f"{path}: `{key}` is in Fortran's order; save numpy.ascontiguousarray of it")
    return shape, dtype, file
