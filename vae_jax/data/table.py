"""Tables of columns with names, of FILE.csv, .tsv and .parquet: rows of numbers, and what each column is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence

import numpy as np

from vae_jax.data.column_kinds import DROP, OTHER, Kind, as_asked, as_numbers, infer, stray_text
from vae_jax.data.column_words import named, positional
from vae_jax.data.dataset import Dataset
from vae_jax.data.reading import Reading
from vae_jax.data.splits import WHOLE, by_split
from vae_jax.data.table_files import Column, Frame, Text, ending, read_frame
from vae_jax.data.units import AFFINE, Table
from vae_jax.types import UserError, one_line

# Of a table without splits a tenth of the rows is for validation, where nobody says how many: more of few rows, up to a
# fifth, as a small table is learned by heart in a thousand steps; none of so few that their mean says nothing.
TENTH, FIFTH, ENOUGH, MOST, LEAST_ROWS = 0.1, 0.2, 50, 10_000, 100
BATCH = 128  # examples, the default of --batch_size: as many are left for training, if a tenth can still be held out
NAMED = 20  # columns of a message


def is_table(path: str) -> bool:
    """Whether a path is that of a table, or of a folder with nothing in it but tables that are named as splits."""
    if not os.path.isdir(path):
        return ending(path) is not None
    files = [name for name in os.listdir(path) if not name.startswith(".")]
    return bool(_splits(path, files)) and all(ending(name) for name in files)


def _splits(path: str, files: Sequence[str]) -> dict[str, str]:
    """Returns ``split -> file`` of the tables in a folder."""
    stems = {name[: -len(ending(name))]: name for name in files if ending(name)}
    return {split: os.path.join(path, stems[stem]) for split, stem in by_split(path, stems).items()}


def read_table(path: str, reading: Reading) -> Dataset:
    """Reads a table, or a folder with train.csv, validation.csv and test.csv, whose columns match by their names.

    The kinds of the columns come from the training split, or from ``reading.columns``; where ``reading`` has the table
    of a run, from that. Of one file equal rows are on one side of each split.

    Returns:
      A ``Dataset`` of float64 rows ``[n, f]`` in their own units, codes of classes among them and NaN for what is
      missing, with its ``table``; ``units.in_units`` makes the rows that a model sees of it.

    Raises:
      UserError: all that ``read_frame`` refuses; a column that is not there; no column, or no rows to hold out.
    """
    if os.path.isdir(path):
        frames = {split: read_frame(file) for split, file in _splits(path, os.listdir(path)).items()}
        notes = []
    else:
        frames, notes = _cut(path, read_frame(path), reading)
    first = "train" if "train" in frames else next(iter(frames))
    if first != "train" and reading.table is None:
        raise UserError(f"{path}: there is {first}, and no train; training needs one")
    notes += [note for frame in {id(frame.notes): frame for frame in frames.values()}.values() for note in frame.notes]
    table = reading.table
    if table is None or not table.names:
        table, left_out = _inferred(path, frames[first], reading)
        notes += left_out
    rows = {}
    for split, frame in frames.items():
        rows[split], said = in_rows(f"{path} {split}" if len(frames) > 1 else path, frame, table)
        notes += [note for note in said if note not in notes]
    # As ``splits.roles`` has it.
    if "test" not in rows and (reading.whole or reading.validation == 0 or "train" not in rows):
        rows["test"] = rows[first] if reading.whole or "validation" not in rows else rows.pop("validation")
    train = rows["train"] if "train" in rows else rows["test"]
    return Dataset(path, train, rows.get("test"), notes=tuple(notes), validation=rows.get("validation"), table=table)


def in_rows(path: str, frame: Frame, table: Table) -> tuple[np.ndarray, list[str]]:
    """Returns the rows of a file, ``[n, f]`` float64 in their own units, for the columns of ``table``; and notes.

    Raises:
      UserError: a column is not there.
    """
    there = dict(zip(frame.names, frame.columns))
    gone = [name for name in table.names if name not in there]
    if gone:
        raise UserError(
            f"{path} has no column {', '.join(one_line(name, 40) for name in gone[:NAMED])}; the model takes "
            f"{', '.join(one_line(name, 40) for name in table.names[:NAMED])}"
        )
    rows, notes = np.empty((frame.length, len(table.names))), []
    for i, (name, kind, levels) in enumerate(zip(table.names, table.kinds, table.levels)):
        rows[:, i], said = as_numbers(path, name, there[name], levels, kind == "categorical")
        notes += [said] * bool(said)
    return rows, notes


def _inferred(path: str, frame: Frame, reading: Reading) -> tuple[Table, list[str]]:
    """Returns what the columns of the training split are, and a sentence for each that is left out."""
    asked, real, every = _asked(path, frame.names, reading), reading.likelihood, None
    if real not in AFFINE:
        real, every = "gaussian", real if real != "columns" else None
    kept: dict[str, Kind] = {}
    notes, missing = [], []
    for name, column in zip(frame.names, frame.columns):
        kind = as_asked(path, name, column, asked[name]) if name in asked else infer(column, real)
        if name not in asked and (stray := stray_text(column)) is not None:
            raise UserError(
                f"{path}: column {one_line(name, 60)} holds numbers, and {one_line(stray, 40)!r}; leave that cell "
                f"empty, or say what it is: --columns={one_line(name, 60)}:real (then it is missing), :categorical or "
                ":drop"
            )
        if kind.family == DROP:
            notes.append(f"column {one_line(name, 60)} is left out: {kind.why}")
            continue
        kept[name] = kind._replace(family=every) if every is not None and name not in asked else kind
        there = column.codes >= 0 if isinstance(column, Text) else ~np.isnan(column)
        missing.append(int(len(there) - there.sum()))
        if len(kind.levels) and OTHER in kind.levels and isinstance(column, Text):
            rare = len(set(column.levels)) - len(set(kind.levels) - {OTHER})
            if rare > 0 and len(kind.levels) > 200:
                notes.append(f"column {one_line(name, 60)}: {rare:,} levels, the rarest, are the one level {OTHER}")
    if not kept:
        raise UserError(f"{path} has no column that a model can learn: {'; '.join(notes[:3])}")
    kinds = list(kept.values())
    table = Table(
        shift=(0.0,) * len(kinds),
        scale=(1.0,) * len(kinds),
        names=tuple(kept),
        kinds=tuple(kind.kind for kind in kinds),
        families=tuple(kind.family for kind in kinds),
        levels=tuple(kind.levels for kind in kinds),
        missing=tuple(missing),
    )
    return table, notes


def _asked(path: str, names: Sequence[str], reading: Reading) -> Mapping[str, str]:
    """Returns ``name -> family`` of --columns.

    Raises:
      UserError: it names a column that is not there, or from the left another number of them.
    """
    if reading.columns is None:
        return {}
    blocks = positional(reading.columns)
    if blocks is not None:
        families = [family for family, _, width in blocks for _ in range(width)]
        if len(families) != len(names):
            raise UserError(
                f"--columns names {len(families)} columns, and {path} has {len(names)}: "
                f"{', '.join(one_line(name, 40) for name in names[:NAMED])}; or give NAME:FAMILY of some of them"
            )
        return dict(zip(names, families))
    asked = named(reading.columns)
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise UserError(
            f"--columns names {', '.join(one_line(name, 40) for name in unknown[:3])}, and {path} has the columns "
            f"{', '.join(one_line(name, 40) for name in names[:NAMED])}{', ...' * (len(names) > NAMED)}"
        )
    return asked


def _cut(path: str, frame: Frame, reading: Reading) -> tuple[dict[str, Frame], list[str]]:
    """Cuts one file into splits, equal rows on one side; the same rows whatever their order in the file."""
    if reading.whole:
        return {"train": frame}, [WHOLE]
    place = _places(frame)
    share = {"test": 0.1 if reading.test is None else reading.test, "validation": reading.validation}
    if share["validation"] is None:
        share["validation"] = _validation_share(frame.length, share["test"])
    chosen, rest = {}, np.ones(frame.length, bool)
    for split, part in share.items():
        if part and rest.any():
            count = min(max(1, round(part * frame.length)), int(rest.sum()))
            last = np.sort(place[rest])[count - 1]
            chosen[split] = np.flatnonzero(rest & (place <= last))
            rest &= place > last
    chosen["train"] = np.flatnonzero(rest)
    if not len(chosen["train"]):
        raise UserError(f"{path}: {frame.length} rows cannot be cut into training and test rows that differ")
    taken = {split: _taken(frame, rows) for split, rows in chosen.items() if len(rows)}
    sizes = ", ".join(f"{len(chosen[split]):,} {split}" for split in ("train", "validation", "test") if split in taken)
    return taken, [f"one file: its rows were cut by their content, equal rows on one side: {sizes}"]


def _validation_share(n: int, test: float) -> float:
    """Returns the share of ``n`` rows that are for validation where nobody says how many; 0 for none."""
    count = min(max(TENTH * n, min(FIFTH * n, ENOUGH)), MOST)
    count = min(count, max(n - test * n - BATCH - 1, TENTH * n)) if (1 - test) * n > BATCH else count
    return count / n if n >= LEAST_ROWS else 0.0


def _taken(frame: Frame, rows: np.ndarray) -> Frame:
    taken = [c._replace(codes=c.codes[rows]) if isinstance(c, Text) else c[rows] for c in frame.columns]
    return frame._replace(columns=taken)


def _places(frame: Frame) -> np.ndarray:
    """Returns a place in [0, 1) for each row, by its content: a uniform one, and the same for equal rows.

    Numbers count by their order among the column's values, so that other units of a column change no place.
    """
    ranks = []
    for column in frame.columns:
        if isinstance(column, Text):
            order = np.argsort(np.argsort(np.array(column.levels, dtype=object)))
            ranks.append(np.append(order, -1)[column.codes])
        else:
            ranks.append(np.unique(column, return_inverse=True)[1])
    rows = np.ascontiguousarray(np.stack(ranks, axis=1), dtype=np.int32)
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    return np.frombuffer(b"".join(digests), "<u8") / 2.0**64


def in_words(table: Table) -> list[str]:
    """Returns a small table with a line for each column of a file: name, kind, family, missing values, levels."""
    rows = [("column", "kind", "family", "missing", "levels, or mean and spread")]
    for i, name in enumerate(table.names):
        levels = table.levels[i]
        shown = ", ".join(one_line(level, 20) for level in levels[:6]) + ", ..." * (len(levels) > 6)
        spread = f"{table.shift[i]:.6g} and {table.scale[i]:.6g}" if table.shift[i] or table.scale[i] != 1 else ""
        family = table.families[i]
        rows.append((one_line(name, 30), table.kinds[i], family, f"{table.missing[i]:,}", shown or spread))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


__all__ = ["Column", "in_rows", "in_words", "is_table", "read_table"]
