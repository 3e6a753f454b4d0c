"""Images brought to one size, on one ground, from any depth: the resampling from its definition, then files."""

from __future__ import annotations

import numpy as np
import pytest
from data_inputs import FEW, IMAGES, refused, save_image
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vae_jax import data
from vae_jax.data.fitting import LARGEST, Look, fitted, of_shape
from vae_jax.data.rows import Rows
from vae_jax.types import UserError


def ramp(width, height, across=3.0, down=-2.0):
    """A plane over the pixels' middles, float32 ``[h, w, 1]``."""
    y, x = np.indices((height, width))
    return (across * x + down * y).astype(np.float32)[..., None]


def plane_in(box, size, across=3.0, down=-2.0):
    """The same plane at the middles of ``size`` pixels that divide ``box``."""
    left, top, right, bottom = box
    x = left + (np.arange(size[0]) + 0.5) * (right - left) / size[0] - 0.5
    y = top + (np.arange(size[1]) + 0.5) * (bottom - top) / size[1] - 0.5
    return (across * x[None] + down * y[:, None])[..., None]


@pytest.mark.parametrize(
    "width, height, size, box",
    [
        (60, 40, (10, 10), (10, 0, 50, 40)),  # a square in the middle
        (40, 60, (20, 10), (0, 20, 40, 40)),  # twice as wide as high
        (45, 30, (10, 10), (7.5, 0, 37.5, 30)),  # between pixels
        (12, 8, (24, 24), (2, 0, 10, 8)),  # enlarged
    ],
)
def test_a_crop_of_a_plane_is_the_plane_in_the_middle(width, height, size, box):
    """A symmetric filter keeps linear functions but at the ends, where it is cut off."""
    made = fitted(ramp(width, height), size, "crop")
    inside = (slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(made[inside], plane_in(box, size)[inside], atol=1e-3)
    wrong = plane_in((0, 0, size[0], size[1]), size)  # a cut without a change of scale
    assert np.abs(made[inside] - wrong[inside]).max() > 1
    assert np.abs(made[inside] - fitted(ramp(width, height), size, "stretch")[inside]).max() > 1


def test_a_stretched_plane_and_a_padded_one():
    np.testing.assert_allclose(
        fitted(ramp(60, 40), (10, 10), "stretch")[2:-2, 2:-2],
        plane_in((0, 0, 60, 40), (10, 10))[2:-2, 2:-2],
        atol=1e-3,
    )
    x = ramp(60, 40)
    made = fitted(x, (30, 30), "pad")
    np.testing.assert_array_equal(made[5:25], fitted(x, (30, 20), "stretch"))  # all of it, in its shape
    border = [x[i, j, 0] for i in range(40) for j in range(60) if i in (0, 39) or j in (0, 59)]
    np.testing.assert_allclose(np.concatenate([made[:5], made[25:]]), np.mean(border), rtol=1e-6)


IMAGE = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])))


@FEW
@given(IMAGE, st.integers(1, 12), st.integers(1, 12), st.sampled_from(["crop", "pad", "stretch"]))
def test_no_value_leaves_the_range_and_every_size_is_met(x, width, height, fit):
    made = fitted(x, (width, height), fit)
    assert made.shape == (height, width, x.shape[-1]) and made.dtype == np.uint8
    for channel in range(x.shape[-1]):
        assert x[..., channel].min() <= made[..., channel].min() <= made[..., channel].max() <= x[..., channel].max()
    turned = fitted(x.swapaxes(0, 1).astype(np.float32), (height, width), fit)
    near = fitted(x.astype(np.float32), (width, height), fit).swapaxes(0, 1)
    np.testing.assert_allclose(turned, near, atol=1e-3)
    assert fitted(x, x.shape[1::-1], fit) is x


@pytest.mark.parametrize("asked", ["0", "64x", "x64", "64x0", "-1", "1e3", "64X48", "", str(LARGEST + 1), "9" * 30])
def test_sizes_that_are_none(asked):
    message = refused(data.load, "digits", data.Reading(image_size=asked))
    assert f"--image_size={asked}: give the side of a square" in message


def mixed(folder):
    """Images of three sizes: the commonest, one of its shape, and one of another."""
    for i in range(6):
        save_image(folder / f"{i}.png", IMAGES[i])
    save_image(folder / "large.png", np.full((8, 8), 9, np.uint8))
    save_image(folder / "wide.png", np.repeat(np.uint8([[0, 100, 200, 0]]), 2, axis=0))


