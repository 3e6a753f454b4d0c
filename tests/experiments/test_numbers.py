"""Numbers of the READMEs' tables stand in the files that the commands wrote: words and numbers do not drift apart."""

import json
import math
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "experiments/README.md", "vae_jax/theory/README.md")
NUMBER = re.compile(r"(?<![\w.,])[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?(?![\w])")
# Before a table: its file, or when and where it was measured by a command that takes long.
FILE, KEPT = (
    re.compile(r"<!-- numbers: (results/\S+\.json) -->"),
    re.compile(r"<!-- numbers of \d{4}-\d\d-\d\d, .+ -->"),
)
SCALES = (1, 100, 2.0**-30)  # as it is, in per cent, bytes in GiB
FEW = 2  # a table of words or formulas may have so many numbers of two digits or more


def _tables(text):
    """Yields the line before each table and its rows, each a list of cells without code, links and the first cell."""
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if re.fullmatch(r"\|[-| :]+\|", line) and lines[i - 1].startswith("|"):
            rows = iter(lines[i + 1 :])
            cells = [
                re.sub(r"`[^`]*`|\]\([^)]*\)", "", row).replace(r"\|", "").strip("|").split("|")[1:]
                for row in iter(lambda rows=rows: next(rows, ""), "")
                if row.startswith("|")
            ]
            yield next(x for x in reversed(lines[: i - 1]) if x), cells


def _leaves(value):
    if isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _leaves(child)
    elif isinstance(value, str):
        yield from (float(t.replace(",", "")) for t in NUMBER.findall(value))
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield float(value)


def _drifted(cells, known):
    """Returns the numbers of some rows that no known one is, rounded alike, of either sign or in per cent."""
    wrong = []
    for token in (t for row in cells for cell in row for t in NUMBER.findall(cell)):
        digits = token.replace(",", "")
        mantissa, _, exponent = digits.partition("e")
        unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
        near = (abs(scale * abs(v) - abs(float(digits))) <= 0.5001 * unit for v in known for scale in SCALES)
        if not any(near):
            wrong.append(token)
    return wrong


def _checked(name):
    """Yields each table of a README whose numbers are in a file: its rows and the file's numbers."""
    for before, cells in _tables((ROOT / name).read_text()):
        if found := FILE.fullmatch(before):
            yield cells, list(_leaves(json.loads((ROOT / "experiments" / found[1]).read_text())))


@pytest.mark.parametrize("name", READMES)
def test_numbers_are_those_of_the_files(name):
    for cells, known in _checked(name):
        assert not (wrong := _drifted(cells, known)), f"{name}: {wrong} of the table {cells[0]} are in no result"


@pytest.mark.parametrize("name", READMES)
def test_every_table_of_numbers_says_where_they_are_from(name):
    for before, cells in _tables((ROOT / name).read_text()):
        many = sum(sum(c.isdigit() for c in t) > 1 for row in cells for cell in row for t in NUMBER.findall(cell)) > FEW
        assert not many or FILE.fullmatch(before) or KEPT.fullmatch(before), f"{name}: whence are {cells[0]}?"


def test_a_planted_number_is_found():
    (cells, known), *_ = _checked("experiments/README.md")
    number = NUMBER.search(" | ".join(cells[0]))[0]
    planted = f"{number}7"  # a digit that nobody measured
    assert _drifted([[planted]], known) == [planted] and not _drifted([[number]], known)
    assert _drifted([["90.22 ± .31", "1.5%"]], [90.224, 0.3111, 0.0149]) == []
    assert _drifted([["90.22", "[.65, .71]"]], [90.23, 0.654]) == ["90.22", ".71"]
