"""Splits that are read when they are asked for: they index as arrays do, and no more of them is read than is needed."""

from __future__ import annotations

import threading

import jax
import numpy as np
import pytest
from data_inputs import PLAIN, refused, save_image

from vae_jax import data
from vae_jax.data import images, rows, spectrum
from vae_jax.data.check import check, entropy_floor
from vae_jax.data.dataset import Dataset, from_arrays, from_images, validate
from vae_jax.data.pixels import preprocess
from vae_jax.data.rows import Rows, first, held_out, hold, sample
from vae_jax.runs.build import data_spectrum
from vae_jax.types import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (61, 4, 3, 1)).astype(np.uint8)


class Counted:
    """Rows of an array that know which of them were read, and by how many threads at once."""

    def __init__(self, array: np.ndarray, identity: bytes = b"mine"):
        self.array, self.asked, self.lock = array, [], threading.Lock()
        self.rows = Rows(self.read, array.shape, identity)

    def read(self, indices):
        assert all(type(i) is int and 0 <= i < len(self.array) for i in indices)
        with self.lock:
            self.asked += indices
        return [self.array[i] for i in indices]


@pytest.mark.parametrize(
    "index",
    [
        slice(None),
        slice(3, 40, 7),
        slice(50, 2, -3),
        0,
        np.int64(17),
        [4, 4, 0, 60, 4],
        np.array([[0, -61], [7, 7]]),
        np.arange(60, -1, -1),
        [],
        (slice(2, 9), 1),
        (slice(None, None, 20), slice(0, 2), slice(None), 0),
        (np.array([1, 1, 5]), Ellipsis, 0),
    ],
    ids=repr,
)
def test_rows_index_as_the_array_they_stand_for(index):
    expected = IMAGES[np.asarray(index, int) if isinstance(index, list) else index]
    found = Counted(IMAGES).rows[index]
    assert (type(found), found.dtype, found.shape) == (np.ndarray, np.uint8, expected.shape)
    np.testing.assert_array_equal(found, expected)


def test_rows_look_like_the_array_and_read_each_row_once():
    counted = Counted(IMAGES)
    for name in ("shape", "dtype", "ndim", "size", "nbytes", "__len__"):
        mine, theirs = getattr(counted.rows, name), getattr(IMAGES, name)
        assert mine() == theirs() if callable(mine) else mine == theirs
    assert counted.asked == []
    assert counted.rows[[5, 9, 5, 5]].shape == (4, 4, 3, 1) and sorted(counted.asked) == [5, 9]


@pytest.mark.parametrize(
    "index, error, match",
    [
        *((index, IndexError, "there are 61 rows") for index in (61, -62, [0, 61])),
        *((index, TypeError, "chosen by integers") for index in (np.ones(61, bool), 1.0, "a", None, Ellipsis)),
    ],
    ids=repr,
)
def test_rows_that_are_not_there(index, error, match):
    counted = Counted(IMAGES)
    with pytest.raises(error, match=match):
        counted.rows[index]
    assert counted.asked == []


@pytest.mark.parametrize("whole", [np.asarray, np.stack, jax.numpy.asarray, jax.device_put])
def test_nothing_becomes_an_array_by_the_way(whole):
    counted = Counted(IMAGES)
    with pytest.raises(TypeError):
        whole(counted.rows if whole is not np.stack else [counted.rows])
    assert counted.asked == []


def test_an_error_in_a_row_comes_to_whoever_asked():
    def read(indices):
        if 33 in indices:
            raise UserError("33.png is broken")
        return IMAGES[indices]

    r = Rows(read, IMAGES.shape, b"")
    np.testing.assert_array_equal(r[:33], IMAGES[:33])
    assert refused(lambda: r[np.arange(60, -1, -1)]) == "33.png is broken"
    np.testing.assert_array_equal(r[34:], IMAGES[34:])  # and nothing is broken by it


def test_selected_rows_are_rows():
    counted = Counted(IMAGES)
    chosen = np.array([60, 2, 2, -3])
    part = counted.rows.select(chosen)
    again = part.select(range(3))
    assert counted.asked == [] and part.shape == (4, 4, 3, 1)
    np.testing.assert_array_equal(part[:], IMAGES[chosen])
    np.testing.assert_array_equal(again[1:], IMAGES[chosen[1:3]])
    np.testing.assert_array_equal(first(counted.rows, 5)[:], IMAGES[:5])
    assert first(counted.rows, None) is counted.rows and first(counted.rows, 61) is counted.rows
    np.testing.assert_array_equal(first(IMAGES, 5), IMAGES[:5])


