"""The growth table of large images: its rows, what one of them measures, and where they are kept."""

import dataclasses
import json

from experiments.benchmark import large_images, machine
from experiments.benchmark.large_images import ROWS, SMALLEST, Config, in_words, measured


def test_a_row_is_a_run_with_its_memory_and_its_time():
    row = measured(Config(side=8, batch_size=4, hidden="4", latent_dim=4, seconds=0.001))
    assert row["side"] == 8 and row["hidden"] == "4" and row["seconds"] > 0 and not {"results", "updates"} & set(row)
    # Parameters and both of Adam's moments are held, and so are two batches of bytes.
    assert row["resident"] > row["planned"] > 3 * 4 * row["parameters"] + 2 * 4 * 8 * 8 * 3
    assert in_words(row).count("|") == large_images.HEAD[0].count("|")


def test_the_table_changes_what_it_says_and_is_kept_row_by_row(tmp_path, monkeypatch, capsys):
    configs = [Config(**(SMALLEST | changes)) for changes in ROWS]
    assert len(set(configs)) == len(ROWS) == 20
    for name, values in {"side": {64, 128, 256}, "batch_size": {16, 32, 64}, "latent_map": {False, True}}.items():
        assert {getattr(config, name) for config in configs} == values
    for changes in ROWS[: len(ROWS) // 2 - 3]:  # each of the first ones has its twin in the other precision
        assert changes | {"dtype": "bfloat16"} in ROWS
    flags = [{k: v for k, v in dataclasses.asdict(c).items() if k not in ("seconds", "results")} for c in configs]
    sizes = {"parameters": 10, "planned": 2**30, "resident": 2**31, "seconds": 0.123}
    monkeypatch.setattr(machine, "cores_in_use", lambda: 9.0)  # memory is kept of a busy machine, too
    for part in (flags, flags[3:5]):
        monkeypatch.setattr(large_images, "rows", lambda part=part: iter([row | sizes for row in part]))
        large_images.main(Config(results=str(tmp_path)))
    (path,) = tmp_path.iterdir()
    kept = json.loads(path.read_text())
    assert len(kept["large_images"]) == 20 and all(row["busy"] for row in kept["large_images"])
    assert in_words(kept["large_images"][4]) == (
        "| 64 | 16 | 32,64 | 4x16x16 | float32 |  | 1.00 GiB | 2.00 GiB | 0.12 |"
    )
    assert "written" in capsys.readouterr().out
