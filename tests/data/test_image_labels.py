"""What folders and tables say of their images: classes and factors, each with the right image, or one line why not."""

from __future__ import annotations

import os

import numpy as np
import pytest
from data_inputs import IMAGES, refused, save_image

from vae_jax import data

WHOLE = data.Reading(whole=True)
KINDS = ["dog", "cat", "ant", "cat", "dog", "dog", "ant", "cat", "dog", "cat"]


def classes(folder, split=""):
    """Ten images in folders of their kinds, two of them nested."""
    for i, kind in enumerate(KINDS):
        save_image(folder / split / kind / ("more" if i > 7 else "") / f"{i}.png", IMAGES[i])


def shown(d, split="train"):
    """(first pixel, class) of each image."""
    x, factors = getattr(d, split), getattr(d, f"{split}_factors")
    column = factors[:, d.factor_names.index("label")]
    return {(int(image[0, 0, 0]), d.class_names[code]) for image, code in zip(x, column)}


EXPECTED = {(int(image[0, 0]), kind) for image, kind in zip(IMAGES, KINDS)}


@pytest.mark.parametrize("keep", [None, 0])
def test_class_folders_are_labels(tmp_path, keep):
    classes(tmp_path)
    d = data.load(str(tmp_path), WHOLE._replace(most_held=keep))
    assert d.class_names == ("ant", "cat", "dog") and d.factor_names == ("label",)
    assert shown(d) == shown(d, "test") == EXPECTED and d.train_factors.dtype.kind == "i"
    assert "label: 3 classes, from subfolders: ant 2, cat 4, dog 4" in d.notes
    parts = data.load(str(tmp_path))  # the split that is cut keeps each label with its image
    assert shown(parts) | shown(parts, "test") == EXPECTED and len(parts.test_factors) == len(parts.test)


def test_class_folders_within_splits_share_their_codes(tmp_path):
    classes(tmp_path, "train")
    save_image(tmp_path / "Test" / "dog" / "a.png", IMAGES[0])
    save_image(tmp_path / "Test" / "eel" / "b.png", IMAGES[1])
    d = data.load(str(tmp_path))
    assert d.class_names == ("ant", "cat", "dog", "eel") and d.test_factors.tolist() == [[2], [3]]
    assert shown(d) == EXPECTED
    save_image(tmp_path / "Test" / "c.png", IMAGES[2])
    d = data.load(str(tmp_path))
    assert d.train_factors is None and d.class_names == ()
    assert any("no labels: 1 images are in no folder of a class (Test/c.png)" in note for note in d.notes)


def test_one_folder_of_images_is_no_class_and_classes_have_no_names_of_splits(tmp_path):
    save_image(tmp_path / "one" / "images" / "a.png", IMAGES[0])
    save_image(tmp_path / "one" / "images" / "b.png", IMAGES[1])
    d = data.load(str(tmp_path / "one"))
    assert d.class_names == () and d.train_factors is None
    classes(tmp_path / "two")
    save_image(tmp_path / "two" / "dog" / "test" / "a.png", IMAGES[0])
    assert "split" in refused(data.load, str(tmp_path / "two"))


def table(path, *lines):
    path.write_text("\n".join(lines) + "\n")


def flat(folder):
    """Ten images, and the rows of a table for them in another order."""
    for i in range(10):
        save_image(folder / f"{i}.png", IMAGES[i])
    return [f"{i}.png,{KINDS[i]},{i % 3},{i}" for i in (3, 1, 4, 0, 5, 9, 2, 6, 8, 7)]


@pytest.mark.parametrize("column", ["file", "filename", "file_name", "image", "path", "Path"])
def test_a_table_gives_each_image_its_class_and_its_factors(tmp_path, column):
    rows = flat(tmp_path)
    table(tmp_path / "labels.csv", f"{column},kind,size,number", *rows)
    d = data.load(str(tmp_path), WHOLE)
    assert d.factor_names == ("label", "size", "number") and d.class_names == ("ant", "cat", "dog")
    assert shown(d) == EXPECTED
    np.testing.assert_array_equal(d.train_factors[:, 1:], [(i % 3, i) for i in range(10)])
    notes = " ".join(d.notes)
    assert "label: 3 classes, from labels.csv, kind: ant 2, cat 4, dog 4" in notes
    assert "factors from labels.csv: size, number" in notes and "no images by their name" not in notes


