"""A folder of images as a ``Dataset``: held in memory, or read while it is used."""

from __future__ import annotations

import dataclasses
import os
import stat
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.data import images
from vae_jax.data.dataset import Dataset, from_images
from vae_jax.data.rows import Rows, held_out
from vae_jax.types import UserError, one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".pgm", ".ppm", ".tif", ".tiff")
NAMED = 3  # files of each kind in a message


class File(NamedTuple):
    """A regular file that is an image by its name: where it is, its name below the folder, its bytes, its header."""

    path: str
    name: str
    bytes: int
    header: images.Header | None = None


@dataclasses.dataclass
class Skipped:
    """What is in a folder and not in the data.

    Attributes:
      unusable: images by their name, and why each cannot be used.
      others: how many files are no images by their name.
      links: folders that are links, which are not followed.
    """

    unusable: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    others: int = 0
    links: list[str] = dataclasses.field(default_factory=list)


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
    skipped = Skipped()
    candidates = [find(folder, path, skipped) for folder in folders]
    usable = [_with_headers(part, folder, skipped) for part, folder in zip(candidates, folders)]
    # The split is one of the files that can be used, so it is made again when decoding finds another broken one.
    while True:
        _check_enough(path, folders, usable, skipped)
        files = [file for part in usable for file in part]
        _check_size(path, files)
        channels = 1 if all(file.header.grey for file in files) else 3
        splits = usable
        if len(folders) == 1:
            splits = [[files[i] for i in chosen] for chosen in held_out(len(files), max(1, len(files) // 10))]
        broken: dict[str, str] = {}
        arrays = [_split(part, channels, path, keep, broken) for part in splits]
        if not broken:
            return from_images(path, *arrays, notes=_notes(skipped, len(files)))
        del arrays
        skipped.unusable += sorted(broken.items())
        usable = [[file for file in part if file.name not in broken] for part in usable]


def find(folder: str, root: str, skipped: Skipped) -> list[File]:
    """Walks through ``folder`` and its subfolders. What is hidden is passed over.

    Args:
      folder: where to look.
      root: what names are relative to.
      skipped: what else is there joins it.

    Returns:
      The images by their name, in the order of their paths.

    Raises:
      UserError: subfolders nested too deep to be walked through.
    """
    files, unusable, links = [], [], []

    def unreadable(error):
        unusable.append((os.path.relpath(error.filename, root), "in folders that cannot be read"))

    try:
        for where, subfolders, names in os.walk(folder, onerror=unreadable):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            paths = (os.path.join(where, name) for name in subfolders)
            links += [os.path.relpath(path, root) for path in paths if os.path.islink(path)]
            names = [name for name in names if not name.startswith(".")]
            paths = [os.path.join(where, name) for name in names if name.lower().endswith(SUFFIXES)]
            skipped.others += len(names) - len(paths)
            for path in paths:
                size, name = _size_of(path), os.path.relpath(path, root)
                if isinstance(size, str):
                    unusable.append((name, size))
                else:
                    files.append(File(path, name, size))
    except RecursionError:
        raise UserError(f"{folder}: its folders are nested too deep; move the images up") from None
    skipped.unusable += sorted(unusable)
    skipped.links += sorted(links)
    return sorted(files)


def _size_of(path: str) -> int | str:
    """The bytes of a file, or why it cannot be used. It is not opened: that could wait for ever, or start something."""
    try:
        status = os.stat(path)
    except OSError:
        return "links that lead nowhere" if os.path.islink(path) else "not readable"
    if not stat.S_ISREG(status.st_mode):
        return "no regular files"
    return status.st_size or "of zero bytes"


def _with_headers(files: Sequence[File], folder: str, skipped: Skipped) -> list[File]:
    """The files that are images by their headers; the others join ``skipped``."""
    usable = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pillow, about what is said here file by file
        headers = images.in_threads(_header, [file.path for file in files])
        what = f"looking at {len(files)} files of {folder}"
        for file, header in zip(files, images.progress(headers, len(files), what)):
            if isinstance(header, str):
                skipped.unusable.append((file.name, header))
            else:
                usable.append(file._replace(header=header))
    return usable


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
    if isinstance(error, OSError) and error.errno is not None:
        return "not readable"
    return "truncated or damaged"


def _check_enough(path: str, folders: Sequence[str], usable: Sequence[Sequence[File]], skipped: Skipped) -> None:
    """Refuses a folder with too few images, or with so many broken files that it is none of images."""
    count, broken = sum(map(len, usable)), len(skipped.unusable)
    if broken and (count < 2 or broken > count):
        raise UserError(
            f"{path}: {broken} of {count + broken} images cannot be used: {counted(skipped.unusable)}; remove or "
            "replace them"
        )
    empty = next((folder for folder, part in zip(folders, usable) if not part), None)
    if empty or count < 2:
        links = f"; links to folders are not followed ({listed(skipped.links)})" if skipped.links else ""
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


def _notes(skipped: Skipped, count: int) -> list[str]:
    """What a person should know of the files that are not among the ``count`` images of the data."""
    notes = []
    if skipped.unusable:
        broken = len(skipped.unusable)
        notes.append(f"{broken} of {count + broken} images are left out: {counted(skipped.unusable)}")
    if skipped.others == 1:
        notes.append("1 file that is no image by its name")
    elif skipped.others:
        notes.append(f"{skipped.others} files that are no images by their name")
    if links := skipped.links:
        notes.append(f"{len(links)} link{'s' * (len(links) > 1)} to folders not followed ({listed(links)})")
    return notes


def counted(unusable: Sequence[tuple[str, str]]) -> str:
    """``3 of zero bytes (a.png, b.png, c.png), 1 truncated or damaged (d.png)``."""
    kinds: dict[str, list[str]] = {}
    for name, reason in unusable:
        kinds.setdefault(reason, []).append(name)
    return ", ".join(f"{len(names)} {reason} ({listed(names)})" for reason, names in kinds.items())


def listed(names: Sequence[str]) -> str:
    """The first few names, each fit to be printed."""
    shown = [one_line(name, 60) for name in names[:NAMED]]
    return ", ".join([*shown, "..."] if len(names) > NAMED else shown)
