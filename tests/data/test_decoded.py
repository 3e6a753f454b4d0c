"""Copies of decoded images: the same arrays, of these files only, whole or not at all, and the user's own."""

from __future__ import annotations

import os
import stat
import threading

import numpy as np
import pytest

from vae_jax.data import decoded

SHAPE = (6, 2, 3, 1)
ARRAYS = {
    "images": np.arange(36, dtype=np.uint8).reshape(SHAPE),
    "classes": np.arange(6, dtype=np.int64)[:, None],
}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """``() -> (arrays, whether they were decoded)`` of one file, which is ``read.file``; copies are in ``read.own``."""
    monkeypatch.setattr(decoded, "LEAST", 1)
    file, own = tmp_path / "shard", tmp_path / "cache"
    file.write_bytes(b"as it was")

    def again(identity=b"train", shape=SHAPE, arrays=ARRAYS):
        asked = []
        found = decoded.remembered(
            identity, [str(file)], shape, lambda: asked.append(1) or arrays, {"XDG_CACHE_HOME": str(own)}
        )
        assert found.keys() == arrays.keys()
        for name in arrays:
            assert found[name].dtype == arrays[name].dtype
            np.testing.assert_array_equal(found[name], arrays[name])
        return bool(asked)

    again.file, again.own = file, own / "vae_jax" / "images"
    return again


def copies(folder):
    return sorted(folder.glob("*"))


def test_a_copy_has_the_same_arrays_and_is_the_users_alone(read):
    assert read() and not read() and not read()
    (copy,) = copies(read.own)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600 and stat.S_IMODE(read.own.stat().st_mode) == 0o700


def test_other_files_another_split_and_another_look_are_decoded(read):
    assert read()
    assert read(b"test")
    assert read(shape=(6, 3, 2, 1), arrays={"images": ARRAYS["images"].reshape(6, 3, 2, 1)})
    before = read.file.stat()
    read.file.write_bytes(b"as it IS!")  # of the same size, and of the same time as far as anybody can set it
    os.utime(read.file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read() and not read()


@pytest.mark.parametrize("harm", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b[:90] + b"\xff" + b[91:]])
def test_a_damaged_copy_is_made_again(read, harm):
    assert read()
    (copy,) = copies(read.own)
    content = copy.read_bytes()
    at = content.index(ARRAYS["images"].tobytes()) - 80  # so that the byte that is changed is one of the images
    copy.write_bytes(content[:at] + harm(content[at:]))
    assert read() and not read()


def test_the_copy_of_other_arrays_under_the_name_is_not_used(read):
    assert read()
    (copy,) = copies(read.own)
    for arrays in ({"images": ARRAYS["images"][:5]}, {"images": ARRAYS["images"].astype(int)}, {"classes": np.ones(6)}):
        np.savez(copy, **arrays)
        assert read() and not read()


def test_nobody_reads_half_of_what_another_is_writing(read, monkeypatch):
    halfway, go_on, savez = threading.Event(), threading.Event(), np.savez

    def slow(file, **arrays):
        file.write(b"half")
        halfway.set()
        assert go_on.wait(60)
        file.seek(0)
        savez(file, **arrays)

    monkeypatch.setattr(decoded.np, "savez", slow)
    writer = threading.Thread(target=read)
    writer.start()
    assert halfway.wait(60)
    monkeypatch.setattr(decoded.np, "savez", savez)
    assert read() and not read()  # it finds none, decodes, and keeps a copy of its own
    go_on.set()
    writer.join(60)
    assert not read() and len(copies(read.own)) == 1


def test_nothing_is_kept_where_it_would_not_be_safe_or_small(read, monkeypatch):
    read.own.parent.parent.mkdir()
    read.own.parent.parent.chmod(0o777)  # others could put a folder in the place of ours
    assert read() and read()
    read.own.parent.parent.chmod(0o700)
    for name, value in (("LEAST", 7), ("MOST", 35), ("ROOM", 2**60)):
        with monkeypatch.context() as patch:
            patch.setattr(decoded, name, value)
            assert read() and read() and not copies(read.own)
    monkeypatch.setattr(decoded, "LARGEST", 1)
    assert read() and not copies(read.own)


def test_a_failed_write_leaves_nothing(read, monkeypatch):
    monkeypatch.setattr(decoded.np, "savez", lambda file, **_: (_ for _ in ()).throw(OSError("no space left")))
    assert read() and not copies(read.own)
