"""Which files of a folder are images, and why the others are not."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from vae_jax.data import images
from vae_jax.data.image_index import Index
from vae_jax.types import UserError, one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".pgm", ".ppm", ".tif", ".tiff")
NAMED = 3  # files of each kind in a message
# What else is in a folder of images, and no image that cannot be used.
OTHERS, LINKS = "files that are no images by their name", "links to folders, which are not followed"
DEEP = {
    "16 bits": "16-bit grey images, scaled from 0..65535 to 0..1",
    "floats": "grey images of floats, taken as they are",
    "colours": "16-bit colour images, of which the upper 8 bits are read",
}

LeftOut = dict[str, list[str]]  # what is in a folder and not in the data: why -> names below the folder


class File(NamedTuple):
    """A regular file that is an image by its name.

    Attributes:
      path: where it is.
      name: the path below the folder.
      bytes: its size.
      header: what it says of its image; None until it has been read.
      changed: when it was written, ns.
    """

    path: str
    name: str
    bytes: int
    header: images.Header | None = None
    changed: int = 0


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
                status = _status_of(path) if path.lower().endswith(SUFFIXES) else OTHERS
                if isinstance(status, str):
                    leave_out(path, status)
                else:
                    name = os.path.relpath(path, root)
                    files.append(File(path, name, status.st_size, changed=status.st_mtime_ns))
    except RecursionError:
        raise UserError(f"{folder}: its folders are nested too deep; move the images up") from None
    return sorted(files)


def _status_of(path: str) -> os.stat_result | str:
    """The size and time of a file, or why it cannot be used.

    It is not opened: that could wait for ever, or start something.
    """
    try:
        status = os.stat(path)
    except OSError:
        return "links that lead nowhere" if os.path.islink(path) else "not readable"
    if not stat.S_ISREG(status.st_mode):
        return "no regular files"
    return status if status.st_size else "of zero bytes"


def with_headers(files: Sequence[File], folder: str, left_out: LeftOut, index: Index) -> list[File]:
    """The files that are images by their headers; the others join ``left_out``. What ``index`` knows is not read."""
    reasons: dict[str, str] = {}  # what is wrong is not remembered: it may be a lack of rights

    def read(file):
        try:
            return images.header(file.path)
        except MemoryError:
            raise
        except Exception as error:  # pillow's decoders raise errors of many kinds
            reasons[file.name] = why(error)

    headers = index.map("header", read, files, f"{len(files)} files of {folder}")
    for file in files:
        if file.name in reasons:
            left_out.setdefault(reasons[file.name], []).append(file.name)
    sound = [(file, header) for file, header in zip(files, headers) if header is not None]
    return [file._replace(header=images.Header((*header[0],), *header[1:])) for file, header in sound]


def of_one_depth(files: Sequence[File], left_out: LeftOut) -> tuple[list[File], str]:
    """The files whose values are of one kind, that of most of them, and which: a ``Header.deep``.

    The others join ``left_out``: a mask of 16 bits beside photographs is no darker photograph.
    """
    kinds = Counter(file.header.deep for file in files)
    depth = max(kinds, key=lambda kind: (kinds[kind], kind == ""), default="")
    reason = f"of another kind than {DEEP[depth]}" if depth else "of more than 8 bits a channel"
    for file in files:
        if file.header.deep != depth:
            left_out.setdefault(reason, []).append(file.name)
    return [file for file in files if file.header.deep == depth], depth


def why(error: Exception) -> str:
    """What is wrong with a file whose reading raised ``error``, as it is counted."""
    from PIL import UnidentifiedImageError

    if isinstance(error, images.TooLarge):
        return f"of more than {images.MOST_PIXELS:,} pixels"
    if isinstance(error, images.OtherSize):
        return "changed since their headers were read"
    if isinstance(error, UnidentifiedImageError):
        return "of no known kind"
    return "not readable" if isinstance(error, OSError) and error.errno is not None else "truncated or damaged"


def unusable(left_out: LeftOut) -> LeftOut:
    """What is left out of what has the name of an image."""
    return {reason: names for reason, names in left_out.items() if reason not in (OTHERS, LINKS)}


def counted(left_out: LeftOut) -> str:
    """``3 of zero bytes (a.png, b.png, c.png), 1 truncated or damaged (d.png)``."""
    return ", ".join(f"{len(names)} {reason} ({listed(names)})" for reason, names in left_out.items())


def listed(names: Sequence[str]) -> str:
    """The first few names, each fit to be printed."""
    return ", ".join([*(one_line(name, 60) for name in names[:NAMED]), *["..."] * (len(names) > NAMED)])
