"""The index of a large folder: what is known is not read again, what was changed is, and nothing depends on it."""

from __future__ import annotations

import json
import os
import threading

import numpy as np
import pytest
from data_inputs import IMAGES, save_image

from vae_jax import data
from vae_jax.data import image_index, images
from vae_jax.data.image_files import find
from vae_jax.data.image_index import Index

OLD = 1_000_000_000  # seconds


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Any number of files is many, and the cache folder is the test's own."""
    monkeypatch.setattr(image_index, "LEAST", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """Ten images that were written long ago."""
    for i in range(10):
        save_image(tmp_path / "data" / f"{i}.png", IMAGES[i])
        os.utime(tmp_path / "data" / f"{i}.png", (OLD, OLD))
    return tmp_path / "data"


def asked(folder, environ=None):
    """The names of the files whose fact a fresh index does not know, and the facts."""
    calls, files = [], find(str(folder), str(folder), {})
    index = Index(str(folder), os.environ if environ is None else environ)
    facts = index.map("length", lambda file: calls.append(file.name) or os.path.getsize(file.path), files)
    index.save()
    assert facts == [file.bytes for file in files]
    return sorted(calls)


def test_what_is_known_is_asked_once_and_what_was_changed_again(folder):
    every = [f"{i}.png" for i in range(10)]
    assert asked(folder) == every and asked(folder) == []
    os.utime(folder / "3.png", (OLD + 1, OLD + 1))  # another time
    save_image(folder / "4.png", np.zeros((9, 9), np.uint8))  # another size, with the time of before
    os.utime(folder / "4.png", (OLD, OLD))
    save_image(folder / "new.png", IMAGES[0])  # written just now: it may be written again within the same tick
    (folder / "5.png").unlink()
    assert asked(folder) == ["3.png", "4.png", "new.png"] and asked(folder) == ["new.png"]
    (path,) = (folder.parent / "cache" / "vae_jax" / "images").iterdir()
    assert "5.png" not in json.loads(path.read_text())["files"]
    moved = folder.rename(folder.parent / "moved")  # another folder: another index
    assert len(asked(moved)) == 10


def test_a_damaged_a_foreign_and_an_unwritable_index_are_no_error(folder, tmp_path, monkeypatch):
    asked(folder)
    (path,) = (tmp_path / "cache" / "vae_jax" / "images").iterdir()
    whole = json.loads(path.read_text())
    for content in (b"", b"{", b"[]", b'{"by":1}', json.dumps(whole | {"by": "0, pillow 1"}).encode(), b"\xff"):
        path.write_bytes(content)
        assert len(asked(folder)) == 10
    path.write_text(json.dumps(whole | {"files": {"0.png": "no entry", "1.png": [1, 2, 3]}}))
    assert len(asked(folder)) == 10
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere" / "at" / "all"))
    (tmp_path / "file").write_text("")
    for environ in ({"XDG_CACHE_HOME": str(tmp_path / "file" / "x")}, {"HOME": "/nowhere"}):
        assert len(asked(folder, environ)) == len(asked(folder, environ)) == 10
    path.unlink()
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert len(asked(folder)) == len(asked(folder)) == 10 and not list(path.parent.iterdir())


def test_processes_that_write_at_once_leave_a_whole_index(folder):
    threads = [threading.Thread(target=asked, args=(folder,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked(folder) == [] and len(list((folder.parent / "cache" / "vae_jax" / "images").iterdir())) == 1


def test_a_folder_is_read_the_same_with_and_without_it(folder, monkeypatch):
    (folder / "9.png").write_bytes(b"no image")
    save_image(folder / "twin.png", IMAGES[0])
    os.utime(folder / "twin.png", (OLD, OLD))
    opened, header = [], images.header
    monkeypatch.setattr(images, "header", lambda path: opened.append(os.path.basename(path)) or header(path))
    once = data.load(str(folder))
    assert len(opened) == 11
    opened.clear()
    again = data.load(str(folder))
    assert opened == ["9.png"]  # what is broken is looked at again: it may have been out of reach
    assert again.notes == once.notes and again.fingerprints == once.fingerprints
    assert any("1 of 10 training examples equal another" in note for note in again.notes)
    save_image(folder / "0.png", IMAGES[9])  # no twin any more
    changed = data.load(str(folder))
    assert not any("equal another" in note for note in changed.notes) and changed.fingerprints != once.fingerprints


def test_small_folders_leave_no_index(folder, monkeypatch):
    monkeypatch.setattr(image_index, "LEAST", 11)
    data.load(str(folder))
    assert not (folder.parent / "cache").exists()