def test_names_may_be_bare_stems_windows_paths_or_in_the_folder_of_a_split(tmp_path):
    for i in range(4):
        save_image(tmp_path / ("train" if i < 3 else "test") / "images" / f"{i}.png", IMAGES[i])
    table(tmp_path / "train" / "metadata.csv", "file_name;digit", "images/0.png;7", "images\\1.png;7", "2;1")
    table(tmp_path / "test" / "metadata.csv", "file_name,digit", f"{tmp_path}/test/images/3.png,1")
    d = data.load(str(tmp_path))
    assert d.factor_names == ("label",) and d.class_names == ("1", "7")  # the only column is the class
    assert d.train_factors.tolist() == [[1], [1], [0]] and d.test_factors.tolist() == [[0]]


def test_a_class_of_numbers_goes_before_class_folders_and_factors_join_them(tmp_path):
    classes(tmp_path)
    ids = [f"{i}" for i in range(10)]
    table(tmp_path / "labels.csv", "file,x", *(f"{i},{5 * int(i)}" for i in ids))
    d = data.load(str(tmp_path), WHOLE)
    assert d.factor_names == ("label",) and d.class_names == tuple(str(5 * i) for i in range(10))
    table(tmp_path / "labels.csv", "file,x,y", *(f"{i},{5 * int(i)},{int(i) % 2}" for i in ids))
    d = data.load(str(tmp_path), WHOLE)
    assert d.factor_names == ("label", "x", "y") and d.class_names == ("ant", "cat", "dog") and shown(d) == EXPECTED
    table(tmp_path / "labels.csv", "file,category,y", *(f"{i},{10 - int(i)},{int(i) % 2}" for i in ids))
    d = data.load(str(tmp_path), WHOLE)
    assert d.factor_names == ("label", "y") and d.class_names == tuple(map(str, range(1, 11)))


def test_what_of_a_table_is_refused_or_said(tmp_path):
    rows = flat(tmp_path)
    path = tmp_path / "labels.csv"
    head = "file,kind,size,number"
    table(path, head, *rows[:-2])
    assert "labels.csv has no row for 2 of 10 images (7.png, 8.png)" in refused(data.load, str(tmp_path))
    table(path, head, *rows, "3.png,dog,0,3")
    assert "lines 2 and 12 say different things of 3.png" in refused(data.load, str(tmp_path))
    table(path, head, *rows, rows[0], "gone.png,dog,0,0")
    notes = " ".join(data.load(str(tmp_path)).notes)
    assert "labels.csv: 1 rows name no image that is used (gone.png), 1 rows are there twice" in notes
    table(path, head, *("else/" + row for row in rows))
    assert "none of its 10 rows names an image" in refused(data.load, str(tmp_path))
    table(path, "file,label", *(f"{i}.png,{'' if i == 4 else 1}" for i in range(10)))
    assert "1 of 10 images have no label" in refused(data.load, str(tmp_path))
    table(path, "kind,size", "dog,1")
    notes = " ".join(data.load(str(tmp_path)).notes)
    assert "labels.csv is not read: it has no column file, filename" in notes
    for content, words in (("", "is not read"), ("file,label", "has no rows")):
        path.write_text(content)
        assert words in " ".join(data.load(str(tmp_path)).notes)
    table(path, "file,size,size", *(f"{i}.png,1,2" for i in range(10)))
    assert "has the column size more than once" in refused(data.load, str(tmp_path))
    path.unlink()
    os.mkfifo(path)  # to open it would wait for ever
    assert data.load(str(tmp_path)).class_names == ()
    path.unlink()
    path.write_bytes(b"file,label\n\xff\xfe,1\n")
    assert "cannot be read as a CSV" in refused(data.load, str(tmp_path))
    captions = (f"{i}.png,{i / 7},some words {i},{'' if i else 3},{i % 2}" for i in range(10))
    table(path, "file,depth,caption,age,side", *captions)
    d = data.load(str(tmp_path), WHOLE)
    assert d.factor_names == ("side",) and d.class_names == ()
    notes = " ".join(d.notes)
    for name in ("depth", "caption"):
        assert f"{name} is left out, as its values are neither whole numbers nor few names" in notes
    assert "age is left out, as 9 cells are empty" in notes