def test_images_of_several_sizes_are_refused_with_the_flag_that_helps_and_brought_to_one(tmp_path):
    mixed(tmp_path)
    message = refused(data.load, str(tmp_path))
    assert "2 of 8 are not 4x4 (large.png is 8x8); --image_size=4 brings all to the commonest size" in message
    whole = data.Reading(whole=True, image_size="4x4")
    d = data.load(str(tmp_path), whole)
    cut = "1 of another shape cut around their middle to its shape (--fit=crop)"
    assert f"--image_size=4: 2 of 8 images are resized, {cut}" in d.notes
    np.testing.assert_array_equal(d.train[:6, ..., 0], IMAGES[:6])
    # Of the wide one the middle half, linear between the middles of its pixels 0, 100, 200, 0.
    assert (d.train[6] == 9).all() and (d.train[7, ..., 0] == [75, 125, 175, 150]).all()
    for fit, mean in (("pad", 75), ("stretch", 75)):  # two rows of its own between two of its border's mean
        other = data.load(str(tmp_path), whole._replace(fit=fit))
        assert f"(--fit={fit})" in " ".join(other.notes) and other.train[7].mean() == mean
        lazy = data.load(str(tmp_path), whole._replace(fit=fit, most_held=0))
        np.testing.assert_array_equal(lazy.train[:], other.train)
        assert isinstance(lazy.train, Rows) and lazy.event == (4, 4, 1)
    assert data.load(str(tmp_path), data.Reading(image_size="3x5")).event == (5, 3, 1)


def test_arrays_are_brought_to_a_size_as_files_are(tmp_path):
    file, wide = tmp_path / "a.npz", np.arange(2 * 6 * 8 * 3, dtype=np.uint8).reshape(2, 6, 8, 3)
    np.savez(file, train=wide, test=wide[:1])
    d = data.load(str(file), data.Reading(image_size="4"))
    np.testing.assert_array_equal(d.train, [fitted(x, (4, 4), "crop") for x in wide])
    assert d.notes[0].startswith("--image_size=4: 3 of 3 images are resized, 3 of another shape cut")
    assert data.load(str(file), data.Reading(image_size="8x6", validation=0)).notes == ()
    black_and_white = np.indices((2, 8, 8)).sum(0) % 2
    np.savez(file, train=black_and_white, test=black_and_white)
    d = data.load(str(file), data.Reading(image_size="4"))
    assert d.levels == 256 and 100 < d.train.mean() < 155  # grey lies between them
    np.savez(file, train=wide / np.float32(255), test=wide[:1] / np.float32(255))
    d = data.load(str(file), data.Reading(image_size="4", fit="stretch"))
    assert d.train.dtype == np.float32 and d.levels is None and d.train.max() <= 1
    digits = data.load("digits", data.Reading(image_size="16x12"))
    assert digits.event == (12, 16, 1) and digits.levels == 17
    np.savez(file, train=np.ones((3, 5), np.float32), test=np.ones((3, 5), np.float32))
    assert "--image_size is for images" in refused(data.load, str(file), data.Reading(image_size="4"))


def test_what_is_transparent_is_laid_on_black_or_refused_and_what_is_opaque_never_is(tmp_path):
    clear = np.dstack([np.full((4, 4, 3), 30, np.uint8), np.uint8(IMAGES[0] > 7) * 255])
    for i in range(3):
        save_image(tmp_path / f"{i}.png", np.dstack([IMAGES[i]] * 3 + [np.full((4, 4), 255, np.uint8)]))
    refuse = data.Reading(alpha="refuse", whole=True)
    data.load(str(tmp_path), refuse)
    save_image(tmp_path / "clear.png", clear)
    assert "--alpha=refuse, and 1 of 4 images have transparent pixels (clear.png)" in refused(
        data.load, str(tmp_path), refuse
    )
    d = data.load(str(tmp_path), data.Reading(alpha="black", whole=True))
    np.testing.assert_array_equal(d.train[3, ..., 0], np.where(IMAGES[0] > 7, 30, 0))
    assert any("with transparent pixels, laid on black" in note and "--alpha=white" in note for note in d.notes)
    rows = [data.load(str(tmp_path), data.Reading(alpha=a, most_held=0)).train.fingerprint for a in ("white", "black")]
    assert rows[0] != rows[1]


