"""What is known of the images of a folder beside their pixels: the names of class folders, and a CSV of labels."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.data.image_files import OTHERS, File, LeftOut, listed
from vae_jax.data.splits import split_of
from vae_jax.types import UserError, one_line

TABLES = ("labels.csv", "metadata.csv")  # in this order, if a folder has both
FILE_COLUMNS = ("file", "filename", "file_name", "image", "path")
LABEL, LABEL_COLUMNS = "label", ("label", "labels", "class", "class_name", "category", "target")
NAMED = 5  # classes in a note


class Labels(NamedTuple):
    """Integers known of each image.

    Attributes:
      names: of the factors; a class is the factor ``label``, and the first.
      class_names: the names of the label's values 0, 1, ...; () where there is no label.
      values: name of an image -> its integers, one for each factor.
      notes: what a person should know of where they are from, a sentence each.
    """

    names: tuple[str, ...]
    class_names: tuple[str, ...]
    values: dict[str, tuple[int, ...]]
    notes: tuple[str, ...]

    def of(self, files: Sequence[File]) -> np.ndarray | None:
        """The factors ``[n, f]`` of these images; None where there are none."""
        if not self.names:
            return None
        return np.array([self.values[file.name] for file in files], np.int64).reshape(len(files), len(self.names))

    def coded_as(self, class_names: Sequence[str]) -> Labels:
        """The same with the codes of other classes, where there are any; classes that are not among them come after."""
        if not class_names or LABEL not in self.names:
            return self
        every = (*class_names, *(name for name in self.class_names if name not in class_names))
        code = {i: every.index(name) for i, name in enumerate(self.class_names)}
        return self._replace(class_names=every, values={k: (code[v[0]], *v[1:]) for k, v in self.values.items()})


def find_labels(path: str, files: Sequence[File], left_out: LeftOut) -> Labels:
    """Finds the labels of the images of a folder.

    A CSV, one of ``TABLES`` in the folder or in those of its splits, has a column that names the image
    (``FILE_COLUMNS``) by its path from there, or by its bare name or stem where that is unique. Of its other columns,
    whole numbers are factors as they are; names are coded 0, 1, ... in their order. The class is the column of
    ``LABEL_COLUMNS``, else the only other column, else the only one of names. Without a class there the subfolders of
    the folder, or of its splits, are classes, where there are at least two and every image lies in one.

    Args:
      path: the folder.
      files: the images that are used, of all splits.
      left_out: the tables leave it.

    Raises:
      UserError: a table without a row for an image, with two that contradict each other or without a class in one.
    """
    names: list[str] = []
    class_names: tuple[str, ...] = ()
    columns, notes = [], []
    # At the top nothing but a split has a split's name (``folder._candidates``).
    splits = sorted({name for name in {file.name.split(os.sep)[0] for file in files} if split_of(name)})
    rows, read, found = _rows(path, files, splits)
    notes += found
    left_out.update({OTHERS: [name for name in left_out.get(OTHERS, ()) if name not in read]})
    if not left_out[OTHERS]:
        del left_out[OTHERS]
    if rows:
        names, columns, class_names, found = _factors(", ".join(read), [rows[file.name] for file in files])
        notes += found
    if LABEL not in names:
        codes, class_names, found = _of_folders(files, len(splits) > 0)
        notes += found
        if codes is not None:
            names, columns = [LABEL, *names], [codes, *columns]
    values = dict(zip((file.name for file in files), zip(*columns))) if columns else {}
    return Labels(tuple(names), class_names, values, tuple(notes))


def _of_folders(files: Sequence[File], in_splits: bool):
    """The codes of the class folders of the images (None), their names, and what is said of them."""
    parts = [file.name.split(os.sep)[in_splits:] for file in files]
    folders = [part[0] if len(part) > 1 else None for part in parts]
    classes = sorted({*folders} - {None})
    if len(classes) < 2:
        return None, (), []
    outside = [file.name for file, folder in zip(files, folders) if folder is None]
    if outside:
        return None, (), [f"no labels: {len(outside)} images are in no folder of a class ({listed(outside)})"]
    code = {name: i for i, name in enumerate(classes)}
    return [code[folder] for folder in folders], tuple(classes), [_of_classes("subfolders", folders, classes)]


def _of_classes(where: str, values: Sequence, classes: Sequence) -> str:
    count = Counter(values)
    shown = ", ".join(f"{one_line(str(name), 40)} {count[name]:,}" for name in classes[:NAMED])
    return f"label: {len(classes)} classes, from {where}: {shown}" + ", ..." * (len(classes) > NAMED)


def _rows(path: str, files: Sequence[File], splits: Sequence[str]):
    """The row of each image by its name, the names of the tables that were read, and what is said of them."""
    rows: dict[str, dict[str, str]] = {}
    names, notes = [], []
    for folder in ("", *splits):
        there = os.listdir(os.path.join(path, folder))
        there = {name.lower(): name for name in there if os.path.isfile(os.path.join(path, folder, name))}
        name = next((there[name] for name in TABLES if name in there), None)
        if name is None:
            continue
        name = os.path.join(folder, name)
        table, key = _read(os.path.join(path, name))
        if key is None:
            notes.append(f"{name} is not read: it has no column {', '.join(FILE_COLUMNS[:-1])} or {FILE_COLUMNS[-1]}")
            continue
        if not table:
            notes.append(f"{name} has no rows")
            continue
        names.append(name)
        notes += _assign(os.path.join(path, name), table, key, folder, files, rows)
    missing = [file.name for file in files if file.name not in rows]
    if rows and missing:
        raise UserError(
            f"{path}: {', '.join(names)} has no row for {len(missing)} of {len(files)} images ({listed(missing)}); add "
            "them, or give the table another name, and it is not read"
        )
    return rows, names, notes


def _read(path: str) -> tuple[list[dict[str, str]], str | None]:
    """The rows of a table, and its column that names the image."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(",;\t", key=head.count), restval="", restkey="")
            columns = [name.strip() for name in reader.fieldnames or ()]
            table = [{(k or "").strip(): str(v).strip() for k, v in row.items()} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a CSV ({one_line(str(error), 100)})") from None
    if twice := [name for name, count in Counter(columns).items() if count > 1 and name]:
        raise UserError(f"{path}: has the column {one_line(twice[0], 60)} more than once; give each its own name")
    return table, next((name for name in columns if name.lower() in FILE_COLUMNS), None)


def _assign(path: str, table, key: str, folder: str, files: Sequence[File], rows) -> list[str]:
    """Gives each image its row; the sentences say which rows are no image's."""
    start = folder + os.sep if folder else ""
    own = {file.name[len(start) :]: file.name for file in files if file.name.startswith(start)}
    known: dict[str, str | None] = {}
    for short in (os.path.basename, lambda name: os.path.splitext(os.path.basename(name))[0]):
        for name, whole in own.items():
            known[short(name)] = None if known.get(short(name), whole) != whole else whole
    known |= own
    at, strangers, again, here = {}, [], 0, os.path.dirname(path)
    for number, row in enumerate(table, start=2):
        cell = os.path.relpath(os.path.join(here, row[key].replace("\\", "/")), here)  # absolute paths, and ../here/a
        name = known.get(cell)
        values = {column: value for column, value in row.items() if column not in ("", key)}
        if name is None:
            strangers.append(row[key] or f"line {number}")
        elif name in at and rows[name] != values:
            raise UserError(f"{path}: lines {at[name]} and {number} say different things of {one_line(name, 60)}")
        else:
            again += name in at
            at[name], rows[name] = number, values
    if not at:
        raise UserError(f"{path}: none of its {len(table)} rows names an image beside it ({listed(strangers)})")
    notes = [f"{len(strangers)} rows name no image that is used ({listed(strangers)})"] if strangers else []
    notes += [f"{again} rows are there twice"] if again else []
    return [f"{os.path.basename(path)}: {', '.join(notes)}"] if notes else []


def _factors(where: str, rows: Sequence[dict[str, str]]):
    """The names and columns of the factors in rows of a table, the class first; its names; and what is said of them."""
    kinds, notes = {}, []
    every = dict.fromkeys(name for row in rows for name in row)  # the tables of two splits may have different columns
    columns = {name: [row.get(name, "") for row in rows] for name in every}
    for name, cells in columns.items():
        empty, numbers = cells.count(""), _numbers(cells)
        is_class = name.lower() in LABEL_COLUMNS or len(columns) == 1
        if empty:
            if is_class:
                raise UserError(f"{where}: {empty} of {len(cells)} images have no {one_line(name, 40)}; fill them in")
            notes.append(f"{name} is left out, as {empty} cells are empty")
        elif numbers is not None and all(value.is_integer() and abs(value) < 2**53 for value in numbers):
            kinds[name] = [*map(int, numbers)]
        elif is_class or (numbers is None and 2 * len({*cells}) <= len(cells)):
            kinds[name] = cells
        else:
            notes.append(f"{name} is left out, as its values are neither whole numbers nor few names")
    label = next((name for name in kinds if name.lower() in LABEL_COLUMNS), None)
    texts = [name for name, values in kinds.items() if values and isinstance(values[0], str)]
    label = label or next(iter(kinds if len(columns) == 1 else texts if len(texts) == 1 else ()), None)
    names, made, class_names, said = [], [], (), []
    for name in sorted(kinds, key=lambda name: name != label):  # the class first, the others in their order
        values = kinds[name]
        classes = sorted({*values})
        code = {value: i for i, value in enumerate(classes)}
        if name == label:
            class_names = tuple(map(str, classes))
            said = [_of_classes(f"{where}, {name}", values, classes)]
        names.append(LABEL if name == label else one_line(name, 100))
        made.append([code[v] for v in values] if name == label or isinstance(values[0], str) else values)
    others = names[1:] if label else names
    if others:
        said.append(f"factors from {where}: {', '.join(one_line(name, 40) for name in others)}")
    return names, made, class_names, said + [f"{where}: {one_line(note, 200)}" for note in notes]


def _numbers(cells: Sequence[str]) -> list[float] | None:
    try:
        return [float(cell) for cell in cells]
    except ValueError:
        return None
