"""The names of the likelihood families on the command line, and a table's columns, each block with its own.

To add a family, write it in a file of its own in ``vae_jax/likelihoods`` and give it a name here.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vae_jax import likelihoods
from vae_jax.data import column_words
from vae_jax.likelihoods.charbonnier import charbonnier_std
from vae_jax.likelihoods.huber import huber_std
from vae_jax.types import UserError

if TYPE_CHECKING:
    from vae_jax.data.units import Table

# --sigma and --min_sigma are standard deviations whatever the family: these are those of noise of scale 1.
DEVIATION = {
    "student_t": lambda c: math.sqrt(c.df / (c.df - 2)),
    "laplace": lambda c: math.sqrt(2),
    "huber": lambda c: huber_std(c.delta),
    "charbonnier": lambda c: charbonnier_std(c.delta),
}


def _scale(c, name: str) -> dict[str, Any]:
    std = DEVIATION[name](c)
    return {"scale": c.sigma / std, "learn_scale": c.precision != "fixed", "min_scale": c.min_sigma / std}


def _first_means(c, start: int, stop: int | None) -> np.ndarray | float:
    """Returns the means of counts that a decoder begins with, those of the data where they are known."""
    known = getattr(c, "count_means", ())
    return np.array([mean for index, mean in known if start <= index < (stop or math.inf)]) if known else 1.0


def _blocks(c):
    """Yields the family of each block of columns and how many it has."""
    start = 0
    for column in c.columns:
        stop = start + column.count
        if column.family in COUNTS:
            yield COUNTS[column.family](_first_means(c, start, stop)), column.count
        else:
            yield COLUMN_FAMILIES[column.family](c, column.values), column.count
        start = stop


# name -> (configuration, number of grey levels) -> Likelihood
ONE_FOR_ALL = {
    "gaussian": lambda c, levels: likelihoods.gaussian(c.precision, c.sigma, c.min_sigma),
    "student_t": lambda c, levels: likelihoods.student_t(c.df, **_scale(c, "student_t")),
    "laplace": lambda c, levels: likelihoods.laplace(**_scale(c, "laplace")),
    "huber": lambda c, levels: likelihoods.huber(c.delta, **_scale(c, "huber")),
    "charbonnier": lambda c, levels: likelihoods.charbonnier(c.delta, **_scale(c, "charbonnier")),
    "poisson": lambda c, levels: likelihoods.poisson(_first_means(c, 0, None)),
    "negative_binomial": lambda c, levels: likelihoods.negative_binomial(start=_first_means(c, 0, None)),
    "log_normal": lambda c, levels: likelihoods.log_normal(min_sigma=c.min_sigma),
    "bernoulli": lambda c, levels: likelihoods.bernoulli(),
    "continuous_bernoulli": lambda c, levels: likelihoods.continuous_bernoulli(),
    "beta": lambda c, levels: likelihoods.beta(c.squeeze or half_a_level(levels)),
    "categorical": lambda c, levels: likelihoods.categorical(_known(levels, c)),
    "discretized_logistic": lambda c, levels: likelihoods.discretized_logistic(_known(levels, c), c.components),
}
# The same in a table, where a categorical's x is the code of a class, not a grey level.
COLUMN_FAMILIES = ONE_FOR_ALL | {"categorical": lambda c, classes: likelihoods.categorical(classes, scale=1.0)}
LIKELIHOODS = ONE_FOR_ALL | {
    "tokens": lambda c, levels: likelihoods.tokens(levels),  # of a text, whose levels are the words
    "columns": lambda c, levels: likelihoods.blocks([*_blocks(c)]),
}
COUNTS = {
    "poisson": likelihoods.poisson,
    "negative_binomial": lambda start: likelihoods.negative_binomial(start=start),
}
LONGEST_COUNT = 7  # digits: no table has more columns, and no column more classes
COUNTED = ("categorical", "discretized_logistic")  # in --columns these say how many values they have


def half_a_level(levels: int | None) -> float:
    """The squeeze where none is asked for: 1 / (2 levels), so that each level is the middle of its own cell.

    Then a Beta density times the width of a cell is nearly the probability of a level. Floats, which have no levels,
    are squeezed like 8-bit pixels.
    """
    return 1.0 / (2 * (levels or 256))


def _known(levels: int | None, c) -> int:
    if levels is None:
        raise UserError(
            f"--likelihood={c.likelihood} gives probabilities to uint8 grey levels, and {c.dataset} holds floats; "
            "store uint8 images, or use --likelihood=gaussian, or --columns for a table of class codes"
        )
    return levels


class Column(NamedTuple):
    """``count`` neighbouring columns of one family, each with so many possible ``values`` (None: no such number)."""

    family: str
    values: int | None
    count: int


def parse_columns(text: str) -> list[Column]:
    """``"gaussian:3,bernoulli:2,categorical(4):1"`` -> three blocks of columns, from the left of the table.

    Raises:
      UserError: for any other syntax, an unknown family, a number where none belongs or none where one does.
    """
    columns = []
    for part in text.split(","):
        match = column_words.BLOCK.fullmatch(part)
        if not match or int(match[3]) < 1:
            raise UserError(
                f"--columns={text}: {part.strip()!r} is not FAMILY:COLUMNS; write blocks such as "
                "gaussian:3,bernoulli:2,categorical(4):1, with at least one column each"
            )
        if any(len(digits or "") > LONGEST_COUNT for digits in match.groups()[1:]):
            raise UserError(f"--columns={text}: {part.strip()!r} has a number of more than {LONGEST_COUNT} digits")
        family, values, count = match[1], match[2] and int(match[2]), int(match[3])
        if family not in COLUMN_FAMILIES:
            raise UserError(f"--columns={text}: there is no family {family}; choose from {', '.join(COLUMN_FAMILIES)}")
        if family in COUNTED and (values or 0) < 2:
            raise UserError(f"--columns={text}: say how many values a {family} column has, such as {family}(4):{count}")
        if family not in COUNTED and values is not None:
            raise UserError(f"--columns={text}: {family} takes no number in parentheses; write {family}:{count}")
        columns.append(Column(family, values, count))
    return columns


def columns_of(flags: Any, table: Table | None) -> tuple[Column, ...] | None:
    """Returns the blocks of columns of a run: neighbours of one family in a file, or what --columns says of arrays."""
    if flags.columns is None or flags.likelihood != "columns":
        return None
    if table is None or not table.families:
        return tuple(parse_columns(flags.columns))
    each = [column_words.family_of(family) for family in table.families]
    return tuple(Column(*family, len(list(some))) for family, some in itertools.groupby(each))


def check(config: Any) -> None:
    """Refuses flags of the family that contradict each other or make no density.

    Raises:
      UserError: naming them.
    """
    if config.columns is not None:
        by_name = column_words.positional(config.columns) is None  # then --likelihood is that of the other columns
        # gaussian is what --likelihood is where it is not given
        if config.likelihood not in ("gaussian", "columns") and not by_name:
            raise UserError(
                f"--likelihood={config.likelihood} and --columns={config.columns} both name families; give one of them"
            )
    elif config.likelihood == "columns":
        raise UserError("--likelihood=columns needs the families: --columns=gaussian:3,bernoulli:2,categorical(4):1")
    named = _named(config.columns) if config.columns is not None else {config.likelihood}
    blocks = config.columns is not None and (len(named) > 1 or column_words.positional(config.columns) is not None)
    if blocks and "gaussian" in named and config.precision == "optimal":
        raise UserError(
            "--precision=optimal solves for one sigma of all columns, and --columns names several families; "
            "use --precision=learned"
        )
    for name in sorted(named & set(DEVIATION)):
        if config.precision not in ("learned", "fixed"):
            raise UserError(
                f"--precision={config.precision} is the Gaussian's; the scale of {name} is learned or fixed"
            )
        if config.precision == "learned" and (config.sigma or math.inf) <= config.min_sigma:
            raise UserError(f"--sigma={config.sigma} must be above its lower bound --min_sigma={config.min_sigma}")


def _named(text: str) -> set[str]:
    """Returns the families that --columns names, whichever way."""
    if column_words.positional(text) is not None:
        return {column.family for column in parse_columns(text)}
    return {column_words.family_of(family)[0] for family in column_words.named(text).values()}
