"""Folders of images that nobody has vouched for: what cannot be used is left out, counted and named, and never opened
where opening is not safe.
"""

from __future__ import annotations

import os
import socket
import struct
import zlib

import numpy as np
import pytest
from data_inputs import FEW, IMAGES, PLAIN, halves, png, refused, save_image
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax import data
from vae_jax.data import images
from vae_jax.data.dataset import Dataset
from vae_jax.data.image_files import counted
from vae_jax.types import UserError


def written(width, height, bits, kind, rows: bytes) -> bytes:
    """A PNG file, written by hand: its header may say what it likes."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


GOOD = written(4, 4, 8, 0, b"".join(b"\0" + bytes(IMAGES[0][i]) for i in range(4)))
DEEP_GREY = written(4, 4, 16, 0, bytes(4 * 9))
DEEP_COLOUR = written(4, 4, 16, 2, bytes(4 * 25))
BOMB = written(30_000, 30_000, 8, 0, bytes(100))
SUSPECT = written(10_000, 10_000, 8, 0, bytes(100))  # of the size that pillow only warns of
# Pillow would start another program to see what this is.
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n(x) = quit\n"
DEEP_PPM = b"P6 4 4 65535\n" + bytes(96)
BROKEN = {
    b"": "of zero bytes",
    b"this is a text": "of no known kind",
    POSTSCRIPT: "of no known kind",
    GOOD[:20]: "truncated or damaged",
    GOOD[:-25]: "truncated or damaged",
    GOOD[:45]: "truncated or damaged",
    DEEP_GREY: "of more than 8 bits a channel",
    DEEP_COLOUR: "of more than 8 bits a channel",
    DEEP_PPM: "of more than 8 bits a channel",
    BOMB: "of more than 89,478,485 pixels",
    SUSPECT: "of more than 89,478,485 pixels",
}


@pytest.fixture
def folder(tmp_path):
    """Ten images that can be used."""
    for i in range(10):
        save_image(tmp_path / f"{i}.png", IMAGES[i])
    return tmp_path


def test_folder_of_grey_images(folder):
    (folder / "notes.txt").write_text("not an image")
    d = data.load(str(folder), PLAIN)
    for split, chosen in zip((d.train, d.test), halves(IMAGES)):
        np.testing.assert_array_equal(split[..., 0], IMAGES[chosen])
    assert (d.event, d.levels) == ((4, 4, 1), 256)


def test_folder_with_splits_kinds_and_colour(tmp_path):
    grey, colour = IMAGES[0], np.stack([IMAGES[0], IMAGES[1], IMAGES[2]], -1)
    save_image(tmp_path / "train" / "cats" / "a.bmp", grey)
    save_image(tmp_path / "train" / "dogs" / "b.PNG", colour)
    save_image(tmp_path / "test" / "c.webp", colour, lossless=True)
    d = data.load(str(tmp_path), PLAIN)
    np.testing.assert_array_equal(d.train, [np.repeat(grey[..., None], 3, -1), colour])
    np.testing.assert_array_equal(d.test, [colour])


def test_grey_gif_jpeg_and_palettes_have_one_channel_and_a_palette_of_colours_has_three(tmp_path):
    from PIL import Image

    save_image(tmp_path / "a.gif", IMAGES[0])
    save_image(tmp_path / "b.jpg", IMAGES[0])
    for name, scale in (("grey", 1), ("colour", 0)):
        image = Image.fromarray(IMAGES[1]).convert("P")
        image.putpalette([value for k in range(256) for value in (k, k, k * scale)])
        image.save(tmp_path / f"{name}.png")
    assert data.load(str(tmp_path), PLAIN).event == (4, 4, 3)
    (tmp_path / "colour.png").unlink()
    assert data.load(str(tmp_path), PLAIN).event == (4, 4, 1)


def test_folders_that_are_refused(tmp_path):
    assert "there is no such folder" in refused(data.load, str(tmp_path / "nowhere"))
    assert "no images" in refused(data.load, str(tmp_path))
    save_image(tmp_path / "a.png", IMAGES[0])
    assert "only one image" in refused(data.load, str(tmp_path))
    save_image(tmp_path / "b.png", IMAGES[0, :, :3])
    assert "1 of 2 are not 4x4 (b.png is 3x4)" in refused(data.load, str(tmp_path))
    for split in ("train", "test"):
        (tmp_path / "splits" / split).mkdir(parents=True)
    assert "no images" in refused(data.load, str(tmp_path / "splits"))
    (tmp_path / "links").mkdir()
    os.symlink(tmp_path, tmp_path / "links" / "images")
    assert "links to folders, which are not followed (images)" in refused(data.load, str(tmp_path / "links"))


@pytest.mark.parametrize("content, why", BROKEN.items(), ids=range(len(BROKEN)))
def test_what_cannot_be_used_is_left_out(folder, content, why, recwarn):
    if content == b"":  # the hand-written image is one, or every file would be refused for being written here
        (folder / "0.png").write_bytes(GOOD)
    (folder / "5b.png").write_bytes(content)
    d = data.load(str(folder), PLAIN)
    assert d.notes[0] == f"1 of 11 images are left out: 1 {why} (5b.png)" and len(d.notes) == 2
    for split, chosen in zip((d.train, d.test), halves(IMAGES)):  # the split is one of the others
        np.testing.assert_array_equal(split[..., 0], IMAGES[chosen])
    assert not recwarn.list
    if why != "truncated or damaged":  # read lazily that is met when its turn comes: test_rows.py
        lazy = data.load(str(folder), PLAIN._replace(most_held=0))
        assert lazy.notes[0] == d.notes[0]
        np.testing.assert_array_equal(lazy.train[:], d.train)


def test_a_truncated_image_in_a_split_of_its_own(tmp_path):
    for i in range(6):
        save_image(tmp_path / ("test" if i < 2 else "train") / f"{i}.png", IMAGES[i])
    (tmp_path / "test" / "0.png").write_bytes(GOOD[:-25])
    d = data.load(str(tmp_path), PLAIN)
    np.testing.assert_array_equal(d.test[..., 0], IMAGES[1:2])
    np.testing.assert_array_equal(d.train[..., 0], IMAGES[2:6])
    assert d.notes == ("1 of 6 images are left out: 1 truncated or damaged (test/0.png)",)
    (tmp_path / "test" / "1.png").write_bytes(b"")
    assert "no images that can be used (" in refused(data.load, str(tmp_path))


def test_the_held_out_images_may_all_be_broken(folder):
    (folder / f"{halves(IMAGES)[1][0]}.png").write_bytes(GOOD[:-25])
    d = data.load(str(folder), PLAIN)
    assert (len(d.train), len(d.test)) == (8, 1) and "1 of 10" in d.notes[0]


def test_what_is_no_regular_file_is_never_opened_and_a_link_to_an_image_is_one(folder, monkeypatch):
    os.mkfifo(folder / "pipe.png")  # to open it would wait for ever
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(folder)  # a socket's path may not be long
        listening.bind("socket.jpg")
    for name, to in (("zero", "/dev/zero"), ("dangling", "nowhere.png"), ("loop", "loop.png"), ("00", "0.png")):
        os.symlink(to, folder / f"{name}.png")
    os.symlink(".", folder / "again")  # a folder that holds itself
    os.rename(folder / "3.png", folder / "3.data")
    os.symlink("3.data", folder / "3.png")
    os.remove(folder / "0.png")
    d = data.load(str(folder), PLAIN)
    assert d.notes[:-1] == (
        "6 of 15 images are left out: 3 links that lead nowhere (00.png, dangling.png, loop.png), 3 no regular files "
        "(pipe.png, socket.jpg, zero.png)",
        "left out: 2 files that are no images by their name (3.data, pipe)",
        "left out: 1 links to folders, which are not followed (again)",
    )
    assert len(d.train) + len(d.test) == 9


def test_what_may_not_be_read(folder, monkeypatch):
    """By its errors, as whoever runs the tests may be allowed to read everything."""
    save_image(folder / "secret" / "a.png", IMAGES[0])
    scandir, header = os.scandir, images.header

    def closed(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    def locked(path):
        if path.endswith("4.png"):
            raise PermissionError(13, "Permission denied", path)
        return header(path)

    monkeypatch.setattr(os, "scandir", closed)
    monkeypatch.setattr(images, "header", locked)
    assert data.load(str(folder), PLAIN).notes[:-1] == (
        "2 of 11 images are left out: 1 in folders that cannot be read (secret), 1 not readable (4.png)",
    )


def test_a_file_is_read_as_what_it_holds_and_hidden_ones_are_not(folder):
    (folder / ".thumbnails").mkdir()
    for name in (".hidden.png", ".thumbnails/a.png", ".hidden"):
        (folder / name).write_bytes(b"")
    clean = data.load(str(folder), PLAIN)
    os.rename(folder / "0.png", folder / "0.jpg")
    save_image(folder / "1.bmp", IMAGES[1])
    os.replace(folder / "1.bmp", folder / "1.png")
    d = data.load(str(folder), PLAIN)
    assert d.notes == clean.notes and len(d.notes) == 1 and np.array_equal(d.train, clean.train)


def test_many_kinds_are_counted_and_the_first_few_named_until_more_are_broken_than_sound(folder):
    assert counted({"late": ["a", "c"], "early": ["b"]}) == "2 late (a, c), 1 early (b)"
    for i in range(9):
        (folder / f"e{i}.png").write_bytes(b"")
    (folder / "sub").mkdir()
    (folder / "sub" / "t.gif").write_bytes(b"GIF89a")
    note, _ = data.load(str(folder), PLAIN).notes
    assert note.startswith("10 of 20 images are left out: 9 of zero bytes (e0.png, e1.png, e2.png, ...), 1 ")
    assert note.endswith("(sub/t.gif)")
    (folder / "last.png").write_bytes(b"no image")
    for keep in (None, 0):
        message = refused(data.load, str(folder), data.Reading(most_held=keep))
        assert "11 of 21 images cannot be used: 9 of zero bytes (e0.png" in message


@pytest.mark.parametrize("content", [b"", b"no image", GOOD[:-25]])
def test_fewer_than_two_that_remain(tmp_path, content):
    (tmp_path / "a.png").write_bytes(GOOD)
    (tmp_path / "b.png").write_bytes(content)
    assert "1 of 2 images cannot be used: 1 " in refused(data.load, str(tmp_path))


def test_other_sizes_are_an_error_before_anything_is_decoded(folder, monkeypatch):
    for name in ("odd.png", "sub/odder.png"):
        save_image(folder / name, IMAGES[0, :, :3])
    monkeypatch.setattr(images, "decode", lambda *a: pytest.fail("an image was decoded"))
    for keep in (None, 0):
        assert "2 of 12 are not 4x4 (odd.png is 3x4)" in refused(data.load, str(folder), data.Reading(most_held=keep))


def test_names_that_cannot_be_printed(folder):
    for name in (b"line\nbreak.png", b"\xff\xfe.png", b"long" * 50 + b".png"):
        with open(os.fsencode(folder) + b"/" + name, "wb"):
            pass
    note, _ = data.load(str(folder), PLAIN).notes
    assert note.isprintable() and note.encode() and "line break.png" in note and len(note) < 300
    for i in range(10):
        (folder / f"{i}.png").unlink()
    message = refused(data.load, str(folder))
    assert message.isprintable() and "3 of 3 images cannot be used" in message


@settings(FEW, max_examples=25)
@given(
    st.integers(0, len(GOOD) - 1),
    st.integers(1, 255),
    st.sampled_from(["flip", "cut", "replace"]),
    st.sampled_from([".png", ".jpg", ".gif", ".tif", ".ppm", ".bmp", ".webp"]),
)
def test_a_folder_with_a_broken_image_is_refused_or_read(tmp_path_factory, at, flip, how, suffix):
    folder = tmp_path_factory.mktemp("images")
    for i in range(3):
        (folder / f"{i}.png").write_bytes(png(IMAGES[i]))
    raw = bytearray(GOOD)
    raw[at] ^= flip
    broken = {"flip": bytes(raw), "cut": GOOD[:at], "replace": bytes([flip]) * at}[how]
    (folder / f"broken{suffix}").write_bytes(broken)
    try:
        d = data.load(str(folder), PLAIN)
    except UserError as error:
        assert str(folder) in str(error) and "\n" not in str(error)
    else:
        assert isinstance(d, Dataset) and len(d.train) >= 2


def icon(mode, alpha, level=0):
    """An 8x8 disc of one grey level on transparent ground, saved as icons are."""
    from PIL import Image

    grid = np.indices((8, 8)) - 3.5
    visible = (np.hypot(*grid) < 3) * np.uint8(alpha)
    image = Image.fromarray(np.dstack([np.full((8, 8, 3), level, np.uint8), visible]))
    return image.quantize(8) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_laid_on_white_and_it_is_said(tmp_path, mode):
    for i, alpha in enumerate((255, 255, 128)):
        icon(mode, alpha).save(tmp_path / f"{i}.png", optimize=i == 0)
    d = data.load(str(tmp_path), PLAIN)
    lazy = data.load(str(tmp_path), PLAIN._replace(most_held=0))
    assert "3 with transparent pixels, laid on white (0.png, 1.png, 2.png)" in d.notes
    train = d.train * (255 if d.levels == 2 else 1)
    assert np.array_equal(lazy.train[:], train) and train[0, 0, 0, 0] == 255 and train[0, 4, 4, 0] == 0
    icon(mode, 255, 255).save(tmp_path / "3.png")
    assert "those that are light themselves cannot be seen" in data.load(str(tmp_path), PLAIN).notes[0]
    assert images.decode(str(tmp_path / "0.png"), 4)[0, 0, 3] == 0  # with an alpha of their own they keep it


def test_photographs_are_upright_and_of_several_frames_the_first_is_read_and_both_are_said(tmp_path):
    from PIL import Image, ImageOps

    seen = {}
    for i in range(1, 9):
        stored = Image.fromarray(IMAGES[i][:3] if i < 5 else IMAGES[i][:3].T.copy())
        stored.getexif()[0x0112] = i
        seen[name := f"{i}.{'png' if i % 2 else 'tiff'}"] = np.asarray(ImageOps.exif_transpose(stored))
        stored.save(tmp_path / name, exif=stored.getexif())
    frames = [Image.fromarray(image[:3]) for image in IMAGES[:3]]
    for name, exif in (("bad.png", b"Exif\0\0no exif"), ("odd.png", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03")):
        frames[0].save(tmp_path / name, exif=exif)
        seen[name] = IMAGES[0][:3]
    for kind in ("gif", "png", "tiff", "webp"):
        lossless = {"lossless": True} if kind == "webp" else {}
        frames[0].save(tmp_path / f"frames.{kind}", save_all=True, append_images=frames[1:], **lossless)
        seen[f"frames.{kind}"] = IMAGES[0][:3]
    d = data.load(str(tmp_path), data.Reading(whole=True))
    np.testing.assert_array_equal(d.train[..., 0], [seen[name] for name in sorted(seen)])
    notes = " ".join(d.notes)
    assert "3 turned upright" in notes and "4 of several frames or pages, of which the first is read" in notes
