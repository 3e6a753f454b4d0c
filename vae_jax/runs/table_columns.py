"""What a run's data miss, and which of their dimensions never change: found once, and kept with the flags."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np

from vae_jax.data.column_words import written
from vae_jax.data.conditions import joined
from vae_jax.data.dataset import Dataset
from vae_jax.data.pixels import preprocess
from vae_jax.data.ranges import constant_values, has_missing, missing_columns
from vae_jax.data.units import Table
from vae_jax.likelihoods import Grid, in_own_units, partial
from vae_jax.models.features import is_class, row_features, seeing
from vae_jax.runs.families import columns_of
from vae_jax.runs.parsing import Constants
from vae_jax.types import VAE, Likelihood, UserError

_OWN_SIGMA = ("per_dimension", "predicted")
_KINDS = dict.fromkeys(("gaussian", "student_t", "laplace", "huber", "charbonnier"), "real") | {
    "log_normal": "positive"
}
_KINDS |= dict.fromkeys(("poisson", "negative_binomial"), "count")
_MEANS = 1e-3, 1e9  # of counts, to begin with
_LOGARITHMS = {"positive": np.log, "count": np.log1p}


def with_table(flags, table: Table | None, condition: Table | None = None):
    """Returns the flags of a run on a file with columns: each named with its family, and ``--likelihood`` to match.

    Columns of one family that is none of classes are that likelihood, without blocks. Columns of the ``condition`` are
    named as well, so that they are read as the same again.

    Raises:
      UserError: the precision is for one family.
    """
    if table is None or not table.names:
        return flags
    families = set(table.families)
    one = families.pop() if len(families) == 1 else "columns"
    likelihood = "columns" if "(" in one else one
    if likelihood == "columns" and "gaussian" in table.families and flags.precision == "optimal":
        raise UserError(
            "--precision=optimal solves for one sigma of all columns, and this table has other families, too "
            f"({', '.join(sorted(set(table.families)))}); use --precision=learned"
        )
    every = joined(table, condition)
    return dataclasses.replace(flags, columns=written(every.names, every.families), likelihood=likelihood)


def standardisation(dataset: Dataset) -> dict[str, dict]:
    """Returns how the data's own units became those of the model; nothing where they are the same."""
    table = dataset.table
    if table is None or not table.is_scaled:
        return {}
    how = (
        "x = (value - shift) / scale of each column, of the training split; elbo, distortion, iw_nll, mse and "
        "everything per column are in the columns' own units, sigma, water_level and the theory in those of x"
    )
    if len(dataset.event) > 1:
        how = how.replace("each column", "all pixels").replace("the columns' own", "the data's own")
    named = {"columns": list(table.names)} if table.names else {}
    return {"standardisation": {"how": how, **named, "shift": list(table.shift), "scale": list(table.scale)}}


def by_column(dataset: Dataset, summary: dict) -> dict[str, list[dict]]:
    """Returns what each column of a file is and how well it is told, of the ``summary`` of a split.

    ``levels`` are the names of a class's codes 0, 1, ..., of any other column none; ``rmse`` and ``sigma`` are in the
    column's own units, of the numbers of a standardised table; ``accuracy`` is of classes.
    """
    table = dataset.table
    if table is None or not table.names:
        return {}
    measured = {name: summary.get(f"{name}_per_column") for name in ("rmse", "sigma", "accuracy")}
    rows = zip(table.names, table.kinds, table.families, table.missing, map(list, table.levels))
    columns = [dict(zip(("name", "kind", "family", "missing", "levels"), row)) for row in rows]
    for i, column in enumerate(columns):
        column |= {name: values[i] for name, values in measured.items() if values is not None}
    return {"per_column": columns}


def find(s, dataset: Dataset) -> dict[str, str | None]:
    """Returns the flags ``constants``, ``count_means`` and ``missing`` of settings in which they are open.

    Dimensions that are constant in the training split are left out where the family has a standard deviation for each
    of them, which would sink to its bound there and rule the ELBO; and in a table with --columns, where they are real
    or above 0. With --standardise=none nothing is left out.

    Raises:
      UserError: a family that cannot do without the values that are missing.
    """
    if dataset.words:
        return {}
    flags = {}
    if s.flags.missing is None and has_missing(dataset):
        if s.likelihood == "gaussian" and s.precision == "optimal":
            raise UserError(
                f"--precision=optimal solves for sigma from complete examples, and {dataset.name} has missing values; "
                "use --precision=learned"
            )
        flags["missing"] = ",".join(map(str, missing_columns(dataset.train)))
    if s.flags.constants is None and s.standardise == "auto":
        flags["constants"] = _written(_constants(s, dataset))
        if len(s.event) == 1 and dataset.levels is None:
            flags["count_means"] = _written(_count_means(s, dataset.train))
    return flags


def _constants(s, dataset: Dataset) -> Constants:
    one_sigma = s.columns is None and s.likelihood != "log_normal"
    if one_sigma and not (s.likelihood == "gaussian" and s.precision in _OWN_SIGMA):
        return ()
    if s.pixels not in ("grey", "binary"):
        return ()
    values = constant_values(dataset.train)
    chosen = ~np.isnan(values)
    for start, stop, kind in _spans(_kinds(s, s.data_dim)) if s.columns is not None else ():
        chosen[start:stop] &= kind in ("real", "positive")
    if not chosen.any() or chosen.all():
        return ()
    first = np.where(chosen, values, 0).astype(dataset.train.dtype).reshape(dataset.event)
    seen = np.ravel(np.asarray(preprocess(s.pixels, dataset.levels)(None, first), np.float32))
    return tuple((int(i), float(seen[i])) for i in np.flatnonzero(chosen))


