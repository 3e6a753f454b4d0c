"""What the members of an .npz file say that they are, looked at before memory is given to them.

A few bytes can claim any shape: numpy believes the header of an array and allocates it before it reads.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence

import numpy as np

from vae_jax import memory
from vae_jax.types import UserError

LONGEST_HEADER = 10_000  # bytes; numpy's own limit for what it evaluates
ENCRYPTED = 0x1  # a bit of a member's flags


def check_members(path: str, archive: zipfile.ZipFile, keys: Sequence[str]) -> None:
    """Refuses arrays that are not what their headers say, or that the memory cannot hold; nothing is allocated.

    Args:
      path: of the file, for messages.
      archive: the open file.
      keys: the arrays that will be loaded.

    Raises:
      UserError: a member is no array, of Python objects or of no numbers (names apart), damaged, encrypted or
        compressed in another way than numpy's; its header claims another size than it has; all together are larger than
        the memory that is free.
    """
    total = sum(_bytes(path, archive, key) for key in keys)
    free = memory.host_available()
    if total > free:
        raise UserError(
            f"{path}: its arrays take {total / 1e9:.3g} GB, and {free / 1e9:.3g} GB of memory are free; save fewer or "
            "smaller examples, or images as a folder of files, which are read while they are used"
        )


def _bytes(path: str, archive: zipfile.ZipFile, key: str) -> int:
    """The bytes of an array, once its header is known to be true."""
    names = archive.namelist()
    if key in names or f"{key}.npy" not in names:
        raise UserError(f"{path}: `{key}` is not an array; write the file with numpy.savez")
    member = archive.getinfo(f"{key}.npy")
    if member.flag_bits & ENCRYPTED or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"{path}: `{key}` is encrypted, or compressed as numpy does not; write it with numpy.savez")
    try:
        with archive.open(member) as file:
            shape, dtype = _header(file)
            start = file.tell()
    except ValueError as error:
        what = "is not an array" if "magic" in str(error) else "is damaged"
        raise UserError(f"{path}: `{key}` {what} ({error}); write the file with numpy.savez") from error
    if dtype.hasobject:
        raise UserError(
            f"{path}: `{key}` holds pickled Python objects, which are never loaded; save it as one numeric array"
        )
    if dtype.kind not in "buif" and key != "factor_names":
        raise UserError(f"{path}: {key} has dtype {dtype}; it must hold numbers")
    size = math.prod(shape) * dtype.itemsize  # of Python's integers, which do not overflow
    if min(shape, default=1) < 0 or start + size != member.file_size:
        raise UserError(
            f"{path}: `{key}` is damaged: its header claims {size} bytes, shape {shape}, and "
            f"{member.file_size - start} follow"
        )
    return size


def _header(file) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and the dtype that an .npy file begins with."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:  # the third is for names of fields beyond ASCII
        raise ValueError(f"version {version} of the format is for tables with named columns")
    shape, _, dtype = readers[version](file, max_header_size=LONGEST_HEADER)
    return shape, dtype
