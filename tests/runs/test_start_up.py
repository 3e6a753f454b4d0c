"""What a run needs before its first step, and nothing else: what is imported, and that shortcuts change nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from vae_jax import likelihoods, models, schedules, weighting
from vae_jax.data import digits as digits_file
from vae_jax.data.digits import digits
from vae_jax.randomness import INIT, purpose_key
from vae_jax.train.optimizers import adam, learning_rates
from vae_jax.train.recipe import Recipe
from vae_jax.train.step import init_state

ROOT = Path(__file__).parents[2]


def test_the_digits_read_from_the_file_are_scikit_learns(monkeypatch):
    quick = digits()
    elsewhere = SimpleNamespace(origin="elsewhere/sklearn/__init__.py")  # a version without the file
    monkeypatch.setattr(digits_file.importlib.util, "find_spec", lambda name: elsewhere)
    slow = digits()
    for name in ("train", "test", "train_factors", "test_factors"):
        a, b = getattr(quick, name), getattr(slow, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_a_run_is_built_without_what_only_its_end_needs():
    program = (
        "import sys\nfrom vae_jax.runs import build, run, settings\n"
        "build.build(settings.Config(workdir='unused'))\n"
        "print([n for n in ('sklearn', 'scipy.stats', 'matplotlib', 'orbax', 'tensorflow_datasets', 'grain', 'fsspec') "
        "if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_help_imports_no_network_no_data_and_no_optimiser_state():
    program = (
        "import sys\nimport experiments.train\nprint([n for n in ('flax', 'sklearn', 'orbax') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("make", [models.mlp, models.conv])
def test_the_first_state_has_the_bits_of_initialisers_run_one_by_one(make):
    event, likelihood = (8, 8, 1), likelihoods.gaussian("learned")
    vae = make(event, event, 3, (16,))
    optimizer = adam(learning_rates("cosine", 1e-3, 100), likelihood)
    key, weight = jax.random.key(5), weighting.from_schedule(schedules.constant(1.0))
    one_by_one = vae.init(purpose_key(key, INIT))
    state = init_state(Recipe(vae, likelihood, optimizer, weight), event, key)
    for a, b in zip(*map(jax.tree.leaves, (one_by_one, state.params["model"])), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not key.is_deleted() and state.key == key
