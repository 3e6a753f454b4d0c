"""Data at the edge of what numbers can say: they train with finite results, or are refused in one line."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from helpers import malformed as m

from experiments import train
from vae_jax.data.spectrum import eigenvalues
from vae_jax.runs import build
from vae_jax.runs.first_words import start_line
from vae_jax.runtime.files import finite, write_json

RANDOM = np.random.default_rng(0)
ONE = RANDOM.integers(0, 256, (1, 4, 4)).astype(np.uint8)
LIT = np.zeros((16, 4, 4), np.uint8)
LIT[np.arange(16), np.arange(16) % 4, np.arange(16) // 4] = 200
IMAGES = {
    "black": np.zeros((16, 4, 4), np.uint8),
    "white": np.full((16, 4, 4), 255, np.uint8),
    "one repeated": np.repeat(ONE, 16, axis=0),
    "one pixel lit": LIT,
    "of one pixel": RANDOM.integers(0, 256, (16, 1, 1)).astype(np.uint8),
    "of one grey pixel": np.full((16, 1, 1), 7, np.uint8),
}
NORMAL = RANDOM.standard_normal((16, 5)).astype(np.float32)
ROWS = {
    "a constant column": NORMAL * np.array([1, 0, 1, 1, 1], np.float32) + 3,
    "constants": np.full((16, 5), 0.25, np.float32),
    "denormals": (1e-42 * np.abs(NORMAL)).astype(np.float32),
    "a millionth apart": 1000 + 1e-3 * NORMAL,
}
TOO_LARGE = {
    "1e30": 1e30 * NORMAL,
    "the largest floats": np.sign(NORMAL) * np.float32(3.4e38),
    "one of them": np.where(np.arange(80).reshape(16, 5) == 7, np.float32(1e30), NORMAL),
}
FAMILIES = [
    *({"precision": precision} for precision in ("learned", "fixed", "per_dimension", "predicted", "optimal")),
    {"likelihood": "bernoulli", "pixels": "binary"},
    *({"likelihood": name} for name in ("continuous_bernoulli", "beta", "discretized_logistic", "categorical")),
]
WEIGHTINGS = [
    {"weighting": "geco", "target_distortion": -5.0},
    {"weighting": "pi", "target_kl": 1.0},
    {"weighting": "capacity", "target_kl": 1.0},
]
SMALL = {"hidden": "4", "latent_dim": 2, "batch_size": 8, "num_steps": 2}


def made(tmp_path, x, **flags):
    path = tmp_path / "mine.npz"
    np.savez(path, train=x, test=x[:2])
    config = dataclasses.replace(train.Config(), dataset=str(path), workdir=str(tmp_path / "run"), **SMALL | flags)
    return build.build(config)


def first_updates(r):
    """The metrics of the first two updates."""
    step = jax.jit(build.training_step(r, lambda tree: tree))
    state, raw, found = build.first_state(r), r.dataset.train[: r.config.batch_size], []
    for _ in range(2):
        state, metrics = step(state, raw)
        found.append(metrics)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    return {name: np.array([metrics[name] for metrics in found]) for name in found[0]}


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_images_without_variance_have_a_finite_forecast_in_every_family(tmp_path, name):
    # Those without any variance have the same spectrum, all zeros: one of them meets every family.
    many = name in ("black", "one pixel lit", "of one grey pixel")
    for flags in [*FAMILIES, *WEIGHTINGS] if many else FAMILIES[:5]:
        r = made(tmp_path, IMAGES[name], **flags)
        assert np.isfinite(r.spectrum).all() and r.config.sigma > 0
        lines = " ".join([start_line(r), *r.warnings])
        assert "nan" not in lines.lower().replace("nant", "")


@pytest.mark.parametrize(
    ("data", "flags"),
    [
        ("black", FAMILIES[0]),
        ("white", FAMILIES[4]),
        ("black", FAMILIES[6]),
        ("white", FAMILIES[7]),
        ("of one grey pixel", FAMILIES[8]),
        ("black", WEIGHTINGS[1]),
    ],
)
def test_images_without_variance_train(tmp_path, data, flags):
    metrics = first_updates(made(tmp_path, IMAGES[data], **flags))
    for key in ("loss", "elbo", "rate", "grad_norm", "beta"):
        assert np.isfinite(metrics[key]).all(), key


@pytest.mark.parametrize("name", sorted(ROWS))
def test_rows_of_a_table_train(tmp_path, name):
    r = made(tmp_path, ROWS[name])
    assert np.isfinite(r.spectrum).all() and np.isfinite(first_updates(r)["loss"]).all()


@pytest.mark.parametrize("name", sorted(TOO_LARGE))
def test_values_whose_squares_no_float_holds_are_refused(tmp_path, name):
    # Each column by itself has a standard deviation, whatever its units: with those of the data float32 must do.
    assert np.isfinite(made(tmp_path, TOO_LARGE[name]).spectrum).all()
    said = m.refusal(lambda: made(tmp_path, TOO_LARGE[name], standardise="none"))
    assert said is not None and "mine.npz" in said and "squares" in said, said
    assert not (tmp_path / "run").exists()


def test_too_few_examples_are_refused_or_train(tmp_path):
    for n in (1, 2):
        said = m.refusal(made, tmp_path, IMAGES["black"][:n])
        assert said is not None and f"larger than the {n} training examples" in said
    # Eight devices want eight examples; a step of one device takes the two that there are.
    spread = made(tmp_path, IMAGES["black"]).spread
    np.savez(tmp_path / "two.npz", train=LIT[:2], test=LIT[2:4])
    config = dataclasses.replace(train.Config(), dataset=str(tmp_path / "two.npz"), **SMALL | {"batch_size": 2})
    r = build.build(config, None, spread)
    assert np.isfinite(first_updates(r)["loss"]).all()


def test_the_spectrum_of_what_does_not_vary_is_zero_however_wide():
    for shape in ((4, 10), (4, 2500), (2, 2500)):
        assert np.array_equal(eigenvalues(np.full(shape, 7.0)), np.zeros(shape[1]))
    for wide in (np.full((4, 10), 3e38) * np.array([1, -1, 1, -1])[:, None], 1e25 * np.eye(4, 2500)):
        with pytest.raises(ValueError, match="squares"):
            eigenvalues(wide.astype(np.float32))


def test_numbers_that_do_not_exist_are_null_in_a_file(tmp_path):
    found = {"elbo": float("nan"), "parts": [{"value": float("-inf")}, (1.0, float("inf"))], "step": 3, "name": "nan"}
    write_json(tmp_path / "results.json", found)
    expected = {"elbo": None, "parts": [{"value": None}, [1.0, None]], "step": 3, "name": "nan"}
    assert json.loads((tmp_path / "results.json").read_text()) == expected == finite(found)
