"""What is held out: by content and not by order, alike examples on one side, in the layouts that people have."""

from __future__ import annotations

import io

import numpy as np
import pytest
from data_inputs import PLAIN, png, refused, save_image

from vae_jax import data
from vae_jax.data import alike
from vae_jax.data.held_out import choose

RNG = np.random.RandomState(0)


def pictures(n):
    """Smooth pictures of 32 x 32 that differ."""
    from PIL import Image

    return [
        np.asarray(Image.fromarray(RNG.randint(20, 236, (6, 6), np.uint8)).resize((32, 32), Image.BICUBIC))
        for _ in range(n)
    ]


def copies(picture):
    """The picture, and what people's folders hold beside it: the same, a JPEG of it, resized, brightened."""
    from PIL import Image

    jpeg = np.asarray(Image.open(io.BytesIO(png(picture, "JPEG"))))
    resized = np.asarray(Image.fromarray(picture).resize((24, 24)).resize((32, 32)))
    return [picture, picture, jpeg, resized, np.clip(picture + 12.0, 0, 255).astype(np.uint8)]


PICTURES = pictures(60)
PLANTED = np.stack([copy for picture in PICTURES for copy in copies(picture)])[..., None]
SOURCE = np.repeat(np.arange(60), 5)


def leaks(parts) -> int:
    """How many pictures have copies on two sides."""
    sides = [{*SOURCE[rows].tolist()} for rows in parts.values()]
    return sum(sum(source in side for side in sides) > 1 for source in range(60))


def test_copies_are_on_one_side_and_a_random_split_is_caught():
    parts, notes = choose("mine", PLANTED, data.Reading())
    assert leaks(parts) == 0 and {name: len(rows) for name, rows in parts.items()} == {
        **{"train": 240, "test": 30, "validation": 30}
    }
    assert any("60 of 300 training examples equal another" in note and "are nearly another" in note for note in notes)
    order = np.random.RandomState(1).permutation(300)
    assert leaks(dict(zip(("train", "test", "validation"), np.split(order, [240, 270])))) > 20


def test_the_choice_does_not_depend_on_the_order():
    parts, _ = choose("mine", PLANTED, data.Reading())
    order = np.random.RandomState(1).permutation(300)
    again, _ = choose("mine", PLANTED[order], data.Reading())
    for split, rows in parts.items():
        assert {*order[again[split]].tolist()} == {*rows.tolist()}


def test_what_only_looks_alike_is_not():
    assert alike.groups(np.stack(PICTURES)[..., None], True).in_words == ""
    d = data.load("digits", PLAIN)
    assert alike.groups(np.concatenate([d.train, d.test]), True).in_words == ""


@pytest.mark.parametrize(
    ("reading", "sizes"),
    [
        ({}, (240, 30, 30)),
        ({"validation": 0.2, "test": 0.3}, (150, 60, 90)),
        ({"validation": 0}, (270, None, 30)),
        ({"whole": True}, (300, None, 300)),
    ],
)
def test_shares(tmp_path, reading, sizes):
    np.savez(tmp_path / "a.npz", train=PLANTED, train_labels=[f"class {i % 3}" for i in SOURCE])
    d = data.load(str(tmp_path / "a.npz"), data.Reading(**reading))
    assert tuple(None if x is None else len(x) for x in (d.train, d.validation, d.test)) == sizes
    assert (d.factor_names, d.class_names) == (("label",), ("class 0", "class 1", "class 2"))
    assert len(d.train_factors) == len(d.train) and len(d.test_factors) == len(d.test)


def test_what_leaves_nothing_is_refused_and_what_is_not_used_is_said(tmp_path):
    path = str(tmp_path / "a.npz")
    np.savez(path, train=PLANTED)
    assert "leave none to train on; lower" in refused(data.load, path, data.Reading(validation=0.99))
    np.savez(path, train=np.zeros((9, 4, 4), np.uint8))
    assert "all 9 examples are equal" in refused(data.load, path)
    np.savez(path, train=PLANTED[:9], test=PLANTED[9:12], validation=PLANTED[12:16])
    d = data.load(path, data.Reading(validation=0.5))
    assert (len(d.train), len(d.validation), len(d.test)) == (9, 4, 3)
    assert d.notes == ("--validation is not used: the data bring their own validation split",)


# name -> the folders of the 12 images, and the sizes of train, validation and test; a text is that of a refusal.
LAYOUTS = {
    "one folder": ([""] * 12, (11, None, 1)),
    "class folders": (["cats", "dogs", "owls"] * 4, (11, None, 1)),
    "train and test": (["train"] * 8 + ["test"] * 4, (8, None, 4)),
    "Train, Val, Test": (["Train"] * 6 + ["Val"] * 3 + ["Test"] * 3, (6, 3, 3)),
    "training, dev, eval": (["training"] * 6 + ["dev"] * 3 + ["eval"] * 3, (6, 3, 3)),
    "train and valid": (["train"] * 10 + ["valid"] * 2, (9, 2, 1)),
    "classes in splits": (["train/a", "train/b"] * 4 + ["validation/a", "test/b"] * 2, (8, 2, 2)),
    "val and dev": (["train"] * 6 + ["val"] * 3 + ["dev"] * 3, "both stand for the validation split"),
    "an unknown sibling": (["train"] * 6 + ["test"] * 3 + ["extra"] * 3, "extra, with images that are in no split"),
    "splits in classes": (["cats/train", "cats/test", "dogs/train"] * 4, "a split's name within"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_ten_layouts_of_folders(tmp_path, name):
    folders, expected = LAYOUTS[name]
    for i, folder in enumerate(folders):
        save_image(tmp_path / folder / f"{i}.png", PICTURES[i])
    if isinstance(expected, str):
        assert expected in refused(data.load, str(tmp_path))
        return
    d = data.load(str(tmp_path))
    splits = (d.train, d.validation, d.test)
    assert tuple(None if x is None else len(x) for x in splits) == expected
    held = [image.tobytes() for x in splits if x is not None for image in x]
    assert len({*held}) == len(held) == 12
    lazy = data.load(str(tmp_path), data.Reading(most_held=0))
    np.testing.assert_array_equal(lazy.test[:], d.test)
