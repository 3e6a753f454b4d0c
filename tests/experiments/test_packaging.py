"""What is installed: one package, with the binaries inside it, and one console script."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vae_jax import __main__ as script

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_folder_is_installed_and_experiments_only_inside_the_package():
    folders = {
        path.parent.relative_to(ROOT) for top in ("vae_jax", "experiments") for path in (ROOT / top).rglob("*.py")
    }
    names = {
        ".".join(("vae_jax", *folder.parts) if folder.parts[0] == "experiments" else folder.parts) for folder in folders
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == names
    assert PROJECT["project"]["scripts"] == {"vae-jax": "vae_jax.__main__:main"}
    assert (ROOT / "vae_jax" / "py.typed").exists()


def test_the_script_lists_the_binaries(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["vae-jax"])
    script.main()
    listed = capsys.readouterr().out
    assert all(
        f"  {name} " in listed for name in ("train", "evaluate", "sweep", "weigh", "text", "claims", "benchmark")
    )
    assert "papers.fu2019" in listed and "papers.arms" not in listed


def test_a_name_of_nobody_is_one_line_and_status_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["vae-jax", "trian"])
    with pytest.raises(SystemExit) as caught:
        script.main()
    assert caught.value.code == 2 and capsys.readouterr().err.startswith("error: there is no trian; vae-jax has ")


def test_it_runs_a_binary_from_another_folder(tmp_path):
    command = [sys.executable, "-m", "vae_jax", "weigh", "--known"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "PyTorch-VAE" in done.stdout, done.stderr


def test_its_list_may_go_to_a_pager_that_was_left():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "vae_jax"], cwd=ROOT, stdout=writing, stderr=-1, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