def _count_means(s, train: np.ndarray) -> Constants:
    """Returns the mean of what is observed in each column of counts, to three digits: where a decoder begins."""
    found = []
    for start, stop, kind in _spans(_kinds(s, s.data_dim)):
        if kind == "count":
            there = ~np.isnan(train[:, start:stop])
            totals = np.where(there, train[:, start:stop], 0.0).sum(axis=0, dtype=np.float64)
            means = np.clip(totals / np.maximum(there.sum(axis=0), 1), *_MEANS)
            found += [(start + i, float(f"{mean:.3g}")) for i, mean in enumerate(means)]
    return tuple(found)


def _written(constants: Constants) -> str:
    """Returns constants as text, neighbours of one value together: ``0-11=0,60=0.25``, or ``none``."""
    runs: list[list] = []
    for index, value in constants:
        if runs and runs[-1][1] == index - 1 and runs[-1][2] == value:
            runs[-1][1] = index
        else:
            runs.append([index, index, value])
    return ",".join(f"{a}={value!r}" if a == b else f"{a}-{b}={value!r}" for a, b, value in runs) or "none"


def of_the_data(likelihood: Likelihood, s) -> Likelihood:
    """Returns the likelihood of the data in their own units, without what is constant or missing.

    It is the same one where x is in those units and nothing is left out.
    """
    if s.table is not None and s.table.is_scaled:
        likelihood = in_own_units(likelihood, s.table.scale)
    return partial(likelihood, s.constants) if s.constants or s.missing is not None else likelihood


def in_words(s, dataset: Dataset) -> list[str]:
    """Returns what is left out of the likelihood and of every number, a sentence each."""
    lines = []
    if s.constants:
        shown = _written(s.constants).split(",")
        what = "columns" if len(s.event) == 1 else "pixels" if s.event[-1] == 1 else "values of pixels"
        lines.append(
            f"{dataset.name}: {len(s.constants)} of {s.data_dim} {what} are constant in the training split "
            f"({', '.join([*shown[:3], *['...'] * (len(shown) > 3)])}, counted from 0) and left out of the likelihood "
            f"knowingly: elbo, mse, calibration and bits are of the other {s.data_dim - len(s.constants)}"
        )
    if s.missing is not None:
        share = np.isnan(dataset.train).mean()
        lines.append(
            f"{dataset.name}: {100 * share:.3g}% of the training values are missing, in {len(s.missing)} of "
            f"{s.data_dim} columns; all numbers are of the values that are there"
        )
    return lines


def _kinds(config, count: int) -> list[tuple[str | Grid, int]]:
    """Returns the support of each block of a table's columns, by its family's name, and how many columns it has.

    Args:
      config: settings, or the flags with their columns parsed.
      count: of all columns.
    """
    blocks = config.columns
    if blocks is None or config.likelihood != "columns":
        return [(_KINDS.get(config.likelihood, ""), count)]
    return [(Grid(c.values, 1.0) if c.family == "categorical" else _KINDS.get(c.family, ""), c.count) for c in blocks]


def _spans(columns):
    ends = list(itertools.accumulate(width for _, width in columns))
    return [(end - width, end, kind) for end, (kind, width) in zip(ends, columns)]


def with_features(s, make: Callable[[tuple[int, ...]], VAE]) -> VAE:
    """Makes the networks of a run; of a table whose values are not plain real numbers, with ``row_features``.

    Args:
      s: the settings.
      make: ``event of the encoder -> VAE``.
    """
    if len(s.event) != 1 or s.likelihood == "tokens":
        return make(s.event)
    kinds = _kinds(s, s.event[0])
    # No run from before there was --standardise saw anything but x itself.
    plain = s.standardise == "none" or not any(_is_changed(kind) for kind, _ in kinds)
    if plain and s.missing is None:
        return make(s.event)
    width, features = row_features(kinds, s.missing or (), plain, dict(s.count_means))
    return seeing(make((width,)), features)


def _is_changed(kind) -> bool:
    return kind in ("positive", "count") or is_class(kind)


def spectrum_view(config, dataset: Dataset) -> Callable[[np.ndarray], np.ndarray]:
    """Makes ``rows [b, f] -> rows`` whose covariance has a meaning: logarithms of counts and of values above 0, and for
    what is missing the column's mean. Of anything else it is the identity.

    Args:
      config: the flags.
      dataset: its training split gives the means.
    """
    if len(dataset.event) != 1 or dataset.levels is not None or dataset.words:
        return lambda rows: rows
    flags = with_table(config, dataset.table)
    parsed = dataclasses.replace(flags, columns=columns_of(flags, dataset.table))
    kinds = _spans(_kinds(parsed, dataset.event[0]))
    kinds = [span for span in kinds if span[2] in _LOGARITHMS and config.standardise == "auto"]
    missing = has_missing(dataset)
    if not kinds and not missing:
        return lambda rows: rows

    def scaled(rows):
        rows = np.array(rows)
        for start, stop, kind in kinds:
            with np.errstate(invalid="ignore", divide="ignore"):  # what does not fit is refused in words, later
                rows[:, start:stop] = np.nan_to_num(_LOGARITHMS[kind](rows[:, start:stop]), nan=np.nan, neginf=0.0)
        return rows

    if not missing:
        return scaled
    train = scaled(dataset.train)
    there = ~np.isnan(train)
    means = np.where(there, train, 0.0).sum(axis=0, dtype=np.float64) / np.maximum(there.sum(axis=0), 1)

    def filled(rows):
        rows = scaled(rows)
        return np.where(np.isnan(rows), means.astype(rows.dtype), rows)

    return filled
