"""The compilation cache of the binaries: where it is, whose it is, how large, and that a damaged one breaks nothing."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vae_jax.runtime.compilation_cache import own_folder, prune

ROOT = Path(__file__).parents[2]


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_is_the_users_own_and_closed_to_others(tmp_path):
    folder = own_folder({"XDG_CACHE_HOME": str(tmp_path)})
    assert folder.parent == tmp_path / "vae_jax" / "jax"
    assert [mode(path) for path in (folder.parent.parent, folder.parent, folder)] == [0o700] * 3
    folder.chmod(0o755)  # somebody opened it: it is closed again, before anything in it is executed
    assert own_folder({"XDG_CACHE_HOME": str(tmp_path)}) == folder and mode(folder) == 0o700


def test_without_a_named_one_it_is_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for named in ({}, {"XDG_CACHE_HOME": "relative/to/nothing"}):
        assert own_folder(named).parent == tmp_path / ".cache" / "vae_jax" / "jax"


def test_what_others_could_write_is_not_used(tmp_path, monkeypatch):
    own = {"XDG_CACHE_HOME": str(tmp_path)}
    tmp_path.chmod(0o777)
    assert own_folder(own) is None
    assert own_folder({"XDG_CACHE_HOME": str(tmp_path / "home" / "cache")}) is None  # a parent is open
    tmp_path.chmod(0o1777)  # as /tmp: others cannot move what is not theirs
    assert own_folder(own) is not None
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)  # another one's folder
    assert own_folder(own) is None


@pytest.mark.parametrize("what", ["a link", "a file", "no home"])
def test_what_is_no_folder_is_not_used(tmp_path, what, monkeypatch):
    place = tmp_path / "vae_jax"
    if what == "a link":
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to(tmp_path / "elsewhere")
    elif what == "a file":
        place.write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "not" / "there"))
    named = {} if what == "no home" else {"XDG_CACHE_HOME": str(tmp_path)}
    assert own_folder(named) is None


def test_what_was_used_longest_ago_goes_first(tmp_path):
    for age, name in enumerate("dcba"):
        path = tmp_path / name
        path.write_bytes(bytes(100))
        os.utime(path, (1e9 - age, 1e9 - age))
    (tmp_path / "folder").mkdir()
    prune(tmp_path, 400)
    assert len(list(tmp_path.iterdir())) == 5
    prune(tmp_path, 250)
    assert {path.name for path in tmp_path.iterdir()} == {"c", "d", "folder"}


PROGRAM = """
import dataclasses, jax, jax.numpy as jnp, sys
from vae_jax.runtime.config import launch

@dataclasses.dataclass(frozen=True)
class Config:
    pass

def main(config):
    events = []
    jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
    value = jax.jit(lambda x: jnp.linalg.svd(jnp.sin(x))[1].sum())(jnp.eye(7) + 1)
    hits = sum(name.endswith("compilation_cache/cache_hits") for name in events)
    print(jax.config.jax_compilation_cache_dir, hits, float(value))

launch(main, Config)
"""


def program(tmp_path, **environment):
    """What a binary says of its cache: the folder, how often something was found there, and its result."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    keep |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"} | environment
    keep |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}  # on a quick machine this program takes too little
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=keep, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_second_run_reads_what_the_first_compiled_and_a_damaged_cache_breaks_nothing(tmp_path):
    folder, hits, value = program(tmp_path)
    entries = [path for path in Path(folder).iterdir() if path.name.endswith("-cache")]
    assert hits == "0" and entries and Path(folder).is_relative_to(tmp_path)
    assert int(program(tmp_path)[1]) >= 1
    for i, path in enumerate(entries):
        whole = path.read_bytes()
        path.write_bytes(b"" if i % 3 == 0 else whole[: len(whole) // 2] if i % 3 == 1 else whole[::-1])
    assert program(tmp_path)[2] == value


@pytest.mark.parametrize("told", [{"JAX_COMPILATION_CACHE_DIR": "there"}, {"JAX_ENABLE_COMPILATION_CACHE": "false"}])
def test_who_has_told_jax_is_obeyed(tmp_path, told):
    told = {k: str(tmp_path / v) if k.endswith("DIR") else v for k, v in told.items()}
    folder = program(tmp_path, **told)[0]
    assert folder == told.get("JAX_COMPILATION_CACHE_DIR", "None")
    assert not (tmp_path / "vae_jax").exists()
