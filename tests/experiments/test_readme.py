"""The README says what is so: its examples run, its flags and files exist."""

import dataclasses
import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import audit, compress, encode, evaluate, export, sample, sweep, text, train, weigh
from experiments.papers import higgins2017, lucas2019, weightings
from vae_jax.runs.flag_words import ALIASES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_python_examples_give_what_they_print():
    parsed = doctest.DocTestParser().get_doctest(README.replace("```", ""), {}, "README", "README.md", 0)
    assert parsed.examples
    assert doctest.DocTestRunner().run(parsed).failed == 0


def test_flags_exist():
    binaries = (train, evaluate, weigh, sweep, text, encode, sample, export, audit, compress)
    binaries += (weightings, lucas2019, higgins2017)
    binaries += tuple(importlib.import_module(f"experiments.{name}.__main__") for name in ("benchmark", "claims"))
    flags = {f.name for binary in binaries for f in dataclasses.fields(binary.Config)}
    named = set(re.findall(r"--([a-z_]+)", README)) - {"help", "quick", "config", *ALIASES}
    assert named and named <= flags, named - flags


def test_files_that_are_named_exist():
    for path in re.findall(r"`?((?:scripts|experiments|vae_jax)/[\w/]+\.(?:sh|py))`?", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("module", ["schedules", "conventions"])
def test_docstring_examples(module):
    result = doctest.testmod(importlib.import_module(f"vae_jax.{module}"))
    assert result.attempted and not result.failed


def test_scripts_are_well_formed():
    for script in [*(ROOT / "scripts").glob("*.sh"), ROOT / ".ci" / "run"]:
        assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
        assert script.name == "venv.sh" or script.stat().st_mode & 0o100, f"{script} is not executable"


def test_the_environment_finds_the_clone_from_any_folder(tmp_path):
    venv = tmp_path / "venv"
    site = venv / "lib" / "python3.99" / "site-packages"
    site.mkdir(parents=True)
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to(sys.executable)
    (venv / ".installed").write_bytes((ROOT / "requirements.lock").read_bytes())
    subprocess.run(["scripts/setup.sh"], cwd=ROOT, env=os.environ | {"VAE_JAX_VENV": str(venv)}, check=True, timeout=60)
    assert (site / "vae_jax_clone.pth").read_text() == f"{ROOT}\n"
