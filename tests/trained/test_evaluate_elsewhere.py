"""``evaluate --dataset=OTHER`` of a run whose own data are gone."""

import json
import shutil

import numpy as np
from helpers.malformed import refusal
from helpers.trained_models import train_digits

from vae_jax.data.digits import digits
from vae_jax.runs import evaluate

SMALL = {"iw_samples": 4, "rate_samples": 8, "gap_examples": 0}


def test_other_data_are_scored_where_the_runs_own_are_gone(tmp_path):
    train, test = (np.uint8(split * 15) for split in (digits().train, digits().test))
    np.savez(tmp_path / "own.npz", train=train[:64], test=test)
    train_digits(tmp_path / "run", dataset=str(tmp_path / "own.npz"))
    moved = shutil.move(tmp_path / "own.npz", tmp_path / "moved.npz")
    config = evaluate.Config(workdir=str(tmp_path / "run"), dataset=moved, **SMALL)
    expected = json.loads((tmp_path / "run" / "results.json").read_text())
    answer = evaluate.evaluate(config)
    assert {key: answer[key] for key in ("elbo", "iw_nll", "mse")} == {
        k: expected[k] for k in ("elbo", "iw_nll", "mse")
    }
    np.savez(tmp_path / "few.npz", train=train[:2], test=test[:27])
    config = evaluate.Config(workdir=str(tmp_path / "run"), dataset=str(tmp_path / "few.npz"), **SMALL)
    assert "27 examples" in evaluate.evaluate(config)["protocol"]
    assert "no such file" in refusal(lambda: evaluate.evaluate(evaluate.Config(workdir=str(tmp_path / "run"), **SMALL)))
    config = evaluate.Config(workdir=str(tmp_path / "run"), dataset="sprites", **SMALL)
    assert "64x64x1" in refusal(lambda: evaluate.evaluate(config))