def test_the_fingerprint_is_of_what_the_rows_are():
    def of(array, identity=b"mine"):
        return Counted(array, identity).rows.fingerprint

    other = IMAGES.copy()
    other[held_out(61, rows.IDENTIFYING)[1][-1]] ^= 1
    r = Counted(IMAGES).rows
    prints = [of(IMAGES), of(IMAGES, b"yours"), of(other), of(IMAGES[:, :, :2]), of(IMAGES[:60])]
    prints += [r.select(range(61)).fingerprint, r.select(range(60, -1, -1)).fingerprint]
    assert len(set(prints)) == len(prints)
    assert of(IMAGES.copy()) == prints[0]  # the same in another process, on another machine
    counted = Counted(IMAGES)
    assert counted.rows.fingerprint == counted.rows.fingerprint and len(counted.asked) == rows.IDENTIFYING


def test_a_run_knows_its_data_again_wherever_they_are_held():
    r = Counted(IMAGES).rows
    lazy, held = Dataset("d", r, IMAGES, 256).fingerprints, Dataset("d", IMAGES, IMAGES, 256).fingerprints
    assert lazy["all rows"] == r.fingerprint and lazy["data"] == held["data"]
    black_and_white = 255 * (IMAGES > 100).astype(np.uint8)
    lazy_two = Counted(black_and_white).rows
    held = Dataset("d", black_and_white // 255, IMAGES, 2).fingerprints
    assert Dataset("d", lazy_two, IMAGES, 256).fingerprints["data"] == held["data"] != lazy["data"]
    other = IMAGES.copy()
    other[held_out(len(IMAGES), rows.IDENTIFYING)[1][0]] ^= 1
    assert Dataset("d", other, IMAGES, 256).fingerprints["data"] != lazy["data"]


def test_a_run_knows_every_split_again_that_it_uses():
    held = Dataset("d", IMAGES, IMAGES[:9], 256, validation=IMAGES[:5])
    other = IMAGES.copy()
    other[3] ^= 1
    for split in ("train", "test", "validation"):
        changed = held._replace(**{split: other[: len(getattr(held, split))]}).fingerprints
        differing = {key for key, value in held.fingerprints.items() if changed[key] != value}
        assert differing - {"data"} == {"all data" if split == "train" else f"all {split} data"}
    lazy = held._replace(test=Counted(IMAGES[:9]).rows).fingerprints
    assert lazy["all test rows"] != held._replace(test=Counted(other[:9]).rows).fingerprints["all test rows"]


@pytest.mark.parametrize("kind", ["bmp", "png", "tiff"])
def test_streamed_images_that_are_changed_in_place_are_other_data(tmp_path, kind):
    for i in range(54):
        save_image(tmp_path / "train" / f"{i}.{kind}", IMAGES[i % 10, ..., 0] + np.uint8(i))
    for i in range(54, 60):
        save_image(tmp_path / "test" / f"{i}.{kind}", IMAGES[i % 10, ..., 0] + np.uint8(i))
    reading = PLAIN._replace(most_held=0)
    before = data.load(str(tmp_path), reading).fingerprints
    identifying = {*held_out(54, rows.IDENTIFYING)[1].tolist()}
    for i in (next(i for i in sorted(range(54), key=str) if i not in identifying), 54):
        path = tmp_path / ("test" if i == 54 else "train") / f"{i}.{kind}"
        size, image = path.stat().st_size, IMAGES[i % 10, ..., 0] + np.uint8(i)
        for flip in range(1, 256):  # some other image whose file has the same size
            save_image(path, image ^ np.uint8(flip))
            if path.stat().st_size == size:
                break
        assert path.stat().st_size == size
        after = data.load(str(tmp_path), reading).fingerprints
        assert after.keys() == before.keys() and after != before and after["data"] == before["data"]
        before = after


def test_hold_decides_by_bytes():
    for keep in (None, IMAGES.nbytes):
        np.testing.assert_array_equal(hold(Counted(IMAGES).rows, keep, "mine"), IMAGES)
    counted = Counted(IMAGES)
    assert hold(counted.rows, IMAGES.nbytes - 1, "mine") is counted.rows and counted.asked == []


def test_a_data_set_of_rows_has_256_levels_and_says_so():
    bits = IMAGES % 2
    d = from_images("mine", Counted(bits).rows, bits, ["said before"])
    assert d.levels == 256 and d.event == (4, 3, 1) and d.notes[0] == "said before"
    assert "train: 61 images" in d.notes[1] and "256 grey levels" in d.notes[1] and len(d.notes) == 2
    assert from_images("mine", bits, bits, ["said"]) == from_arrays("mine", bits, bits)._replace(notes=("said",))
    assert "has 256 levels and not 2" in refused(validate, Dataset("d", Counted(bits).rows, bits, 2))
    assert "one train example has shape" in refused(from_images, "d", Counted(bits).rows, bits[:, :2])


def test_checks_read_a_bounded_number_of_rows(monkeypatch):
    many = np.random.default_rng(1).integers(0, 256, (5000, 4, 3, 1)).astype(np.uint8)
    held = from_arrays("mine", many, many[:50])
    counted, test = Counted(many), Counted(many[:50])
    d = from_images("mine", counted.rows, test.rows)
    assert counted.asked == test.asked == []
    assert check(d, "sampled", "bernoulli", "binary") == [] and counted.asked == []
    assert "--soft_targets" in refused(check, d, "grey", "bernoulli", "binary") and counted.asked == []
    assert check(d, "dequantised", "gaussian", "real") == [] and len(counted.asked) == rows.IDENTIFYING
    counted.asked.clear()
    assert entropy_floor(d) == entropy_floor(held) and len(counted.asked) == 4096
    monkeypatch.setattr(rows, "SAMPLE_BYTES", 12 * 100)  # of larger images fewer
    counted.asked.clear()
    assert abs(entropy_floor(d) / entropy_floor(held) - 1) < 0.1 and len(counted.asked) == 100
    said = check(d, "grey", "beta", "unit")
    assert "of the values are exactly 0 or 1" in said[1] and len(counted.asked) == 208 and test.asked == []
    assert len(sample(many, 30)) == 30 and len(sample(counted.rows, 30)) == 30


def test_the_spectrum_of_rows_is_that_of_the_array_and_of_the_examples_it_needs(monkeypatch):
    monkeypatch.setattr(spectrum, "LEAST_EXAMPLES", 20)
    monkeypatch.setattr(spectrum, "MAX_PRODUCTS", 40 * 12 * 12)
    counted = Counted(IMAGES)
    view = preprocess("grey", 256)
    key = jax.random.key(0)
    found = data_spectrum(from_images("mine", counted.rows, IMAGES), view, key)
    assert set(counted.asked) == set(spectrum.examples_for(61, 12).tolist()) and len(set(counted.asked)) == 40
    np.testing.assert_array_equal(found, data_spectrum(Dataset("mine", IMAGES, IMAGES, 256), view, key))


def test_large_examples_come_in_smaller_batches():
    chosen = np.arange(10_000)
    for dimensions, most in ((12, 4096), (4096, 4096), (2**20, 16), (10**9, 1)):
        cut = spectrum.parts(chosen[: 100 * most], dimensions)
        assert max(map(len, cut)) <= most
        np.testing.assert_array_equal(np.concatenate(cut), chosen[: 100 * most])


def test_a_folder_that_is_too_large_is_not_decoded(tmp_path, monkeypatch):
    for i in range(20):
        save_image(tmp_path / ("test" if i < 2 else "train") / f"{i:02}.png", IMAGES[i, ..., 0])
    held = data.load(str(tmp_path), PLAIN)
    decoded = []
    monkeypatch.setattr(images, "decode", lambda *a, _decode=images.decode: decoded.append(a[0]) or _decode(*a))
    everything = data.load(str(tmp_path), PLAIN._replace(most_held=0))
    assert decoded == [] and everything.levels == 256 and len(everything.notes) == 2
    for split in ("train", "test"):
        lazy, array = getattr(everything, split), getattr(held, split)
        assert isinstance(lazy, Rows) and isinstance(array, np.ndarray)
        np.testing.assert_array_equal(lazy[:], array)
    part = data.load(str(tmp_path), PLAIN._replace(most_held=2 * 12))  # 18 images of 12 bytes, and 2
    assert isinstance(part.train, Rows) and isinstance(part.test, np.ndarray)
    np.testing.assert_array_equal(part.test, held.test)
    assert isinstance(data.load(str(tmp_path), PLAIN._replace(most_held=18 * 12)).train, np.ndarray)
    prints = everything.fingerprints
    assert all(prints[key] == value for key, value in part.fingerprints.items() if key in prints)
    assert held.fingerprints["data"] == part.fingerprints["data"] == prints["data"]
    save_image(tmp_path / "test" / "00.png", IMAGES[50, ..., 0])
    (tmp_path / "test" / "01.png").rename(tmp_path / "test" / "01_.png")
    assert data.load(str(tmp_path), PLAIN._replace(most_held=0)).fingerprints != everything.fingerprints


def test_a_file_that_breaks_or_changes_after_it_was_found(tmp_path):
    for i in range(8):
        save_image(tmp_path / ("train" if i else "test") / f"{i}.png", IMAGES[i, ..., 0])
    path, names, at = tmp_path / "train" / "3.png", [*range(1, 8)], 2
    path.write_bytes(path.read_bytes()[:-25])  # its header is that of an image
    train = data.load(str(tmp_path), PLAIN._replace(most_held=0)).train
    assert f"{path}: cannot be used" in refused(lambda: train[:])
    np.testing.assert_array_equal(np.delete(IMAGES[names], at, 0), train[[i for i in range(7) if i != at]])
    save_image(path, IMAGES[3, :3, :, 0])
    assert "3x3 in place of 3x4" in refused(lambda: train[at])
    path.unlink()
    assert "3.png: cannot be used, not readable" in refused(lambda: train[at])
