"""What statistical claims share: data that may not be there, sweeps that are read when they are done, spreads."""

from __future__ import annotations

import functools
import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.runtime.files import read_rows, write_json
from vae_jax.types import UserError

from ..papers.dsprites import write_npz
from .ledger import Settings, Skipped

Rows = list[dict[str, Any]]
SEEDS = "0,1,2"


@functools.cache
def _trouble(dataset: str, data_dir: str | None) -> str | None:
    from vae_jax import data

    try:
        data.load(dataset, data.Reading(data_dir))
    except UserError as error:
        return str(error)
    return None


def need(dataset: str, settings: Settings) -> str:
    """``dataset``, which is there.

    Raises:
      Skipped: it is not, and why.
    """
    trouble = _trouble(dataset, settings.data_dir)
    if trouble is not None:
        raise Skipped(trouble)
    return dataset


def original(path: str) -> Path:
    """A file of the folder that VAE_JAX_RAW_DIR names.

    Raises:
      Skipped: it is not there.
    """
    folder = os.environ.get("VAE_JAX_RAW_DIR")
    if not folder:
        raise Skipped(f"VAE_JAX_RAW_DIR is not set: it would name the folder that holds {path}")
    found = Path(folder) / path
    if not found.is_file():
        raise Skipped(f"VAE_JAX_RAW_DIR does not hold {path}")
    return found


def fixed_binarised_mnist(settings: Settings) -> str:
    """The fixed binarisation of MNIST: prepared by TFDS, or its original bits, written as FILE.npz.

    Raises:
      Skipped: neither is there.
    """
    if _trouble("binarized_mnist", settings.data_dir) is None:
        return "binarized_mnist"
    bits = original("binarized_mnist/binarized_mnist_bits.npz")
    target = settings.folder / "data" / "fixed_binarised_mnist.npz"
    if not target.exists():
        with np.load(bits, allow_pickle=False) as packed:
            splits = {k: 255 * np.unpackbits(packed[k], axis=1)[:, :784].reshape(-1, 28, 28) for k in ("train", "test")}
        write_npz(target, **splits)
    return str(target)


def kept(settings: Settings, family: str, flags: Mapping[str, Any], make: Callable[[Path], Rows]) -> Rows:
    """The rows of a family's runs with these flags: read where they were made before, else made.

    Args:
      settings: whose folder holds the family's, which is named by its flags.
      family: a name for the folder.
      flags: all that the rows depend on.
      make: trains in the folder that it is given, from wherever it stopped.
    """
    flags = {key: flags[key] for key in sorted(flags)} | {"full": settings.full}
    root = settings.folder / f"{family}_{zlib.crc32(repr(flags).encode()):08x}"
    done = root / "rows.json"
    if not done.exists():
        rows = make(root)
        write_json(done, rows)
    return json.loads(done.read_text())


def sweep_rows(settings: Settings, family: str, flags: Mapping[str, Any]) -> Rows:
    """The finished runs of a sweep with these flags of ``experiments.sweep``, a row each."""
    from .. import sweep
    from ..papers.arms import AS_PUBLISHED, for_sweep

    def make(root: Path) -> Rows:
        given = for_sweep(AS_PUBLISHED | dict(flags))
        sweep.main(sweep.Config(workdir=str(root / "sweep"), data_dir=settings.data_dir, **given))
        return [row for row in read_rows(root / "sweep" / "sweep.jsonl") if row["status"] == "done"]

    return kept(settings, family, flags, make)


def of(rows: Rows, value: str, **where: Any) -> np.ndarray:
    """``value`` of the rows where all of ``where`` holds, in the order of the seeds, ``[r]``."""
    chosen = [row for row in rows if all(row[key] == wanted for key, wanted in where.items())]
    found = [row[value] for row in sorted(chosen, key=lambda row: row["seed"])]
    return np.array([np.nan if v is None else v for v in found], np.float64)


def spread_of(values: Sequence[float] | np.ndarray) -> float | None:
    """The sample standard deviation; None of a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def shown(values: Sequence[float] | np.ndarray) -> str:
    """``mean ± standard deviation`` in words for a line."""
    std = spread_of(values)
    return f"{np.mean(values):.4g}" + ("" if std is None else f" ± {std:.2g}")
