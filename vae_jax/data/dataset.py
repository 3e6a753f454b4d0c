"""What every source of data returns: the arrays of its splits, and what their values mean."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vae_jax.data.rows import IDENTIFYING, Rows, sample
from vae_jax.types import Event, UserError, beside

if TYPE_CHECKING:
    from vae_jax.data.units import Table

CHANNELS = (1, 3, 4)
BLOCK = 2**24  # bytes examined together, where nothing of the size of a split may be made


class Dataset(NamedTuple):
    """Splits as raw arrays; ``pixels.preprocess`` turns one example of them into the x of a likelihood.

    Attributes:
      name: as asked for.
      train, test: ``[n, *event]``. uint8 images ``[n, h, w, c]`` of grey levels 0 to levels - 1 (or uint8
        rows ``[n, f]``), or float32 rows and arrays in the data's own units. Either may be ``Rows``, uint8 images
        that are read when they are asked for. A source that has no test split leaves it None, and ``data.load`` holds
        one out.
      levels: how many grey levels the uint8 values have: 2 for 0/1 images, 17 for digits, else 256. None for
        floats.
      train_factors, test_factors: ``[n, f]``, known factors of variation or labels; None where there are
        none.
      factor_names: ``f`` names.
      words: of a text the word of each token id, and ``levels`` their number; () for anything else.
      entropy: of a sentence with its end, nats, where it is known.
      notes: what a person should know of how this became arrays, a sentence each.
      validation: as ``train``: what training may look at besides it; None where there is none.
      validation_factors: as ``train_factors``.
      table: the columns of a file and the units of floats; None where the values are in their own.
      class_names: of the factor named ``label``, the names of its values 0, 1, ...; () where they have none.
      train_c, test_c, validation_c: what is known beside each example, ``[n, m]`` float32 (``data/conditions.py``);
        None where nothing is.
      condition: what that is made of.
    """

    name: str
    train: np.ndarray | Rows
    test: np.ndarray | Rows
    levels: int | None = None
    train_factors: np.ndarray | None = None
    test_factors: np.ndarray | None = None
    factor_names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    entropy: float | None = None
    notes: tuple[str, ...] = ()
    validation: np.ndarray | Rows | None = None
    validation_factors: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    table: Table | None = None
    train_c: np.ndarray | None = None
    test_c: np.ndarray | None = None
    validation_c: np.ndarray | None = None
    condition: Table | None = None

    def split(self, name: str) -> Any:
        """Returns a split as a model takes it: its examples, each with what is known beside it; None for none."""
        x = getattr(self, name)
        return None if x is None else beside(x, getattr(self, f"{name}_c"))

    @property
    def event(self) -> Event:
        """The shape of one example."""
        return tuple(self.train.shape[1:])

    @property
    def fingerprints(self) -> dict[str, int]:
        """The checksums by which a run knows its data again, wherever they are held.

        ``data`` is a crc32 of the training split's shape and of a few rows as grey levels, the same for an array and
        for ``Rows``. Of each split that is used, ``all ... data`` is one of all bytes in C order, where it is an array;
        ``all ... rows`` is that of ``Rows``, and ``all ... bytes`` that of the files that they are read from.
        """
        some = sample(self.train, IDENTIFYING)
        if some.dtype == np.uint8 and some.max() <= 1:
            some = some * 255  # black and white are 0 and 1 in an array, and may be 0 and 255 in Rows
        prints = {"data": zlib.crc32(np.ascontiguousarray(some), zlib.crc32(repr(tuple(self.train.shape)).encode()))}
        for name, split in (("", self.train), ("test ", self.test), ("validation ", self.validation)):
            if isinstance(split, Rows):
                prints |= {f"all {name}rows": split.fingerprint, f"all {name}bytes": split.sampled}
            elif split is not None:
                prints[f"all {name}data"] = 0
                for block in _blocks(split):
                    prints[f"all {name}data"] = zlib.crc32(np.ascontiguousarray(block), prints[f"all {name}data"])
        if self.condition is not None:
            prints["all conditions"] = zlib.crc32(np.ascontiguousarray(self.train_c))
        return prints


def _blocks(x: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, BLOCK // max(1, x.itemsize * math.prod(x.shape[1:])))
    return (x[start : start + step] for start in range(0, len(x), step))


def from_images(name: str, train, test, notes: Sequence[str] = (), validation=None) -> Dataset:
    """A valid data set of uint8 images ``[n, h, w, c]``, each split an array or ``Rows``; None but for train.

    Arrays go the way of ``from_arrays``. With ``Rows`` among them nobody has looked at all values, so there are 256
    levels, and ``notes`` says so.
    """
    lazy = [
        f"{split}: {len(x):,} images, {x.nbytes / 1e6:,.6g} MB once decoded, are read while they are used, and their "
        "values taken for 256 grey levels without a look at all of them"
        for split, x in (("train", train), ("validation", validation), ("test", test))
        if isinstance(x, Rows)
    ]
    if not lazy:
        return from_arrays(name, train, test, validation=validation)._replace(notes=tuple(notes))
    return validate(Dataset(name, train, test, 256, notes=(*notes, *lazy), validation=validation))


def from_arrays(
    name: str,
    train,
    test=None,
    train_factors=None,
    test_factors=None,
    factor_names=(),
    validation=None,
    validation_factors=None,
    class_names=(),
    exact: bool = False,
) -> Dataset:
    """Brings arrays of any numeric dtype into the form that ``Dataset`` promises, and validates the result.

    Bools and integers within 0..255 become uint8: 2 levels, 0 and 1, if no value of any split is above 1 or all are
    0 or 255; else 256.
    Floats become float32. ``[n, h, w]`` gets a channel axis. Factors ``[n]`` become ``[n, 1]``.

    Args:
      name: for messages.
      train, test, validation: ``[n, f]``, ``[n, h, w]`` or ``[n, ...]``; what is None ``data.load`` holds out of train.
      train_factors, test_factors, validation_factors: ``[n]`` or ``[n, f]``, numbers; optional.
      factor_names: ``f`` names; numbered where none are given.
      class_names: as in ``Dataset``.
      exact: keeps float64, for what brings it to other units in its own precision (``units.in_units``).

    Returns:
      A valid ``Dataset``.

    Raises:
      UserError: for arrays of other kinds, and for all that ``validate`` refuses.
    """
    lost = () if exact else lost_in_float32(train)
    given = {"train": train, "test": test, "validation": validation}
    parts = {split: _numbers(name, split, x, exact) for split, x in given.items() if x is not None}
    for split, x in parts.items():
        if x.dtype.kind != parts["train"].dtype.kind:
            kinds = ["0..255 integers" if x.dtype == np.uint8 else "floats" for x in (parts["train"], x)]
            raise UserError(f"{name}: train holds {kinds[0]} and {split} {kinds[1]}; give both in the same units")
    levels = None
    if parts["train"].dtype == np.uint8:
        # As PNG files store black and white.
        if all(bool(((b == 0) | (b == 255)).all()) for x in parts.values() for b in _blocks(x)):
            parts = {split: x // 255 for split, x in parts.items()}
        levels = 2 if max(x.max() for x in parts.values()) <= 1 else 256
    factors = {"train": train_factors, "test": test_factors, "validation": validation_factors}
    factors = {f"{split}_factors": _factors(f) for split, f in factors.items()}
    width = next((f.shape[1] for f in factors.values() if f is not None and f.ndim == 2), 0)
    names = tuple(factor_names) or tuple(f"factor_{i}" for i in range(width))
    more = {"factor_names": names, "class_names": tuple(class_names), "notes": lost}
    return validate(Dataset(name, **{"test": None} | parts, levels=levels, **factors, **more))


def _numbers(name, split, x, exact=False):
    x = np.asarray(x)
    if x.dtype.kind not in "buif":
        raise UserError(f"{name}: {split} has dtype {x.dtype}; it must hold numbers")
    if x.ndim < 2:
        raise UserError(f"{name}: {split} has shape {x.shape}; it must be images [n, h, w, c] or rows [n, f]")
    if x.size == 0:
        raise UserError(f"{name}: {split} has shape {x.shape}, so it holds no examples")
    if x.dtype.kind in "iu" and not (x.min() >= 0 and x.max() <= 255):
        raise UserError(
            f"{name}: {split} holds integers from {x.min()} to {x.max()}; integers must be grey levels "
            "0..255, store anything else as float32"
        )
    floats = np.float64 if exact and x.dtype.itemsize > 4 else np.float32
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is counted as such
        x = x.astype(floats if x.dtype.kind == "f" else np.uint8, copy=False)
    if x.ndim == 4 and x.shape[1] in CHANNELS and x.shape[3] not in CHANNELS:
        raise UserError(
            f"{name}: an example of {split} is {'x'.join(map(str, x.shape[1:]))}: channels first? --layout=chw reads "
            "them from a file; of arrays, numpy.moveaxis(x, 1, -1) makes them the last"
        )
    return x[..., None] if x.ndim == 3 else x


def channels_last(name: str, split: str, x: np.ndarray, layout: str) -> np.ndarray:
    """Returns ``x`` with the channels of images in the last axis, where ``layout`` is chw and not hwc.

    Raises:
      UserError: the first axis of an example has no number of channels.
    """
    if layout == "hwc" or x.ndim != 4:
        return x
    if x.shape[1] not in CHANNELS:
        raise UserError(
            f"{name}: --layout=chw, and an example of {split} is {'x'.join(map(str, x.shape[1:]))}, which does not "
            "begin with 1, 3 or 4 channels; leave --layout out"
        )
    return np.moveaxis(x, 1, -1)


def lost_in_float32(x) -> tuple[str, ...]:
    """A note on columns of float64 that vary by little more than the spacing of float32 where they lie."""
    x = np.asarray(x)
    if x.dtype.kind != "f" or x.itemsize < 8 or x.ndim < 2 or x.size == 0:
        return ()
    x = x.reshape(len(x), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        step = np.spacing(np.abs(x).max(axis=0).astype(np.float32)).astype(np.float64)
        std = x.std(axis=0, dtype=np.float64)
        lost = np.flatnonzero((std > 0) & (step > std / 1000))
    shown = ", ".join(f"{i} (steps of {step[i]:.2g}, standard deviation {std[i]:.2g})" for i in lost[:3])
    note = f"float32 is too coarse for {len(lost)} of {x.shape[1]} columns of train, counted from 0: {shown}"
    return (f"{note}; subtract an offset before they are saved",) if len(lost) else ()


def _factors(factors):
    if factors is None:
        return None
    factors = np.asarray(factors)
    return factors[:, None] if factors.ndim == 1 else factors


def validate(dataset: Dataset) -> Dataset:
    """Returns the data set itself, once it is known to be usable.

    Raises:
      UserError: an empty split, a dtype that is not uint8 or float, values above the last grey level, NaN or
        infinite values (how many, where), splits of different event shapes, factors that do not match the
        examples.
    """
    levels = dataset.levels
    for split in ("train", "test", "validation"):
        x, factors = getattr(dataset, split), getattr(dataset, f"{split}_factors")
        if x is None:
            continue
        what = f"{dataset.name}: {split}"
        if x.shape[1:] != dataset.event:
            raise UserError(
                f"{dataset.name}: one train example has shape {dataset.event} and one {split} example {x.shape[1:]}; "
                "they must be equal"
            )
        if x.dtype.kind != "f" and x.dtype != np.uint8:
            raise UserError(f"{what} has dtype {x.dtype}; it must be uint8 grey levels or floats")
        if x.size == 0:
            raise UserError(f"{what} has shape {x.shape}, so it holds no examples")
        if (x.dtype == np.uint8) != (levels is not None):
            raise UserError(f"{what} has dtype {x.dtype}, which does not go with levels={levels}")
        if isinstance(x, Rows) and levels != 256:
            raise UserError(f"{what} is read while it is used, so it has 256 levels and not {levels}")
        if levels is not None and levels < 256 and x.max() >= levels:
            raise UserError(f"{what} holds the value {x.max()}, above its {levels} grey levels")
        gaps = dataset.table is not None and bool(dataset.table.names)  # of a file, whose missing values are NaN
        if levels is None and not (~np.isinf(x) if gaps else np.isfinite(x)).all():
            nan, infinite = np.isnan(x).sum(), np.isinf(x).sum()
            raise UserError(f"{what} holds {nan} NaN and {infinite} infinite values among {x.size}; replace them")
        if factors is None:
            continue
        expected = (len(x), len(dataset.factor_names))
        if factors.shape != expected or factors.dtype.kind not in "buif":
            raise UserError(
                f"{what}_factors has dtype {factors.dtype} and shape {factors.shape}; it must hold numbers in shape "
                f"{expected} (examples, names of factors)"
            )
        if not np.isfinite(factors).all():
            raise UserError(f"{what}_factors holds NaN or infinite values")
    return dataset