def test_grey_of_16_bits_keeps_every_level_and_floats_their_units(tmp_path):
    deep = (np.arange(3 * 16, dtype=np.uint16).reshape(3, 4, 4) * 7 + 4000).astype(np.uint16)
    for i, suffix in enumerate(("png", "tiff", "pgm")):
        save_image(tmp_path / "deep" / f"{i}.{suffix}", deep[i])
    whole = data.Reading(whole=True)
    d = data.load(str(tmp_path / "deep"), whole)
    np.testing.assert_array_equal(np.rint(d.train[..., 0].astype(np.float64) * 65535), deep)
    assert d.levels is None and d.event == (4, 4, 1)
    said = "3 16-bit grey images, scaled from 0..65535 to 0..1; their values are from 0.0610361 to 0.0660563"
    assert said in d.notes
    assert "have to be held" in refused(data.load, str(tmp_path / "deep"), data.Reading(most_held=0))
    assert data.load(str(tmp_path / "deep"), data.Reading(image_size="3x2")).event == (2, 3, 1)
    floats = (deep / 7.0 - 900).astype(np.float32)
    for i in range(3):
        save_image(tmp_path / "floats" / f"{i}.tif", floats[i])
    d = data.load(str(tmp_path / "floats"), whole._replace(standardise="none"))
    np.testing.assert_array_equal(d.train[..., 0], floats)
    assert any("3 grey images of floats, taken as they are; their values are from -328" in note for note in d.notes)
    # In a model's units they have one scale, by the range of the training split.
    scaled = data.load(str(tmp_path / "floats"), whole)
    assert (scaled.train.min(), scaled.train.max()) == (0, 1)
    np.testing.assert_array_equal(scaled.table.to_own(scaled.train).astype(np.float32)[..., 0], floats)
    # Most decide what the data are: the one of another kind is left out.
    save_image(tmp_path / "deep" / "mask.png", IMAGES[0])
    d = data.load(str(tmp_path / "deep"), whole)
    assert len(d.train) == 3 and "1 of another kind than 16-bit grey images" in d.notes[0] and "mask.png" in d.notes[0]


def test_kinds_of_files_that_are_no_plain_grey_or_colour(tmp_path):
    """CMYK, a palette with a transparent colour, an animation, one bit: all in one folder, in colour."""
    from PIL import Image

    red = np.zeros((4, 4, 3), np.uint8) + np.uint8([200, 0, 0])
    Image.fromarray(red).convert("CMYK").save(tmp_path / "0.jpg", quality=100)
    palette = Image.fromarray(red).quantize(4)
    palette.save(tmp_path / "1.png", transparency=palette.getpixel((0, 0)))
    frames = [Image.fromarray(IMAGES[i]) for i in (1, 2)]
    frames[0].save(tmp_path / "2.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(IMAGES[0] > 7).save(tmp_path / "3.png")
    d = data.load(str(tmp_path), data.Reading(whole=True))
    assert d.event == (4, 4, 3) and np.abs(d.train[0].astype(int) - red).max() <= 8
    assert (d.train[1] == 255).all()  # nothing of it can be seen
    np.testing.assert_array_equal(d.train[2], np.repeat(IMAGES[1][..., None], 3, -1))
    np.testing.assert_array_equal(d.train[3, ..., 0], np.where(IMAGES[0] > 7, 255, 0))
    notes = " ".join(d.notes)
    assert "1 with transparent pixels" in notes and "1 of several frames" in notes


@pytest.mark.parametrize("keep", [None, 0])
def test_a_photograph_is_turned_upright_before_it_is_fitted(tmp_path, keep):
    """However it is stored, the image that is seen is brought to the size."""
    from PIL import Image

    seen = np.arange(6 * 4, dtype=np.uint8).reshape(6, 4) * 10  # 4 wide, 6 high
    stored = {1: seen, 3: seen[::-1, ::-1], 6: seen.T[::-1], 8: seen.T[:, ::-1]}
    for orientation, pixels in stored.items():
        image = Image.fromarray(np.ascontiguousarray(pixels))
        exif = image.getexif()
        exif[0x0112] = orientation
        image.save(tmp_path / f"{orientation}.png", exif=exif)
    d = data.load(str(tmp_path), data.Reading(image_size="2x3", most_held=keep, whole=True))
    expected = fitted(seen[..., None], (2, 3), "crop")
    np.testing.assert_array_equal(d.train[:], [expected] * 4)
    assert "3 turned upright" in " ".join(d.notes)


def test_shapes_and_looks():
    assert of_shape((6, 4), (3, 2)) and not of_shape((6, 4), (4, 6))
    assert Look.of(data.Reading(image_size="64x48", alpha="black")) == Look((64, 48), "crop", 0)
    assert Look.of(data.Reading(alpha="refuse")).ground is None
    with pytest.raises(UserError):
        Look.of(data.Reading(image_size="64x48x3"))
