"""What is known beside an example: a label, covariates or a context, as a vector c that travels with x and with z."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Given:
    """An example, or a code, with the condition c that is known beside it: p(x|z,c), q(z|x,c), p(z|c).

    Many of them are one ``Given`` of arrays with an axis more in front, and are indexed along it like an array.

    Attributes:
      value: x ``[event]``, or z ``[d]``.
      c: the condition, ``[m]`` numbers.
    """

    value: Any
    c: Any

    def __getitem__(self, rows) -> Given:
        """Takes rows of both."""
        return Given(self.value[rows], self.c[rows])

    def __len__(self) -> int:
        """Counts the rows."""
        return len(self.value)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return self.value.shape

    @property
    def dtype(self):
        """The type of the value."""
        return self.value.dtype

    @property
    def nbytes(self) -> int:
        """The bytes of both."""
        return self.value.nbytes + self.c.nbytes


def value_of(x: Any) -> Any:
    """Returns an example, or a code, without the condition beside it."""
    return x.value if isinstance(x, Given) else x


def condition_of(x: Any) -> Any:
    """Returns the condition beside an example, or a code; None where there is none."""
    return x.c if isinstance(x, Given) else None


def beside(value: Any, c: Any) -> Any:
    """Puts a condition beside a value; where c is None there is none."""
    return value if c is None else Given(value, c)


def beside_condition(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Makes ``(key, raw) -> x`` of one that reads examples alone; what is known beside ``raw`` stays beside x."""
    return lambda key, raw: beside(function(key, value_of(raw)), condition_of(raw))
