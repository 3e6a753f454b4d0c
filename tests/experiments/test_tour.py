"""The notebook runs from its first cell to its last, and is kept without its outputs."""

import json
from pathlib import Path

import numpy as np

NOTEBOOK = json.loads((Path(__file__).parents[2] / "experiments" / "tour.ipynb").read_text())
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_it_is_kept_without_outputs():
    cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    assert 20 <= len(NOTEBOOK["cells"]) <= 30


def test_every_cell_runs(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    space = {}
    for i, source in enumerate(CODE):
        source = source.replace("STEPS = 1500", 'STEPS = 4\nSMALL = dict(hidden="8", batch_size=16, iw_samples=4)')
        source = source.replace("num_steps=STEPS,", "num_steps=STEPS, **SMALL,")
        exec(compile(source, f"cell {i}", "exec"), space)
    assert space["way"].shape == (8, 8, 8, 1) and space["samples"].shape == (16, 8, 8, 1)
    np.testing.assert_array_equal(space["again"].decode(space["mean"]), space["model"].decode(space["mean"]))
