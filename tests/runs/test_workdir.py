"""The folder of a run: one lock for every spelling of it, and nothing of it is written through a link."""

from __future__ import annotations

import dataclasses
import os

import pytest

from vae_jax.runs import workdir
from vae_jax.runs.names import BUILT_IN
from vae_jax.runs.settings import Config
from vae_jax.runs.settling import without_data
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


def test_a_run_in_a_store_is_read_on_another_machine_and_goes_on(tmp_path, monkeypatch):
    config = Config(workdir="memory://elsewhere/run")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a"))
    with workdir.open_workdir(config) as opened:
        opened.saved()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
        with workdir.existing_workdir(config.workdir) as path:
            assert path != opened.path and (path / "config.json").exists()
            (path / "evaluation.json").write_text("{}")
        (opened.path / "results.json").write_text("{}")
        opened.ended()  # would be refused where somebody else had pushed
    with workdir.existing_workdir(config.workdir) as path:
        (path / "evaluation.json").write_text("{}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    with workdir.existing_workdir(config.workdir) as path:
        assert (path / "evaluation.json").exists()


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


def test_a_run_of_a_sweep_is_trained_by_the_sweep_or_by_itself(tmp_path):
    run = tmp_path / "runs" / "beta=1"
    with workdir.open_workdir(Config(workdir=str(tmp_path))) as sweep:
        workdir.claim_run_folder(sweep, run, Config())
        with pytest.raises(UserError, match=r"a run of the sweep in .* which goes on"):
            workdir.open_workdir(Config(workdir=str(run))).__enter__()
        with workdir.existing_workdir(str(run)) as path:
            assert path == run
    with workdir.open_workdir(Config(workdir=str(run))), pytest.raises(UserError, match="trained by itself"):
        workdir.claim_run_folder(sweep, run, Config())


# ---------------------------------------------------------------- whose folder it is


def claimed(folder, typed, stored):
    """Whether a command's flags continue the run of other flags."""
    for config in (stored, typed):
        flags = without_data(config, BUILT_IN)
        with workdir.open_workdir(dataclasses.replace(flags, workdir=str(folder)), config):
            pass


def test_another_run_is_told_by_the_flags_that_were_typed(tmp_path):
    with pytest.raises(UserError, match="--num_steps is 3000 there and 3500 here") as caught:
        claimed(tmp_path, Config(num_steps=3500), Config())
    assert "--warmup_steps" not in str(caught.value)  # it follows from the other
    with pytest.raises(UserError, match="--warmup_steps is 600 there and 700 here"):
        claimed(tmp_path, Config(warmup_steps=700), Config())


def test_what_only_measurement_reads_is_no_other_run(tmp_path):
    claimed(tmp_path, Config(iw_samples=5, keep_checkpoints=1), Config())


def test_every_spelling_of_the_data_is_one_run(tmp_path, monkeypatch):
    (tmp_path / "some").mkdir()
    for name in ("some/a.npz", "other.npz"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    spelled = ("some/a.npz", "./some/a.npz", str(tmp_path / "some" / "a.npz"), "some/../some/a.npz")
    for one in spelled:
        claimed(tmp_path / "run", Config(dataset=one), Config(dataset=spelled[0]))
    claimed(tmp_path / "folder", Config(dataset=str(tmp_path / "some")), Config(dataset="./some"))
    with pytest.raises(UserError, match=r"--dataset is .*some/a\.npz there and .*other\.npz here"):
        claimed(tmp_path / "run", Config(dataset="other.npz"), Config(dataset=spelled[0]))
    monkeypatch.chdir(tmp_path / "some")
    claimed(tmp_path / "run", Config(dataset="a.npz"), Config(dataset=str(tmp_path / "some" / "a.npz")))
    (tmp_path / "some" / "digits").mkdir()  # a name is no path
    assert without_data(Config(), BUILT_IN).dataset == "digits"
