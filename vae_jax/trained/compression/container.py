"""The file of ``compress``: a header that names the model, and blocks of examples that each check themselves."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax
import numpy as np

from vae_jax.trained.compression.bits_back import Block, Fineness
from vae_jax.trained.model import TrainedVAE
from vae_jax.types import UserError

MAGIC = b"vaebits1"
# Half of the model's sha256, a checksum of what was read, the grid of the codes, the axes of the event.
FIRST = struct.Struct("<16sIBHB")
# How many examples; bytes of the payload; checksum of the payload; checksum of the levels that it holds.
HEAD = struct.Struct("<IQII")


class Header(NamedTuple):
    """What has to be the same for who reads: the model's digest, the event, the grid of the codes.

    ``input`` is a checksum of what was read, by which an interrupted command knows its own file again.
    """

    model: bytes
    event: tuple[int, ...]
    fineness: Fineness
    input: int


class Stored(NamedTuple):
    """A block as the file holds it: how many examples, the block, the checksum of its levels, and where it ends."""

    count: int
    block: Block
    levels_crc: int
    end: int


def digest(model: TrainedVAE) -> bytes:
    """Returns half of the sha256 of all that decides the numbers of a model."""
    c = model.config
    total = hashlib.sha256(repr((c.likelihood, c.model, c.hidden, c.latent_dim, c.columns, c.pixels)).encode())
    for leaf in jax.tree.leaves(model.params):
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.digest()[:16]


def crc_of(levels: np.ndarray) -> int:
    """Returns the checksum of the indices of levels."""
    return zlib.crc32(np.ascontiguousarray(levels, "<i4"))


def write_header(file: IO[bytes], header: Header) -> None:
    """Writes the beginning of a file."""
    content = FIRST.pack(header.model, header.input, *header.fineness, len(header.event))
    content += struct.pack(f"<{len(header.event)}I", *header.event)
    file.write(MAGIC + content + struct.pack("<I", zlib.crc32(content)))


def read_header(file: IO[bytes], path: str) -> Header:
    """Reads the beginning of a file.

    Raises:
      UserError: it is none of ours, or damaged.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise UserError(f"--input={path} was not written by compress")
    with contextlib.suppress(struct.error):
        content = file.read(FIRST.size)
        model, checksum, bits, reach, axes = FIRST.unpack(content)
        content += file.read(4 * axes)
        event = struct.unpack_from(f"<{axes}I", content, FIRST.size)
        if struct.unpack("<I", file.read(4))[0] == zlib.crc32(content):
            return Header(model, event, Fineness(bits, reach), checksum)
    raise UserError(f"--input={path}: its header is damaged")


def write_block(file: IO[bytes], block: Block, levels: np.ndarray) -> None:
    """Writes a block, whole on the disk before anything follows."""
    known = json.dumps(block.known).encode() if block.known else b""
    payload = struct.pack("<II", block.before, len(known)) + known + block.words.astype("<u4").tobytes()
    file.write(HEAD.pack(len(levels), len(payload), zlib.crc32(payload), crc_of(levels)) + payload)
    _flush(file)


def write_end(file: IO[bytes]) -> None:
    """Writes the end of a file: a block of no examples."""
    file.write(HEAD.pack(0, 0, 0, 0))
    _flush(file)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def blocks(file: IO[bytes]) -> Iterator[Stored]:
    """Yields the sound blocks of a file from where it stands, and at last one of no examples, if the file has its end.

    It stops before the first block that is torn or damaged: who expected another one says so.
    """
    while len(head := file.read(HEAD.size)) == HEAD.size:
        count, length, crc, levels_crc = HEAD.unpack(head)
        left = os.fstat(file.fileno()).st_size - file.tell()
        payload = file.read(length) if length <= left else b""
        if len(payload) != length or zlib.crc32(payload) != crc:
            return
        if count == 0:
            yield Stored(0, Block(np.zeros(0, np.uint32), 0, []), 0, file.tell())
            return
        before, size = struct.unpack_from("<II", payload)
        known: list[Any] = [tuple(entry) for entry in json.loads(payload[8 : 8 + size] or "[]")]
        words = np.frombuffer(payload[8 + size :], "<u4")
        yield Stored(count, Block(words.astype(np.uint32), before, known), levels_crc, file.tell())


def begun(part: Path, header: Header) -> tuple[int, int, int]:
    """Returns how many examples an interrupted file holds, where its last sound block ends, and its initial words."""
    if not part.exists():
        return 0, 0, 0
    with open(part, "rb") as file, contextlib.suppress(UserError):
        if read_header(file, str(part)) == header:
            count, end, before = 0, file.tell(), 0
            for stored in blocks(file):
                if stored.count:
                    count, end, before = count + stored.count, stored.end, before + stored.block.before
            return count, end, before
    return 0, 0, 0
