"""Rows for ``encode`` and ``sample`` from files of text and tables; and what a source of examples is."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from vae_jax.data.conditions import encoded, joined
from vae_jax.data.image_files import LeftOut
from vae_jax.data.table import in_rows
from vae_jax.data.table_files import read_frame
from vae_jax.trained.model import TrainedVAE
from vae_jax.types import Given, UserError


class Part(NamedTuple):
    """Some examples: what ``TrainedVAE.encode`` takes, a name or number of each, labels ``[n, k]``, and of how many
    examples of the input they are what is left, where some are left out."""

    examples: Any
    ids: list[Any]
    labels: np.ndarray | None = None
    seen: int | None = None


class Source(NamedTuple):
    """Examples to be read.

    Attributes:
      identity: what tells it from another one, or from itself before it was changed.
      count: how many examples there are, at most: a broken image is left out.
      parts: ``(first, size) -> Part``s of at most ``size`` examples, always cut in the same way; those that begin
        before example ``first`` are left out.
      label_names: of the labels; none where there are none.
      left_out: what is in a folder and cannot be used: why -> names; filled while it is read.
      class_names: of the values 0, 1, ... of the label that is called ``label``, where they have some.
      notes: what a person should know of the labels, a sentence each.
    """

    identity: str
    count: int
    parts: Callable[[int, int], Iterator[Part]]
    label_names: tuple[str, ...] = ()
    left_out: LeftOut | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def identity(path: str) -> str:
    """Returns what tells a file from another one, or from itself before it was changed."""
    status = os.stat(path)
    return f"{os.path.abspath(path)} {status.st_size} {status.st_mtime_ns}"


def table(model: TrainedVAE, path: str) -> Source:
    """Opens a file with the columns of the model's table, found by their names."""
    own, condition = model.data.table, model.data.condition
    rows, notes = in_rows(f"--input={path}", read_frame(path), joined(own, condition))
    if condition is not None:
        width = len(own.names)
        rows = Given(rows[:, :width], encoded(condition, rows[:, width:]))

    def parts(first, size):
        for start in range(first, len(rows), size):
            some = rows[start : start + size]
            yield Part(some, [*range(start, start + len(some))])

    return Source(identity(path), len(rows), parts, notes=tuple(notes))


def csv_file(model: TrainedVAE, path: str) -> Source:
    """Opens a csv file of numbers, whose columns are those of an array, from the left."""
    names, width = model.data.column_names, model.event[0]
    with opened(path) as file:
        head = next(csv.reader(file), [])
        header = not all(map(_is_number, head))
        count = sum(1 for row in csv.reader(file) if row) + (not header)
    if len(model.event) != 1 or (names and header and set(names) - set(head)) or len(head) < width:
        raise UserError(
            f"--input={path} has {len(head)} columns, and the model takes {model.data.name}: {names or width}"
        )
    if len(head) > width and not (names and header):
        raise UserError(f"--input={path} has {len(head)} columns, and the model takes {width}")
    taken = [head.index(name) for name in names] if names and header else range(width)

    def parts(first, size):
        with opened(path) as file:
            rows = (row for row in csv.reader(file) if row)
            if header:
                next(rows)
            for start, some in in_parts(rows, first, size):
                values = [[_number(path, start + i, row, column) for column in taken] for i, row in enumerate(some)]
                yield Part(np.asarray(values, np.float64), [*range(start, start + len(some))])

    return Source(identity(path), count, parts)


def in_parts(items: Iterator, first: int, size: int) -> Iterator[tuple[int, list]]:
    """Cuts items into lists of ``size``, each with the index of its first; those before ``first`` are left out."""
    start = 0
    while some := list(itertools.islice(items, size)):
        if start >= first:
            yield start, some
        start += len(some)


def opened(path: str):
    """Opens a file of text; what is no UTF-8 in it is replaced."""
    return open(path, encoding="utf-8-sig", errors="replace", newline="")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(path: str, row: int, cells: list[str], column: int) -> float:
    try:
        return float(cells[column])
    except (ValueError, IndexError):
        what = repr(cells[column]) if column < len(cells) else "nothing"
        raise UserError(f"--input={path}: row {row} holds {what} in column {column}, expected a number") from None
