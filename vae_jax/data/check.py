"""Whether a data set, a pixel mode and a likelihood go together: said before training, in words."""

from __future__ import annotations

import numpy as np

from vae_jax.data import ranges
from vae_jax.data.dataset import Dataset
from vae_jax.data.pixels import preprocess
from vae_jax.data.rows import Rows, sample
from vae_jax.likelihoods import Grid
from vae_jax.likelihoods.shared import Columns, Support
from vae_jax.types import UserError


def check(
    dataset: Dataset,
    pixels: str,
    likelihood_name: str,
    support: Support,
    soft_targets: bool = False,
    min_sigma: float | None = None,
    left_out: int = 0,
) -> list[str]:
    """Compares what the pixels will be with what the likelihood is defined on.

    Args:
      dataset: the data.
      pixels: what --pixels says, one of ``pixels.PIXELS``.
      likelihood_name: what --likelihood says.
      support: the ``support`` of that likelihood.
      soft_targets: whether BCE on grey pixels was asked for, knowing that it is no likelihood.
      min_sigma: the lower bound of a standard deviation that is learned; None for no such.
      left_out: how many constant dimensions are left out of the likelihood.

    Returns:
      Warnings, one line each, that say what a number will not mean.

    Raises:
      UserError: if the combination has no meaning.
    """
    preprocess(pixels, dataset.levels)  # refuses unknown modes, and noise on floats
    if isinstance(support, tuple) and not isinstance(support, Grid):
        _check_columns(dataset, pixels, support)
        real = [kind == "real" for kind, width in support for _ in range(width)]
        return ranges.in_words(dataset, min_sigma, real, bool(left_out))
    family, name, levels = f"--likelihood={likelihood_name}", dataset.name, dataset.levels
    splits = [] if levels is not None else [dataset.train, dataset.test]
    low = min((float(np.nanmin(x)) for x in splits), default=0.0)  # before any thresholding
    high = max((float(np.nanmax(x)) for x in splits), default=1.0)
    outside, values = low < 0 or high > 1, f"{name} has values from {low:.6g} to {high:.6g}"
    if outside and pixels in ("binary", "sampled"):
        raise UserError(f"--pixels={pixels} needs values in [0, 1], and {values}; rescale them, or use --pixels=grey")
    if isinstance(support, Grid):
        return _check_grid(dataset, pixels, family, support)
    if support in ("count", "positive"):
        return _check_values(dataset, pixels, family, support)
    zero_one = levels == 2 if splits == [] else all(bool(((x == 0) | (x == 1)).all()) for x in splits)
    zero_one = pixels in ("binary", "sampled") or (pixels == "grey" and zero_one)
    if support == "binary" and not zero_one:
        if outside:
            raise UserError(f"{family} is defined on 0/1 pixels, and {values}; use --likelihood=gaussian")
        if not soft_targets:
            raise UserError(
                f"{family} is defined on 0/1 pixels, and {name} with --pixels={pixels} has grey ones; use "
                "--pixels=binary or --pixels=sampled, or a density such as --likelihood=continuous_bernoulli, or "
                "--soft_targets for the cross-entropy all the same"
            )
        return [
            "--soft_targets: on grey pixels the distortion is a binary cross-entropy and no likelihood; it cannot fall "
            f"below the pixels' mean entropy, about {entropy_floor(dataset):.2f} nats per example, and compares with "
            "no density"
        ]
    if support == "unit" and outside:
        raise UserError(f"{family} is a density on [0, 1], and {values}; rescale them, or use --likelihood=gaussian")
    if support == "binary":
        return []
    warnings = ranges.in_words(dataset, min_sigma, left_out=bool(left_out))
    if outside and not (dataset.table and dataset.table.is_scaled):
        warnings.append(f"{values}, outside [0, 1]: --sigma, distortion and mse are in the data's own units")
    return [*warnings, *_of_a_density(dataset, pixels, likelihood_name, zero_one)]


def _of_a_density(dataset, pixels, likelihood_name, zero_one):
    """Yields what to know of a density on data that take few values: it can be as high as one likes at those values."""
    family, levels = f"--likelihood={likelihood_name}", dataset.levels
    if zero_one:
        yield (
            f"{family} is a density and the pixels are 0 or 1: its value is not their probability and has no upper "
            "bound; --likelihood=bernoulli is the likelihood for 0/1 pixels"
        )
    # Of the default command, a Gaussian on bytes, the report says what its bits compare with: no warning of defaults.
    elif (
        pixels == "grey"
        and not (levels and likelihood_name == "gaussian")
        and (count := levels or ranges.steps(dataset))
    ):
        what = f"{count} grey levels" if levels else f"the {count} values that the data take"
        how = "--pixels=dequantised makes it a bound" if levels else "store them as uint8 for one that does"
        yield f"{family} is a density evaluated at {what}: its bits_per_dim bounds nothing discrete; {how}"
    if likelihood_name == "beta" and pixels == "grey" and not zero_one and (ends := _share_at_ends(dataset)):
        yield (
            f"{100 * ends:.3g}% of the values are exactly 0 or 1, where a Beta density is 0 or infinite: what they "
            "add depends on the --squeeze, so compare only numbers of the same one"
        )


