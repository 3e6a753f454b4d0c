"""Files in the layout of dSprites, as ``train`` reads them."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from vae_jax.data.rows import held_out

FACTORS = ("color", "shape", "scale", "orientation", "x", "y")  # latents_classes; a sub-grid may lack the first
WHOLE = 737_280  # images of the whole of dSprites; what has fewer is a sub-grid, and is called so


def as_train_reads_it(path: str, workdir: Path) -> str:
    """Writes a file in the layout of dSprites once more below ``workdir``, in the layout that ``train`` reads.

    Returns:
      The path of that file, whose name says what it is: ``dsprites_sub-grid_46080.npz``; ``path`` itself where it has
      another layout.
    """
    if not zipfile.is_zipfile(path):  # missing or damaged: reading it as ``train`` does says what is wrong
        return path
    folder = workdir / f"data_{zlib.crc32(Path(path).read_bytes()):08x}"
    with np.load(path, allow_pickle=False) as arrays:
        if not {"imgs", "latents_classes"} <= set(arrays.files):
            return path
        count = len(arrays["latents_classes"])
        target = folder / ("dsprites.npz" if count == WHOLE else f"dsprites_sub-grid_{count}.npz")
        if target.exists():
            return str(target)
        images, factors = arrays["imgs"], arrays["latents_classes"].astype(np.int32)
    kept, out = held_out(len(images), len(images) // 10)
    splits = {"train": images[kept], "test": images[out], "train_factors": factors[kept], "test_factors": factors[out]}
    return write_npz(target, **splits, factor_names=np.array(FACTORS[-factors.shape[1] :]))


def write_npz(target: Path, **arrays: np.ndarray) -> str:
    """Writes FILE.npz, whole or not at all, with the folders above it; returns its path."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"partial_{target.name}")
    np.savez_compressed(temporary, **arrays)
    temporary.replace(target)
    return str(target)
