"""What a column of a table is: a real number, a count, a class, or nothing for a model; and its values as numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.data.column_words import family_of
from vae_jax.data.table_files import Column, Text
from vae_jax.types import UserError, one_line

# kind -> the family of its columns; a categorical one is followed by its number of classes.
KINDS = {
    "real": "gaussian",
    "positive": "log_normal",
    "count": "negative_binomial",
    "binary": "bernoulli",
    "categorical": "categorical",
}
# What --columns may name besides: the families of ``runs.families``.
FAMILIES = (
    *KINDS.values(),
    "student_t",
    "laplace",
    "huber",
    "charbonnier",
    "poisson",
    "continuous_bernoulli",
    "beta",
    "discretized_logistic",
)
DROP = "drop"
OTHER = "other"  # the level of what is seen for the first time after training, and of what is too rare
MOST_LEVELS = 255  # of a categorical column beside that one
FEW_CODES = 10  # integers from 0 or 1 on that are as few are classes
DECADES = 30  # between the 1% and the 99% quantile of a column that is positive and not just real
GAIN = 0.5  # nats a value that a log-normal must gain on a Gaussian for the same
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([ T]\d.*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}([ T]\d.*)?")
_MOSTLY = 0.9  # of the values are numbers: then the others are slips, not levels


class Kind(NamedTuple):
    """What a column is: its kind, its family as in ``--columns``, its levels if any, and why it is left out."""

    kind: str
    family: str = DROP
    levels: tuple[str, ...] = ()
    why: str = ""


def infer(column: Column, real: str = "gaussian") -> Kind:
    """Says what a column of the training split is.

    Args:
      column: its values.
      real: the family of real numbers.
    """
    if isinstance(column, Text):
        return _of_text(column)
    values = column[~np.isnan(column)]
    if not len(values):
        return Kind("missing", why="all of it is missing")
    distinct = np.unique(values)
    whole = bool((distinct == np.rint(distinct)).all()) and distinct[0] >= 0
    if len(distinct) == 1:
        return Kind("constant", why=f"it is always {level_of(distinct[0])}")
    if len(distinct) == 2:
        return Kind("binary", KINDS["binary"], tuple(map(level_of, distinct)))
    steps = len(values) == len(column) > 2 and bool((np.diff(column) == 1).all())
    if whole and steps and column[0] in (0, 1):
        return Kind("identifier", why="it numbers the rows")
    if whole and distinct[0] <= 1 and len(distinct) <= FEW_CODES and len(values) >= 10 * len(distinct):
        if distinct[-1] - distinct[0] == len(distinct) - 1:
            return _categorical(*np.unique(values, return_counts=True))
    # Many zeros at the end of each are a unit, not a count.
    if whole and distinct[0] <= 2 + 0.2 * np.median(values) and distinct[-1] < 2**53:
        if np.gcd.reduce(distinct.astype(np.int64)) == 1:
            return Kind("count", KINDS["count"])
    if distinct[0] > 0 and _is_log_better(values):
        return Kind("positive", KINDS["positive"])
    return Kind("real", real)


def _is_log_better(values: np.ndarray) -> bool:
    low, high = np.quantile(values, (0.01, 0.99))
    if len(values) < 10 or high < DECADES * low:
        return False
    logs = np.log(values)
    # log N(v; mean, std) less log N(log v; ...) - log v, at the best parameters of each, a value.
    largest = values.max()
    return np.log((values / largest).std()) + np.log(largest) - np.log(logs.std()) - logs.mean() > GAIN


def _of_text(column: Text) -> Kind:
    codes = column.codes[column.codes >= 0]
    used, counts = np.unique(codes, return_counts=True)
    levels = np.array([column.levels[i] for i in used], dtype=object)
    if not len(used):
        return Kind("missing", why="all of it is missing")
    if column.dates or (len(used) > 2 and all(_DATE.fullmatch(level) for level in levels[:100])):
        return Kind("date", why="it holds dates")
    if len(used) == 1:
        return Kind("constant", why=f"it is always {one_line(levels[0], 40)}")
    if len(used) == 2:
        return Kind("binary", KINDS["binary"], tuple(sorted(levels)))
    if len(used) > 20 and len(used) > 0.5 * len(codes):
        return Kind("text", why=f"nearly every row has another text: {len(used):,} of them")
    return _categorical(levels, counts)


def _categorical(levels: Sequence, counts: np.ndarray) -> Kind:
    """Returns a kind of at most ``MOST_LEVELS`` levels, the most frequent ones, sorted, and ``OTHER`` at the end."""
    kept = np.sort(np.argsort(-counts, kind="stable")[:MOST_LEVELS])
    if len(kept) < len(levels) or isinstance(levels[0], str):
        kept = sorted(kept, key=lambda i: levels[i])
    names = tuple(level_of(levels[i]) for i in kept)
    names = names if OTHER in names else (*names, OTHER)
    return Kind("categorical", f"categorical({len(names)})", names)


def as_asked(path: str, name: str, column: Column, asked: str) -> Kind:
    """Returns the kind of a column whose family, or kind, ``--columns`` names.

    Raises:
      UserError: there is no such family, or the column has no values for it.
    """
    family, count = family_of(asked)
    if family == DROP:
        return Kind("left out", why="--columns drops it")
    family = KINDS.get(family, family)
    if family not in FAMILIES:
        raise UserError(
            f"--columns: {one_line(name, 60)}:{asked} names no family; choose from {', '.join(FAMILIES)}, "
            f"{', '.join(k for k in KINDS if k not in FAMILIES)} or {DROP}"
        )
    kind = next((kind for kind, own in KINDS.items() if own == family), "real")
    if family not in ("categorical", "bernoulli"):
        return Kind(kind, family if count is None else f"{family}({count})")
    there = column.codes[column.codes >= 0] if isinstance(column, Text) else column[~np.isnan(column)]
    used, counts = np.unique(there, return_counts=True)
    levels = [column.levels[i] for i in used] if isinstance(column, Text) else used
    if family == "categorical" and len(used):
        return _categorical(np.array(levels, dtype=object), counts)
    if len(used) != 2:
        raise UserError(
            f"--columns={one_line(name, 60)}:{asked}: {path} holds {len(used)} different values there, expected 2"
        )
    return Kind(kind, family, tuple(sorted(map(level_of, levels), key=lambda v: (len(v), v))))


def level_of(value) -> str:
    """Returns the name of a level: of a number its shortest form."""
    return value if isinstance(value, str) else f"{float(value):.12g}"


def as_numbers(path: str, name: str, column: Column, levels: Sequence[str], has_other: bool) -> tuple[np.ndarray, str]:
    """Returns a column as float64 ``[n]``, of classes their codes, and what is to be said of it.

    A class without a level of its own is ``OTHER`` where there is one, else missing; so is text among numbers.

    Args:
      path, name: for messages.
      column: the values.
      levels: of a column of classes; () of numbers.
      has_other: whether what is none of the levels is the level ``OTHER``.
    """
    if not levels:
        if not isinstance(column, Text):
            return column, ""
        numbers = np.array([*map(_number, column.levels), np.nan])
        bad = [level for level, value in zip(column.levels, numbers) if np.isnan(value)]
        said = f"column {name}: {len(bad)} texts among the numbers count as missing, such as {bad[0]!r}" if bad else ""
        return numbers[column.codes], said
    code = {level: i for i, level in enumerate(levels)}
    unknown = code[OTHER] if has_other else np.nan
    if isinstance(column, Text):
        found, inverse = column.levels, column.codes
    else:
        values, inverse = np.unique(column, return_inverse=True)
        found = [level_of(value) for value in values if not np.isnan(value)]
        inverse = np.where(np.isnan(column), -1, inverse)
    codes = np.array([*(code.get(level, unknown) for level in found), np.nan])
    used = set(np.unique(inverse).tolist())
    new = [level for i, level in enumerate(found) if level not in code and i in used]
    how = f"the level {OTHER}" if has_other else f"missing: --columns={name}:categorical keeps a level for them"
    said = f"column {name}: {len(new)} values beside its levels are {how}, such as {new[0]!r}" if new else ""
    return codes[inverse], said


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return np.nan
    return value if np.isfinite(value) else np.nan


def stray_text(column: Column) -> str | None:
    """Returns a text of a column in which nearly all values are numbers; None where they are not."""
    if not isinstance(column, Text):
        return None
    numbers = np.isnan([*map(_number, column.levels), np.nan])[column.codes]
    there = column.codes >= 0
    share = 1 - numbers[there].mean() if there.any() else 0.0
    if not _MOSTLY <= share < 1:
        return None
    return column.levels[column.codes[np.flatnonzero(numbers & there)[0]]]
