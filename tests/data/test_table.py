"""Tables as people have them: what is read, cut, and taken for what; and what is refused in one line."""

from __future__ import annotations

import datetime
import gzip
import sys

import numpy as np
import pytest
from data_inputs import refused

from vae_jax import data
from vae_jax.data.column_kinds import DROP, FAMILIES, infer
from vae_jax.data.column_words import named, positional, written
from vae_jax.data.table import in_words
from vae_jax.data.table_files import read_frame
from vae_jax.runs.families import COLUMN_FAMILIES

RNG = np.random.default_rng(0)
N = 100
RAW = data.Reading(standardise="none")


def write(path, text: str, encoding: str = "utf-8") -> str:
    path.write_bytes(text.encode(encoding))
    return str(path)


def csv_of(columns: dict, delimiter: str = ",") -> str:
    rows = zip(*[[name, *values] for name, values in columns.items()])
    return "".join(delimiter.join(map(str, row)) + "\n" for row in rows)


SIZES = (150 + 0.37 * RNG.permutation(N)).round(2)
COLUMNS = {
    "size": SIZES,
    "income": np.exp(RNG.normal(8, 2.5, N)).round(3),
    "visits": RNG.poisson(6, N),
    "member": RNG.choice(["yes", "no"], N),
    "grade": RNG.integers(1, 5, N),
    "colour": RNG.choice(["red", "green", "blue"], N),
}
KINDS = ("real", "positive", "count", "binary", "categorical", "categorical")
LEVELS = ((), (), (), ("no", "yes"), ("1", "2", "3", "4", "other"), ("blue", "green", "red", "other"))


def folder_of(path):
    path.mkdir()
    for split, rows in (("train", slice(0, 80)), ("VALID", slice(80, 90)), ("test", slice(90, 100))):
        write(path / f"{split}.csv", csv_of({name: values[rows] for name, values in COLUMNS.items()}))
    return str(path)


