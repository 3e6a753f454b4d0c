"""The text of ``--columns``: families from the left of a table, or by the names of its columns."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from vae_jax.types import UserError, one_line

BLOCK = re.compile(r"\s*(\w+)\s*(?:\(\s*(\d+)\s*\))?\s*:\s*(\d+)\s*")
FAMILY = re.compile(r"([A-Za-z]\w*)(?:\(\s*(\d+)\s*\))?")


def positional(text: str) -> list[tuple[str, int | None, int]] | None:
    """``"gaussian:3,categorical(4):1" -> [("gaussian", None, 3), ("categorical", 4, 1)]``; None for columns' names."""
    matches = [BLOCK.fullmatch(part) for part in text.split(",")]
    if not all(matches):
        return None
    return [(match[1], match[2] and int(match[2]), int(match[3])) for match in matches]


def named(text: str) -> dict[str, str]:
    """``"age:poisson,sex:categorical" -> {"age": "poisson", "sex": "categorical"}``.

    A name with a comma or a quote in it is quoted as in a csv file, together with its family: ``"a, b:drop"``.

    Raises:
      UserError: a part is no NAME:FAMILY, or a name is there twice.
    """
    found, parts = {}, next(csv.reader([text], skipinitialspace=True), []) or [""]
    for part in sorted(parts, key=lambda part: BLOCK.fullmatch(part) is not None):  # what is neither comes first
        name, colon, family = part.rpartition(":")
        if not colon or not name or not FAMILY.fullmatch(family.strip()):
            raise UserError(
                f"--columns={one_line(text, 80)}: {part.strip()!r} is not FAMILY:COLUMNS, such as gaussian:3, "
                "nor for the columns of a file NAME:FAMILY, such as age:poisson"
            )
        if name in found:
            raise UserError(f"--columns={one_line(text, 80)} names {name} twice")
        found[name] = family.strip()
    return found


def written(names: Sequence[str], families: Sequence[str]) -> str:
    """Returns the text that ``named`` reads."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([f"{name}:{family}" for name, family in zip(names, families)])
    return out.getvalue()


def family_of(text: str) -> tuple[str, int | None]:
    """``"categorical(4)" -> ("categorical", 4)``."""
    match = FAMILY.fullmatch(text)
    return match[1], match[2] and int(match[2])
