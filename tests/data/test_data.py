"""The data package: what comes in, what is refused and how it is said, and what becomes of a pixel."""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import golden, within_standard_errors

from vae_jax import data
from vae_jax.data import spectrum, tfds_source
from vae_jax.data.check import check, entropy_floor
from vae_jax.data.dataset import Dataset, from_arrays, validate
from vae_jax.data.images import progress
from vae_jax.data.pixels import PIXELS, bits_offset, preprocess
from vae_jax.data.rows import Rows, held_out
from vae_jax.data.spectrum import eigenvalues
from vae_jax.devices import memory
from vae_jax.likelihoods import Grid
from vae_jax.types import UserError

ROOT = Path(__file__).parents[2]
IMAGES = np.arange(10 * 4 * 4, dtype=np.uint8).reshape(10, 4, 4)
ROWS = np.linspace(0, 1, 30, dtype=np.float32).reshape(10, 3)


def refused(function, *args, **kwargs) -> str:
    """The message of the UserError that the call must raise: one line."""
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    return message


# ---- arrays ----


@pytest.mark.parametrize(
    "array, dtype, event, levels",
    [
        (IMAGES, np.uint8, (4, 4, 1), 256),
        (IMAGES[..., None], np.uint8, (4, 4, 1), 256),
        (np.repeat(IMAGES[..., None], 3, -1), np.uint8, (4, 4, 3), 256),
        (IMAGES % 2, np.uint8, (4, 4, 1), 2),
        (IMAGES % 2 == 1, np.uint8, (4, 4, 1), 2),
        (IMAGES.astype(np.int64), np.uint8, (4, 4, 1), 256),
        (IMAGES.reshape(10, 16), np.uint8, (16,), 256),
        (IMAGES / 255, np.float32, (4, 4, 1), None),
        (ROWS.astype(np.float16), np.float32, (3,), None),
        (5 - 100 * ROWS.astype(np.float64), np.float32, (3,), None),
    ],
)
def test_arrays_become_grey_levels_or_float32(array, dtype, event, levels):
    d = from_arrays("mine", array, array[:2])
    assert d.train.dtype == d.test.dtype == dtype
    assert (d.event, d.levels, len(d.train), len(d.test)) == (event, levels, 10, 2)
    np.testing.assert_array_equal(d.train.reshape(-1), array.reshape(-1).astype(dtype))


def test_levels_look_at_both_splits():
    assert from_arrays("mine", IMAGES % 2, IMAGES).levels == 256


def with_nan():
    bad = ROWS.copy()
    bad[3, 1:] = np.nan
    bad[4, 0] = -np.inf
    return bad


@pytest.mark.parametrize(
    "train, test, said",
    [
        (IMAGES[:0], IMAGES, "train has shape (0, 4, 4), so it holds no examples"),
        (IMAGES, IMAGES[:0], "test has shape (0, 4, 4), so it holds no examples"),
        (IMAGES, IMAGES[:, :3], "one train example has shape (4, 4, 1) and one test example (3, 4, 1)"),
        (ROWS, with_nan(), "test holds 2 NaN and 1 infinite values among 30"),
        (ROWS, IMAGES.reshape(10, 16), "train holds floats and test 0..255 integers"),
        (IMAGES.astype(np.int16) - 1, IMAGES, "train holds integers from -1 to 158"),
        (IMAGES.astype(np.uint16) + 200, IMAGES, "train holds integers from 200 to 359"),
        (IMAGES.astype(object), IMAGES, "train has dtype object"),
        (np.array([["a"]]), IMAGES, "train has dtype <U1"),
        (ROWS.astype(complex), ROWS, "train has dtype complex128"),
        (np.arange(5.0), ROWS, "train has shape (5,); it must be images [n, h, w, c] or rows [n, f]"),
    ],
)
def test_arrays_that_are_refused(train, test, said):
    assert said in refused(from_arrays, "mine", train, test)


def test_float64_beyond_float32_counts_as_infinite():
    huge = ROWS.astype(np.float64) * 1e300
    assert "train holds 0 NaN and 29 infinite values" in refused(from_arrays, "mine", huge, ROWS)


def test_factors():
    d = from_arrays("mine", ROWS, ROWS, np.arange(10), np.zeros((10, 1)))
    assert d.train_factors.shape == (10, 1) and d.factor_names == ("factor_0",)
    assert "test_factors has dtype int64 and shape (9, 1)" in refused(
        from_arrays, "mine", ROWS, ROWS, None, np.arange(9)
    )
    assert "(10, 2)" in refused(from_arrays, "mine", ROWS, ROWS, np.zeros((10, 2)), np.zeros((10, 3)))
    assert "train_factors has dtype <U1" in refused(from_arrays, "mine", ROWS, ROWS, np.array(["a"] * 10))
    assert "NaN" in refused(from_arrays, "mine", ROWS, ROWS, np.full(10, np.nan))


def test_validate_a_data_set_made_by_hand():
    images = IMAGES[..., None]
    assert "holds the value 159, above its 17 grey levels" in refused(validate, Dataset("d", images, images, 17))
    assert "does not go with levels=None" in refused(validate, Dataset("d", images, images))
    assert "dtype int32" in refused(validate, Dataset("d", images.astype(np.int32), images))


# ---- built in ----


def test_held_out_is_a_fixed_partition():
    kept, held = held_out(20, 5)
    np.testing.assert_array_equal(held, [1, 8, 10, 18, 19])  # the same for ever, on every machine
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(20))


