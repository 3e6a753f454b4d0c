"""metrics.jsonl: each evaluation once, and kept where TensorBoard's writer is not installed."""

from __future__ import annotations

import json
import sys

from vae_jax.runtime.logs import MetricsLog


def test_an_evaluation_is_written_once_however_often_its_run_was_stopped(tmp_path):
    # Killed between the last evaluation and the results, a run evaluates its last state again.
    for _ in range(3):
        with MetricsLog(tmp_path, 20) as log:
            log.write(20, "test", {"elbo": -1.0})
    with MetricsLog(tmp_path, 10) as log:  # from an older checkpoint everything after it is done again
        log.write(15, "train", {"elbo": -2.0})
        log.write(20, "test", {"elbo": -1.0})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["split"]) for row in rows] == [(15, "train"), (20, "test")]


def test_metrics_are_kept_where_tensorboardx_is_not(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with MetricsLog(tmp_path, 0) as log:
        log.write(1, "train", {"loss": 1.0})
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["loss"] == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert "tensorboardX" in capsys.readouterr().err
