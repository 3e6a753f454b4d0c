"""What a run keeps of its data, so that its model can be used where they are not: ``data.json`` in its folder."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.data.dataset import Dataset
from vae_jax.data.units import Table, from_json
from vae_jax.devices import processes
from vae_jax.runs.build import Run
from vae_jax.runs.names import Names
from vae_jax.runs.settings import Config
from vae_jax.runs.settled import Settings, parsed_settings
from vae_jax.runtime.files import read_object, write_json
from vae_jax.types import Event, UserError

FILE = "data.json"
WORDS = ("words", "column_names", "factor_names", "class_names", "notes")  # what are texts
TABLES = ("table", "condition")  # what are tables


@dataclasses.dataclass(frozen=True)
class KnownData:
    """What a model has to know of its data.

    Attributes:
      name: of the data set, as asked for.
      event: the shape of one example; ``(t,)`` of a sentence.
      levels: of the values, as in ``Dataset``; of a text its words.
      low, high: the range of the training data, in their own units: of rows for each column, ``[f]``, else one number
        each.
      words: the vocabulary of a text.
      column_names: of a table, where it has names.
      factor_names: of the known factors.
      class_names: of the values of the factor ``label``.
      spectrum: the eigenvalues of the covariance of x; none of a text.
      examples: how many training and test examples there were, and validation ones where there were some.
      notes: as in ``Dataset``.
      table, condition: as in ``Dataset``.
    """

    name: str
    event: Event
    levels: int | None
    low: Any = None
    high: Any = None
    words: tuple[str, ...] = ()
    column_names: tuple[str, ...] = ()
    factor_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    spectrum: tuple[float, ...] = ()
    examples: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    table: Table | None = None
    condition: Table | None = None


def describe(dataset: Dataset, spectrum: np.ndarray | None) -> KnownData:
    """Returns what is to be known of a data set."""
    low = high = None
    if dataset.levels is None:
        axes = (0,) if len(dataset.event) == 1 else None
        limits = (limit(dataset.train, axis=axes) for limit in (np.fmin.reduce, np.fmax.reduce))  # missing values apart
        limits = (np.nan_to_num(limit).astype(float) for limit in limits)
        low, high = ((limit if dataset.table is None else _in_own(dataset.table, limit)).tolist() for limit in limits)
    return KnownData(
        name=dataset.name,
        event=dataset.event,
        levels=dataset.levels,
        low=low,
        high=high,
        words=dataset.words,
        column_names=() if dataset.table is None else dataset.table.names,
        factor_names=tuple(dataset.factor_names),
        class_names=tuple(dataset.class_names),
        spectrum=() if spectrum is None else tuple(float(value) for value in spectrum),
        examples=tuple(len(x) for x in (dataset.train, dataset.test, dataset.validation) if x is not None),
        notes=dataset.notes,
        table=dataset.table,
        condition=dataset.condition,
    )


def _in_own(table: Table, limit: np.ndarray) -> np.ndarray:
    return table.to_own(limit).reshape(limit.shape)


def keep(workdir: Path, run: Run) -> None:
    """Writes ``data.json`` of a run."""
    if processes.is_first():
        write_json(workdir / FILE, as_json(describe(run.dataset, run.spectrum)))


def as_json(known: KnownData) -> dict[str, Any]:
    """Returns what ``from_object`` reads."""
    tables = {name: getattr(known, name) for name in TABLES}
    tables = {name: table._asdict() for name, table in tables.items() if table is not None}
    plain = dataclasses.asdict(dataclasses.replace(known, **dict.fromkeys(TABLES)))
    return {name: value for name, value in plain.items() if name != "condition"} | tables


def read(path: Path) -> KnownData:
    """Reads ``data.json``, every value checked.

    Raises:
      UserError: the file is damaged, or of another version.
    """
    return from_object(read_object(path, "remove it: it is made again where the data are", strict=True), str(path))


def from_object(value: Any, where: str) -> KnownData:
    """Returns the description that a JSON object holds.

    Raises:
      UserError: it holds none; ``where`` says whose it is.
    """
    fields = {field.name: field for field in dataclasses.fields(KnownData)}
    if not isinstance(value, dict) or set(value) - set(fields) or not {"name", "event", "levels"} <= set(value):
        raise UserError(f"{where} does not describe the data of a run, or is of a later version of vae_jax")
    made = {k: tuple(v) if isinstance(v, list) and k not in ("low", "high") else v for k, v in value.items()}
    wrong = ""
    try:
        made |= {name: from_json(made.get(name)) for name in TABLES}
    except (TypeError, ValueError) as error:
        made |= dict.fromkeys(TABLES)
        wrong = str(error)
    known = KnownData(**made)
    if wrong:
        pass
    elif not known.event or not all(type(n) is int and n > 0 for n in known.event) or math.prod(known.event) > 2**31:
        wrong = f"event is {known.event}"
    elif known.levels is not None and not (type(known.levels) is int and known.levels > 0):
        wrong = f"levels is {known.levels}"
    elif known.words and len(known.words) != known.levels:
        wrong = f"{len(known.words)} words for {known.levels} token ids"
    elif not all(isinstance(word, str) for name in WORDS for word in getattr(known, name)):
        wrong = "a word is no text"
    elif known.levels is None:
        try:
            limits = np.asarray([known.low, known.high], np.float64)
        except (TypeError, ValueError):
            limits = np.zeros(())
        if limits.shape not in ((2,), (2, *known.event)) or not np.isfinite(limits).all():
            wrong = "low and high are no range of its values"
    if wrong:
        raise UserError(f"{where} is damaged: {wrong}; remove it: it is made again where the data are")
    return known


def settings_of(flags: Config, names: Names, known: KnownData) -> Settings:
    """Returns the settings of a run that has been trained, without its data: config.json has everything settled."""
    event = (2, *known.event) if known.words else known.event
    return parsed_settings(flags, names, event, known.levels, math.prod(known.event), known.table, known.condition)
