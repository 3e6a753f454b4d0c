"""Whether the columns of a table are what --columns says they are."""

from __future__ import annotations

import numpy as np

from vae_jax.data.dataset import Dataset
from vae_jax.likelihoods import Grid
from vae_jax.likelihoods.support import Columns
from vae_jax.types import UserError


def check_columns(dataset: Dataset, pixels: str, blocks: Columns) -> list[str]:
    """Compares each column, in both splits, with what its own family is defined on.

    Args:
      dataset: a table, ``[n, f]``.
      pixels: what --pixels says; only grey leaves values as they are.
      blocks: the support of each block of columns and its width, from the left.

    Returns:
      Warnings: there are none.

    Raises:
      UserError: the data are no table, have another number of columns, or a column holds what its family has no
        probability for; the first such column and value are named.
    """
    name, event, total = dataset.name, dataset.event, sum(width for _, width in blocks)
    if len(event) != 1:
        size = "x".join(str(n) for n in event)
        raise UserError(
            f"--columns names the families of a table's columns, and {name} holds examples of shape {size}; "
            "use one family for all, --likelihood=..."
        )
    if total != event[0]:
        raise UserError(
            f"--columns names {total} columns, and {name} has {event[0]}; name every column once, in their order"
        )
    if dataset.levels not in (None, 2):
        raise UserError(
            f"--columns takes values as they are, and {name} holds integers, which count as grey levels and are "
            "divided by 255; store the table as float32"
        )
    if pixels != "grey":
        raise UserError(f"--columns takes values as they are, so --pixels={pixels} does not go with it; use grey")
    start = 0
    for support, width in blocks:
        for column in range(start, start + width):
            for split in (dataset.train, dataset.test):
                _check_column(name, column, np.asarray(split[:, column], np.float64), support)
        start += width
    return []


def _check_column(name, column, values, support):
    if isinstance(support, Grid):
        codes = np.rint(values / support.step)
        wrong = (np.abs(values - codes * support.step) > 1e-5) | (codes < 0) | (codes >= support.count)
        codes = f"the class codes 0 to {support.count - 1}"
        said = codes if support.step == 1 else f"the {support.count} levels k / {support.count - 1}"
    elif support == "binary":
        wrong, said = (values != 0) & (values != 1), "0 or 1"
    elif support == "unit":
        wrong, said = (values < 0) | (values > 1), "values in [0, 1]"
    else:
        return
    if wrong.any():
        raise UserError(
            f"--columns: the family of column {column} (counted from 0) is defined on {said}, and {name} holds "
            f"{values[wrong][0]:.6g} there; change the column or its family"
        )
