"""The columns of a csv, tsv or Parquet file, as numbers or as text; what they mean is asked elsewhere."""

from __future__ import annotations

import csv
import gzip
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.types import UserError, one_line

SUFFIXES = (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz")
MISSING = ("", "na", "n/a", "nan", "null", "?")  # in any letter case
DELIMITERS = ("\t", ";", ",", "|")
ROWS = 10_000  # of text that are held together
LOOKED_AT = 20  # records, to find the delimiter


class Text(NamedTuple):
    """A column of text: ``codes [n]`` of its ``levels``, -1 where it is missing; ``dates`` where they are none but."""

    codes: np.ndarray
    levels: tuple[str, ...]
    dates: bool = False


def text_of(values: np.ndarray) -> Text:
    """Returns an array of names as a column; None, NaN and what reads as ``MISSING`` is missing."""
    known: dict[str, int] = {}
    cells = ["" if value is None or value != value else str(value).strip() for value in values]
    codes = [-1 if cell.lower() in MISSING else known.setdefault(cell, len(known)) for cell in cells]
    return Text(np.array(codes, np.int32), tuple(known))


Column = np.ndarray | Text  # float64 [n], NaN where it is missing


class Frame(NamedTuple):
    """A file: the names of its columns, the columns, and what is to be said of them."""

    names: tuple[str, ...]
    columns: list[Column]
    notes: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """How many rows there are."""
        first = self.columns[0]
        return len(first.codes if isinstance(first, Text) else first)


def ending(path: str) -> str | None:
    """Returns which of ``SUFFIXES`` a path ends in; None for another one."""
    return next((suffix for suffix in SUFFIXES if path.lower().endswith(suffix)), None)


def read_frame(path: str) -> Frame:
    """Reads a file of columns. A missing value is an empty cell or one of ``MISSING``.

    Of a csv file the delimiter, a comma in the place of the decimal point, and whether its first row is of names are
    found from its content. Text is read in parts of ``ROWS`` rows: what is held are numbers, and of text its codes.

    Raises:
      UserError: no such file, no rows, rows of several lengths, two columns of a name, an infinite number; with the
        line. Parquet without pyarrow.
    """
    if not os.path.isfile(path):
        raise UserError(f"{path}: there is no such file")
    frame = _parquet(path) if path.lower().endswith(".parquet") else _csv(path)
    names, twice = set(), None
    for name in frame.names:
        twice = twice or (name if name in names else None)
        names.add(name)
    if twice is not None:
        raise UserError(f"{path}: two columns are called {one_line(twice, 60)}; give each a name of its own")
    if not frame.names or frame.length == 0:
        raise UserError(f"{path}: there are no rows below the names of the columns")
    return frame


def _csv(path: str) -> Frame:
    try:
        return _read_csv(path, "utf-8-sig")
    except UnicodeDecodeError:
        frame = _read_csv(path, "cp1252")
        return frame._replace(notes=(*frame.notes, f"{os.path.basename(path)} is no UTF-8: it was read as cp1252"))
    except (csv.Error, OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as a table ({error})") from None


def _opened(path: str, encoding: str):
    opened = gzip.open if path.lower().endswith(".gz") else open
    # What cp1252 has no character for is of no use to anybody, and no reason to stop.
    return opened(path, "rt", encoding=encoding, errors="strict" if encoding != "cp1252" else "replace", newline="")


def _read_csv(path: str, encoding: str) -> Frame:
    with _opened(path, encoding) as file:
        delimiter = _delimiter(path, file)
        head = next(iter(csv.reader(_rewound(file), delimiter=delimiter)), [])
    names, has_names = _names(head, delimiter)
    columns = len(names)
    numbers: list[list[np.ndarray] | None] = [[] for _ in names]
    for lines, rows in _parts(path, encoding, delimiter, columns, has_names):
        for i, cells in enumerate(zip(*rows)):
            if numbers[i] is None:
                continue
            values = _as_numbers(cells, delimiter)
            if values is None:
                numbers[i] = None
                continue
            if np.isinf(values).any():
                row = int(np.flatnonzero(np.isinf(values))[0])
                raise UserError(
                    f"{path}: line {lines[row]} holds {one_line(cells[row], 40)} in column {one_line(names[i], 60)}, "
                    "which is no finite number; write a number, or leave it empty"
                )
            numbers[i].append(values)
    text = [i for i, parts in enumerate(numbers) if parts is None]
    coded = _as_text(_parts(path, encoding, delimiter, columns, has_names), text) if text else {}
    made = [coded[i] if parts is None else np.concatenate([np.zeros(0), *parts]) for i, parts in enumerate(numbers)]
    notes = () if has_names else (f"{os.path.basename(path)} has no names of columns: they are numbered from 0",)
    return Frame(names, made, notes)


def _rewound(file):
    file.seek(0)
    return (line for line in file if line.strip())


def _delimiter(path: str, file) -> str:
    """Returns the first delimiter by which the first records have one length, above 1; a comma if there is none."""
    if path.lower().endswith((".tsv", ".tsv.gz")):
        return "\t"
    for delimiter in DELIMITERS:
        records = list(itertools.islice(csv.reader(_rewound(file), delimiter=delimiter), LOOKED_AT))
        if len({len(record) for record in records}) == 1 and len(records[0]) > 1:
            return delimiter
    # Rows of several lengths: what the first one has most of, so that the message is of the right cells.
    line = next(_rewound(file), "")
    return max(DELIMITERS, key=lambda d: (line.count(d), d == ","))


def _names(head: Sequence[str], delimiter: str) -> tuple[tuple[str, ...], bool]:
    """Returns the names of columns, and whether the first row holds them: it does unless a cell of it is a number."""
    cells = [cell.strip() for cell in head]
    named = [cell for cell in cells if cell.lower() not in MISSING]
    if named and all(_as_numbers([cell], delimiter) is None for cell in named):
        return tuple(cell or f"column_{i}" for i, cell in enumerate(cells)), True
    return tuple(f"column_{i}" for i in range(len(cells))), False


def _parts(path: str, encoding: str, delimiter: str, columns: int, has_names: bool) -> Iterator[tuple[list, list]]:
    """Yields parts of the rows: the numbers of their lines, and their cells."""
    with _opened(path, encoding) as file:
        reader = csv.reader(file, delimiter=delimiter)
        lines, rows, skip = [], [], has_names
        for row in reader:
            if not row or (len(row) == 1 and not row[0].strip()):
                if columns > 1 or not row:
                    continue  # a blank line; of a single column a quoted blank is a missing value
            if skip:
                skip = False
                continue
            if len(row) != columns:
                raise UserError(
                    f"{path}: line {reader.line_num} has {len(row)} cells, and the first one has {columns}; quote "
                    "cells that hold the delimiter"
                )
            lines.append(reader.line_num)
            rows.append(row)
            if len(rows) == ROWS:
                yield lines, rows
                lines, rows = [], []
        if rows:
            yield lines, rows


def _as_numbers(cells: Sequence[str], delimiter: str) -> np.ndarray | None:
    """Returns cells as float64, NaN where they are missing; None where one is neither."""
    try:
        return np.array(cells, dtype=np.float64)
    except ValueError:
        pass
    cells = ["nan" if cell.strip().lower() in MISSING else cell for cell in cells]
    try:
        return np.array(cells, dtype=np.float64)
    except ValueError:
        pass
    if delimiter == "," or not any("," in cell for cell in cells) or any("." in cell for cell in cells):
        return None
    try:
        return np.array([cell.replace(",", ".") for cell in cells], dtype=np.float64)
    except ValueError:
        return None


def _as_text(parts: Iterator[tuple[list, list]], chosen: Sequence[int]) -> dict[int, Text]:
    """Returns the chosen columns as text."""
    codes: dict[int, list[np.ndarray]] = {i: [] for i in chosen}
    known: dict[int, dict[str, int]] = {i: {} for i in chosen}
    for _, rows in parts:
        for i in chosen:
            levels, cells = known[i], (row[i].strip() for row in rows)
            part = [-1 if cell.lower() in MISSING else levels.setdefault(cell, len(levels)) for cell in cells]
            codes[i].append(np.array(part, np.int32))
    return {i: Text(np.concatenate(codes[i]), tuple(known[i])) for i in chosen}


def _parquet(path: str) -> Frame:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(f"{path}: Parquet needs pyarrow: pip install pyarrow; or write the table as csv") from None
    try:
        table = pq.read_table(path)
    except Exception as error:  # of a damaged file: errors of many kinds
        raise UserError(f"{path}: cannot be read as Parquet ({one_line(str(error), 200)})") from None
    names, columns, notes = [], [], []
    for name, column in zip(table.column_names, table.columns):
        kind = column.type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_nested(kind) or pa.types.is_binary(kind):
            notes.append(f"column {name} is left out: it holds {kind}")
            continue
        names.append(name)
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            values = column.cast(pa.float64()).to_numpy()
            if np.isinf(values).any():
                raise UserError(f"{path}: column {name} holds an infinite number; write a number, or null")
            columns.append(np.asarray(values, np.float64))
            continue
        dates = not (pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))
        coded = column.cast(pa.string()).combine_chunks().dictionary_encode()
        coded = coded.combine_chunks() if hasattr(coded, "combine_chunks") else coded
        indices = np.asarray(coded.indices.fill_null(-1), np.int32)
        levels = coded.dictionary.to_pylist()
        gone = [i for i, level in enumerate(levels) if level.strip().lower() in MISSING]
        columns.append(Text(np.where(np.isin(indices, gone), -1, indices), tuple(levels), dates))
    return Frame(tuple(names), columns, tuple(notes))
