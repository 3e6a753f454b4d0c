"""What is known beside x: labels and covariates as a vector c of each example, and columns of a table that become one.

c is described by a ``Table`` of its columns: of classes each a vector of zeros and one 1, of numbers each
(value - shift) / scale, of mean 0 and standard deviation 1 over the training split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.data.dataset import Dataset
from vae_jax.data.units import Table
from vae_jax.types import UserError, one_line

SPLITS = ("train", "validation", "test")
LABEL = "label"
MOST_CLASSES = 1000  # of a label without names
ROWS = 10  # of samples, at most
FEW = 10  # whole numbers from 0 on, as many at most, are classes


def width(condition: Table | None) -> int:
    """Returns how many numbers c has, m; 0 where there is no condition."""
    return 0 if condition is None else sum(len(levels) or 1 for levels in condition.levels)


def encoded(condition: Table, values: np.ndarray) -> np.ndarray:
    """Returns c ``[n, m]`` float32 of values ``[n, f]`` in their own units, codes of classes among them."""
    parts = []
    for i, levels in enumerate(condition.levels):
        column = np.asarray(values[:, i], np.float64)
        if levels:
            parts.append(np.arange(len(levels)) == np.rint(column).astype(int)[:, None])
        else:
            parts.append(((column - condition.shift[i]) / condition.scale[i])[:, None])
    return np.concatenate(parts, axis=1).astype(np.float32)


def with_condition(dataset: Dataset, text: str | None, known: Table | None = None) -> Dataset:
    """Returns the data with what ``--condition`` names beside x; columns of a table are then no longer of x.

    Args:
      dataset: the data.
      text: ``label``, or names of columns of a table or of factors, with commas between; None changes nothing.
      known: the condition of a run, whose classes and units are then taken.

    Raises:
      UserError: there is no such column or factor, a value of it is missing, or nothing is left of x.
    """
    if text is None or dataset.condition is not None:
        return dataset
    names = [name.strip() for name in text.split(",")]
    columns = [] if dataset.table is None else list(dataset.table.names)
    there = columns or list(dataset.factor_names)
    unknown = [name for name in names if name not in there]
    if unknown or len(set(names)) < len(names):
        what = "no labels and no columns with names" if not there else f"{', '.join(one_line(n, 40) for n in there)}"
        kind = "is a text, and has" if dataset.words else "has"
        raise UserError(f"--condition={one_line(text, 80)} must name, once, what {dataset.name} {kind}: {what}")
    places = [there.index(name) for name in names]
    splits = [split for split in SPLITS if getattr(dataset, split) is not None]
    if columns:
        values = {split: dataset.table.to_own(getattr(dataset, split))[:, places] for split in splits}
    else:
        values = {split: getattr(dataset, f"{split}_factors") for split in splits}
        lacking = [split for split, own in values.items() if own is None]
        if lacking:
            raise UserError(f"--condition={text}: {dataset.name} has no labels of its {lacking[0]} split")
        values = {split: np.asarray(own[:, places], np.float64) for split, own in values.items()}
    for split, own in values.items():
        for name, gone in zip(names, np.isnan(own).sum(axis=0)):
            if gone:
                raise UserError(
                    f"--condition={text}: {gone} values of {name} are missing in the {split} split of {dataset.name}, "
                    "and what is known has to be there; leave these rows out, or the column with --columns"
                )
    condition = known or _described(dataset, names, places, values)
    for name, levels, column in zip(names, condition.levels, np.concatenate(list(values.values())).T):
        if levels and not (0 <= column.min() and column.max() < len(levels)):
            raise UserError(
                f"--condition={text}: {dataset.name} has the value {column.max():g} of {name}, and {len(levels)} "
                "classes are known"
            )
    made = {f"{split}_c": encoded(condition, own) for split, own in values.items()}
    return _without(dataset, places if columns else [])._replace(**made, condition=condition)


def _described(dataset: Dataset, names: Sequence[str], places: Sequence[int], values: Mapping[str, Any]) -> Table:
    every = np.concatenate(list(values.values()))
    kinds, families, levels, shift, scale = [], [], [], [], []
    for i, (name, place) in enumerate(zip(names, places)):
        classes = _classes(dataset, name, place, every[:, i])
        train = np.zeros(1) if classes else values["train"][:, i]
        spread = float(train.std())
        kinds.append("categorical" if classes else "real")
        families.append(f"categorical({len(classes)})" if classes else "gaussian")
        if dataset.table is not None and dataset.table.names:  # as they are read again
            kinds[-1], families[-1] = dataset.table.kinds[place], dataset.table.families[place]
        levels.append(classes)
        shift.append(float(train.mean()))
        scale.append(spread if spread > 0 else 1.0)
    return Table(*map(tuple, (shift, scale, names, kinds, families, levels)), missing=(0,) * len(names))


def _classes(dataset: Dataset, name: str, place: int, values: np.ndarray) -> tuple[str, ...]:
    """Returns the names of the classes of a column or factor; () of a number."""
    if dataset.table is not None and dataset.table.names:
        return dataset.table.levels[place]
    if name == LABEL and dataset.class_names:
        return tuple(dataset.class_names)
    whole = bool((values == np.rint(values)).all()) and values.min() == 0
    if name == LABEL and (not whole or values.max() >= MOST_CLASSES):
        raise UserError(
            f"--condition=label: the labels of {dataset.name} go from {values.min():g} to {values.max():g}; give them "
            f"as whole numbers from 0 on, below {MOST_CLASSES}, or as strings"
        )
    if name == LABEL or (whole and values.max() < FEW):
        return tuple(str(i) for i in range(int(values.max()) + 1))
    return ()


def _without(dataset: Dataset, places: Sequence[int]) -> Dataset:
    if not places:
        return dataset
    kept = [i for i in range(dataset.event[0]) if i not in places]
    if not kept:
        raise UserError(f"--condition names all columns of {dataset.name}; leave out those that are to be modelled")
    table = dataset.table
    table = Table(*(tuple(part[i] for i in kept) if part else part for part in table))
    held = {split: getattr(dataset, split) for split in SPLITS if getattr(dataset, split) is not None}
    return dataset._replace(table=table, **{split: np.ascontiguousarray(x[:, kept]) for split, x in held.items()})


def without_condition(dataset: Dataset, read: Callable[[], Iterable]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Makes ``(rows, x[b, *event]) -> [b, f]``, what the linear regression of x on c leaves of training examples.

    Args:
      dataset: the data; without a condition x is returned as it is.
      read: makes the pairs of rows and x from which the regression is found.
    """
    if dataset.condition is None:
        return lambda rows, x: x

    def inputs(rows):
        return np.concatenate([np.ones((len(rows), 1)), dataset.train_c[rows]], axis=1)

    squares, products = 0.0, 0.0
    for rows, x in read():
        c = inputs(rows)
        squares, products = squares + c.T @ c, products + c.T @ x.reshape(len(x), -1).astype(np.float64)
    # The ones of a label add up to the constant: the least of all solutions.
    slope = np.linalg.pinv(squares, hermitian=True) @ products
    return lambda rows, x: (x.reshape(len(x), -1) - inputs(rows) @ slope).astype(x.dtype)


