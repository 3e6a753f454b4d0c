"""The folder of a run: one lock for every spelling of it, and nothing of it is written through a link."""

from __future__ import annotations

import os

import pytest

from vae_jax.runs import workdir
from vae_jax.runs.settings import Config
from vae_jax.types import UserError


def spellings(folder):
    (folder.parent / "link").symlink_to(folder)
    relative = os.path.relpath(folder)
    urls = (f"file://{folder}", f"file://{folder}/", f"local://{folder}", f"file:///{folder}")
    return [str(folder), f"{folder}/", f"{folder}/../{folder.name}", relative, str(folder.parent / "link"), *urls]


def test_every_spelling_of_a_folder_is_one_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = spellings(tmp_path / "run")
    for held in (names[0], f"file://{tmp_path}/run"):
        with workdir.open_workdir(Config(workdir=held)) as opened:
            assert opened.path.samefile(tmp_path / "run")
            for other in names:
                with pytest.raises(UserError, match="in use by another run"):
                    workdir.open_workdir(Config(workdir=other)).__enter__()
                with workdir.existing_workdir(other) as path:  # to read is not to hold
                    assert path.samefile(tmp_path / "run")
    assert not (tmp_path / "cache").exists()


def test_a_run_in_a_store_is_read_beside_the_process_that_trains_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = Config(workdir="memory://read/run")
    with workdir.open_workdir(config) as opened, workdir.existing_workdir(config.workdir) as path:
        assert path == opened.path and (path / "config.json").exists()


@pytest.mark.parametrize("name", ["config.json", "results.json", "pictures.npz", "checkpoints", "figures", "runs"])
def test_a_link_in_the_place_of_what_a_run_writes_is_refused(tmp_path, name):
    run = tmp_path / "run"
    run.mkdir()
    (run / name).symlink_to(tmp_path)
    for opens in (lambda: workdir.open_workdir(Config(workdir=str(run))), lambda: workdir.existing_workdir(str(run))):
        with pytest.raises(UserError, match=f"{name} is not a"):
            opens().__enter__()
    assert {path.name for path in run.iterdir()} <= {name, ".lock"}


def test_a_run_of_a_sweep_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "beta=1").symlink_to(tmp_path)
    opened = workdir.Workdir(tmp_path, lambda: None, lambda: None)
    with pytest.raises(UserError, match="beta=1 is not a folder"):
        workdir.claim_run_folder(opened, tmp_path / "runs" / "beta=1", Config())
