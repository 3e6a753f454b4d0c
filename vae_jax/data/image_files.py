"""Which files of a folder are images that can be used: nobody has vouched for any of them.

What is no regular file is never opened, no image is decoded before its header has been read, and what cannot be used is
left out and named.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from vae_jax.data import images
from vae_jax.data.progress import progress
from vae_jax.types import UserError, one_line

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
