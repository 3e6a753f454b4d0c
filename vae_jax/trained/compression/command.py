"""``compress`` and ``compress --decompress``: examples into a file and back, streamed, continued after a kill."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.data.text.vocabulary import decode
from vae_jax.runtime.files import write_json
from vae_jax.trained.compression import bits_back, container, values
from vae_jax.trained.compression.networks import Networks, networks
from vae_jax.trained.compression.others import Others
from vae_jax.trained.encoding import open_run
from vae_jax.trained.flags import Compress
from vae_jax.trained.model import TrainedVAE
from vae_jax.trained.sampling import writer
from vae_jax.trained.sources import open_source
from vae_jax.types import UserError

BLOCK = 4000  # examples; each block has bits at its beginning that are its own


def main(config: Compress) -> None:
    """Writes the file, or reads it."""
    if config.output is None or config.input is None:
        raise UserError("--input and --output are needed: what is read and what is written")
    bits_back.coder()  # refused before the model is opened where there is none
    model = open_run(config.workdir, None, config.data_dir, config.plugin)
    if model.data.condition is not None:
        raise UserError(f"compress knows no c, and this run has --condition={model.config.condition}")
    (decompress if config.decompress else compress)(model, networks(model), config.input, config.output)


def compress(model: TrainedVAE, net: Networks, name: str, output: str) -> dict[str, Any]:
    """Writes all examples of a source; returns the sizes, which are also printed and written to OUTPUT.json."""
    from tqdm import tqdm

    source, part_file = open_source(model, name), Path(f"{output}.part")
    _make_room(output)
    first = next(iter(source.parts(0, BLOCK)), None)
    if first is None or not len(first.ids):
        raise UserError(f"--input={name} holds no examples")
    fine = bits_back.fineness(net, values.read(model, net.kinds, first.examples, name)[:256])
    header = container.Header(container.digest(model), fine, zlib.crc32(source.identity.encode()))
    done, end, before = container.begun(part_file, header)
    others = Others(bool((net.kinds.counts == 2).all()), len(model.event) == 3)
    nats, seen, symbols = 0.0, 0, 0
    if done:
        print(f"continuing from example {done:,}")
    with (
        open(part_file, "r+b" if done else "wb") as file,
        tqdm(total=source.count, desc="compressing", unit=" examples", disable=None) as bar,
    ):
        if done:
            file.truncate(end)
            file.seek(end)
        else:
            container.write_header(file, header)
        for part in source.parts(0, BLOCK):
            own = values.read(model, net.kinds, part.examples, name)
            if seen >= done and len(own):
                block = bits_back.encode(net, fine, own)
                container.write_block(file, block, len(own))
                before += block.before
            others.add(values.plain(model, net.kinds, own), own.reshape(len(own), *model.event))
            nats += values.missing_nats(model, own) - float(np.sum(model.elbo(part.examples), dtype=np.float64))
            seen, symbols = seen + len(own), symbols + values.symbols_in(net.kinds, own)
            bar.update(len(part.ids) if part.seen is None else part.seen)
        container.write_end(file)
    os.replace(part_file, output)
    sizes = _sizes(Path(output).stat().st_size, before, seen, symbols, nats, others.totals())
    write_json(Path(f"{output}.json"), sizes)
    print(*source.notes, *_in_words(sizes, output, "word" if net.kinds.is_text else "dimension"), sep="\n")
    return sizes


def decompress(model: TrainedVAE, net: Networks, name: str, output: str) -> None:
    """Reads a file back into FILE.npz, array ``x``, exactly as it was; or a text into FILE.txt, rows into FILE.csv.

    Raises:
      UserError: the file is of another model, damaged or torn.
    """
    from tqdm import tqdm

    kinds = {".npz"} | ({".txt"} if net.kinds.is_text else {".csv"} if len(model.event) == 1 else set())
    if Path(output).suffix not in kinds:
        raise UserError(f"--output={output} must be {' or '.join(f'FILE{kind}' for kind in sorted(kinds))}")
    if not os.path.isfile(name):
        raise UserError(f"--input={name}: there is no such file")
    _make_room(output)
    dtype = values.stored_dtype(model, net.kinds)
    row, seen, ended = math.prod(model.event) * dtype.itemsize, 0, False
    with open(name, "rb") as file:
        header = container.read_header(file, name)
        if header.model != container.digest(model):
            raise UserError(f"--input={name} was written by another model (sha256 {header.model.hex()}...)")
        part_file = Path(f"{output}.{header.input:08x}.part")  # what another file left is not taken for this one's
        done = part_file.stat().st_size // row if part_file.exists() else 0
        with open(part_file, "ab") as part, tqdm(desc="decompressing", unit=" examples", disable=None) as bar:
            # A block that was not written to its end is written again.
            for stored in container.blocks(file):
                ended = stored.count == 0
                if not ended and seen + stored.count > done:
                    part.truncate(seen * row)
                    own = bits_back.decode(net, header.fineness, stored.block, stored.count)
                    part.write(values.stored(model, net.kinds, own).tobytes())
                    part.flush()
                seen += stored.count
                bar.update(stored.count)
    if not ended:
        raise UserError(f"--input={name} is damaged or torn after example {seen}; what is before it is in {part_file}")
    if output.endswith(".npz"):
        _as_npz(part_file, output, (seen, *model.event), dtype)
    else:
        rows = np.fromfile(part_file, dtype).reshape(seen, *model.event)
        writer(output, model)({"x": decode(rows, model.data.words) if net.kinds.is_text else rows})
    part_file.unlink()
    print(f"{seen:,} examples, each block back at the bits that it began with: {output}")


def _make_room(output: str) -> None:
    Path(output).parent.mkdir(parents=True, exist_ok=True)


def _as_npz(part: Path, output: str, shape, dtype) -> None:
    temporary = Path(f"{output}.tmp")
    with zipfile.ZipFile(temporary, "w") as archive, archive.open("x.npy", "w", force_zip64=True) as member:
        head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(member, head)
        with open(part, "rb") as rows:
            while content := rows.read(2**22):
                member.write(content)
    os.replace(temporary, output)


def _sizes(size: int, before: int, count: int, symbols: int, nats: float, others: dict[str, int]) -> dict[str, Any]:
    bits, elbo_bits = 8 * size, nats / math.log(2)
    return {
        "examples": count,
        "bytes": size,
        "bits_per_dim": bits / symbols,
        "initial_bits": 32 * before,
        "elbo_bits_per_dim": elbo_bits / symbols,
        "overhead": (bits - 32 * before) / elbo_bits - 1,
        "others": others,
    }


def _in_words(sizes: dict[str, Any], output: str, unit: str) -> list[str]:
    others = ", ".join(f"{name} {size:,}" for name, size in sizes["others"].items())
    return [
        f"{sizes['examples']:,} examples in {sizes['bytes']:,} bytes, {sizes['bits_per_dim']:.4f} bits a {unit}: "
        f"{output}",
        f"the negative ELBO is {sizes['elbo_bits_per_dim']:.4f}; the file has {100 * sizes['overhead']:.2f}% more, "
        f"after {sizes['initial_bits']:,} initial bits",
        f"others, bytes: {others}",
    ]
