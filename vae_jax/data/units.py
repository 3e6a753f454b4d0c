"""The units of data: what brings the columns of rows to a common scale, and back to their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_jax.data.dataset import Dataset, lost_in_float32, validate
from vae_jax.data.reading import Reading
from vae_jax.data.rows import Rows
from vae_jax.types import UserError

# Families that a change of units of the data carries into themselves: of an affine one, and of a factor.
AFFINE = ("gaussian", "student_t", "laplace", "huber", "charbonnier")
FACTOR = ("log_normal",)
BLOCK = 2**22  # values brought to other units together


class Table(NamedTuple):
    """How the columns of rows, or all values of float images together, are read: own value = scale * x + shift.

    Attributes:
      shift, scale: of each column, ``[f]``, float64; of images one number each, ``[1]``.
      names: of the columns of a file; () of arrays, whose columns have none.
      kinds: of the columns of a file, ``column_kinds.KINDS``.
      families: of the columns of a file, each as in ``--columns``.
      levels: of each categorical or binary column of a file the names of its codes 0, 1, ...; () of any other one.
      missing: how many training values each column of a file misses.
    """

    shift: tuple[float, ...]
    scale: tuple[float, ...]
    names: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    levels: tuple[tuple[str, ...], ...] = ()
    missing: tuple[int, ...] = ()

    @property
    def is_scaled(self) -> bool:
        """Whether x is in other units than the data's own."""
        return any(self.shift) or any(scale != 1 for scale in self.scale)

    def to_x(self, values: Any) -> np.ndarray:
        """Brings values ``[..., f]`` in their own units to what a model sees, float32; the work is in float64."""
        values = np.asarray(values)
        if not self.is_scaled:
            return values.astype(np.float32)
        x = np.empty(values.shape, np.float32)
        with np.errstate(over="ignore"):  # what is too far out is infinite
            for part in _blocks(values):
                x[part] = (values[part].astype(np.float64) - np.asarray(self.shift)) / np.asarray(self.scale)
        return x

    def to_own(self, x: Any) -> np.ndarray:
        """Brings x ``[..., f]`` to the data's own units, float64, in which an offset of 1e7 leaves room for digits."""
        return np.asarray(x, np.float64) * np.asarray(self.scale) + np.asarray(self.shift)

    def columns(self, rows: np.ndarray) -> dict[Any, np.ndarray]:
        """Returns rows ``[n, f]`` in their own units as columns by name (else number), of classes the names of codes.

        A code between two is the nearest one, as E[x|z] of two classes is; of what is missing the name is None.
        """
        named = self.names or tuple(range(rows.shape[1]))
        levels = self.levels or ((),) * len(named)
        return {name: _by_name(rows[:, i], levels[i]) for i, name in enumerate(named)}


def _by_name(column: np.ndarray, levels: Sequence[str]) -> np.ndarray:
    if not levels:
        return column
    codes = np.clip(np.rint(np.nan_to_num(column)), 0, len(levels) - 1).astype(int)
    names = np.array(levels, dtype=object)[codes]
    names[np.isnan(column)] = None
    return names


