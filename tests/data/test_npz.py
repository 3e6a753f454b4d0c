"""The user's own arrays: read, or refused in one line before anything is allocated."""

from __future__ import annotations

import os
import zipfile

import numpy as np
import pytest
from data_inputs import FEW, IMAGES, PLAIN, ROWS, npy, npy_of, npz, refused, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax import data
from vae_jax.devices import memory
from vae_jax.types import UserError

WHOLE = npz(train=IMAGES, test=IMAGES[:2])
TRAIN = npy("|u1", (10, 4, 4), IMAGES.tobytes())
FACTORS = {"train": ROWS, "test": ROWS, "train_factors": np.zeros((10, 2), int)}


def read(path, content: bytes):
    path = path / "mine.npz"
    path.write_bytes(content)
    return data.load(str(path), PLAIN)


def test_npz(tmp_path):
    d = read(tmp_path, npz(train=IMAGES, test=IMAGES[:3], train_factors=np.arange(10), other=np.zeros(2)))
    assert (d.name, d.event, d.levels, d.test_factors) == (f"{tmp_path}/mine.npz", (4, 4, 1), 256, None)
    assert d.notes == ("arrays that are not read: other",)
    np.testing.assert_array_equal(d.train[..., 0], IMAGES)
    np.testing.assert_array_equal(d.train_factors[:, 0], np.arange(10))
    assert read(tmp_path, npz(**FACTORS, factor_names=["shape", "scale"])).factor_names == ("shape", "scale")


GOOD = {
    "float64": npz(train=ROWS.astype(float), test=ROWS.astype(float)),
    "big-endian": npz(train=ROWS.astype(">f4"), test=ROWS.astype(">f4")),
    "bool": npz(train=IMAGES > 128, test=IMAGES > 128),
    "int64": npz(train=IMAGES.astype(np.int64), test=IMAGES.astype(np.int64)),
    "names of no factors": npz(train=ROWS, test=ROWS, factor_names=np.array(["a"])),
    "compressed": zipped(zipfile.ZIP_DEFLATED, train=TRAIN, test=TRAIN),
    "version 2": zipped(train=npy("|u1", (10, 4, 4), IMAGES.tobytes(), b"\x02\x00"), test=TRAIN),
}


@pytest.mark.parametrize("name", GOOD)
def test_arrays_of_every_numeric_kind_are_taken(tmp_path, name):
    d = read(tmp_path, GOOD[name])
    assert d.train.dtype in (np.uint8, np.float32) and np.isfinite(d.train).all() and len(d.train) == 10


