"""A configuration is settled once: open values are filled in, text is parsed, and nothing changes a second time."""

import dataclasses

import numpy as np
import pytest

from experiments import text
from vae_jax.data.dataset import from_arrays
from vae_jax.runs.checks import check
from vae_jax.runs.families import Column
from vae_jax.runs.names import BUILT_IN
from vae_jax.runs.settings import Config
from vae_jax.runs.settling import default_workdir, settle, without_data
from vae_jax.types import UserError

IMAGES = np.random.default_rng(0).integers(0, 17, (64, 8, 8, 1)).astype(np.uint8)
DATA = from_arrays("noise", IMAGES, IMAGES[:8])
SPECTRUM = np.linspace(0.3, 0.01, 64)


def settled(**flags):
    config = Config(**flags)
    check(config, BUILT_IN)
    return settle(config, BUILT_IN, DATA, SPECTRUM)[0]


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"beta_range": "0.10:10", "hidden": "7, 5"},
        {"weighting": "pi", "target_kl": 3.0},
        {"columns": "gaussian:60,bernoulli:4"},
        {"likelihood": "beta", "beta_norm": 0.5},
    ],
)
def test_settling_twice_changes_nothing(flags):
    first = settled(**flags)
    again, *_ = settle(first.flags, BUILT_IN, DATA, SPECTRUM)
    assert again == first and again.flags == first.flags
    # The flags are what config.json holds: text where it was given, and nothing that was left open.
    assert all(getattr(first.flags, name) == value for name, value in flags.items() if name != "columns")
    assert None not in (first.flags.hidden, first.flags.workdir, first.flags.warmup_steps, first.sigma)


def test_text_is_parsed_and_defaults_come_from_the_data():
    s = settled(beta_range="0.10:10", hidden="7, 5", columns="gaussian:60,bernoulli:4")
    assert (s.beta_range, s.hidden) == ((0.1, 10.0), (7, 5))
    assert s.columns == (Column("gaussian", None, 60), Column("bernoulli", None, 4)) and s.likelihood == "columns"
    s = settled(likelihood="beta")
    assert (s.hidden, s.event, s.data_dim, s.levels) == ((128, 128), (8, 8, 1), 64, DATA.levels)
    assert s.squeeze == 1 / (2 * DATA.levels) and s.order == "shuffled"
    assert s.sigma == pytest.approx(SPECTRUM.mean() ** 0.5, rel=1e-2)


def test_the_default_folder_of_a_run_keeps_its_name():
    def name(**flags):
        return default_workdir(without_data(Config(**flags), BUILT_IN))

    # As the version before the plugins named them, so that its runs are continued.
    before = {"validation": 0.0, "keep": "last", "standardise": "none"}
    assert name(**before) == "runs/digits_mlp_gaussian_1ec1c53a"
    assert name(**before, beta_range="0.1:10", model="conv", precision="fixed") == "runs/digits_conv_gaussian_ac1326a6"
    assert name() != name(**before)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"beta": 1.0, "beta_norm": 1.0}, "same weight in two units"),
        ({"beta": -1.0}, "--beta=-1.0 must be at least 0"),
        ({"ratio": 0.0}, "--ratio=0.0 must be in (0, 1]"),
        ({"learning_rate": 0.0}, "--learning_rate=0.0 must be positive"),
        ({"beta_range": "3:1"}, "LOW:HIGH"),
        ({"beta_range": "0.1:1", "objective": "iwae"}, "--objective=elbo"),
        ({"hidden": "512,x"}, "positive widths"),
        ({"weighting": "cyclical", "num_steps": 3}, "4 cycles do not fit into 3 steps"),
        ({"batch_size": 10, "microbatches": 3}, "equal parts"),
        ({"likelihood": "poison"}, "--likelihood=poison must be one of gaussian"),
        ({"weighting": "geco"}, "needs --target_distortion"),
    ],
)
def test_what_cannot_be_is_refused_by_name(flags, words):
    with pytest.raises(UserError) as caught:
        settled(**flags)
    assert words in str(caught.value)


def test_a_flag_of_another_weighting_is_said_to_do_nothing():
    assert check(Config(free_nats=1.0), BUILT_IN) == ["--free_nats=1 does nothing with --weighting=constant"]


def test_a_text_has_the_same_flags():
    assert [f.name for f in dataclasses.fields(text.Config)] == [f.name for f in dataclasses.fields(Config)]


def test_other_defaults_have_the_same_bounds():
    bounds = lambda cls: {  # noqa: E731
        f.name: [f.metadata[k] for k in ("least", "above", "most", "below")] for f in dataclasses.fields(cls)
    }
    assert bounds(text.Config) == bounds(Config)