def from_json(value: Any) -> Table | None:
    """Returns the table that ``_asdict()`` wrote as JSON.

    Raises:
      ValueError: it is none.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping) or set(value) != set(Table._fields):
        raise ValueError("the table has other fields")
    table = Table(**{name: _frozen(part) for name, part in value.items()})
    shift, scale = (np.asarray(part, np.float64) for part in (table.shift, table.scale))
    if shift.shape != scale.shape or shift.ndim != 1 or not np.isfinite(shift).all() or not (scale > 0).all():
        raise ValueError("shift and scale are no units")
    named = (table.names, table.kinds, table.families, table.levels, table.missing)
    if table.names and {len(part) for part in named} != {len(shift)}:
        raise ValueError("its columns are not as many as their units")
    return table


def _frozen(value):
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _blocks(x: np.ndarray) -> Iterator[slice]:
    step = max(1, BLOCK // max(1, x[:1].size))
    return (slice(start, start + step) for start in range(0, len(x), step))


def in_units(dataset: Dataset, reading: Reading) -> Dataset:
    """Brings the float data of a data set to the units in which a model learns them, float32.

    With ``--standardise=auto`` and a Gaussian, Student's t or Laplace distribution the columns of rows ``[n, f]`` come
    to mean 0 and standard deviation 1 of the training split; those of a log-normal are divided by their geometric
    mean. Images of floats, whose values share one scale and lie outside of [0, 1], are brought there by the range of
    the training split. All else stays as it is.

    Args:
      dataset: as a file holds it, floats in any precision.
      reading: with the ``table`` of a run, whose units are then taken, in place of those of the data.
    """
    splits = ("train", "validation", "test")
    held = {name: getattr(dataset, name) for name in splits if getattr(dataset, name) is not None}
    if dataset.levels is not None or any(isinstance(x, Rows) for x in held.values()):
        return dataset
    table = _known(dataset, reading.table) if reading.table is not None else _fitted(dataset, reading)
    if table is None or not table.is_scaled:
        notes = (*dataset.notes, *lost_in_float32(dataset.train))
        with np.errstate(over="ignore"):
            held = {name: x.astype(np.float32, copy=False) for name, x in held.items()}
        return validate(dataset._replace(**held, notes=notes, table=table if dataset.table else None))
    return validate(dataset._replace(**{name: table.to_x(x) for name, x in held.items()}, table=table))


def _known(dataset: Dataset, table: Table) -> Table:
    if dataset.event[-1] != len(table.scale) and len(table.scale) > 1:
        raise UserError(
            f"{dataset.name} holds rows of {dataset.event[-1]} columns, and the run was trained on {len(table.scale)}"
        )
    return table


def _fitted(dataset: Dataset, reading: Reading) -> Table | None:
    """Returns the units of the training split; None where they stay as they are and no file names the columns."""
    own = dataset.table
    if reading.standardise != "auto" or reading.pixels != "grey":
        return own
    if len(dataset.event) != 1:
        return _range(dataset.train) if reading.likelihood in AFFINE else own
    families = own.families if own is not None else _families(reading, dataset.event[0])
    if not set(families) & {*AFFINE, *FACTOR}:
        return own
    moments = [_moments(column, family) for column, family in zip(dataset.train.T, families)]
    shift, scale = zip(*moments)
    # A pixel that is constant in training may not be so elsewhere: its unit is the root mean square of the others'.
    spreads = [spread for (_, spread), family in zip(moments, families) if family in AFFINE and spread]
    largest = max(spreads, default=1.0)
    common = largest * float(np.sqrt(np.mean(np.square(np.array(spreads) / largest)))) if spreads else 1.0
    scale = tuple(spread or (common if 0 < common < np.inf else 1.0) for spread in scale)
    return (own or Table(shift, scale))._replace(shift=shift, scale=scale)


def _families(reading: Reading, count: int) -> Sequence[str]:
    if reading.columns is None:
        return [reading.likelihood] * count
    from vae_jax.data.column_words import positional

    blocks = positional(reading.columns)
    return [family for family, _, width in blocks for _ in range(width)] if blocks else [""] * count


def _moments(column: np.ndarray, family: str) -> tuple[float, float]:
    """Returns shift and scale of one column of training values; 0 and 1 for a family that has no use for them.

    The scale of a constant column is 0.
    """
    values = column[~np.isnan(column)].astype(np.float64)
    values = values[np.isfinite(values)]
    if not len(values) or family not in (*AFFINE, *FACTOR):
        return 0.0, 1.0
    if family in FACTOR:
        with np.errstate(divide="ignore"):  # what is not above 0 is refused in words, later
            centre = float(np.exp(np.mean(np.log(values)))) if (values > 0).all() else 1.0
        return 0.0, centre if centre > 0 else 1.0
    # From one of the values on, or an offset of 1e7 would take its digits; as shares, whose squares do not overflow.
    first = values[0]
    away = values / 2 - first / 2
    largest = np.abs(away).max()
    if largest == 0:
        return float(first), 0.0
    share = away / largest
    std = 2 * float(share.std() * largest)
    return float(first + 2 * largest * share.mean()), std if 0 < std < np.inf else 1.0


def _range(x: np.ndarray) -> Table | None:
    low, high = (float(end(x)) for end in (np.nanmin, np.nanmax))
    inside = 0 <= low and high <= 1
    return None if inside or not 0 < high - low < np.inf else Table((low,), (high - low,))
