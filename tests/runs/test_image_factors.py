"""From a folder with a labels.csv to disentanglement scores: each image's factors stay with its code."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vae_jax import data
from vae_jax.evaluation.disentanglement.scores import mig_per_factor, mutual_information
from vae_jax.runs import code_numbers


def test_codes_that_are_the_factors_of_a_csv_score_high_and_mixed_up_ones_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(code_numbers, "LEAST_ROWS", 100)
    rng, rows = np.random.default_rng(0), ["image,kind,turn,place"]
    for i in range(200):
        kind, turn, place = rng.integers(3), rng.integers(4), rng.integers(2)
        pixels = np.zeros((2, 4), np.uint8) + np.uint8([kind, turn, place, i])  # the image shows its factors
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        rows.insert(1 + rng.integers(len(rows)), f"{i}.png,{['ant', 'bee', 'cat'][kind]},{turn},{place}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    d = data.load(str(tmp_path))
    assert d.factor_names == ("label", "turn", "place") and d.class_names == ("ant", "bee", "cat")
    factors = [d.train_factors, d.test_factors]
    codes = [x[:, 0, :3, 0].astype(float) for x in (d.train, d.test)]
    scores = code_numbers.factor_scores(codes, factors, d.factor_names, 0, "all")
    assert scores["mig"] > 0.9 and scores["left_out"] == []
    mixed, values = rng.permutation(codes[0]), d.train_factors - d.train_factors.min(axis=0)
    assert mig_per_factor(*mutual_information(mixed, values)).mean() < 0.1