def _share_at_ends(dataset):
    """The share of training values that are exactly 0 or 1; of some examples where all would have to be read."""
    last = 1 if dataset.levels is None else dataset.levels - 1
    train = sample(dataset.train) if isinstance(dataset.train, Rows) else dataset.train
    return float(((train == 0) | (train == last)).mean())


def _check_grid(dataset, pixels, family, grid):
    """A discrete family needs the grey levels that it was made for."""
    name, levels = dataset.name, dataset.levels
    if levels is None:
        raise UserError(
            f"{family} gives probabilities to uint8 grey levels, and {name} holds floats; store uint8 images, or use "
            "--likelihood=gaussian, or --columns for a table of class codes"
        )
    if grid.count != levels or abs(grid.step * (grid.count - 1) - 1) > 1e-6:
        raise UserError(
            f"{family} was made for {grid.count} levels {grid.step:.6g} apart, and {name} has {levels} grey levels on "
            "[0, 1]; make it for those"
        )
    if pixels == "dequantised":
        raise UserError(f"{family} gives probabilities to grey levels, which --pixels=dequantised removes; use grey")
    if pixels != "grey" and levels != 2:
        return [
            f"--pixels={pixels} leaves 2 of the {levels} grey levels that {family} spreads its probability over: "
            "--likelihood=bernoulli is the one for 0/1 pixels"
        ]
    return []


def _check_values(dataset, pixels, family, support):
    """A family of counts or of values above 0 takes a table as it is, and no grey levels."""
    if dataset.levels is not None or pixels != "grey":
        raise UserError(
            f"{family} is for the values of a table as they are, and {dataset.name} holds grey levels on [0, 1]; store "
            "the table as float32, or use --likelihood=discretized_logistic"
        )
    for split in (dataset.train, dataset.test):
        values = split[~np.isnan(split)]
        fits, kind = _fits(values, support)
        if not fits.all():
            raise UserError(
                f"{family} is defined on {kind}, and {dataset.name} holds {values[~fits][0]:.6g}; use "
                "--likelihood=gaussian, or name each column's own family with --columns"
            )
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
    grey = (x > 0) & (x < 1)
    inside = np.where(grey, x, 0.5)
    entropy = np.where(grey, -inside * np.log(inside) - (1 - inside) * np.log1p(-inside), 0.0)
    return float(entropy.sum() / len(x))


def _check_columns(dataset: Dataset, pixels: str, blocks: Columns) -> None:
    """Compares each column of a table, in both splits, with what its own family is defined on.

    Raises:
      UserError: the data are no table, have another number of columns, or a column holds what its family has no
        probability for; the first such column and value are named.
    """
    name, event, total = dataset.name, dataset.event, sum(width for _, width in blocks)
    if len(event) != 1:
        raise UserError(
            f"--columns names the families of a table's columns, and {name} holds examples of shape "
            f"{'x'.join(map(str, event))}; use one family for all, --likelihood=..."
        )
    if total != event[0]:
        raise UserError(f"--columns names {total} columns, and {name} has {event[0]}; name each once, in their order")
    if dataset.levels not in (None, 2):
        raise UserError(
            f"--columns takes values as they are, and {name} holds integers, which count as grey levels and are "
            "divided by 255; store the table as float32"
        )
    if pixels != "grey":
        raise UserError(f"--columns takes values as they are, so --pixels={pixels} does not go with it; use grey")
    supports = [support for support, width in blocks for _ in range(width)]
    for column, support in enumerate(supports):
        for split in (dataset.train, dataset.test):
            values = np.asarray(split[:, column], np.float64)
            values = values[~np.isnan(values)]  # a missing value fits everywhere
            fits, kind = _fits(values, support)
            if not fits.all():
                raise UserError(
                    f"--columns: the family of column {column} (counted from 0) is defined on {kind}, and {name} holds "
                    f"{values[~fits][0]:.6g} there; change the column or its family"
                )


def _fits(values, support):
    """Which values a family is defined on, and these in words."""
    if isinstance(support, Grid):
        codes, last = np.rint(values / support.step), support.count - 1
        fits = (np.abs(values - codes * support.step) <= 1e-5) & (codes >= 0) & (codes <= last)
        return fits, f"the class codes 0 to {last}" if support.step == 1 else f"the {last + 1} levels k / {last}"
    if support == "binary":
        return (values == 0) | (values == 1), "0 or 1"
    if support == "positive":
        return values > 0, "values above 0"
    if support == "count":
        return (values >= 0) & (values == np.rint(values)), "the counts 0, 1, 2, ..."
    return ((values >= 0) & (values <= 1)) | (support != "unit"), "values in [0, 1]"