def rows_of_samples(dataset: Dataset) -> tuple[np.ndarray, list[str]] | None:
    """Returns the conditions that samples are shown of, ``[g, m]``, and what each is called; None where there is none.

    Of a label they are its classes; of anything else those of the first test examples.
    """
    condition = dataset.condition
    if condition is None:
        return None
    if len(condition.names) == 1 and condition.levels[0]:
        levels = condition.levels[0][:ROWS]
        return encoded(condition, np.arange(len(levels))[:, None]), list(levels)
    return dataset.test_c[:ROWS], [f"as {i}" for i in range(min(ROWS, len(dataset.test_c)))]


def joined(table: Table | None, condition: Table | None) -> Table | None:
    """Returns the table of a file: the columns of x, then those of the condition, where these are columns of it."""
    if table is None or condition is None or not table.names:
        return table
    return Table(*(mine + own for mine, own in zip(table, condition)))


def read(condition: Table | None, given: Any, count: int, what: str, own: Any = None) -> np.ndarray | None:
    """Reads a condition as somebody hands it in: c ``[count, m]``; None where there is none and none is known.

    Args:
      condition: what c is made of.
      given: of one column its value, a class by name or by number, or ``count`` of them; of several columns a dict of
        those by name, or rows ``[count, f]`` (or one row); None.
      count: of the examples or codes.
      what: the method, for messages.
      own: c where it is known already, which is taken where nothing is given.

    Raises:
      UserError: there is a condition and nothing was given, or the other way; or it is none of its values.
    """
    if condition is None:
        if given is not None:
            raise UserError(f"{what}: this model was trained without --condition, and knows no c")
        return None
    names = ", ".join(condition.names)
    if given is None and own is not None:
        return np.atleast_2d(own)
    if given is None:
        raise UserError(f"{what}: this model knows {names} beside each example: give c, {_example(condition)}")
    if isinstance(given, Mapping):
        lacking = [name for name in condition.names if name not in given]
        if lacking:
            raise UserError(f"{what}: c has no {lacking[0]}; this model knows {names}")
        columns = [given[name] for name in condition.names]
    elif len(condition.names) == 1:
        columns = [given]
    else:
        rows = np.asarray(given, object)
        rows = rows[None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or rows.shape[1] != len(condition.names):
            raise UserError(f"{what}: c has shape {np.shape(given)}; this model knows {names}")
        columns = list(rows.T)
    values = np.empty((count, len(columns)))
    for i, (name, column) in enumerate(zip(condition.names, columns)):
        column = np.ravel(np.asarray(column, object))
        if len(column) not in (1, count):
            raise UserError(f"{what}: {len(column)} values of {name} for {count} examples; give one, or one for each")
        values[:, i] = [_number(condition, i, value, what) for value in column]
    return encoded(condition, values)


def _number(condition: Table, i: int, value: Any, what: str) -> float:
    name, levels = condition.names[i], condition.levels[i]
    if isinstance(value, str) and value in levels:
        return levels.index(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number) or (levels and not (number == int(number) and 0 <= number < len(levels))):
        known = f"one of {', '.join(levels[:20])}, or its number from 0 on" if levels else "a number"
        raise UserError(f"{what}: {name} is {value!r}, expected {known}")
    return number


def _example(condition: Table) -> str:
    shown = [repr(levels[0]) if levels else "1.5" for levels in condition.levels]
    pairs = ", ".join(f"{name!r}: {value}" for name, value in zip(condition.names, shown))
    return f"such as c={shown[0]}" if len(shown) == 1 else f"such as c={{{pairs}}}"


def parsed(condition: Table | None, text: str | None) -> Any:
    """Reads a condition as typed, ``7``, or ``age=40,sex=female``: what ``read`` takes; None for None.

    Raises:
      UserError: a part is no NAME=VALUE.
    """
    if text is None or condition is None or (len(condition.names) == 1 and "=" not in text):
        return text
    parts = dict(part.partition("=")[::2] for part in text.split(","))
    return {name.strip(): value.strip() for name, value in parts.items()}
