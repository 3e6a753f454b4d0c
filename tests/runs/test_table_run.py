"""A table from its file to codes and samples: trained, loaded where the file is not, used on other files by name."""

from __future__ import annotations

import csv
import json

import jax
import numpy as np
import pytest
from helpers.binaries import SMALL, call, refused, results
from sklearn.datasets import load_wine

import vae_jax
from vae_jax.types import UserError

NAMES = ("alcohol", "proline", "hue", "kind", "visits", "cork", "bottle")


def cells():
    """Wine with strings, counts and gaps."""
    rng, wine = np.random.default_rng(0), load_wine()
    for i, (row, target) in enumerate(zip(wine.data, wine.target)):
        kind = ("barolo", "grignolino", "barbera")[target]
        values = [
            *(f"{row[j]:g}" for j in (0, 12, 10)),
            kind,
            str(rng.poisson(3 + 5 * target)),
            rng.choice(["no", "yes"]),
        ]
        yield [*(v if i < 9 or rng.random() > 0.1 else "" for v in values), f"No. {i:04}"]


def write(path, names, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return str(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    path = write(folder / "wine.csv", NAMES, cells())
    out, _ = call(f"--dataset={path}", f"--workdir={folder / 'run'}", *SMALL)
    return folder, out


def test_what_a_run_says_and_keeps(trained):
    folder, out = trained
    for line in (
        "alcohol  real         gaussian",
        "kind     categorical  categorical(4)",
        "cork     binary       bernoulli",
    ):
        assert line in out
    assert "column bottle is left out: nearly every row has another text" in out
    numbers = results(folder / "run")
    assert [column["name"] for column in numbers["per_column"]] == list(NAMES[:-1])
    proline, kind = numbers["per_column"][1], numbers["per_column"][3]
    assert 100 < proline["rmse"] < 1000 and proline["accuracy"] is None  # in its own units
    assert kind["rmse"] is None and 0 <= kind["accuracy"] <= 1
    assert (
        numbers["standardisation"]["columns"] == list(NAMES[:-1]) and "own units" in numbers["standardisation"]["how"]
    )
    config = json.loads((folder / "run" / "config.json").read_text())
    assert config["likelihood"] == "columns" and config["columns"].startswith("alcohol:gaussian,proline:gaussian")
    page = (folder / "run" / "report.html").read_text()
    assert "proline" in page and "categorical(4)" in page
    # The same command finds the run finished; what it recorded is read as it was.
    again, _ = call(f"--dataset={folder / 'wine.csv'}", f"--workdir={folder / 'run'}", *SMALL)
    assert "this run is finished" in again


def test_the_model_speaks_the_columns_own_units_and_names(trained):
    folder, _ = trained
    model = vae_jax.load(folder / "run")
    rows = [row[:-1] for row in cells()][:9]
    x = {
        name: np.array(column, dtype=object if i in (3, 5) else float)
        for i, (name, column) in enumerate(zip(NAMES, zip(*rows)))
    }
    made = model.reconstruct(x)
    assert set(made["kind"]) <= {"barolo", "barbera", "grignolino", "other"} and set(made["cork"]) <= {"no", "yes"}
    assert 200 < made["proline"].mean() < 2000
    unknown = x | {"kind": np.array(["merlot"] * 9, dtype=object)}
    assert np.isfinite(model.elbo(unknown)).all() and (model.elbo(unknown) != model.elbo(x)).all()
    drawn = model.sample(200, jax.random.key(0))
    assert drawn.shape == (200, 6) and 200 < drawn[:, 1].mean() < 2000
    # The numbers of the run, of rows in their own units, which go through the units once more.
    test = folder / "codes.csv"
    call(f"--workdir={folder / 'run'}", "--input=test", f"--output={test}", binary="encode")
    assert len(test.read_text().splitlines()) == 1 + 18
    with pytest.raises(UserError, match="no column cork"):
        model.encode({name: x[name] for name in NAMES[:5]})


def test_other_files_are_read_by_the_names_of_their_columns(trained):
    folder, _ = trained
    rows = [row[:-1] for row in cells()][:20]
    order = [5, 3, 1, 0, 4, 2]
    other = write(folder / "other.csv", [NAMES[i] for i in order], [[row[i] for i in order] for row in rows])
    same = write(folder / "same.csv", NAMES[:-1], rows)
    run, found = f"--workdir={folder / 'run'}", []
    for path in (other, same):
        call(run, f"--input={path}", f"--output={folder / 'c.npz'}", binary="encode")
        found.append(np.load(folder / "c.npz")["mean"])
    np.testing.assert_array_equal(*found)
    call(run, f"--dataset={other}", "--iw_samples=4", binary="evaluate")
    assert json.loads((folder / "run" / "evaluation.json").read_text())["mse"] > 100
    short = write(folder / "short.csv", NAMES[:3], [row[:3] for row in rows])
    refused(
        run, f"--dataset={short}", binary="evaluate", match="has no column kind, visits, cork; the model takes alcohol"
    )
    refused(run, f"--input={short}", f"--output={folder / 'd.npz'}", binary="encode", match="has no column kind")
    call(run, "--num=30", f"--output={folder / 's.csv'}", binary="sample")
    with (folder / "s.csv").open() as file:
        head, *samples = csv.reader(file)
    assert head == list(NAMES[:-1]) and len(samples) == 30
    assert {row[5] for row in samples} <= {"no", "yes"} and all(float(row[1]) > 10 for row in samples)
