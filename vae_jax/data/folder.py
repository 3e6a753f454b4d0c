"""A folder of images as a ``Dataset``: held in memory, or read while it is used."""

from __future__ import annotations

import os
import stat
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.data import images
from vae_jax.data.dataset import Dataset, from_images
from vae_jax.data.rows import Rows, held_out
from vae_jax.types import UserError, one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".pgm", ".ppm", ".tif", ".tiff")
NAMED = 3  # files of each kind in a message
# What else is in a folder of images, and no image that cannot be used.
OTHERS, LINKS = "files that are no images by their name", "links to folders, which are not followed"

LeftOut = dict[str, list[str]]  # what is in a folder and not in the data: why -> names below the folder


class File(NamedTuple):
    """A regular file that is an image by its name: where it is, its name below the folder, its bytes, its header."""

    path: str
    name: str
    bytes: int
    header: images.Header | None = None


def read_folder(path: str, keep: int | None = None) -> Dataset:
    """Reads a folder of 8-bit images of one size, subfolders included.

    If it has subfolders ``train`` and ``test``, they are the splits. Otherwise a fixed choice of a tenth of
    the images, in the order of their names, is the test split. If every image is grey the result has one
    channel, else three; transparency is dropped.

    Files that cannot be used are left out, and ``notes`` counts and names them: of zero bytes, truncated, no images
    whatever their name says, of more pixels than a sound image has or more than 8 bits a channel, not readable, no
    regular files. A file is read as what it holds, not as what its name says. Of a split that is not held a truncated
    file is found when its turn comes, and is then an error.

    Args:
      path: the folder.
      keep: the most bytes of a split to hold; None: it is held.

    Returns:
      A ``Dataset`` of uint8 images, named as the path.

    Raises:
      UserError: no such folder, no images, one image only, more unusable files than usable ones, sizes that differ (a
        file of the rarer one is named).
    """
    if not os.path.isdir(path):
        raise UserError(f"{path}: there is no such folder")
    parts = [os.path.join(path, split) for split in ("train", "test")]
    folders = parts if all(os.path.isdir(part) for part in parts) else [path]
    left_out: LeftOut = {}
    usable = [_with_headers(find(folder, path, left_out), folder, left_out) for folder in folders]
    # The split is one of the files that can be used, so it is made again when decoding finds another broken one.
    while True:
        _check_enough(path, dict(zip(folders, usable)), left_out)
        files = [file for part in usable for file in part]
        _check_size(path, files)
        channels = 1 if all(file.header.grey for file in files) else 3
        splits = usable
        if len(folders) == 1:
            splits = [[files[i] for i in chosen] for chosen in held_out(len(files), max(1, len(files) // 10))]
        broken: dict[str, str] = {}
        arrays = [_split(part, channels, path, keep, broken) for part in splits]
        if not broken:
            return from_images(path, *arrays, notes=_notes(left_out, len(files)))
        del arrays
        for name, reason in sorted(broken.items()):
            left_out.setdefault(reason, []).append(name)
        usable = [[file for file in part if file.name not in broken] for part in usable]


def find(folder: str, root: str, left_out: LeftOut) -> list[File]:
    """Walks through ``folder`` and its subfolders. What is hidden is passed over.

    Args:
      folder: where to look.
      root: what names are relative to.
      left_out: what else is there joins it.

    Returns:
      The images by their name, in the order of their paths.

    Raises:
      UserError: subfolders nested too deep to be walked through.
    """
    files = []

    def leave_out(path, reason):
        left_out.setdefault(reason, []).append(os.path.relpath(path, root))

    try:
        for where, subfolders, names in os.walk(
            folder, onerror=lambda error: leave_out(error.filename, "in folders that cannot be read")
        ):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for path in (os.path.join(where, name) for name in subfolders):
                if os.path.islink(path):
                    leave_out(path, LINKS)
            for path in (os.path.join(where, name) for name in sorted(names) if not name.startswith(".")):
                size = _size_of(path) if path.lower().endswith(SUFFIXES) else OTHERS
                if isinstance(size, str):
                    leave_out(path, size)
                else:
                    files.append(File(path, os.path.relpath(path, root), size))
    except RecursionError:
        raise UserError(f"{folder}: its folders are nested too deep; move the images up") from None
    return sorted(files)


def _size_of(path: str) -> int | str:
    """The bytes of a file, or why it cannot be used. It is not opened: that could wait for ever, or start something."""
    try:
        status = os.stat(path)
    except OSError:
        return "links that lead nowhere" if os.path.islink(path) else "not readable"
    return (status.st_size or "of zero bytes") if stat.S_ISREG(status.st_mode) else "no regular files"


def _with_headers(files: Sequence[File], folder: str, left_out: LeftOut) -> list[File]:
    """The files that are images by their headers; the others join ``left_out``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pillow, about what is said here file by file
        headers = images.map_in_threads(_header, [file.path for file in files], f"{len(files)} files of {folder}")
    for file, header in zip(files, headers):
        if isinstance(header, str):
            left_out.setdefault(header, []).append(file.name)
    return [file._replace(header=header) for file, header in zip(files, headers) if not isinstance(header, str)]


def _header(path: str) -> images.Header | str:
    """The header of a file, or why it cannot be used."""
    try:
        header = images.header(path)
    except MemoryError:
        raise
    except Exception as error:  # pillow's decoders raise errors of many kinds
        return why(error)
    return "of more than 8 bits a channel" if header.deep else header


def why(error: Exception) -> str:
    """What is wrong with a file whose reading raised ``error``, as it is counted."""
    from PIL import UnidentifiedImageError

    if isinstance(error, images.TooLarge):
        return f"of more than {images.MOST_PIXELS:,} pixels"
    if isinstance(error, images.OtherSize):
        return "changed since their headers were read"
    if isinstance(error, UnidentifiedImageError):
        return "no images of a known kind"
    return "not readable" if isinstance(error, OSError) and error.errno is not None else "truncated or damaged"


def _check_enough(path: str, usable: Mapping[str, Sequence[File]], left_out: LeftOut) -> None:
    """Refuses a folder with too few images, or with so many broken files that it is none of images."""
    count, unusable = sum(map(len, usable.values())), _unusable(left_out)
    broken = sum(map(len, unusable.values()))
    if broken and (count < 2 or broken > count):
        raise UserError(
            f"{path}: {broken} of {count + broken} images cannot be used: {counted(unusable)}; remove or replace them"
        )
    empty = next((folder for folder, files in usable.items() if not files), None)
    if empty or count < 2:
        links = f"; {counted({LINKS: left_out[LINKS]})}" if LINKS in left_out else ""
        what = "only one image" if count and not empty else "no images that can be used" if broken else "no images"
        raise UserError(
            f"{empty or path}: {what} ({', '.join(SUFFIXES)}) in this folder; it needs at least two, or subfolders "
            f"train and test{links}"
        )


def _check_size(path: str, files: Sequence[File]) -> None:
    (usual, count), *others = Counter(file.header.size for file in files).most_common()
    if others:
        odd = next(file for file in files if file.header.size != usual)
        raise UserError(
            f"{path}: images must have one size, but {len(files) - count} of {len(files)} are not "
            f"{'{}x{}'.format(*usual)} ({listed([odd.name])} is {'{}x{}'.format(*odd.header.size)}); crop or resize "
            "them"
        )


def _split(files: Sequence[File], channels: int, path: str, keep: int | None, broken: dict[str, str]):
    """The images of a split: as ``Rows``, or decoded; what cannot be decoded is a name and why in ``broken``."""
    width, height = files[0].header.size
    event = (height, width, channels)

    def decoded(file, broken=None):
        try:
            return images.decode(file.path, channels, file.header.size)
        except MemoryError:  # not the file's fault
            raise
        except Exception as error:  # pillow's decoders raise errors of many kinds
            if broken is None:
                raise UserError(f"{file.path}: cannot be used, {why(error)} ({error}); remove it") from error
            broken[file.name] = why(error)
            return np.zeros(event, np.uint8)

    names = "\n".join(f"{file.name}\t{file.bytes}" for file in files)
    rows = Rows(lambda some: [decoded(files[i]) for i in some], (len(files), *event), os.fsencode(names))
    if keep is not None and rows.nbytes > keep:
        return rows
    return images.decode_all(lambda some: [decoded(files[i], broken) for i in some], range(len(files)), event, path)


def _unusable(left_out: LeftOut) -> LeftOut:
    return {reason: names for reason, names in left_out.items() if reason not in (OTHERS, LINKS)}


def _notes(left_out: LeftOut, count: int) -> list[str]:
    """What a person should know of the files that are not among the ``count`` images of the data."""
    unusable = _unusable(left_out)
    broken = sum(map(len, unusable.values()))
    notes = [f"{broken} of {count + broken} images are left out: {counted(unusable)}"] if broken else []
    return notes + [f"left out: {counted({kind: left_out[kind]})}" for kind in (OTHERS, LINKS) if kind in left_out]


def counted(left_out: LeftOut) -> str:
    """``3 of zero bytes (a.png, b.png, c.png), 1 truncated or damaged (d.png)``."""
    return ", ".join(f"{len(names)} {reason} ({listed(names)})" for reason, names in left_out.items())


def listed(names: Sequence[str]) -> str:
    """The first few names, each fit to be printed."""
    return ", ".join([*(one_line(name, 60) for name in names[:NAMED]), *["..."] * (len(names) > NAMED)])
