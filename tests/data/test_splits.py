"""Splits: what is named as one is one, nothing of that name is merged, and what is held out is said."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from data_inputs import IMAGES, PLAIN, halves, refused, save_image

from vae_jax import data
from vae_jax.data.splits import by_split, split_of


def folder(path, **images):
    """A folder with an image IMAGES[i] for each ``PATH=i`` (``__`` for a folder)."""
    for name, i in images.items():
        save_image(path / (name.replace("__", "/") + ".png"), IMAGES[i])
    return str(path)


def which(split):
    """Which of IMAGES are in a split."""
    return [next(i for i, image in enumerate(IMAGES) if np.array_equal(image, x[..., 0])) for x in split]


def test_names_of_splits():
    assert [split_of(n) for n in ("training", "Val", "VALIDATION", "dev", "TEST", "eval", "Testing", "trainer")] == [
        *("train", "validation", "validation", "validation", "test", "test", "test", None)
    ]
    assert by_split("here", ["cats", "dogs", "a test tube"]) == {}
    assert "Training and train both stand for the train split" in refused(by_split, "here", ["Training", "train"])
    alike = "train2017 val2017", "train_images test_images", "my-train 01_dev", "testA trainB"
    for names in map(str.split, alike):
        assert f"{sorted(names)[0]}, {sorted(names)[1]} look like splits" in refused(by_split, "here", names)


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "TEST"), ("training", "eval"), ("TRAIN", "testing")])
def test_folders_of_splits_in_any_spelling(tmp_path, names):
    train, test = names
    d = data.load(folder(tmp_path, **{f"{train}__a": 0, f"{train}__cats__b": 1, f"{test}__c": 2}), PLAIN)
    assert (which(d.train), which(d.test), d.notes) == ([0, 1], [2], ())


def test_validation_is_the_test_split_where_nobody_wants_it_as_such_and_is_never_merged(tmp_path):
    path = folder(tmp_path, train__a=0, train__b=1, Val__c=2)
    d = data.load(path, PLAIN)
    assert (which(d.train), which(d.test)) == ([0, 1], [2]) and "validation is the test split" in d.notes[0]
    assert d.validation is None
    d = data.load(folder(tmp_path, test__d=3, test__e=4), PLAIN)
    assert (which(d.train), which(d.test)) == ([0, 1], [3, 4])
    assert d.notes == ("validation is not used: --validation=0",)
    shutil.rmtree(tmp_path / "train")
    assert "and no train" in refused(data.load, path)
    assert which(data.load(path, data.Reading(whole=True)).test) == [3, 4]  # enough for an evaluation
    shutil.rmtree(tmp_path / "test")
    assert which(data.load(folder(tmp_path, Val__f=5), data.Reading(whole=True)).test) == [2, 5]


@pytest.mark.parametrize(
    "images, match",
    [
        (dict(train__a=0, train__b=1, val__c=2, more__d=3), "beside train, val there is more, with images"),
        (dict(train__a=0, train__b=1, test__c=2, d=3), "beside test, train there is d.png, with images"),
        (dict(cats__train__a=0, cats__test__b=1, dogs__train__c=2), "cats/t"),
        (dict(train__cats__a=0, train__val__b=1, test__c=2), "train/val has a split's name within the train split"),
        (dict(train2017__a=0, train2017__b=1, val2017__c=2), "train2017, val2017 look like splits"),
        (dict(train__a=0, Training__b=1), "both stand for the train split"),
    ],
)
def test_what_would_be_merged_is_refused(tmp_path, images, match):
    assert match in refused(data.load, folder(tmp_path, **images))


def test_a_split_that_is_made_is_said_and_an_evaluation_has_all(tmp_path):
    path = folder(tmp_path, **{f"train__{i}": i for i in range(10)})
    (tmp_path / "labels").mkdir()  # no images: no split
    d = data.load(path)
    assert len(d.train) == 9 and "1 of 10 training examples, a fixed choice by their content, are the" in d.notes[0]
    assert d.validation is None and "too few for a validation split" in d.notes[1]
    for keep in (None, 0):
        whole = data.load(path, data.Reading(most_held=keep, whole=True))
        assert which(whole.train[:]) == which(whole.test[:]) == [*range(10)]
    flat = folder(tmp_path / "flat", **{str(i): i for i in range(4)})
    assert (
        len(data.load(flat, data.Reading(whole=True)).test) == 4
        and len(data.load("digits", data.Reading(whole=True)).test) == 360
    )


def test_equal_files_are_on_one_side(tmp_path):
    chosen = int(halves(IMAGES)[1][0])
    path = folder(tmp_path, **{str(i): i for i in range(10)})
    for other in ((chosen + 1) % 10, (chosen + 2) % 10):
        shutil.copy(tmp_path / f"{chosen}.png", tmp_path / f"{other}.png")
    d = data.load(path)
    assert (chosen in which(d.train)) != (chosen in which(d.test)) and len(d.train) + len(d.test) == 10
    assert which(d.train).count(chosen) + which(d.test).count(chosen) == 3
    assert "2 of 10 training examples equal another" in d.notes[1]
    for i in range(10):
        shutil.copy(tmp_path / f"{chosen}.png", tmp_path / f"{i}.new")
        os.replace(tmp_path / f"{i}.new", tmp_path / f"{i}.png")
    assert "all 10 examples are equal" in refused(data.load, path)
