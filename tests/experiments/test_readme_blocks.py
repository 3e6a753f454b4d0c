"""Every code block of the README, run as it is printed; commands with further flags, so that they take seconds.

What asks for a network (cloning, installing, preparing data sets) is left to people and to ``.ci/run``.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import train
from vae_jax import data
from vae_jax.runs import families, weightings

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
SMALL = {  # the last of two equal flags counts
    "experiments.train": "--num_steps=2 --iw_samples=2 --hidden=8 --batch_size=8",
    "experiments.text": "--num_steps=2 --iw_samples=2 --hidden=8",
    "experiments.sweep": "--num_steps=2 --iw_samples=2 --hidden=8 --seed=0 --beta=1,2",
    "experiments.evaluate": "--iw_samples=2",
    "experiments.claims": "--only=gaussian_normalises --tier=exact",
    "experiments.benchmark": "--models=mlp --modes=step --repeats=1 --seconds=0.01",
    "poisson.py": "--num_steps=2 --iw_samples=2 --hidden=8 --batch_size=8",
}
NEEDS_NETWORK = ("git clone", "scripts/quickstart.sh", "scripts/prepare_data.sh", "scripts/test.sh")
PYTHON = ".venv/bin/python "


def commands():
    """Each command of the ``bash`` blocks, its continued lines joined, its comment dropped, and the text after it."""
    found = []
    for i, (language, text) in enumerate(BLOCKS):
        if language != "bash":
            continue
        follows = BLOCKS[i + 1][1] if i + 1 < len(BLOCKS) and BLOCKS[i + 1][0] == "text" else None
        lines = [re.sub(r"\s+#.*", "", line) for line in text.replace("\\\n", " ").splitlines()]
        found += [(line, follows if len(lines) == 1 else None) for line in lines]
    return found


COMMANDS = [(line, follows) for line, follows in commands() if not line.startswith(NEEDS_NETWORK)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the commands name is there."""
    folder = tmp_path_factory.mktemp("readme")
    rng = np.random.default_rng(0)
    (folder / "path/to/images").mkdir(parents=True)
    for i in range(30):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / f"path/to/images/{i}.png")
    np.savez(folder / "FILE.npz", train=rng.random((40, 5)), test=rng.random((10, 5)))
    np.savez(folder / "COUNTS.npz", train=rng.poisson(2.5, (40, 5)) * 1.0, test=rng.poisson(2.5, (10, 5)) * 1.0)
    (folder / "poisson.py").write_text(next(text for language, text in BLOCKS if "def poisson" in text))
    run(folder, PYTHON + "-m experiments.train --workdir=runs/quickstart")
    return folder


def run(folder, line):
    """What the command prints, its flags made small."""
    assert line.startswith(PYTHON), line
    # A convolution of 64x64 images takes minutes to evaluate; that it trains is tested where models are.
    words = shlex.split(line[len(PYTHON) :].replace("--model=conv", ""))
    name = words[1] if words[0] == "-m" else words[0]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, *words, *SMALL.get(name, "").split()],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if "prepare_data" in done.stderr and done.returncode == 2:
        pytest.skip(done.stderr.strip()[-200:])
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def plain(text):
    return re.sub(r"\s+", " ", text).strip()


@pytest.mark.parametrize(("line", "follows"), COMMANDS, ids=[line[len(PYTHON) :][:60] for line, _ in COMMANDS])
def test_a_command_runs_and_prints_what_stands_below_it(folder, line, follows):
    said = run(folder, line)
    if follows is None:
        return
    for expected in follows.strip().splitlines():
        assert plain(expected) in plain(said), expected


def test_the_start_line_is_printed(folder):
    quickstart = next(text for language, text in BLOCKS if language == "text" and text.startswith("D = 64"))
    said = run(folder, PYTHON + "-m experiments.train --workdir=runs/start_line")
    assert plain(quickstart) in plain(said)
    assert "-m experiments.train --workdir=runs/quickstart" in (ROOT / "scripts/quickstart.sh").read_text()


def test_what_is_left_out_is_left_out_for_its_network_alone():
    left = {line.split(" ")[0] for line, _ in commands()} - {PYTHON.strip()}
    assert left == {"git", "scripts/quickstart.sh", "scripts/prepare_data.sh", "scripts/test.sh"}
    assert {language for language, _ in BLOCKS} == {"bash", "python", "text"}


@pytest.fixture
def tables():
    """The tables that extensions go into, as they were."""
    all_tables = (families.LIKELIHOODS, weightings.SCHEDULES, weightings.WEIGHTINGS, train.OBJECTIVES, train.MODELS)
    before = [dict(table) for table in (*all_tables, data.DATASETS)]
    yield
    for table, was in zip((*all_tables, data.DATASETS), before, strict=True):
        table.clear()
        table.update(was)


def test_the_extensions_are_what_train_can_be_asked_for(tables, tmp_path, capsys):
    space = {"__name__": "readme"}
    for language, text in BLOCKS:
        if language == "python" and ">>>" not in text and "make_scorer" not in text:
            exec(compile(text, "README.md", "exec"), space)
    assert np.isfinite(float(space["bound"]))
    config = train.Config(
        workdir=str(tmp_path / "run"),
        dataset="stripes",
        likelihood="gaussian",
        model="linear",
        latent_dim=3,
        weighting="staircase",
        warmup_steps=4,
        objective="renyi",
        num_samples=3,
        num_steps=8,
        log_every=1,
        batch_size=16,
        iw_samples=2,
    )
    train.main(config)
    rows = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert [float(b) for b in re.findall(r'"beta": ([\d.]+)', rows)][:6] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_the_renyi_bound_lies_between_the_elbo_and_the_importance_weighted_one():
    space = {"__name__": "readme"}
    exec("import jax, jax.numpy as jnp\nclass train: OBJECTIVES = {}", space)
    exec(next(text for _, text in BLOCKS if "def renyi" in text), space)
    log_w = jax.random.normal(jax.random.key(0), (5, 7))

    class Terms:
        log_px_z, log_pz, log_qz = log_w, 0.0, 0.0

    value = float(space["renyi"](Terms, 1.0))
    assert float(log_w.mean()) < value < float((jax.nn.logsumexp(log_w, axis=1) - np.log(7)).mean())
    np.testing.assert_allclose(
        float(space["renyi"](Terms, 1.0, 1e-4)), (jax.nn.logsumexp(log_w, 1) - np.log(7)).mean(), 1e-3
    )


def test_the_evaluation_from_python():
    from vae_jax import likelihoods, models

    family = likelihoods.gaussian()
    vae = models.mlp((3, 3, 1), family.theta_shape((3, 3, 1)), 2, (4,))
    space = {
        "vae": vae,
        "likelihood": family,
        "params": {"model": vae.init(jax.random.key(0)), "likelihood": family.init((3, 3, 1))},
        "data": np.zeros((6, 3, 3, 1), np.float32),
        "key": jax.random.key(1),
        "data_dim": 9,
        "numpy": np,
    }
    (text,) = [text for language, text in BLOCKS if language == "python" and "make_scorer" in text]
    exec(text.replace("5000", "5"), space)
    assert space["scores"].posterior_mean.shape == (6, 2)