# Files that are no data, each with what the message has to say.
REFUSED = {
    "empty": (b"", "the file is empty"),
    "text": (b"train,test\n1,2\n", "truncated, or no .npz"),
    "an .npy": (npy("<f4", (10, 3), ROWS.tobytes()), "no .npz"),
    "a half": (WHOLE[: len(WHOLE) // 2], "truncated, or no .npz"),
    "an empty zip": (zipped(), "it holds nothing"),
    "no train": (npz(test=IMAGES, labels=np.arange(10)), "no array `train` (it holds labels, test)"),
    "other names": (npz(x_train=IMAGES, x_test=IMAGES), "no array `train` (it holds x_test, x_train)"),
    "a split by another name": (npz(train=IMAGES, val=IMAGES), "`val` stands for the validation split; save it as"),
    "strings": (npz(train=np.array([["a", "b"]]), test=np.array([["a", "b"]])), "dtype <U1; it must hold numbers"),
    "dates": (npz(train=ROWS.astype("M8[s]"), test=ROWS), "it must hold numbers"),
    "a scalar": (npz(train=np.float32(1), test=np.float32(1)), "shape ()"),
    "NaN": (npz(train=np.full((6, 3), np.nan, np.float32), test=ROWS), "18 NaN"),
    "factors of many axes": (npz(train=ROWS, test=ROWS, train_factors=np.ones((10, 2, 2))), "train_factors"),
    "names that are numbers": (npz(**FACTORS, factor_names=np.arange(2)), "factor_names has dtype"),
    "too few names": (npz(**FACTORS, factor_names=["shape"]), "names of factors"),
    "names in a table": (npz(**FACTORS, factor_names=[["shape", "scale"]]), "factor_names has dtype"),
    "bzip2": (zipped(zipfile.ZIP_BZIP2, train=TRAIN, test=TRAIN), "compressed as numpy does not"),
}
MEMBERS = {
    "terabytes promised": (npy("<f4", (10**12, 10**3), bytes(400)), "its header claims 4000000000000000 bytes"),
    "one byte too few": (npy("|u1", (4, 4, 4), bytes(63)), "claims 64 bytes, shape (4, 4, 4), 63 follow"),
    "one byte too many": (npy("|u1", (4, 4, 4), bytes(65)), "65 follow"),
    "a negative shape": (npy("|u1", (-4, -4, 4), bytes(64)), "is damaged"),
    "a length beyond 64 bits": (npy("|u1", (99999999999999999999, 4)), "is damaged"),
    "objects by the header": (npy("|O", (2,), b"cos\nsystem\n(S'false'\ntR."), "pickled Python objects"),
    "no such dtype": (npy("no such thing", (4,), bytes(16)), "is damaged"),
    "a broken shape": (npy("<f4", "4.5", bytes(16)), "is damaged"),
    "a shape of calls": (npy("<f4", "__import__('os')", bytes(16)), "is damaged"),
    "a torn header": (npy("<f4", (4,), bytes(16))[:40], "is damaged"),
    "version 3": (npy("<f4", (4,), bytes(16), b"\x03\x00"), "is damaged"),
    "a header that is no dict": (npy_of("[1, 2]"), "is damaged"),
    "a torn magic": (b"\x93NUM", "is not an array"),
    "no magic": (b"hello", "is not an array"),
}
REFUSED |= {f"member: {k}": (zipped(train=train, test=TRAIN), match) for k, (train, match) in MEMBERS.items()}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_data_is_refused_by_the_files_name(tmp_path, monkeypatch, name):
    content, match = REFUSED[name]
    if name.startswith("member"):
        monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda *a: pytest.fail("an array was allocated"))
    message = refused(read, tmp_path, content)
    assert "mine.npz" in message and match in message


def test_members_that_are_not_told_apart_encrypted_or_no_arrays(tmp_path):
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train", b"text")
        archive.writestr("test.npy", TRAIN)
    assert "`train` is not an array" in refused(data.load, str(path))
    with zipfile.ZipFile(path, "a") as archive:  # two of one name: which of them would be read?
        archive.writestr("train.npy", TRAIN)
    assert "`train` is not an array" in refused(data.load, str(path))
    encrypted = bytearray(zipped(train=TRAIN, test=TRAIN))
    for place in (encrypted.find(b"PK\x03\x04") + 6, encrypted.find(b"PK\x01\x02") + 8):
        encrypted[place] |= 1
    assert "is encrypted" in refused(read, tmp_path, bytes(encrypted))


def test_what_is_no_file(tmp_path):
    path = tmp_path / "mine.npz"
    assert "there is no such file" in refused(data.load, str(path))
    path.mkdir()
    assert "cannot be read" in refused(data.load, str(path))
    path.rmdir()
    os.mkfifo(path)  # to open it would wait for ever
    assert "cannot be read, it is no regular file" in refused(data.load, str(path))


def test_npz_larger_than_the_memory(tmp_path, monkeypatch):
    """Highly compressed zeros: a small file, whose arrays together do not fit."""
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, train=np.zeros((1000, 50, 50), np.uint8), test=IMAGES)
    assert path.stat().st_size < 10_000 < memory.host_available() < 1e15
    monkeypatch.setattr(memory, "host_available", lambda: 2_500_159)
    assert "take 0.0025 GB, and 0.0025 GB of memory are free" in refused(data.load, str(path))
    monkeypatch.setattr(memory, "host_available", lambda: 2_500_160)
    assert "one train example has shape" in refused(data.load, str(path))


def taken(folder, content):
    """The data set of a file, or None where it is refused."""
    try:
        return read(folder, content)
    except UserError as error:
        assert "mine.npz" in str(error) and "\n" not in str(error)
        return None


@settings(FEW, max_examples=60)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255), st.booleans())
def test_a_flipped_byte_or_a_torn_end_is_refused_or_harmless(tmp_path_factory, at, flip, cut):
    raw = bytearray(WHOLE)
    raw[at] ^= flip
    d = taken(tmp_path_factory.getbasetemp(), WHOLE[:at] if cut else bytes(raw))
    # A zip has a crc32 of every member: what is read in spite of the flip is what was written.
    assert d is None or (not cut and np.array_equal(d.train[..., 0], IMAGES))


@settings(FEW, max_examples=30)
@given(st.text("{}()[]'\"descrfortan_ohp:,<>|u1f48 0123456789TrueFalsNn-", max_size=60), st.binary(max_size=20))
def test_any_header_is_refused(tmp_path_factory, header, body):
    assert taken(tmp_path_factory.getbasetemp(), zipped(train=npy_of(header, body), test=TRAIN)) is None


def test_channels_first_are_recognised_named_and_read(tmp_path):
    colour = np.arange(4 * 3 * 16 * 16, dtype=np.uint32).reshape(4, 3, 16, 16).astype(np.uint8)
    path = tmp_path / "chw.npz"
    np.savez(path, train=colour, test=colour[:2])
    assert "train is 3x16x16: channels first? --layout=chw" in refused(data.load, str(path))
    d = data.load(str(path), data.Reading(layout="chw"))
    assert d.event == (16, 16, 3)
    np.testing.assert_array_equal(d.train, np.moveaxis(colour, 1, -1))
    np.savez(path, train=d.train, test=d.test)
    assert data.load(str(path)).fingerprints == d.fingerprints
    message = refused(data.load, str(path), data.Reading(layout="chw"))
    assert "--layout=chw, and an example of train is 16x16x3, which does not begin with" in message
