"""A folder of images as a ``Dataset``: held in memory, or read while it is used."""

from __future__ import annotations

import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.data import images
from vae_jax.data.dataset import Dataset, from_images
from vae_jax.data.images import progress
from vae_jax.data.rows import Rows, held_out
from vae_jax.types import Event, UserError, one_line


class File(NamedTuple):
    """An image that can be used, as far as its header says; the first three fields of a ``Candidate``."""

    path: str
    name: str
    bytes: int
    header: images.Header


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
    found = [find(folder, path) for folder in folders]
    left = [one for part in found for one in part.left]
    usable = [_usable(part, folder, left) for part, folder in zip(found, folders)]
    while True:  # once, or until no file whose pixels are broken is left: the split is one of the others
        _check_enough(path, folders, usable, found, left)
        files = [file for part in usable for file in part]
        _check_size(path, files)
        channels = 1 if all(file.header.grey for file in files) else 3
        splits = usable
        if len(folders) == 1:
            splits = [[files[i] for i in chosen] for chosen in held_out(len(files), max(1, len(files) // 10))]
        broken: dict[str, str] = {}
        decoded = [_split(part, channels, path, keep, broken) for part in splits]
        if not broken:
            return from_images(path, *decoded, notes=_notes(found, left, len(files)))
        del decoded
        left += [Left(name, broken[name]) for name in sorted(broken)]
        usable = [[file for file in part if file.name not in broken] for part in usable]


def _usable(found: Found, folder: str, left: list[Left]) -> list[File]:
    """The candidates that are images by their headers; the others join ``left``."""
    usable = []
    for candidate, header in zip(found.candidates, headers(found.candidates, folder)):
        if isinstance(header, str):
            left.append(Left(candidate.name, header))
        else:
            usable.append(File(*candidate, header))
    return usable


def _check_enough(path: str, folders: Sequence[str], usable: Sequence, found: Sequence[Found], left: Sequence[Left]):
    """Refuses a folder with too few images, or with so many broken files that it is none of images."""
    count = sum(map(len, usable))
    if left and (count < 2 or len(left) > count):
        raise UserError(
            f"{path}: {len(left)} of {count + len(left)} images cannot be used: {counted(left)}; remove or replace them"
        )
    empty = next((folder for folder, part in zip(folders, usable) if not part), None)
    if empty or count < 2:
        links = [name for part in found for name in part.links]
        said = f"; links to folders are not followed ({listed(links)})" if links else ""
        what = "only one image" if count and not empty else "no images that can be used" if left else "no images"
        raise UserError(
            f"{empty or path}: {what} ({', '.join(SUFFIXES)}) in this folder; it needs at least two, or subfolders "
            f"train and test{said}"
        )


def _check_size(path: str, files: Sequence[File]):
    (usual, count), *others = Counter(file.header.size for file in files).most_common()
    if others:
        odd = next(file for file in files if file.header.size != usual)
        raise UserError(
            f"{path}: images must have one size, but {len(files) - count} of {len(files)} are not {_size(usual)} "
            f"({listed([odd.name])} is {_size(odd.header.size)}); crop or resize them"
        )


def _size(size) -> str:
    return f"{size[0]}x{size[1]}"


def _split(
    files: Sequence[File], channels: int, path: str, keep: int | None, broken: dict[str, str]
) -> np.ndarray | Rows:
    """The images of a split: as ``Rows``, or decoded; what cannot be decoded is a name and why in ``broken``."""
    width, height = files[0].header.size
    shape = (len(files), height, width, channels)

    def decode(indices, failed):
        return [_decoded(files[i], channels, shape[1:], failed) for i in indices]

    def refuse(file, error):
        raise UserError(f"{file.path}: cannot be used, {why(error)} ({error}); remove it") from error

    def note(file, error):
        broken[file.name] = why(error)

    names = "\n".join(f"{file.name}\t{file.bytes}" for file in files)
    rows = Rows(lambda indices: decode(indices, refuse), shape, os.fsencode(names))
    if keep is not None and rows.nbytes > keep:
        return rows
    return images.decode_all(lambda indices: decode(indices, note), len(files), path)


def _decoded(file: File, channels: int, event: Event, failed: Callable[[File, Exception], None]) -> np.ndarray:
    """The image of a file; where ``failed`` does not raise, nothing in its place."""
    try:
        return images.decode(file.path, channels, file.header.size)
    except MemoryError:  # not the file's fault
        raise
    except Exception as error:  # pillow's decoders raise errors of many kinds
        failed(file, error)
    return np.zeros(event, np.uint8)


def _notes(found: Sequence[Found], left: Sequence[Left], count: int) -> list[str]:
    """What a person should know of the files that are not in the data."""
    notes = []
    if left:
        notes.append(f"{len(left)} of {count + len(left)} images are left out: {counted(left)}")
    others = sum(part.others for part in found)
    if others:
        what = "file that is no image by its name" if others == 1 else "files that are no images by their name"
        notes.append(f"{others} {what}")
    links = [name for part in found for name in part.links]
    if links:
        notes.append(f"{len(links)} link{'s' * (len(links) > 1)} to folders not followed ({listed(links)})")
    return notes


SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".pgm", ".ppm", ".tif", ".tiff")
SHOWN = 3  # names of each kind


class Candidate(NamedTuple):
    """A regular file that is an image by its name: where it is, its name below the folder, its bytes."""

    path: str
    name: str
    bytes: int


class Left(NamedTuple):
    """A file, or a folder, that was left out: its name below the folder, and why."""

    name: str
    why: str


class Found(NamedTuple):
    """What is in a folder.

    Attributes:
      candidates: in the order of their paths.
      left: what was left out so far.
      others: how many files are no images by their name.
      links: folders that are links, which are not followed.
    """

    candidates: list[Candidate]
    left: list[Left]
    others: int
    links: list[str]


def find(folder: str, root: str) -> Found:
    """Walks through ``folder`` and its subfolders; names are relative to ``root``. What is hidden is passed over.

    Raises:
      UserError: subfolders nested too deep to be walked through.
    """
    candidates, left, others, links = [], [], 0, []

    def unreadable(error):
        left.append(Left(os.path.relpath(error.filename, root), "in folders that cannot be read"))

    try:
        for where, subfolders, names in os.walk(folder, onerror=unreadable):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            paths = (os.path.join(where, name) for name in subfolders)
            links += [os.path.relpath(path, root) for path in paths if os.path.islink(path)]
            for name in names:
                if name.startswith("."):
                    continue
                if not name.lower().endswith(SUFFIXES):
                    others += 1
                    continue
                path = os.path.join(where, name)
                found = _regular(path, os.path.relpath(path, root))
                (left if isinstance(found, Left) else candidates).append(found)
    except RecursionError:
        raise UserError(f"{folder}: its folders are nested too deep; move the images up") from None
    return Found(sorted(candidates), sorted(left), others, sorted(links))


def _regular(path: str, name: str) -> Candidate | Left:
    try:
        found = os.stat(path)
    except OSError:
        return Left(name, "links that lead nowhere" if os.path.islink(path) else "not readable")
    if not stat.S_ISREG(found.st_mode):
        return Left(name, "no regular files")
    return Candidate(path, name, found.st_size) if found.st_size else Left(name, "of zero bytes")


def headers(candidates: Sequence[Candidate], what: str) -> list[images.Header | str]:
    """The header of each file, or why it cannot be used.

    Args:
      candidates: of ``find``.
      what: what is being read, for the progress line.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pillow, about what is said here file by file
        found = images.in_threads(_header, [c.path for c in candidates])
        return list(progress(found, len(candidates), f"looking at {len(candidates)} files of {what}"))


def _header(path: str) -> images.Header | str:
    try:
        found = images.header(path)
    except MemoryError:
        raise
    except Exception as error:  # pillow's decoders raise errors of many kinds
        return why(error)
    return "of more than 8 bits a channel" if found.deep else found


def why(error: Exception) -> str:
    """What is wrong with a file whose reading raised ``error``, as it is counted."""
    from PIL import UnidentifiedImageError

    if isinstance(error, images.TooLarge):
        return f"of more than {images.MOST_PIXELS:,} pixels"
    if isinstance(error, images.OtherSize):
        return "changed since their headers were read"
    if isinstance(error, UnidentifiedImageError):
        return "no images of a known kind"
    if isinstance(error, OSError) and error.errno is not None:
        return "not readable"
    return "truncated or damaged"


def counted(left: Sequence[Left]) -> str:
    """``3 of zero bytes (a.png, b.png, c.png), 1 truncated or damaged (d.png)``."""
    kinds: dict[str, list[str]] = {}
    for name, reason in left:
        kinds.setdefault(reason, []).append(name)
    return ", ".join(f"{len(names)} {reason} ({listed(names)})" for reason, names in kinds.items())


def listed(names: Sequence[str]) -> str:
    """The first few names, each fit to be printed."""
    shown = [one_line(name, 60) for name in names[:SHOWN]]
    return ", ".join([*shown, "..."] if len(names) > SHOWN else shown)
