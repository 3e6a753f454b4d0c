"""Numbers of the READMEs stand in the files that the commands wrote: words and numbers do not drift apart."""

import functools
import itertools
import json
import math
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import tabulate

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "experiments/README.md", "vae_jax/theory/README.md")
NUMBER = re.compile(r"(?<![\w.,])[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?(?![\w])")
# Before a table or paragraph: its file, or when and where it was measured by a command that takes long.
FILE, KEPT = (
    re.compile(r"<!-- numbers: (results/\S+\.json) -->"),
    re.compile(r"<!-- numbers of \d{4}-\d\d-\d\d, .+ -->"),
)
SCALES = (1, 100, 2.0**-30)  # as it is, in per cent, bytes in GiB
FEW = 2  # a table of words or formulas may have so many numbers of two digits or more


def _plain(text):
    return re.sub(r"`[^`]*`|\]\([^)]*\)", "", text).replace(r"\|", "")


def _blocks(text):
    """Yields the line before each table and its rows of cells but the first, then each paragraph that names a file.

    Code and links are no numbers.
    """
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if re.fullmatch(r"\|[-| :]+\|", line) and lines[i - 1].startswith("|"):
            rows = itertools.takewhile(lambda row: row.startswith("|"), lines[i + 1 :])
            cells = [_plain(row).strip("|").split("|")[1:] for row in rows]
            yield next(x for x in reversed(lines[: i - 1]) if x), cells
        elif FILE.fullmatch(line) and lines[i + 1] and not lines[i + 1].startswith("|"):
            yield line, [[_plain("\n".join(itertools.takewhile(bool, lines[i + 1 :])))]]


@functools.cache
def _known(name):
    return list(_leaves(json.loads((ROOT / "experiments" / name).read_text())))


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


@functools.cache
def _wrong(cells, name):
    return _drifted(cells, _known(name))


def _checked(text):
    """Yields the rows and the wrong numbers of each table or paragraph whose numbers are in a file."""
    for before, cells in _blocks(text):
        if found := FILE.fullmatch(before):
            # Looked up once: a planted number leaves all tables but its own as they were.
            yield cells, _wrong(tuple(map(tuple, cells)), found[1])


@pytest.mark.parametrize("name", READMES)
def test_numbers_are_those_of_the_files(name):
    for cells, wrong in _checked((ROOT / name).read_text()):
        assert not wrong, f"{name}: {wrong} of {cells[0]} are in no result"


@pytest.mark.parametrize("name", READMES)
def test_every_table_of_numbers_says_where_they_are_from(name):
    for before, cells in _blocks((ROOT / name).read_text()):
        many = sum(sum(c.isdigit() for c in t) > 1 for row in cells for cell in row for t in NUMBER.findall(cell)) > FEW
        assert not many or FILE.fullmatch(before) or KEPT.fullmatch(before), f"{name}: whence are {cells[0]}?"


@pytest.mark.parametrize("name", READMES)
def test_a_planted_number_is_found(name):
    """Of every table and paragraph that names a file, one number gets a digit that nobody measured."""
    text = (ROOT / name).read_text()
    blocks = [cells for cells, _ in _checked(text)]
    assert blocks, f"{name} has no number that is in a file"
    for i, cells in enumerate(blocks):
        token = max((t for row in cells for cell in row for t in NUMBER.findall(cell)), key=len)
        whole = re.compile(rf"(?<![\w.,]){re.escape(token)}(?!\w)")
        starts = [found.end() for found in FILE.finditer(text)]
        planted = text[: starts[i]] + whole.sub(f"{token}7", text[starts[i] :], count=1)
        assert [wrong for _, wrong in _checked(planted) if wrong] == [[f"{token}7"]], (name, token)


def test_what_counts_as_the_same_number():
    assert _drifted([["90.22 ± .31", "1.5%"]], [90.224, 0.3111, 0.0149]) == []
    assert _drifted([["90.22", "[.65, .71]"]], [90.23, 0.654]) == ["90.22", ".71"]


def test_runs_and_sweeps_are_tabulated(tmp_path, capsys):
    """Two seeds are one row, a run is one more, and what was measured nowhere is an empty cell."""
    run, sweep, out = tmp_path / "by_itself", tmp_path / "sweep", tmp_path / "out.json"
    run.mkdir(), sweep.mkdir()
    (run / "results.json").write_text(json.dumps({"elbo": 1.23456789, "train": {"elbo": 2.0}, "parts": [{"a": 0.5}]}))
    about = {"method": "separate", "status": "done", "rate": 1.0, "distortion": 1.0}
    rows = [about | {"run": f"s{i}", "asked": {"beta": 2.0, "seed": i}, "beta": 2.0, "elbo": 3.0 + i} for i in range(2)]
    (sweep / "sweep.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert tabulate.main([str(out), "elbo=1,train.elbo,parts.0.a", str(sweep), str(run)]) == 0
    found = json.loads(out.read_text())
    assert capsys.readouterr().out.splitlines() == found["table"]
    assert found["table"][2:] == ["| beta=2 | 3.5 ± 0.7 |  |  |", "| by_itself | 1.2 | 2.00 | 0.50 |"]
    assert [row["elbo"] for row in found["rows"]] == [3.0, 4.0, 1.23457]
    assert any(text.startswith("Recommendation. beta = 2") for text in found["said"])
    assert tabulate.main([str(out)]) == 2 and "usage" in capsys.readouterr().err
