"""Checkpoints: bit-exact, verified, and the last good one survives whatever happens to a later one."""

import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.runtime.checkpoint import Checkpoints, checksums
from vae_jax.train.guard import none_skipped
from vae_jax.types import TrainState, UserError


def state_of(step, scale=1.0):
    w = scale * jnp.arange(4096.0).reshape(64, 64) / 7  # large enough that a file is mostly its bytes
    key = jax.random.key(5)
    return TrainState(jnp.int32(step), {"model": {"w": w}, "likelihood": {}}, (w * 2,), (), key, none_skipped())


def equal(a, b):
    return checksums(a) == checksums(b)


def test_round_trip_keeps_every_bit_and_the_last_few(tmp_path):
    with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
        assert checkpoints.restore_latest(state_of(0)) is None
        for step in (10, 20, 30):
            checkpoints.save(step, state_of(step, step))
    with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
        step, state = checkpoints.restore_latest(state_of(0))
    assert step == 30 and equal(state, state_of(30, 30)) and not equal(state, state_of(30, 31))
    assert jnp.array_equal(jax.random.normal(state.key), jax.random.normal(state_of(0).key))
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["20", "30"]


def data_files(folder: Path):
    return sorted(
        (p for p in folder.rglob("*") if p.is_file() and "/d/" in p.as_posix()), key=lambda p: p.stat().st_size
    )


def flip_a_bit(folder):
    path = data_files(folder)[-1]
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))


def truncate(folder):
    for path in data_files(folder):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(folder):
    import shutil

    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, empty])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, capsys, damage):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1, 1))
        checkpoints.save(2, state_of(2, 2))
    damage(tmp_path / "2")
    with Checkpoints(tmp_path) as checkpoints:
        step, state = checkpoints.restore_latest(state_of(0))
        assert step == 1 and equal(state, state_of(1, 1))
        assert "the checkpoint of step 2 cannot be used" in capsys.readouterr().out
        checkpoints.save(2, state_of(2, 2))  # the run goes on and saves that step again
    with Checkpoints(tmp_path) as checkpoints:
        step, state = checkpoints.restore_latest(state_of(0))
        assert step == 2 and equal(state, state_of(2, 2))


def test_nothing_usable_is_an_error_not_a_silent_restart(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1))
    truncate(tmp_path / "1")
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(UserError, match="none of the checkpoints"):
        checkpoints.restore_latest(state_of(0))


def test_another_convention_is_refused(tmp_path):
    with Checkpoints(tmp_path, note={"convention": 1}) as checkpoints:
        checkpoints.save(1, state_of(1))
    with Checkpoints(tmp_path, note={"convention": 2}) as checkpoints, pytest.raises(UserError, match="convention"):
        checkpoints.restore_latest(state_of(0))


def test_a_state_that_is_not_finite_is_never_saved(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1))
        with pytest.raises(UserError, match=r"'w'.*not finite after step 2"):
            checkpoints.save(2, state_of(2, np.nan))
        assert checkpoints.restore_latest(state_of(0))[0] == 1


def test_a_full_disk_leaves_the_last_good_checkpoint_usable(tmp_path):
    # A limit on the size of a file fails the write in the middle, as a full disk does; in a process of its own.
    code = textwrap.dedent(
        """
        import resource, sys
        import jax, jax.numpy as jnp
        from vae_jax.runtime.checkpoint import Checkpoints
        from vae_jax.types import UserError
        state = {"w": jax.random.normal(jax.random.key(0), (400_000,))}
        with Checkpoints(sys.argv[1]) as checkpoints:
            checkpoints.save(1, state)
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
            try:
                checkpoints.save(2, state)
            except UserError as error:
                print("refused:", error)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        with Checkpoints(sys.argv[1]) as checkpoints:
            print("restored:", checkpoints.restore_latest(state)[0])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "c")], capture_output=True, text=True, timeout=300
    )
    assert "refused: cannot save a checkpoint of step 2" in done.stdout, done.stdout + done.stderr
    assert "File too large" in done.stdout and "Traceback" not in done.stderr, done.stdout + done.stderr
    assert "the checkpoint of step 1 is kept" in done.stdout
    assert "restored: 1" in done.stdout


def test_a_disk_known_to_be_too_small_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    import shutil

    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1))
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
        with pytest.raises(UserError, match=r"step 2 .* the disk has 0\.0 MB left .* step 1 is kept"):
            checkpoints.save(2, state_of(2))
    assert [p.name for p in tmp_path.iterdir()] == ["1"]
