"""Whether a data set, a pixel mode and a likelihood go together: said before training, in words."""

from __future__ import annotations

import numpy as np

from vae_jax.data.dataset import Dataset
from vae_jax.data.pixels import preprocess
from vae_jax.data.rows import Rows, sample
from vae_jax.likelihoods import Grid
from vae_jax.likelihoods.shared import Columns, Support
from vae_jax.types import UserError


def check(
    dataset: Dataset, pixels: str, likelihood_name: str, support: Support, soft_targets: bool = False
) -> list[str]:
    """Compares what the pixels will be with what the likelihood is defined on.

    Args:
      dataset: the data.
      pixels: what --pixels says, one of ``pixels.PIXELS``.
      likelihood_name: what --likelihood says.
      support: the ``support`` of that likelihood.
      soft_targets: whether BCE on grey pixels was asked for, knowing that it is no likelihood.

    Returns:
      Warnings, one line each, that say what a number will not mean.

    Raises:
      UserError: if the combination has no meaning.
    """
    preprocess(pixels, dataset.levels)  # refuses unknown modes, and noise on floats
    if isinstance(support, tuple) and not isinstance(support, Grid):
        return check_columns(dataset, pixels, support)
    low, high = _range(dataset)
    outside = low < 0 or high > 1
    stated = f"{dataset.name} has values from {low:.6g} to {high:.6g}"
    if outside and pixels in ("binary", "sampled"):
        raise UserError(
            f"--pixels={pixels} needs values in [0, 1], and {stated}; rescale them, or use --pixels=grey "
            "with --likelihood=gaussian"
        )
    if isinstance(support, Grid):
        return _check_discrete(dataset, pixels, likelihood_name, support)
    zero_one = pixels in ("binary", "sampled") or (pixels == "grey" and _is_zero_one(dataset))
    if support == "binary":
        return [] if zero_one else _check_soft(dataset, pixels, likelihood_name, soft_targets, outside, stated)
    if support == "unit" and outside:
        raise UserError(
            f"--likelihood={likelihood_name} is a density on [0, 1], and {stated}; rescale them, or use "
            "--likelihood=gaussian"
        )
    if outside:
        return [f"{stated}, outside [0, 1]: --sigma, distortion and mse are in the data's own units, not in pixels"]
    warnings = _check_density(dataset, pixels, likelihood_name, zero_one)
    ends = 0.0 if zero_one or pixels != "grey" else _at_ends(dataset)
    if likelihood_name == "beta" and ends:
        warnings.append(
            f"{100 * ends:.3g}% of the values are exactly 0 or 1, where a Beta density is 0 or infinite: what they "
            "add depends on the --squeeze, so compare only numbers of the same one"
        )
    return warnings


def _range(dataset):
    """The smallest and the largest value of x before any thresholding."""
    if dataset.levels is not None:
        return 0.0, 1.0
    splits = (dataset.train, dataset.test)
    return min(float(x.min()) for x in splits), max(float(x.max()) for x in splits)


def _is_zero_one(dataset):
    if dataset.levels is not None:
        return dataset.levels == 2
    return all(bool(((x == 0) | (x == 1)).all()) for x in (dataset.train, dataset.test))


def _at_ends(dataset):
    """The share of training values that are exactly 0 or 1; of some examples where all would have to be read."""
    last = 1 if dataset.levels is None else dataset.levels - 1
    train = sample(dataset.train) if isinstance(dataset.train, Rows) else dataset.train
    return float(np.mean((train == 0) | (train == last)))


def _check_discrete(dataset, pixels, likelihood_name, support):
    if dataset.levels is None:
        raise UserError(
            f"--likelihood={likelihood_name} gives probabilities to uint8 grey levels, and {dataset.name} "
            "holds floats; store uint8 images, or use --likelihood=gaussian, or --columns for a table of class codes"
        )
    if support.count != dataset.levels or abs(support.step * (support.count - 1) - 1) > 1e-6:
        raise UserError(
            f"--likelihood={likelihood_name} was made for {support.count} levels {support.step:.6g} apart, and "
            f"{dataset.name} has {dataset.levels} grey levels on [0, 1]; make it for those"
        )
    if pixels == "dequantised":
        raise UserError(
            f"--likelihood={likelihood_name} gives probabilities to grey levels, and --pixels=dequantised "
            "removes them; use --pixels=grey"
        )
    if pixels != "grey" and dataset.levels != 2:
        return [
            f"--pixels={pixels} leaves 2 of the {dataset.levels} grey levels that "
            f"--likelihood={likelihood_name} spreads its probability over: --likelihood=bernoulli is the one "
            "for 0/1 pixels"
        ]
    return []


def _check_soft(dataset, pixels, likelihood_name, soft_targets, outside, stated):
    """A Bernoulli on pixels that are not 0 or 1."""
    if outside:
        raise UserError(
            f"--likelihood={likelihood_name} is defined on 0/1 pixels, and {stated}; use --likelihood=gaussian"
        )
    if not soft_targets:
        raise UserError(
            f"--likelihood={likelihood_name} is defined on 0/1 pixels, and {dataset.name} with "
            f"--pixels={pixels} has grey ones; use --pixels=binary or --pixels=sampled, or a density such as "
            "--likelihood=continuous_bernoulli, or --soft_targets for the cross-entropy all the same"
        )
    return [
        f"--soft_targets: on grey pixels the distortion is a binary cross-entropy and no likelihood; it "
        f"cannot fall below the pixels' mean entropy, about {entropy_floor(dataset):.2f} nats per example, and "
        "compares with no density"
    ]


def _check_density(dataset, pixels, likelihood_name, zero_one):
    """A density on data that take few values can be made as high as one likes at those values."""
    if zero_one:
        return [
            f"--likelihood={likelihood_name} is a density and the pixels are 0 or 1: its value is not their "
            "probability and has no upper bound; --likelihood=bernoulli is the likelihood for 0/1 pixels"
        ]
    if dataset.levels is not None and pixels == "grey":
        return [
            f"--likelihood={likelihood_name} is a density evaluated at {dataset.levels} grey levels: its "
            "bits_per_dim bounds nothing discrete; --pixels=dequantised makes it a bound"
        ]
    return []


def entropy_floor(dataset: Dataset, most: int = 4096) -> float:
    """The smallest value that the cross-entropy of grey pixels can have: the sum over pixels of H(x).

    Args:
      dataset: with values in [0, 1] once divided by levels - 1.
      most: how many train examples to average over, a fixed choice; fewer of large ``Rows``.

    Returns:
      Nats per example.
    """
    x = sample(dataset.train, most).astype(np.float64)
    if dataset.levels is not None:
        x /= dataset.levels - 1
    inside = np.where((x > 0) & (x < 1), x, 0.5)
    entropy = np.where((x > 0) & (x < 1), -inside * np.log(inside) - (1 - inside) * np.log1p(-inside), 0.0)
    return float(entropy.sum() / len(x))


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