def parquet_of(path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    columns = {name: [None, *np.asarray(values)[1:].tolist()] for name, values in COLUMNS.items()}
    columns["when"] = [datetime.date(2020, 1, 1 + i % 9) for i in range(N)]
    columns["all"] = [[1, 2]] * N
    pq.write_table(pa.table(columns), path)
    return str(path)


# Eight tables of the same columns, each in another form: who writes it, and how many of the splits there are.
FORMS = {
    "commas": lambda p: write(p / "t.csv", csv_of(COLUMNS)),
    "tabs": lambda p: write(p / "t.tsv", csv_of(COLUMNS, "\t")),
    "decimal commas": lambda p: write(p / "t.csv", csv_of(COLUMNS, ";").replace(".", ",")),
    "a BOM and blank lines": lambda p: write(p / "t.csv", "\ufeff" + csv_of(COLUMNS).replace("\n", "\r\n\r\n")),
    "quotes": lambda p: write(p / "t.csv", csv_of({k: [f'"{v}"' for v in c] for k, c in COLUMNS.items()})),
    "gzip": lambda p: (p / "t.csv.gz").write_bytes(gzip.compress(csv_of(COLUMNS).encode())) and str(p / "t.csv.gz"),
    "a folder": lambda p: folder_of(p / "t"),
    "parquet": lambda p: parquet_of(p / "t.parquet"),
}


@pytest.mark.parametrize("form", FORMS)
def test_eight_tables(tmp_path, form):
    d = data.load(FORMS[form](tmp_path), RAW)
    table = d.table
    assert table.names == tuple(COLUMNS) and table.kinds == KINDS and table.levels == LEVELS
    assert table.families[:4] == ("gaussian", "log_normal", "negative_binomial", "bernoulli")
    assert table.families[4:] == ("categorical(5)", "categorical(4)")
    sizes = (80, 10, 10) if form == "a folder" else (70, 20, 10)
    assert (len(d.train), len(d.validation), len(d.test)) == sizes
    assert d.train.dtype == np.float32 and d.event == (6,)
    # Every row of the file is in one split, with its numbers.
    rows = np.concatenate([d.train, d.validation, d.test])
    rows, missing = rows[~np.isnan(rows[:, 0])], np.isnan(rows[:, 0]).sum()
    assert missing == (form == "parquet")
    np.testing.assert_allclose(np.sort(rows[:, 0]), np.sort(np.float32(SIZES[missing:])))
    own = dict(zip(np.float32(SIZES).tolist(), COLUMNS["colour"]))
    assert [own[row[0].item()] for row in rows] == [LEVELS[5][int(row[5])] for row in rows]
    lines = in_words(table)
    assert len(lines) == 7 and lines[4].split()[:4] == ["member", "binary", "bernoulli", str(missing)]
    if form == "parquet":
        assert any("when is left out: it holds dates" in note for note in d.notes)
        assert any("all is left out: it holds list" in note for note in d.notes)


def test_values_in_a_models_units(tmp_path):
    d = data.load(write(tmp_path / "t.csv", csv_of(COLUMNS)))
    np.testing.assert_allclose(d.train[:, 0].std(), 1, rtol=1e-5)
    np.testing.assert_allclose(np.log(d.train[:, 1]).mean(), 0, atol=1e-5)
    raw = data.load(str(tmp_path / "t.csv"), RAW)
    np.testing.assert_array_equal(d.train[:, 2:], raw.train[:, 2:])
    np.testing.assert_allclose(d.table.to_own(d.train), raw.train, rtol=1e-5)
    columns = d.table.columns(d.table.to_own(d.train))
    assert set(columns["colour"]) == {"red", "green", "blue"} and columns["size"].dtype == np.float64


def test_missing_values_in_every_spelling(tmp_path):
    cells = ["", "NA", "nan", "?", "null", "N/A"]
    size, colour = [*cells, *SIZES[6:]], [*COLUMNS["colour"][:94], *cells]
    d = data.load(write(tmp_path / "t.csv", csv_of({"size": size, "colour": colour})), RAW._replace(whole=True))
    assert d.table.missing == (6, 6) and d.table.kinds == ("real", "categorical")
    assert np.isnan(d.train).sum(axis=0).tolist() == [6, 6]


def test_equal_rows_are_on_one_side_whatever_the_units_and_the_order(tmp_path):
    x = RNG.normal(size=(60, 2))
    x = np.concatenate([x, x, x])
    first = data.load(write(tmp_path / "a.csv", csv_of({"a": x[:, 0], "b": x[:, 1]})), RAW)
    sides = [{tuple(row) for row in split.tolist()} for split in (first.train, first.validation, first.test)]
    assert not sides[0] & sides[1] and not sides[2] & (sides[0] | sides[1])
    assert [len(x) for x in (first.train, first.validation, first.test)] == [129, 33, 18]
    other = x[RNG.permutation(len(x))] * [1e-6, 1e6] + [5, 1e7]
    second = data.load(write(tmp_path / "b.csv", csv_of({"a": other[:, 0], "b": other[:, 1]})))
    first = data.load(str(tmp_path / "a.csv"))
    np.testing.assert_allclose(*(np.sort(d.train[:, 0]) for d in (first, second)), atol=1e-5)


def test_splits_that_are_asked_for(tmp_path):
    path = write(tmp_path / "t.csv", csv_of(COLUMNS))
    d = data.load(path, RAW._replace(validation=0.2, test=0.3))
    assert (len(d.train), len(d.validation), len(d.test)) == (50, 20, 30)
    assert any("50 train, 20 validation, 30 test" in note for note in d.notes)
    d = data.load(path, RAW._replace(whole=True))
    assert len(d.train) == len(d.test) == N


def test_later_levels_are_one_of_their_own(tmp_path):
    folder = tmp_path / "t"
    folder.mkdir()
    train = {"size": SIZES[:80], "colour": COLUMNS["colour"][:80], "member": ["a", "b"] * 40}
    test = {"member": ["a", "c"], "colour": ["violet", "red"], "size": [1, 2], "new": [1, 2]}
    write(folder / "train.csv", csv_of(train))
    write(folder / "test.csv", csv_of(test))
    d = data.load(str(folder), RAW)
    assert d.test[:, :2].tolist() == [[1, 3], [2, 2]]
    assert d.test[0, 2] == 0 and np.isnan(d.test[1, 2])
    assert any("column colour: 1 values beside its levels are the level other, such as 'violet'" in n for n in d.notes)
    # A run that is used elsewhere reads another file by the names of its columns, and as it was trained.
    other = write(tmp_path / "o.csv", csv_of({"colour": ["red"] * 3, "member": ["b"] * 3, "size": [170, 171, 172]}))
    again = data.load(other, data.Reading(whole=True).as_of(d.table))
    assert again.train.tolist() == [[170, 2, 1], [171, 2, 1], [172, 2, 1]]
    without = write(tmp_path / "w.csv", csv_of({"size": [170, 171], "colour": ["red"] * 2}))
    assert "has no column member; the model takes size, colour, member" in refused(
        data.load, without, data.Reading(whole=True).as_of(d.table)
    )


def test_columns_are_asked_for_by_name_or_from_the_left(tmp_path):
    path = write(tmp_path / "t.csv", csv_of(COLUMNS))
    d = data.load(path, RAW._replace(columns="visits:poisson,income:real,grade:drop,size:laplace"))
    assert d.table.names == ("size", "income", "visits", "member", "colour")
    assert d.table.families[:3] == ("laplace", "gaussian", "poisson") and "column grade is left out" in str(d.notes)
    # What a run records gives the same again.
    again = data.load(path, RAW._replace(columns=written(d.table.names, d.table.families) + ",grade:drop"))
    assert again.table == d.table
    d = data.load(path, RAW._replace(columns="gaussian:3,bernoulli:1,categorical(4):2"))
    assert d.table.families == ("gaussian",) * 3 + ("bernoulli", "categorical(5)", "categorical(4)")
    assert data.load(path, RAW._replace(likelihood="student_t")).table.families[0] == "student_t"
    strange = {'a, "b"': "drop", "c:d": "real", "e": "categorical(4)"}
    assert named(written(list(strange), list(strange.values()))) == strange
    assert positional("a:real") is None and set(FAMILIES) | {DROP} == set(COLUMN_FAMILIES) | {DROP}


ODD = {
    "a constant": ([7] * N, "constant"),
    "a constant text": (["x"] * N, "constant"),
    "nothing": ([""] * N, "missing"),
    "numbers of the rows": (range(N), "identifier"),
    "names": ([f"No. {i}" for i in range(N)], "text"),
    "dates": ([f"2020-01-{1 + i % 28:02}" for i in range(N)], "date"),
    "times": ([f"{1 + i % 28}.3.2021 10:30" for i in range(N)], "date"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_no_model_can_learn_is_left_out_and_said(tmp_path, name):
    cells, kind = ODD[name]
    column = read_frame(write(tmp_path / "odd.csv", csv_of({"odd": cells, "size": SIZES}))).columns[0]
    assert infer(column).kind == kind
    path = write(tmp_path / "t.csv", csv_of({"size": SIZES, "odd": cells}))
    d = data.load(path, RAW._replace(whole=True))
    assert d.table.names == ("size",) and any(note.startswith("column odd is left out: ") for note in d.notes), d.notes


@pytest.mark.parametrize(
    "values, kind",
    [
        (RNG.normal(5, 1, 200), "real"),
        (np.exp(RNG.normal(0, 0.5, 200)), "real"),
        (np.exp(RNG.normal(0, 2, 200)), "positive"),
        (-np.exp(RNG.normal(0, 2, 200)), "real"),
        (RNG.integers(300, 900, 200), "real"),
        (RNG.poisson(RNG.gamma(2, 20, 200)), "count"),
        (RNG.integers(0, 4, 200), "categorical"),
        (RNG.integers(0, 4, 200) * 2.5, "real"),
        (RNG.choice([-1.5, 4], 200), "binary"),
    ],
)
def test_kinds_of_numbers(values, kind):
    assert infer(np.float64(values)).kind == kind
    if kind in ("real", "positive"):  # they are not a matter of the units
        assert infer(np.float64(values) * 1e-6).kind == infer(np.float64(values) * 1e6).kind == kind


def test_a_category_of_5000_levels_keeps_the_frequent_ones(tmp_path):
    many = [f"c{i % 5000}" for i in range(12_000)] + ["c7"] * 3000
    path = write(tmp_path / "t.csv", csv_of({"x": RNG.normal(size=15_000).round(4), "many": many}))
    d = data.load(path, RAW._replace(whole=True))
    assert d.table.families[1] == "categorical(256)" and "c7" in d.table.levels[1] and d.table.levels[1][-1] == "other"
    assert any("column many: 4,745 levels, the rarest, are the one level other" in note for note in d.notes)
    assert (d.train[:, 1] == 255).sum() > 8000


REFUSED = {
    "no rows": ("a,b\n", "no rows below the names"),
    "nothing": ("", "no rows below the names"),
    "ragged": ("a,b\n1,2\n\n3\n", "line 4 has 1 cells, and the first one has 2"),
    "too large": ("a,b\n1,2\n3,1e400\n", "line 3 holds 1e400 in column b, which is no finite number"),
    "two of a name": ("a,b,a\n1,2,3\n", "two columns are called a"),
    "one row": ("a,b\n1,2\n", "1 rows cannot be cut"),
    "equal rows": ("a,b\n1,2\n1,2\n1,2\n", "cannot be cut"),
    "nothing to learn": ("a,b\n1,2020-01-01\n1,2020-01-02\n1,2020-01-03\n1,2020-01-04\n", "no column that a model"),
    "slips": (csv_of({"a": [*range(100, 130), "unknown"], "b": SIZES[:31]}), "column a holds numbers, and 'unknown'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_tables_that_are_refused(tmp_path, name):
    text, said = REFUSED[name]
    assert said in refused(data.load, write(tmp_path / "t.csv", text))


@pytest.mark.parametrize(
    "columns, said",
    [
        ("width:real", "--columns names width, and"),
        ("size:gamma", "size:gamma names no family; choose from"),
        ("colour:bernoulli", "holds 3 different values there, expected 2"),
        ("gaussian:3", "--columns names 3 columns, and"),
        ("size", "is not FAMILY:COLUMNS"),
        ("size:real,size:real", "names size twice"),
    ],
)
def test_columns_that_are_refused(tmp_path, columns, said):
    path = write(tmp_path / "t.csv", csv_of(COLUMNS))
    assert said in refused(data.load, path, RAW._replace(columns=columns))


def test_few_rows_one_column_no_names_and_another_encoding(tmp_path):
    d = data.load(write(tmp_path / "two.csv", "a,b\n1,2\n3,5\n4,4\n"))
    assert len(d.train) == 2 and len(d.test) == 1
    d = data.load(write(tmp_path / "one.csv", csv_of({"only": SIZES})))
    assert d.event == (1,) and d.table.names == ("only",)
    d = data.load(write(tmp_path / "none.csv", csv_of(COLUMNS).split("\n", 1)[1]))
    assert d.table.names[:2] == ("column_0", "column_1") and "no names of columns" in str(d.notes)
    d = data.load(write(tmp_path / "latin.csv", csv_of({"größe": SIZES}), "cp1252"))
    assert d.table.names == ("größe",) and "read as cp1252" in str(d.notes)


def test_parquet_without_pyarrow_is_one_line(tmp_path, monkeypatch):
    write(tmp_path / "t.parquet", "PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install pyarrow" in refused(data.load, str(tmp_path / "t.parquet"))
