"""Checkpoints: bit-exact, verified, and the last good one survives whatever happens to a later one."""

import subprocess
import sys
import textwrap
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.runtime.checkpoint import Checkpoints
from vae_jax.runtime.restore import checksums, read_latest
from vae_jax.train.guard import none_skipped
from vae_jax.types import TrainState, UserError


def state_of(step, scale=1.0):
    w = scale * jnp.arange(4096.0).reshape(64, 64) / 7  # large enough that a file is mostly its bytes
    key = jax.random.key(5)
    return TrainState(jnp.int32(step), {"model": {"w": w}, "likelihood": {}}, (w * 2,), (), key, none_skipped())


def equal(a, b):
    return checksums(a) == checksums(b)


def saved(folder, *steps, keep=3):
    checkpoints = Checkpoints(folder, keep)
    for step in steps:
        checkpoints.save(step, state_of(step, step))
    return checkpoints


def contents(folder):
    """Every file below a folder, its bytes and when it was changed."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder), path.read_bytes(), path.stat().st_mtime_ns) for path in files]


def test_round_trip_keeps_every_bit_and_the_last_few(tmp_path):
    folder = tmp_path / "c"
    assert read_latest(folder, state_of(0)) is None
    assert Checkpoints(folder).restore_latest(state_of(0)) is None
    saved(folder, 10, 20, 30, keep=2)
    for step, state in (read_latest(folder, state_of(0)), Checkpoints(folder).restore_latest(state_of(0))):
        assert step == 30 and equal(state, state_of(30, 30)) and not equal(state, state_of(30, 31))
        assert jnp.array_equal(jax.random.normal(state.key), jax.random.normal(state_of(0).key))
    assert sorted(p.name for p in folder.iterdir()) == ["20", "30"]
    step, part = read_latest(folder, state_of(0)._replace(opt_state=()))
    assert equal(part, state_of(30, 30)._replace(opt_state=()))


def test_reading_touches_nothing_and_finds_what_is_whole_beside_a_run_that_saves(tmp_path, monkeypatch):
    saved(tmp_path, 1, 2)
    for name in ("3.orbax-checkpoint-tmp", ".1.tmp"):  # what a living run is writing and removing
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("x")
    before = contents(tmp_path)
    assert read_latest(tmp_path, state_of(0))[0] == 2
    assert contents(tmp_path) == before
    # The run removes the step that is being read, and has saved another one by then.
    from vae_jax.runtime import restore

    read_meta = restore._read_meta

    def meanwhile(path):
        if path.parent.parent.name == "2":
            saved(tmp_path, 3, keep=1)
        return read_meta(path)

    monkeypatch.setattr(restore, "_read_meta", meanwhile)
    assert read_latest(tmp_path, state_of(0))[0] == 3


def data_files(folder):
    """The files of the arrays, the largest last."""
    files = (p for p in folder.rglob("*") if p.is_file() and "/d/" in p.as_posix())
    return sorted(files, key=lambda p: p.stat().st_size)


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
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_is_kept_aside(tmp_path, capsys, damage):
    checkpoints = saved(tmp_path, 1, 2)
    damage(tmp_path / "2")
    lost = contents(tmp_path / "2")
    assert read_latest(tmp_path, state_of(0))[0] == 1 and (tmp_path / "2").exists()  # to read is not to rename
    step, state = checkpoints.restore_latest(state_of(0))
    assert step == 1 and equal(state, state_of(1, 1))
    assert "the checkpoint of step 2 cannot be used" in capsys.readouterr().out
    assert contents(tmp_path / "2.damaged") == lost
    checkpoints.save(2, state_of(2, 2))  # the run goes on and saves that step again
    step, state = Checkpoints(tmp_path).restore_latest(state_of(0))
    assert step == 2 and equal(state, state_of(2, 2))


@pytest.mark.parametrize(
    "damage", [lambda p: p.write_bytes(b""), lambda p: p.write_bytes(b'{"x'), lambda p: p.unlink()]
)
def test_damaged_json_does_not_take_arrays_that_are_whole(tmp_path, damage):
    checkpoints = saved(tmp_path, 1, 2)
    names = (
        "_CHECKPOINT_METADATA",
        "meta/metadata",
        "state/_METADATA",
        "state/_sharding",
        "state/array_metadatas/process_0",
    )
    for name in names:
        damage(tmp_path / "2" / name)
        step, state = checkpoints.restore_latest(state_of(0))
        assert step == 2 and equal(state, state_of(2, 2))


@pytest.mark.parametrize("message", ["PERMISSION_DENIED: x", "RESOURCE_EXHAUSTED: Too many open files", "UNKNOWN: EIO"])
def test_what_cannot_be_read_at_this_moment_is_no_damage(tmp_path, monkeypatch, message):
    import tensorstore

    checkpoints = saved(tmp_path, 1, 2)
    before = contents(tmp_path)

    def refuse(error):
        def fails(*_, **__):
            raise error

        return fails

    monkeypatch.setattr(tensorstore, "open", refuse(ValueError(message)))
    for restore in (checkpoints.restore_latest, lambda like: read_latest(tmp_path, like)):
        with pytest.raises(UserError, match=r"step 2 .* cannot be read at this moment .*nothing was changed"):
            restore(state_of(0))
    monkeypatch.setattr(tensorstore, "open", refuse(MemoryError()))
    with pytest.raises(UserError, match="MemoryError"):
        checkpoints.restore_latest(state_of(0))
    assert contents(tmp_path) == before


def test_links_and_pipes_are_refused_at_once(tmp_path):
    import os

    checkpoints = saved(tmp_path / "c", 1)
    os.mkfifo(tmp_path / "c" / "1" / "state" / "pipe")
    with pytest.raises(UserError, match="link or a device"):
        checkpoints.restore_latest(state_of(0))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.tmp").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link"):
        Checkpoints(tmp_path / "link")
    assert (tmp_path / "elsewhere" / "a.tmp").exists()


def test_nothing_usable_is_an_error_not_a_silent_restart(tmp_path):
    checkpoints = saved(tmp_path, 1)
    truncate(tmp_path / "1")
    for restore in (checkpoints.restore_latest, lambda like: read_latest(tmp_path, like)):
        with pytest.raises(UserError, match="none of the checkpoints"):
            restore(state_of(0))


def test_another_convention_is_refused(tmp_path):
    Checkpoints(tmp_path, note={"convention": 1}).save(1, state_of(1))
    with pytest.raises(UserError, match="convention"):
        Checkpoints(tmp_path, note={"convention": 2}).restore_latest(state_of(0))


def test_a_state_that_is_not_finite_is_never_saved(tmp_path):
    checkpoints = saved(tmp_path, 1)
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
        checkpoints = Checkpoints(sys.argv[1])
        checkpoints.save(1, state)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            checkpoints.save(2, state)
        except UserError as error:
            print("refused:", error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        print("restored:", Checkpoints(sys.argv[1]).restore_latest(state)[0])
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

    checkpoints = saved(tmp_path, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"step 2 .* the disk has 0\.0 MB left .* step 1 is kept"):
        checkpoints.save(2, state_of(2))
    assert [p.name for p in tmp_path.iterdir()] == ["1"]