def test_digits():
    from sklearn.datasets import load_digits

    d = data.load("digits")
    assert d.train.shape == (1437, 8, 8, 1) and d.test.shape == (360, 8, 8, 1)
    assert (d.train.dtype, d.levels, d.train.max(), d.event) == (np.uint8, 17, 16, (8, 8, 1))
    original = load_digits()
    kept, held = held_out(1797, 360)
    np.testing.assert_array_equal(d.train[..., 0], original.images[kept])
    np.testing.assert_array_equal(d.test[..., 0], original.images[held])
    np.testing.assert_array_equal(d.test_factors[:, 0], original.target[held])
    assert d.factor_names == ("label",) and set(d.test_factors[:, 0]) == set(range(10))


def test_sprites_are_a_full_factorial_of_distinct_whole_shapes():
    d = data.load("sprites")
    assert d.train.shape == (5530, 64, 64, 1) and d.test.shape == (614, 64, 64, 1)
    assert (d.levels, d.train.dtype, d.factor_names) == (2, np.uint8, ("shape", "scale", "orientation", "x", "y"))
    images = np.concatenate([d.train, d.test])[..., 0]
    factors = np.concatenate([d.train_factors, d.test_factors])
    order = np.lexsort(factors.T[::-1])
    assert len(np.unique(factors, axis=0)) == len(images) == np.prod(factors.max(axis=0) + 1)
    assert len(np.unique(np.packbits(images.reshape(len(images), -1), axis=1), axis=0)) == len(images)
    # Whole and inside: nothing touches the frame, and moving a shape loses none of its pixels.
    grid = images[order].reshape(3, 4, 8, 8, 8, 64, 64)
    assert not (images[:, [0, -1]].any() or images[:, :, [0, -1]].any())
    area = grid.sum(axis=(-2, -1), dtype=np.int64)  # [shape, scale, orientation, x, y]
    assert (area == area[..., :1, :1]).all()
    assert (np.diff(area[..., 0, 0].astype(int), axis=1) > 0).all()  # scales are in order
    # x and y are what they say: one class is four pixels to the right, or down.
    np.testing.assert_array_equal(grid[..., 1, :, :, 4:], grid[..., 0, :, :, :-4])
    np.testing.assert_array_equal(grid[..., 1, 4:, :], grid[..., 0, :-4, :])
    # Orientation can be told: no two of the 96 glyphs are equal, wherever they are.
    crops = set()
    for glyph in grid[:, :, :, 3, 3].reshape(-1, 64, 64):
        rows, columns = np.nonzero(glyph)
        crop = glyph[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        crops.add((crop.shape, crop.tobytes()))
    assert len(crops) == 96


# ---- the user's own files ----


def test_npz(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, train=IMAGES, test=IMAGES[:3], train_factors=np.arange(10), other=np.zeros(2))
    d = data.load(str(path))
    assert (d.name, d.event, d.levels, d.test_factors) == (str(path), (4, 4, 1), 256, None)
    np.testing.assert_array_equal(d.train[..., 0], IMAGES)
    np.testing.assert_array_equal(d.train_factors[:, 0], np.arange(10))
    np.savez_compressed(path, train=ROWS, test=ROWS)
    assert data.load(str(path)).train.dtype == np.float32


def test_npz_without_what_is_needed(tmp_path):
    path = tmp_path / "mine.npz"
    assert "there is no such file" in refused(data.load, str(path))
    np.savez(path, train=IMAGES, labels=np.arange(10))
    message = refused(data.load, str(path))
    assert "no array `test`" in message and "it holds labels, train" in message
    np.savez(path)
    assert "it holds nothing" in refused(data.load, str(path))
    np.savez(path, train=np.array([{}, "x"], object), test=IMAGES)
    assert "`train` holds pickled Python objects" in refused(data.load, str(path))


def test_npz_that_is_damaged(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, train=np.random.default_rng(0).integers(0, 255, (50, 8, 8)), test=IMAGES)
    good = path.read_bytes()
    path.write_bytes(b"")
    assert "the file is empty" in refused(data.load, str(path))
    path.write_bytes(good[: len(good) // 2])
    assert "truncated, or no .npz" in refused(data.load, str(path))
    path.write_bytes(b"these are no arrays")
    assert "truncated, or no .npz" in refused(data.load, str(path))
    np.save(path.with_suffix(".npy"), IMAGES)
    path.write_bytes(path.with_suffix(".npy").read_bytes())
    assert "no .npz" in refused(data.load, str(path))
    for start in range(100, len(good) - 100, 400):  # never a traceback, and never wrong numbers
        path.write_bytes(good[:start] + bytes(b ^ 0x5A for b in good[start : start + 20]) + good[start + 20 :])
        assert str(path) in refused(data.load, str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train", b"text")
        archive.writestr("test.npy", b"no array either")
    assert "not an array" in refused(data.load, str(path))
    with zipfile.ZipFile(path, "a") as archive:  # two of one name: which of them would be read?
        archive.writestr("train.npy", npy("<f4", (1, 1), bytes(4)))
    assert "`train` is not an array" in refused(data.load, str(path))
    path.unlink()
    path.mkdir()
    assert "cannot be read" in refused(data.load, str(path))
    path.rmdir()
    os.mkfifo(path)  # to open it would wait for ever
    assert "cannot be read, it is no regular file" in refused(data.load, str(path))


def npy(descr: str, shape, body: bytes, version=b"\x01\x00") -> bytes:
    """An .npy file whose header says what it likes."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version[0] == 1 else 4, "little") + text.encode() + body


@pytest.mark.parametrize(
    "member, said",
    [
        (npy("<f4", (10**12, 10**3), bytes(400)), "its header claims 4000000000000000 bytes"),
        (npy("|u1", (4, 4, 4), bytes(63)), "its header claims 64 bytes, shape (4, 4, 4), and 63 follow"),
        (npy("|u1", (4, 4, 4), bytes(65)), "and 65 follow"),
        (npy("|u1", (-4, -4, 4), bytes(64)), "is damaged"),
        (npy("<f4", (2**62, 2**62), bytes(400)), "is damaged"),
        (npy("|O", (4,), bytes(64)), "pickled Python objects"),
        (npy("<U4", (4,), bytes(64)), "dtype <U4; it must hold numbers"),
        (npy("|S4", (4,), bytes(16)), "it must hold numbers"),
        (npy("<M8[s]", (2,), bytes(16)), "it must hold numbers"),
        (npy("no such thing", (4,), bytes(16)), "is damaged"),
        (npy("<f4", "4.5", bytes(16)), "is damaged"),
        (npy("<f4", "__import__('os')", bytes(16)), "is damaged"),
        (npy("<f4", "(" * 9000, bytes(16)), "is damaged"),
        (npy("<f4", (4,), bytes(16))[:40], "is damaged"),
        (npy("<f4", (4,), bytes(16), b"\x03\x00"), "is damaged"),
        (npy("<f4", (4,), bytes(16), b"\x09\x00"), "is damaged"),
        (b"\x93NUM", "is not an array"),
        (b"", "is not an array"),
    ],
)
def test_npz_members_are_checked_before_they_are_read(tmp_path, monkeypatch, member, said):
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("test.npy", npy("|u1", (4, 4, 4), bytes(64)))
        archive.writestr("train.npy", member)
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda *a: pytest.fail("an array was allocated"))
    assert said in refused(data.load, str(path))


def test_npz_larger_than_the_memory(tmp_path, monkeypatch):
    """Highly compressed zeros: a small file, whose arrays together do not fit."""
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, train=np.zeros((1000, 50, 50), np.uint8), test=IMAGES)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(memory, "host_available", lambda: 2_500_159)
    assert "take 0.0025 GB, and 0.0025 GB of memory are free" in refused(data.load, str(path))
    monkeypatch.setattr(memory, "host_available", lambda: 2_500_160)
    assert "one train example has shape" in refused(data.load, str(path))


def test_npz_written_by_another_program(tmp_path):
    path, good = tmp_path / "mine.npz", npy("|u1", (4, 4, 4), bytes(range(64)), b"\x02\x00")
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("train.npy", good)
            archive.writestr("test.npy", good)
        if method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            assert data.load(str(path)).train.shape == (4, 4, 4, 1)
        else:
            assert "compressed as numpy does not" in refused(data.load, str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.npy", good)
        archive.writestr("test.npy", good)
    whole = bytearray(path.read_bytes())
    for place in (whole.find(b"PK\x03\x04") + 6, whole.find(b"PK\x01\x02") + 8):
        whole[place] |= 1  # encrypted
    path.write_bytes(whole)
    assert "is encrypted" in refused(data.load, str(path))


def save_image(path, array, **options):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def test_folder_of_grey_images(tmp_path):
    for i in range(20):
        save_image(tmp_path / f"{i:02}.png", IMAGES[i % 10])
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".thumbnail.png").write_text("hidden")
    d = data.load(str(tmp_path))
    kept, held = held_out(20, 2)
    np.testing.assert_array_equal(d.train[..., 0], IMAGES[kept % 10])
    np.testing.assert_array_equal(d.test[..., 0], IMAGES[held % 10])
    assert (d.event, d.levels) == ((4, 4, 1), 256)


def test_folder_with_splits_kinds_and_colour(tmp_path):
    grey, colour = IMAGES[0], np.stack([IMAGES[0], IMAGES[1], IMAGES[2]], -1)
    save_image(tmp_path / "train" / "cats" / "a.bmp", grey)
    save_image(tmp_path / "train" / "dogs" / "b.PNG", colour)
    save_image(tmp_path / "test" / "c.webp", colour, lossless=True)
    d = data.load(str(tmp_path))
    assert d.train.shape == (2, 4, 4, 3) and d.test.shape == (1, 4, 4, 3)
    np.testing.assert_array_equal(d.train[0], np.repeat(grey[..., None], 3, -1))
    np.testing.assert_array_equal(d.train[1], colour)
    np.testing.assert_array_equal(d.test[0], colour)


def test_grey_gif_and_jpeg_have_one_channel(tmp_path):
    save_image(tmp_path / "a.gif", IMAGES[0])
    save_image(tmp_path / "b.jpg", IMAGES[0])
    assert data.load(str(tmp_path)).event == (4, 4, 1)


def test_folders_that_are_refused(tmp_path):
    assert "there is no such folder" in refused(data.load, str(tmp_path / "nowhere"))
    assert "no images" in refused(data.load, str(tmp_path))
    save_image(tmp_path / "a.png", IMAGES[0])
    assert "only one image" in refused(data.load, str(tmp_path))
    save_image(tmp_path / "b.png", IMAGES[0, :, :3])
    assert "1 of 2 are not 4x4 (b.png is 3x4)" in refused(data.load, str(tmp_path))
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    assert "no images" in refused(data.load, str(tmp_path))


# ---- TFDS ----


def png(array):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    file.seek(0)
    return file


@pytest.fixture(scope="module")
def prepare(tmp_path_factory):
    """Prepares a real TFDS set, as array_record files, from PNG bytes: neither TensorFlow nor a network is needed."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    folder = tmp_path_factory.mktemp("tfds")

    def make(name, splits, feature=None):
        features = {"image": feature or tfds.features.Image(shape=(4, 4, 1)), "label": np.int64}
        body = {
            "VERSION": tfds.core.Version("1.0.0"),
            "_info": lambda self: tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
            ),
            "_split_generators": lambda self, _: {k: self._generate_examples(v) for k, v in splits.items()},
            "_generate_examples": lambda self, images: (
                (i, {"image": png(image), "label": i}) for i, image in enumerate(images)
            ),
        }
        builder = type(name, (tfds.core.GeneratorBasedBuilder,), body)
        builder(data_dir=folder, file_format="array_record").download_and_prepare(download_dir=folder / "dl")
        return str(folder)

    return make


def test_tfds_reads_what_was_prepared(prepare, monkeypatch):
    folder = prepare("TinyPairs", {"train": IMAGES, "validation": IMAGES[2:5], "test": IMAGES[:2]})
    d = data.load("tiny_pairs", folder)
    np.testing.assert_array_equal(d.train[..., 0], IMAGES)
    np.testing.assert_array_equal(d.test[..., 0], IMAGES[:2])
    assert (d.name, d.levels) == ("tiny_pairs", 256)
    monkeypatch.setenv("VAE_JAX_DATA_DIR", folder)
    assert len(data.load("tiny_pairs").train) == 10


def test_tfds_without_a_test_split(prepare):
    folder = prepare("TinyValidated", {"train": IMAGES, "validation": IMAGES[2:5]})
    np.testing.assert_array_equal(data.load("tiny_validated", folder).test[..., 0], IMAGES[2:5])
    folder = prepare("TinyBits", {"train": np.concatenate([IMAGES, IMAGES[::-1]]) % 2})
    d = data.load("tiny_bits", folder)
    assert (len(d.train), len(d.test), d.levels) == (18, 2, 2)
    np.testing.assert_array_equal(d.test[..., 0], IMAGES[1::-1] % 2)
    lazy = data.load("tiny_bits", folder, keep=0)  # the same split, made without reading
    assert isinstance(lazy.train, Rows) and isinstance(lazy.test, Rows) and lazy.levels == 256
    np.testing.assert_array_equal(lazy.train[:], d.train)
    np.testing.assert_array_equal(lazy.test[:], d.test)
    assert lazy.train.fingerprint != lazy.test.fingerprint
    assert lazy.fingerprints["data"] == d.fingerprints["data"]  # 0 and 1 there, 0 and 255 or 0 and 1 here
    assert isinstance(data.load("tiny_bits", folder, keep=2 * 16).test, np.ndarray)


def test_tfds_colour_and_mixed_sizes(prepare):
    import tensorflow_datasets as tfds

    colour = np.stack([IMAGES, IMAGES[::-1], IMAGES], -1)
    any_size = tfds.features.Image(shape=(None, None, 3))
    folder = prepare("TinyColours", {"train": colour, "test": colour[:2]}, any_size)
    np.testing.assert_array_equal(data.load("tiny_colours", folder).train, colour)
    mixed = [colour[0], colour[1], colour[2, :3]]
    prepare("TinyMixed", {"train": mixed, "test": mixed[:1]}, any_size)
    message = refused(data.load, "tiny_mixed", folder)
    assert "differing sizes (4x3 in place of 4x4 in train)" in message
    lazy = data.load("tiny_mixed", folder, keep=0)  # its first record is all that has been looked at
    np.testing.assert_array_equal(lazy.train[:2], colour[:2])
    assert "differing sizes" in refused(lambda: lazy.train[2])


def test_tfds_sets_that_cannot_be_read(prepare):
    folder = prepare("TinyDamaged", {"train": IMAGES, "test": IMAGES})
    files = sorted(Path(folder, "tiny_damaged", "1.0.0").glob("*train.array_record*"))
    whole = files[0].read_bytes()
    for broken in (whole[:70_000], whole[:100], b""):
        files[0].write_bytes(broken)
        assert "are damaged" in refused(data.load, "tiny_damaged", folder)
        assert "are damaged" in refused(lambda: data.load("tiny_damaged", folder, keep=0).train[:])
    files[0].unlink()
    assert "are damaged" in refused(data.load, "tiny_damaged", folder)
    (files[0].parent / "dataset_info.json").write_text("{")
    assert "TFDS cannot open it" in refused(data.load, "tiny_damaged", folder)
    prepare("TinyTestOnly", {"test": IMAGES})
    assert "has no train split; it has test" in refused(data.load, "tiny_test_only", folder)


def test_names_that_mean_nothing(tmp_path):
    message = refused(data.load, "minst", str(tmp_path))
    assert "neither built in (digits, sprites), nor a TFDS name, nor an existing file or folder" in message
    assert "did you mean mnist" in message
    assert "did you mean sprites" in refused(data.load, "sprite")
    assert "did you mean" not in refused(data.load, "qqqqqqqqqqqq")
    for name in ("", "a b", "-", "?"):
        assert "neither built in" in refused(data.load, name)
    assert "TFDS cannot open it" in refused(data.load, "mnist/no_such_configuration", str(tmp_path))


def test_known_but_not_prepared(tmp_path, monkeypatch, capfd):
    message = refused(data.load, "fashion_mnist", str(tmp_path))
    assert f"looked in {tmp_path}" in message
    assert message.endswith(f"run VAE_JAX_DATA_DIR={tmp_path} scripts/prepare_data.sh fashion_mnist")
    monkeypatch.setenv("VAE_JAX_DATA_DIR", str(tmp_path))
    message = refused(data.load, "fashion_mnist")
    assert f"looked in {tmp_path}" in message and message.endswith("; run scripts/prepare_data.sh fashion_mnist")
    assert capfd.readouterr() == ("", "")  # the error is the only line


def test_a_bare_tfds_name_is_not_a_folder_of_that_name(tmp_path, monkeypatch):
    """A run's own folder may be called mnist; its figures are no data set."""
    monkeypatch.chdir(tmp_path)
    for name in ("mnist", "my_pictures"):
        for i in range(2):
            save_image(tmp_path / name / f"{i}.png", IMAGES[i])
    assert "not prepared" in refused(data.load, "mnist", str(tmp_path / "nothing"))
    assert len(data.load("./mnist").train) == 1
    assert len(data.load("my_pictures").train) == 1


def test_where_prepared_sets_are_looked_for(monkeypatch):
    monkeypatch.delenv("VAE_JAX_DATA_DIR", raising=False)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    assert tfds_source.root() == os.path.expanduser("~/tensorflow_datasets")
    monkeypatch.setenv("TFDS_DATA_DIR", "there")
    assert tfds_source.root() == "there"
    monkeypatch.setenv("VAE_JAX_DATA_DIR", "here")
    assert (tfds_source.root(), tfds_source.root("asked")) == ("here", "asked")


def test_reading_imports_neither_tensorflow_nor_anything_before_it_is_needed(prepare):
    folder = prepare("TinyImports", {"train": IMAGES, "test": IMAGES})
    code = """
import sys
from vae_jax import data
heavy = {"tensorflow", "tensorflow_datasets", "sklearn", "PIL", "matplotlib", "grain", "flax", "orbax"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
print(data.load("tiny_imports", sys.argv[1]).train.shape)  # the builder's code is not here: read from its files
assert "tensorflow" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "(10, 4, 4, 1)\n"), done.stderr


def test_prepared_mnist_equals_the_original_files(data_dir, mnist_train):
    if not (data_dir / "mnist").is_dir():
        pytest.skip(f"mnist is not prepared in {data_dir}: scripts/prepare_data.sh mnist")
    d = data.load("mnist", str(data_dir))
    assert d.train.shape == (60_000, 28, 28, 1) and d.test.shape == (10_000, 28, 28, 1) and d.levels == 256
    ours = np.sort(d.train.reshape(60_000, 784).view("V784")[:, 0])  # TFDS shuffles
    np.testing.assert_array_equal(ours, np.sort(mnist_train.copy().view("V784")[:, 0]))
    # BCE on grey pixels cannot fall below this: the reference is for the test images.
    assert round(entropy_floor(d._replace(train=d.test), 10_000), 4) == golden("45.5345")


def test_progress_says_one_line_and_only_to_those_who_wait(capsys):
    assert list(progress(range(5), 5, "reading")) == list(range(5))
    assert capsys.readouterr().err == ""
    list(progress(range(5), 5, "reading", patience=-1.0))
    assert capsys.readouterr().err.count("\n") == 1


# ---- pixels ----

KEY = jax.random.key(0)


def test_grey_fills_the_unit_interval_and_floats_pass():
    raw = np.arange(256, dtype=np.uint8)
    grey = preprocess("grey", 256)(KEY, raw)
    assert grey.dtype == np.float32
    # The compiler may multiply by 1/255 instead: one unit in the last place, but never outside [0, 1].
    np.testing.assert_array_max_ulp(np.asarray(grey), raw.astype(np.float32) / np.float32(255), maxulp=1)
    assert (grey[0], grey[-1]) == (0, 1)
    np.testing.assert_array_equal(preprocess("grey", 17)(KEY, np.arange(17)), np.arange(17, dtype=np.float32) / 16)
    np.testing.assert_array_equal(preprocess("grey", 2)(KEY, raw[:2]), [0.0, 1.0])
    np.testing.assert_array_equal(preprocess("grey", None)(KEY, 7 - 9 * ROWS), 7 - 9 * ROWS)


def test_binary_is_above_a_half():
    np.testing.assert_array_equal(preprocess("binary", 256)(KEY, np.array([0, 127, 128, 255])), [0, 0, 1, 1])
    np.testing.assert_array_equal(preprocess("binary", 17)(KEY, np.array([8, 9])), [0, 1])
    np.testing.assert_array_equal(preprocess("binary", None)(KEY, np.array([0.5, 0.51])), [0, 1])


def test_sampled_is_a_bernoulli_draw_of_the_key():
    raw = np.array([0, 1, 64, 128, 200, 254, 255], np.uint8)
    draw = jax.jit(jax.vmap(preprocess("sampled", 256), (0, None)))
    x = np.asarray(draw(jax.random.split(KEY, 20_000), raw))
    assert x.dtype == np.float32 and set(np.unique(x)) == {0.0, 1.0}
    assert within_standard_errors(x, raw / 255, 4.5)
    assert not x[:, 0].any() and x[:, -1].all()
    np.testing.assert_array_equal(draw(jax.random.split(KEY, 20_000)[:3], raw), x[:3])


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_dequantised_fills_each_level_evenly(levels):
    raw = np.arange(levels, dtype=np.uint8)
    x = jax.jit(jax.vmap(preprocess("dequantised", levels), (0, None)))(jax.random.split(KEY, 5000), raw)
    assert x.dtype == np.float32 and x.min() >= 0 and x.max() < 1
    u = np.asarray(x, np.float64) * levels - raw
    assert u.min() > -1e-6 and u.max() < 1 + 1e-6
    assert within_standard_errors(u, 0.5, 5) and within_standard_errors((u - 0.5) ** 2, 1 / 12, 5)
    if levels == 256:  # nothing is rounded: the level can be had back
        np.testing.assert_array_equal(np.floor(np.asarray(x) * 256), np.broadcast_to(raw, x.shape))


def test_pixel_modes_that_are_refused():
    assert "must be one of grey, binary, sampled, dequantised" in refused(preprocess, "gray", 256)
    assert "--pixels=dequantised needs uint8" in refused(preprocess, "dequantised", None)
    assert "must be one of" in refused(bits_offset, "gray", 256)
    assert "needs uint8" in refused(bits_offset, "dequantised", None)


def test_bits_offset():
    assert bits_offset("dequantised", 256) == 8
    assert bits_offset("dequantised", 17) == math.log2(17)
    assert bits_offset("grey", 256) == math.log2(255)
    assert [bits_offset(mode, 256) for mode in ("binary", "sampled")] == [0, 0]
    assert [bits_offset(mode, None) for mode in ("grey", "binary", "sampled")] == [0, 0, 0]
    assert bits_offset("grey", 2) == 0
    nll, dimensions = -1000, 3072
    assert nll / (dimensions * math.log(2)) + bits_offset("dequantised", 256) == golden("7.530372708044")
    # A uniform density is as many bits as there are to a level.
    assert 0 + bits_offset("dequantised", 17) == pytest.approx(-math.log2(1 / 17))


# ---- whether data, pixels and likelihood go together ----

GREY = from_arrays("grey images", IMAGES, IMAGES)
BITS = from_arrays("0/1 images", IMAGES % 2, IMAGES % 2)
UNIT = from_arrays("unit rows", ROWS, ROWS)
WIDE = from_arrays("wide rows", 8 * ROWS - 3, ROWS)
BITS_AS_FLOATS = from_arrays("0/1 rows", np.round(ROWS), np.round(ROWS))
GAUSSIAN, BERNOULLI, CONTINUOUS = ("gaussian", "real"), ("bernoulli", "binary"), ("continuous_bernoulli", "unit")
BETA, STUDENT_T, LEVELS = ("beta", "unit"), ("student_t", "real"), Grid(256, 1 / 255)
INNER = from_arrays("inner rows", 0.1 + 0.8 * ROWS, 0.1 + 0.8 * ROWS)
# Two real columns, one 0/1, one on [0, 1], one of the codes 0 to 3.
CODES = np.stack([np.arange(10) - 4, 7 * np.arange(10), np.arange(10) % 2, np.arange(10) / 9, np.arange(10) % 4], 1)
TABLE = from_arrays("table", CODES, CODES[:4])
CODES = np.uint8(np.abs(CODES))
KINDS = (("real", 2), ("binary", 1), ("unit", 1), (Grid(4, 1.0), 1))


@pytest.mark.parametrize(
    "dataset, pixels, likelihood",
    [
        (GREY, "binary", BERNOULLI),
        (GREY, "sampled", BERNOULLI),
        (BITS, "grey", BERNOULLI),
        (BITS_AS_FLOATS, "grey", BERNOULLI),
        (UNIT, "sampled", BERNOULLI),
        (GREY, "dequantised", GAUSSIAN),
        (GREY, "dequantised", CONTINUOUS),
        (UNIT, "grey", GAUSSIAN),
        (UNIT, "grey", CONTINUOUS),
        (GREY, "grey", ("categorical", LEVELS)),
        (GREY, "grey", ("discretized_logistic", LEVELS)),
        (BITS, "binary", ("categorical", Grid(2, 1.0))),
        (BITS, "grey", ("discretized_logistic", Grid(2, 1.0))),
        (UNIT, "grey", STUDENT_T),
        (INNER, "grey", BETA),
        (GREY, "dequantised", BETA),
        (GREY, "dequantised", ("laplace", "real")),
        (TABLE, "grey", ("columns", KINDS)),
        (BITS_AS_FLOATS, "grey", ("columns", (("binary", 1), (Grid(2, 1.0), 2)))),
        (from_arrays("0/1 integers", ROWS > 0.5, ROWS > 0.5), "grey", ("columns", (("binary", 3),))),
    ],
)
def test_combinations_without_a_word(dataset, pixels, likelihood):
    assert check(dataset, pixels, *likelihood) == []


@pytest.mark.parametrize(
    "dataset, pixels, likelihood, said",
    [
        (GREY, "grey", BERNOULLI, "--soft_targets"),
        (UNIT, "grey", BERNOULLI, "--pixels=binary or --pixels=sampled"),
        (WIDE, "grey", BERNOULLI, "wide rows has values from -3 to 5"),
        (GREY, "dequantised", BERNOULLI, "has grey ones"),
        (WIDE, "grey", CONTINUOUS, "a density on [0, 1], and wide rows has values from -3 to 5"),
        (WIDE, "binary", BERNOULLI, "--pixels=binary needs values in [0, 1]"),
        (WIDE, "sampled", GAUSSIAN, "--pixels=sampled needs values in [0, 1]"),
        (UNIT, "dequantised", GAUSSIAN, "--pixels=dequantised needs uint8"),
        (GREY, "gray", GAUSSIAN, "must be one of"),
        (UNIT, "grey", ("categorical", LEVELS), "unit rows holds floats"),
        (GREY, "dequantised", ("discretized_logistic", LEVELS), "use --pixels=grey"),
        (BITS, "grey", ("categorical", LEVELS), "was made for 256 levels 0.00392157 apart, and 0/1 images has 2"),
        (GREY, "grey", ("categorical", Grid(256, 1.0)), "was made for 256 levels 1 apart"),
        (WIDE, "grey", BETA, "--likelihood=beta is a density on [0, 1], and wide rows has values from -3 to 5"),
        (GREY, "grey", ("columns", KINDS), "grey images holds examples of shape 4x4x1"),
        (TABLE, "grey", ("columns", KINDS[:2]), "--columns names 3 columns, and table has 5"),
        (TABLE, "grey", ("columns", (*KINDS, ("real", 1))), "--columns names 6 columns, and table has 5"),
        (from_arrays("codes", CODES, CODES), "grey", ("columns", ((Grid(9, 1.0), 5),)), "store the table as float32"),
        (TABLE, "binary", ("columns", KINDS), "--pixels=binary"),
        (TABLE, "sampled", ("columns", KINDS), "--pixels=sampled"),
    ],
)
def test_combinations_that_are_refused(dataset, pixels, likelihood, said):
    assert said in refused(check, dataset, pixels, *likelihood)


@pytest.mark.parametrize(
    "dataset, pixels, likelihood, said",
    [
        (WIDE, "grey", GAUSSIAN, "--sigma, distortion and mse are in the data's own units"),
        (GREY, "grey", GAUSSIAN, "evaluated at 256 grey levels"),
        (GREY, "grey", CONTINUOUS, "--pixels=dequantised makes it a bound"),
        (BITS, "grey", CONTINUOUS, "--likelihood=bernoulli is the likelihood for 0/1 pixels"),
        (GREY, "sampled", GAUSSIAN, "has no upper bound"),
        (GREY, "binary", ("categorical", LEVELS), "leaves 2 of the 256 grey levels"),
        (UNIT, "grey", BETA, "6.67% of the values are exactly 0 or 1"),
        (BITS, "grey", BETA, "--likelihood=bernoulli is the likelihood for 0/1 pixels"),
        (WIDE, "grey", STUDENT_T, "--sigma, distortion and mse are in the data's own units"),
        (GREY, "grey", ("laplace", "real"), "evaluated at 256 grey levels"),
    ],
)
def test_combinations_with_a_warning(dataset, pixels, likelihood, said):
    (warning,) = check(dataset, pixels, *likelihood)
    assert said in warning and "\n" not in warning


@pytest.mark.parametrize(
    "column, value, said",
    [
        (2, 0.5, "column 2 (counted from 0) is defined on 0 or 1, and table holds 0.5 there"),
        (3, 1.5, "column 3 (counted from 0) is defined on values in [0, 1], and table holds 1.5"),
        (4, 4.0, "column 4 (counted from 0) is defined on the class codes 0 to 3, and table holds 4"),
        (4, -1.0, "holds -1 there"),
        (4, 1.5, "holds 1.5 there"),
    ],
)
def test_each_column_is_held_against_its_own_family(column, value, said):
    for split in (0, 1):  # wherever it is
        splits = [TABLE.train.copy(), TABLE.test.copy()]
        splits[split][1, column] = value
        assert said in refused(check, from_arrays("table", *splits), "grey", "columns", KINDS)
    free = TABLE.train.copy()
    free[:, :2] = 1e6  # a real column may hold anything
    assert check(from_arrays("table", free, TABLE.test), "grey", "columns", KINDS) == []


def test_grey_and_beta_warn_of_the_levels_and_of_the_ends():
    said = check(GREY, "grey", *BETA)
    assert len(said) == 2 and "evaluated at 256 grey levels" in said[0]
    assert "0.625% of the values are exactly 0 or 1" in said[1] and "--squeeze" in said[1]


def test_soft_targets_state_their_floor():
    # Every pixel has the entropy of x = 0.1 (0.325082973 nats); 16 pixels an image.
    tenths = from_arrays("tenths", np.full((9, 4, 4), 0.1, np.float32), np.full((9, 4, 4), 0.9, np.float32))
    assert entropy_floor(tenths) == pytest.approx(16 * 0.325082973, rel=1e-6)
    (warning,) = check(tenths, "grey", *BERNOULLI, soft_targets=True)
    assert "no likelihood" in warning and "5.20 nats per example" in warning
    assert check(BITS, "grey", *BERNOULLI, soft_targets=True) == [] and entropy_floor(BITS) == 0
    assert "values from -3 to 5" in refused(check, WIDE, "grey", *BERNOULLI, soft_targets=True)
    digits = data.load("digits")
    x = digits.train.astype(np.float64) / 16
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.nan_to_num(-x * np.log(x)) + np.nan_to_num(-(1 - x) * np.log(1 - x))
    assert entropy_floor(digits) == pytest.approx(entropy.sum() / len(x))


# ---- the spectrum ----


@pytest.mark.parametrize("shape", [(50, 6), (5, 4, 3, 1), (6, 2100), (1, 3), (1, 2100)])
def test_eigenvalues_are_those_of_the_covariance(shape):
    x = np.random.default_rng(0).normal(3.0, 1.0, shape).astype(np.float32)
    flat = x.reshape(shape[0], -1).astype(np.float64)
    expected = np.zeros(flat.shape[1])
    values = np.linalg.svd(flat - flat.mean(0), compute_uv=False) ** 2 / len(flat)  # ddof = 0
    expected[: len(values)] = values
    found = eigenvalues(x)
    assert found.dtype == np.float64 and (np.diff(found) <= 0).all() and (found >= 0).all()
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6 * expected[0])


def test_eigenvalues_of_a_fixed_choice_of_examples(monkeypatch):
    x = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    chosen = held_out(300, 100)[1]
    monkeypatch.setattr(spectrum, "LEAST_EXAMPLES", 50)
    monkeypatch.setattr(spectrum, "MAX_PRODUCTS", 100 * 4 * 4)
    np.testing.assert_array_equal(spectrum.examples_for(300, 4), chosen)
    np.testing.assert_array_equal(spectrum.examples_for(100, 4), np.arange(100))
    np.testing.assert_allclose(eigenvalues(x), eigenvalues(lambda: [x[chosen]]))
    monkeypatch.setattr(spectrum, "MAX_RANDOMISED", 1e9)
    assert 50 < len(spectrum.examples_for(10**6, 3072)) < 1000  # by what four passes cost
    assert len(spectrum.examples_for(10**6, 10**6)) == 50


def power_law(n, dimensions, falls, seed=0):
    """Examples whose covariance has eigenvalues near ``i ** -falls``, far from zero mean, in no special basis."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dimensions)) * np.arange(1, dimensions + 1) ** (-falls / 2)
    for _ in range(2):  # a random rotation, cheaply: signs and a Fourier transform
        x = np.fft.irfft(np.fft.rfft(x * rng.choice([-1.0, 1.0], dimensions)) * np.sqrt(dimensions), dimensions)
    return (x / dimensions + 3.0).astype(np.float32)


@pytest.mark.parametrize("dimensions", [40, 400])
def test_streamed_eigenvalues_are_those_of_the_whole(monkeypatch, dimensions):
    """Batches of any sizes, the last one ragged, as images: the same spectrum as of one array."""
    monkeypatch.setattr(spectrum, "MAX_DIMENSIONS", 300)
    x = power_law(700, dimensions, 1.0).reshape(700, dimensions // 8, 4, 2)
    visits = []

    def batches():
        visits.append(0)
        yield from (x[:256], x[256:512], x[512:697], x[697:])

    whole = eigenvalues(x)
    np.testing.assert_allclose(eigenvalues(batches), whole, rtol=1e-5, atol=1e-6 * whole[0])
    assert len(visits) == (2 if dimensions == 40 else 5)  # a look at the first batch, and one or four passes


@pytest.mark.parametrize("falls", [1.0, 1.5])
def test_randomised_eigenvalues_are_those_of_the_covariance(monkeypatch, falls):
    """More examples and dimensions than directions: the head, the trace, and an even rest (an eighth of full size)."""
    monkeypatch.setattr(spectrum, "MAX_DIMENSIONS", 300)
    monkeypatch.setattr(spectrum, "BLOCK", 48)
    x = power_law(1000, 400, falls)
    centred = x - x.mean(axis=0, dtype=np.float64)
    exact = np.linalg.eigvalsh((centred.T @ centred) / len(x))[::-1]
    found = eigenvalues(x)
    np.testing.assert_allclose(found[:12], exact[:12], rtol=1e-4)
    np.testing.assert_allclose(found[:36], exact[:36], rtol=0.01)
    np.testing.assert_allclose(found[:64], exact[:64], rtol=0.1)
    assert (found[:64] <= exact[:64] * (1 + 1e-5)).all()  # values on a subspace are never above the true ones
    assert found.sum() == pytest.approx(exact.sum(), rel=1e-6)
    assert len(found) == 400 and (np.diff(found) <= 0).all() and np.ptp(found[64:]) == 0
    assert found[12:].sum() == pytest.approx(exact[12:].sum(), rel=1e-5)  # the error that 12 latents leave


def test_eigenvalues_of_mnist(mnist_train):
    found = eigenvalues(mnist_train.astype(np.float32) / 255)
    printed = "5.116788 3.741328 3.252654 2.841573 2.567075 2.273625 1.725126 1.520535 1.456281 1.242729 1.112071"
    for value, text in zip(found, printed.split()):
        assert value == golden(text, single=True)
    assert found.sum() == golden("52.725035", single=True)
    assert [(found > s).sum() for s in (1, 0.5, 0.1, 0.01)] == [12, 23, 69, 251]


# ---- scripts/prepare_data.sh ----


def run_prepare(*arguments, **environment):
    script = str(ROOT / "scripts" / "prepare_data.sh")
    return subprocess.run([script, *arguments], capture_output=True, text=True, env={**os.environ, **environment})


@pytest.mark.parametrize(
    "arguments", [(), ("--no_such_option", "mnist"), ("/etc",), ("--manual_dir=/no/such", "mnist")]
)
def test_prepare_data_bad_usage_is_one_line_and_status_2(arguments):
    done = run_prepare(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "usage: " in done.stderr


def test_prepare_data_is_quick_when_there_is_nothing_to_do(prepare):
    folder = prepare("TinyReady", {"train": IMAGES, "test": IMAGES})
    done = run_prepare("tiny_ready", VAE_JAX_DATA_DIR=folder, VAE_JAX_PREPARE_VENV="/no/such/folder")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"tiny_ready is already prepared in {folder}\n"


def test_every_pixel_mode_is_checked_and_has_an_offset():
    for mode in PIXELS:
        assert preprocess(mode, 256)(KEY, IMAGES[0]).shape == (4, 4)
        assert bits_offset(mode, 256) >= 0
        assert isinstance(check(GREY, mode, *GAUSSIAN), list)


def test_black_and_white_images_are_binary_however_they_are_stored():
    bits = np.random.default_rng(0).integers(0, 2, (6, 4, 4)).astype(np.uint8)
    plain, stored = (from_arrays("x", scale * bits, scale * bits) for scale in (np.uint8(1), np.uint8(255)))
    assert plain.levels == stored.levels == 2
    np.testing.assert_array_equal(plain.train, stored.train)
    assert check(stored, "grey", "bernoulli", "binary") == []


def test_an_npz_may_name_its_factors(tmp_path):
    path = str(tmp_path / "named.npz")
    given = {"train": IMAGES, "test": IMAGES, "train_factors": np.zeros((10, 2), int)}
    np.savez(path, **given, factor_names=["shape", "scale"])
    assert data.load(path).factor_names == ("shape", "scale")
    for wrong in (["shape"], np.arange(2), [["shape", "scale"]]):
        np.savez(path, **given, factor_names=wrong)
        assert "factor_names has dtype" in refused(data.load, path)
