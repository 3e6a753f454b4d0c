"""--plugin=FILE.py: names of one's own for all five kinds of things, from a file anywhere."""

import json
import subprocess
import sys

import numpy as np
import pytest
from helpers.binaries import call

import vae_jax
from experiments import evaluate, train
from vae_jax.runs import networks
from vae_jax.runs.names import BUILT_IN, names_of
from vae_jax.types import UserError

PLUGIN = """
import jax
import jax.numpy as jnp
import numpy as np
from vae_jax import VAE, Likelihood, data
from vae_jax.gaussian import DiagGaussian

def unit_gaussian():
    log_prob = lambda own, theta, x: -0.5 * jnp.sum((x - theta) ** 2 + jnp.log(2 * jnp.pi))
    return Likelihood(init=lambda event: {}, theta_shape=tuple, log_prob=log_prob, mean=lambda own, theta: theta,
                      variance=lambda own, theta: jnp.ones_like(theta),
                      sample=lambda own, theta, key: theta + jax.random.normal(key, theta.shape), support="real")

def matrices(event, theta_shape, latent_dim, hidden=(), beta_range=None, batched_kernels=False):
    def init(key):
        encoder, decoder = 0.1 * jax.random.normal(key, (2, int(np.prod(event)), latent_dim))
        return {"encoder": encoder, "decoder": decoder, "logvar": jnp.zeros(latent_dim)}
    return VAE(init, lambda p, x: DiagGaussian(x.reshape(-1) @ p["encoder"], p["logvar"]),
               lambda p, z: (p["decoder"] @ z).reshape(theta_shape))

def stripes():
    images = np.zeros((8, 8, 8), np.uint8)
    images[np.arange(8), :, np.arange(8)] = 1
    return data.from_arrays("stripes", images.repeat(8, 0), images.repeat(2, 0))

LIKELIHOODS = {"unit": lambda settings, levels: unit_gaussian()}
SCHEDULES = {"halves": lambda settings, beta: lambda step: beta * jnp.where(step < settings.warmup_steps, 0.5, 1.0)}
OBJECTIVES = {"plain": lambda t, weight=1.0: jnp.mean(t.log_px_z + weight * (t.log_pz - t.log_qz))}
MODELS = {"matrices": matrices}
DATASETS = {"stripes": stripes}
"""
FLAGS = {"dataset": "stripes", "likelihood": "unit", "weighting": "halves", "objective": "plain", "model": "matrices"}
SMALL = {"latent_dim": 2, "num_steps": 6, "batch_size": 8, "log_every": 2, "iw_samples": 2}


def written(flags):
    """The flags as a command line has them."""
    return [f"--{name}={value}" for name, value in flags.items()]


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a name of the plugin's in each table, and the plugin that it was trained with."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "mine.py").write_text(PLUGIN)
    call(f"--plugin={folder / 'mine.py'}", f"--workdir={folder / 'run'}", *written(FLAGS | SMALL))
    return folder


def test_a_run_takes_all_five_and_records_the_file_by_its_content(run):
    config, rows = read(run / "run" / "config.json"), (run / "run" / "metrics.jsonl").read_text().splitlines()
    assert all(config[name] == value for name, value in FLAGS.items()) and len(config["plugin_sha256"]) == 64
    betas = {row["step"]: row["beta"] for row in map(json.loads, rows) if row["split"] == "train"}
    assert set(betas.values()) == {0.5, 1.0}
    assert np.isfinite(read(run / "run" / "results.json")["elbo"])


def test_evaluate_finds_it_again_or_says_what_is_missing(run, tmp_path):
    asked = {"workdir": str(run / "run"), "iw_samples": 2, "rate_samples": 2, "gap_examples": 0}
    call(*written(asked), binary="evaluate")
    assert np.isfinite(read(run / "run" / "evaluation.json")["elbo"])
    moved = (run / "mine.py").rename(tmp_path / "moved.py")
    with pytest.raises(UserError, match=r"cannot be read.*made with it: give the file"):
        evaluate.main(evaluate.Config(**asked))
    call(*written(asked), f"--plugin={moved}", binary="evaluate")
    (tmp_path / "other.py").write_text(PLUGIN + "\n# another version\n")
    with pytest.raises(UserError, match="is not the file that this run was made with"):
        evaluate.main(evaluate.Config(**asked, plugin=str(tmp_path / "other.py")))
    moved.rename(run / "mine.py")


def test_a_model_that_takes_less_is_refused_in_one_line():
    told = r"--model=mine is called with .* takes \(event, latent_dim\); end them with \*_"
    with pytest.raises(UserError, match=told):
        networks._check_takes(lambda event, latent_dim: None, "mine", (1, 2, 3), {})
    networks._check_takes(lambda event, *_: None, "mine", (1, 2, 3), {})


def test_folders_of_the_package_are_found_without_an_import():
    assert vae_jax.data.load and vae_jax.priors.mixture
    with pytest.raises(AttributeError):
        vae_jax.nothing  # noqa: B018


def test_sweep_and_weigh_take_it(run):
    given = [f"--plugin={run / 'mine.py'}", "--dataset=stripes"]
    shared = written(FLAGS | {name: value for name, value in SMALL.items() if name != "log_every"})
    call(*given, *shared, "--beta=0.5,2", f"--workdir={run / 'sweep'}", binary="sweep")
    rows = [json.loads(line) for line in (run / "sweep" / "sweep.jsonl").read_text().splitlines()]
    assert [row["beta"] for row in rows] == [0.5, 2.0] and all(np.isfinite(row["elbo"]) for row in rows)
    call(*given, f"--workdir={run / 'weigh'}", binary="weigh")
    assert read(run / "weigh" / "weigh.json")["data"]["examples"] == 64


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1", "defines none of LIKELIHOODS"),
        ("LIKELIHOODS = [1]", "LIKELIHOODS must be a dict"),
        ("MODELS = {'mlp': print}", "MODELS names mlp, which is built in"),
        ("DATASETS = {'digits': print}", "DATASETS names digits, which is built in"),
        ("1 / 0", "cannot be run: ZeroDivisionError"),
        ("def f(:", "cannot be run: SyntaxError"),
    ],
)
def test_a_file_that_is_no_plugin_is_refused_in_a_line(tmp_path, source, words):
    (tmp_path / "bad.py").write_text(source)
    with pytest.raises(UserError) as caught:
        names_of(train.Config(plugin=str(tmp_path / "bad.py")))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_no_plugin_no_names():
    assert names_of(train.Config()) is BUILT_IN
    with pytest.raises(UserError, match="cannot be read"):
        names_of(train.Config(plugin="missing.py"))


def test_a_name_of_nobody_is_refused_by_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.train", "--likelihood=unit", f"--workdir={tmp_path / 'x'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stderr.startswith("error: --likelihood=unit must be one of gaussian")
    assert not (tmp_path / "x").exists()
