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
from vae_jax.trained.compression.values import missing_rates
from vae_jax.trained.model import TrainedVAE
from vae_jax.types import UserError

MAGIC = b"vae1"
# Of the model's digest eight bytes, a checksum of what was read, the grid of the codes.
FIRST = struct.Struct("<8sIBH")
# How many examples, words and words before; bytes of what was near a half; a checksum of all of these.
HEAD = struct.Struct("<IIHHI")
END = struct.pack("<I", 0)


class Header(NamedTuple):
    """What has to be the same for who reads: the model's digest and the grid of the codes.

    ``input`` is a checksum of what was read, by which an interrupted command knows its own file again.
    """

    model: bytes
    fineness: Fineness
    input: int


class Stored(NamedTuple):
    """A block as the file holds it: how many examples, the block, and where it ends."""

    count: int
    block: Block
    end: int


def digest(model: TrainedVAE) -> bytes:
    """Returns eight bytes of the sha256 of all that decides the numbers of a model."""
    c = model.config
    own = (
        c.likelihood,
        c.model,
        c.hidden,
        c.latent_dim,
        c.columns,
        c.pixels,
        c.count_means,
        c.missing,
        c.cell,
        c.prior,
    )
    of_data = (model.x_event, model.data.words, c.missing and missing_rates(model).tolist())
    total = hashlib.sha256(repr((own, of_data)).encode())
    for leaf in jax.tree.leaves(model.params):
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.digest()[:8]


def write_header(file: IO[bytes], header: Header) -> None:
    """Writes the beginning of a file."""
    content = FIRST.pack(header.model, header.input, *header.fineness)
    file.write(MAGIC + content + struct.pack("<I", zlib.crc32(content)))


def read_header(file: IO[bytes], path: str) -> Header:
    """Reads the beginning of a file.

    Raises:
      UserError: it is none of ours, or damaged.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise UserError(f"--input={path} was not written by compress")
    content, crc = file.read(FIRST.size), file.read(4)
    if len(content) != FIRST.size or crc != struct.pack("<I", zlib.crc32(content)):
        raise UserError(f"--input={path}: its header is damaged")
    model, checksum, *fine = FIRST.unpack(content)
    return Header(model, Fineness(*fine), checksum)


def write_block(file: IO[bytes], block: Block, count: int) -> None:
    """Writes a block, whole on the disk before anything follows."""
    known = json.dumps(block.known).encode() if block.known else b""
    sizes = (count, len(block.words), block.before, len(known))
    payload = known + block.words.astype("<u4").tobytes()
    file.write(HEAD.pack(*sizes, zlib.crc32(payload, zlib.crc32(repr(sizes).encode()))) + payload)
    _flush(file)


def write_end(file: IO[bytes]) -> None:
    """Writes the end of a file: a block of no examples."""
    file.write(END)
    _flush(file)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def blocks(file: IO[bytes]) -> Iterator[Stored]:
    """Yields the sound blocks of a file from where it stands, and at last one of no examples, if the file has its end.

    It stops before the first block that is torn or damaged: who expected another one says so.
    """
    size = os.fstat(file.fileno()).st_size
    while head := file.read(HEAD.size):
        if head == END:
            yield Stored(0, Block(np.zeros(0, np.uint32), 0, []), file.tell())
        if len(head) < HEAD.size:
            return
        *sizes, crc = HEAD.unpack(head)
        count, words, before, known = sizes
        length = 4 * words + known
        payload = file.read(length) if length <= size - file.tell() else b""
        if len(payload) != length or zlib.crc32(payload, zlib.crc32(repr(tuple(sizes)).encode())) != crc:
            return
        near: list[Any] = [tuple(entry) for entry in json.loads(payload[:known] or "[]")]
        own = np.frombuffer(payload[known:], "<u4").astype(np.uint32)
        yield Stored(count, Block(own, before, near), file.tell())


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
