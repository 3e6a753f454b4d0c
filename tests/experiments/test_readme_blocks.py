"""Every code block of the README: what it prints is so, its flags go together, and its extensions train.

What its commands train on, other tests train on. What asks for a network (cloning, installing, preparing data sets) is
left to people and to ``.ci/run``.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags

from vae_jax.runs.build import build, first_state, training_chunk
from vae_jax.runs.checks import check
from vae_jax.runs.first_words import start_line
from vae_jax.runs.names import BUILT_IN
from vae_jax.runtime.config import define_flags, parse

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
TRAIN = "--num_steps=2 --iw_samples=2 --hidden=8 --batch_size=8 --log_every=1"
SMALL = {"train": TRAIN, "text": TRAIN}  # the last of two equal flags counts
NEEDS_NETWORK = ("git clone", "scripts/")
PYTHON = ".venv/bin/python -m experiments."
USES = ("encode", "sample", "export")


def commands():
    """Each command of the ``bash`` blocks, its continued lines joined, its comment dropped, and the text after it."""
    for i, (language, text) in enumerate(BLOCKS):
        if language == "bash":
            follows = BLOCKS[i + 1][1] if i + 1 < len(BLOCKS) and BLOCKS[i + 1][0] == "text" else None
            lines = [re.sub(r"\s+#.*", "", line) for line in text.replace("\\\n", " ").splitlines()]
            yield from [(line, follows if len(lines) == 1 else None) for line in lines]


COMMANDS = [(line, follows) for line, follows in commands() if not line.startswith(NEEDS_NETWORK)]


EXAMPLE = ROOT / "experiments" / "plugin_example.py"


def read(line):
    """A command's binary and the configuration that its flags make, with the flags that make it small."""
    name, *words = shlex.split(line.removeprefix(PYTHON))
    binary, values = importlib.import_module(f"experiments.{name}"), flags.FlagValues()
    define_flags(binary.Config, values)
    return binary, parse(binary.Config, [name, *words, *SMALL.get(name, "").split()], values)


def plain(text):
    return re.sub(r"\s+", " ", text).strip()


# What the audit prints is of a network that PyTorch trained.
SHOWN = ("experiments.train", "experiments.audit")
PRINTED = [(line, follows) for line, follows in COMMANDS if follows and not any(name in line for name in SHOWN)]
READ = [line for line, follows in COMMANDS if "--plugin" not in line and (line, follows) not in PRINTED]


@pytest.mark.parametrize(("line", "follows"), PRINTED)
def test_a_command_prints_what_stands_below_it(capsys, line, follows):
    binary, config = read(line)
    binary.main(config)
    printed = plain(capsys.readouterr().out)
    assert all(plain(expected) in printed for expected in follows.strip().splitlines())


@pytest.mark.parametrize("line", READ, ids=[line[len(PYTHON) :][:60] for line in READ])
def test_the_flags_of_a_command_go_together(line):
    binary, config = read(line)
    if "experiments.train" in line or "experiments.text" in line:
        assert check(config, BUILT_IN) == []
    else:
        assert binary.__name__ in [f"experiments.{name}" for name in ("sweep", "weigh", "evaluate", "audit", *USES)]


def test_the_start_line_is_the_one_that_is_printed():
    line = next(text for language, text in BLOCKS if language == "text" and text.startswith("D = 64"))
    _, config = read(PYTHON + "train --workdir=runs/quickstart")
    assert plain(line) in plain(start_line(build(config)))
    assert "-m experiments.train --workdir=runs/quickstart" in (ROOT / "scripts/quickstart.sh").read_text()


def test_what_is_left_out_is_left_out_for_its_network_alone():
    left = [line for line, _ in commands() if line.startswith(NEEDS_NETWORK)]
    assert {line.split(" ")[0] for line in left} == {"git", "scripts/quickstart.sh", "scripts/prepare_data.sh"}
    assert {language for language, _ in BLOCKS} == {"bash", "python", "text"}


def test_the_plugin_trains_with_all_that_it_names():
    names = re.findall(r'^[A-Z]+ = \{"(\w+)"', EXAMPLE.read_text(), re.MULTILINE)
    (line,) = [line for line, _ in COMMANDS if f"--plugin={EXAMPLE.relative_to(ROOT)}" in line]
    assert len(names) == 5 and all(f"={name}" in line for name in names)
    shown = next(text for language, text in BLOCKS if language == "python" and "def staircase" in text)
    function = shown[shown.index("def staircase") :].split("\n\n\n")
    assert all(part.strip() in EXAMPLE.read_text() for part in function)
    with contextlib.chdir(ROOT):
        r = build(read(line)[1])
    state, data = r.spread.begin(lambda: first_state(r)._replace(best=None)), r.spread.lay(r.dataset.train)
    state, metrics = r.spread.compile(training_chunk(r))(state, data, 2)
    assert int(state.step) == 2 and np.all(np.isfinite(metrics["loss"]))
    theta = r.vae.decode(state.params["model"], np.zeros(r.config.latent_dim))
    own = state.params["likelihood"]
    for values in (r.likelihood.mean(own, theta), r.likelihood.sample(own, theta, r.key)):
        assert values.shape == r.dataset.event and np.all(np.isfinite(values))


def test_the_core_works_in_a_loop_of_ones_own():
    space = {}
    for language, text in BLOCKS:
        if language == "python" and ">>>" not in text and "runs/" not in text:
            exec(compile(text, "README.md", "exec"), space)
    assert np.isfinite(float(space["bound"]))


def test_the_trained_model_is_used_as_it_stands_there(digits_run, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(digits_run)
    (block,) = [text for language, text in BLOCKS if language == "python" and "vae_jax.load" in text]
    lines = [line for line, _ in COMMANDS if line.removeprefix(PYTHON).startswith(USES)]
    space = {}
    with contextlib.chdir(tmp_path):
        exec(compile(block, "README.md", "exec"), space)
        for line in lines:
            binary, config = read(line)
            binary.main(config)
        import vae_jax

        again = vae_jax.from_pretrained("exported")
    assert space["images"].shape == (8, 8, 8, 1) and space["scores"].shape == (360,)
    np.testing.assert_array_equal(again.encode(space["x"])[0], space["mean"])
    assert len(lines) == 3 and {"codes.npz", "grid.png", "exported"} <= {path.name for path in tmp_path.iterdir()}


def test_the_renyi_bound_lies_between_the_elbo_and_the_importance_weighted_one():
    space = {}
    exec(EXAMPLE.read_text(), space)
    log_w = jax.random.normal(jax.random.key(0), (5, 7))

    class Terms:
        log_px_z, log_pz, log_qz = log_w, 0.0, 0.0

    tighter = (jax.nn.logsumexp(log_w, axis=1) - np.log(7)).mean()
    assert float(log_w.mean()) < float(space["renyi"](Terms, 1.0)) < float(tighter)
    np.testing.assert_allclose(float(space["renyi"](Terms, 1.0, 1e-4)), tighter, 1e-3)
