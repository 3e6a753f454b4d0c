"""``evaluate --dataset``: it says what ``train`` would say, scores all of it, and never ends well without numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vae_jax.runs import evaluate
from vae_jax.runs.build import build
from vae_jax.runs.results import refuse_infinite
from vae_jax.runs.settings import Config
from vae_jax.types import UserError

ROWS = np.random.default_rng(0).random((40, 4, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own.npz"
    np.savez(path, train=ROWS, test=ROWS[:10])
    return build(Config(dataset=str(path), hidden="4", batch_size=8, latent_dim=2))


@pytest.mark.parametrize("scale, offset, match", [(255, 0, "raw units"), (255, 0, "units?"), (1, 7, "outside [0, 1]")])
def test_data_in_other_units_are_told(run, tmp_path, capsys, scale, offset, match):
    np.savez(tmp_path / "other.npz", train=scale * ROWS + offset, test=scale * ROWS + offset)
    split = evaluate.choose_split(run, evaluate.Config(dataset=str(tmp_path / "other.npz")))
    assert len(split.rows) == 40 and match in capsys.readouterr().err
    own = evaluate.choose_split(run, evaluate.Config())
    assert len(own.rows) == 10 and capsys.readouterr().err == ""


@pytest.mark.parametrize("elbo, iw_nll, match", [(math.nan, 1.0, "elbo is nan"), (-1.0, math.inf, "iw_nll is inf")])
def test_numbers_that_are_not_finite_are_refused(elbo, iw_nll, match):
    with pytest.raises(UserError, match=match):
        refuse_infinite({"elbo": elbo, "iw_nll": iw_nll}, "and nothing was changed")
    refuse_infinite({"elbo": -1.0, "iw_nll": 1.0}, "")
