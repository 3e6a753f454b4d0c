"""Where x may lie: what a family says of its data, beside the names "real", "unit" and "binary"."""

from __future__ import annotations

from typing import NamedTuple


class Grid(NamedTuple):
    """The support of a family of probabilities: x is one of ``k * step`` for k = 0 .. count - 1."""

    count: int
    step: float


# Of a table whose columns differ: for each block of columns its own support and how many columns it has.
Columns = tuple[tuple[str | Grid, int], ...]
Support = str | Grid | Columns


def is_discrete(support: Support) -> bool:
    """Whether log p is of probabilities, which need no width of a level to become a code length, in every dimension."""
    if isinstance(support, Grid) or support == "binary":
        return True
    return isinstance(support, tuple) and all(is_discrete(part) for part, _ in support)
