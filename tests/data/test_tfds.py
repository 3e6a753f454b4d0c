"""TFDS sets by name: read without TensorFlow, refused in one line, and prepared by a script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import golden
from data_inputs import IMAGES, png, refused, save_image

from vae_jax import data
from vae_jax.data import tfds_source
from vae_jax.data.check import entropy_floor
from vae_jax.data.fitting import fitted
from vae_jax.data.rows import Rows

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def prepare(tmp_path_factory):
    """Prepares a real TFDS set, as array_record files, from PNG bytes: neither TensorFlow nor a network is needed."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    folder = tmp_path_factory.mktemp("tfds")

    def make(name, splits, feature=None):
        label = tfds.features.ClassLabel(names=[f"class {i}" for i in range(40)])
        features = {"image": feature or tfds.features.Image(shape=(4, 4, 1)), "label": label}
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
    d = data.load("tiny_pairs", data.Reading(folder))
    np.testing.assert_array_equal(d.train[..., 0], IMAGES)
    np.testing.assert_array_equal(d.test[..., 0], IMAGES[:2])
    assert (d.name, d.levels) == ("tiny_pairs", 256)
    assert d.train_factors[:, 0].tolist() == [*range(10)] and d.class_names[3] == "class 3"
    lazy = data.load("tiny_pairs", data.Reading(folder, validation=0, most_held=0))
    assert lazy.train_factors is None and lazy.factor_names == ()
    monkeypatch.setenv("VAE_JAX_DATA_DIR", folder)
    assert len(data.load("tiny_pairs").train) == 10


BITS = np.random.RandomState(0).randint(2, size=IMAGES.shape).astype(np.uint8)


def test_tfds_without_a_test_split(prepare):
    folder = prepare("TinyValidated", {"train": IMAGES, "validation": IMAGES[2:5]})
    d = data.load("tiny_validated", data.Reading(folder))
    np.testing.assert_array_equal(d.validation[..., 0], IMAGES[2:5])
    assert (len(d.train), len(d.test)) == (9, 1)
    none = data.load("tiny_validated", data.Reading(folder, validation=0))
    assert none.validation is None and len(none.train) == 10
    np.testing.assert_array_equal(none.test[..., 0], IMAGES[2:5])
    folder = prepare("TinyBits", {"train": np.concatenate([BITS, BITS[::-1]])})
    d = data.load("tiny_bits", data.Reading(folder))
    assert "2 of 20 training examples, a fixed choice by their content, are the test split" in d.notes[0]
    assert len(data.load("tiny_bits", data.Reading(folder, whole=True)).test) == 20
    assert (len(d.train), len(d.test), d.levels) == (18, 2, 2)
    assert np.array_equal(*d.test) and not (d.train == d.test[0]).all(axis=(1, 2, 3)).any()
    lazy = data.load("tiny_bits", data.Reading(folder, most_held=0))  # the same split
    assert isinstance(lazy.train, Rows) and isinstance(lazy.test, Rows) and lazy.levels == 256
    np.testing.assert_array_equal(lazy.train[:], d.train)
    np.testing.assert_array_equal(lazy.test[:], d.test)
    assert lazy.train.fingerprint != lazy.test.fingerprint
    assert lazy.fingerprints["data"] == d.fingerprints["data"]  # 0 and 1 there, 0 and 255 or 0 and 1 here
    assert isinstance(data.load("tiny_bits", data.Reading(folder, most_held=2 * 16)).test, np.ndarray)


def test_metadata_of_a_stranger_import_nothing(prepare, tmp_path, monkeypatch):
    folder = prepare("TinyForeign", {"train": IMAGES, "test": IMAGES})
    name = str(Path(folder, "tiny_foreign").rename(Path(folder, "tiny_stranger")).name)  # whose code is not here
    (path,) = Path(folder, name).glob("*/features.json")
    assert len(data.load(name, data.Reading(folder)).train) == 10
    whole, own = path.read_text(), "tensorflow_datasets.core.features.class_label_feature.ClassLabel"
    (tmp_path / "not_to_be_imported.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for spelling in ("pythonClassName", "python_class_name"):
        foreign = whole.replace(own, "not_to_be_imported.Feature").replace("pythonClassName", spelling)
        path.write_text(foreign)
        assert "not_to_be_imported.Feature" in foreign
        assert "names the feature not_to_be_imported.Feature" in refused(data.load, name, data.Reading(folder))
    assert "not_to_be_imported" not in sys.modules


def test_tfds_colour_and_mixed_sizes(prepare):
    import tensorflow_datasets as tfds

    colour = np.stack([IMAGES, IMAGES[::-1], IMAGES], -1)
    any_size = tfds.features.Image(shape=(None, None, 3))
    folder = prepare("TinyColours", {"train": colour, "test": colour[:2]}, any_size)
    np.testing.assert_array_equal(data.load("tiny_colours", data.Reading(folder)).train, colour)
    mixed = [colour[0], colour[1], colour[2, :3]]
    prepare("TinyMixed", {"train": mixed, "test": mixed[:1]}, any_size)
    message = refused(data.load, "tiny_mixed", data.Reading(folder))
    assert "differing sizes (4x3 in place of 4x4 in train); --image_size=4 brings all to one size" in message
    lazy = data.load("tiny_mixed", data.Reading(folder, most_held=0))  # its first record is all that has been looked at
    np.testing.assert_array_equal(lazy.train[:2], colour[:2])
    assert "differing sizes" in refused(lambda: lazy.train[2])
    brought = data.Reading(folder, image_size="4", fit="stretch")
    d = data.load("tiny_mixed", brought)
    np.testing.assert_array_equal(d.train[2], fitted(colour[2, :3], (4, 4), "stretch"))
    assert any("1 of 4 images are resized, 1 of another shape stretched" in note for note in d.notes)
    lazy = data.load("tiny_mixed", brought._replace(most_held=0))
    np.testing.assert_array_equal(lazy.train[:], d.train)
    assert any("are brought to 4 while they are read (--fit=stretch)" in note for note in lazy.notes)


def test_tfds_sets_that_cannot_be_read(prepare):
    folder = prepare("TinyDamaged", {"train": IMAGES, "test": IMAGES})
    files = sorted(Path(folder, "tiny_damaged", "1.0.0").glob("*train.array_record*"))
    whole = files[0].read_bytes()
    for broken in (whole[:70_000], whole[:100], b""):
        files[0].write_bytes(broken)
        assert "are damaged" in refused(data.load, "tiny_damaged", data.Reading(folder))
        assert "are damaged" in refused(lambda: data.load("tiny_damaged", data.Reading(folder, most_held=0)).train[:])
    files[0].unlink()
    assert "are damaged" in refused(data.load, "tiny_damaged", data.Reading(folder))
    (files[0].parent / "dataset_info.json").write_text("{")
    assert "TFDS cannot open it" in refused(data.load, "tiny_damaged", data.Reading(folder))
    prepare("TinyTestOnly", {"test": IMAGES})
    assert "there is test, and no train" in refused(data.load, "tiny_test_only", data.Reading(folder))


def test_names_that_mean_nothing(tmp_path):
    message = refused(data.load, "minst", data.Reading(str(tmp_path)))
    assert "neither built in (digits, sprites), nor a TFDS name, nor an existing file or folder" in message
    assert "did you mean mnist" in message
    assert "did you mean sprites" in refused(data.load, "sprite")
    assert "did you mean" not in refused(data.load, "qqqqqqqqqqqq")
    for name in ("", "a b", "-", "?"):
        assert "neither built in" in refused(data.load, name)
    assert "TFDS cannot open it" in refused(data.load, "mnist/no_such_configuration", data.Reading(str(tmp_path)))


def test_known_but_not_prepared(tmp_path, monkeypatch, capfd):
    message = refused(data.load, "fashion_mnist", data.Reading(str(tmp_path)))
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
    assert "not prepared" in refused(data.load, "mnist", data.Reading(str(tmp_path / "nothing")))
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
# The builder's code is not here: read from its files.
print(data.load("tiny_imports", data.Reading(sys.argv[1])).train.shape)
assert "tensorflow" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "(10, 4, 4, 1)\n"), done.stderr


def test_prepared_mnist_equals_the_original_files(data_dir, mnist_train):
    """Its test split decoded whole, its training split as ``Rows``, of which a tenth is read."""
    if not (data_dir / "mnist").is_dir():
        pytest.skip(f"mnist is not prepared in {data_dir}: scripts/prepare_data.sh mnist")
    d = data.load("mnist", data.Reading(str(data_dir), validation=0, most_held=10_000 * 784))
    assert isinstance(d.train, Rows) and d.train.shape == (60_000, 28, 28, 1)
    assert isinstance(d.test, np.ndarray) and d.test.shape == (10_000, 28, 28, 1) and d.levels == 256
    originals = {image.tobytes() for image in mnist_train}
    some = {image.tobytes() for image in d.train[::10]}
    assert len(some) == 6_000 and some <= originals and not originals & {image.tobytes() for image in d.test}
    both = data.load("mnist", data.Reading(str(data_dir), validation=0, most_held=0))
    np.testing.assert_array_equal(both.test[::100], d.test[::100])
    assert both.fingerprints.items() - d.fingerprints.items() == {
        (key, value) for key, value in both.fingerprints.items() if key.startswith("all test ")
    }
    # BCE on grey pixels cannot fall below this: the reference is for the test images.
    assert round(entropy_floor(d._replace(train=d.test), 10_000), 4) == golden("45.5345")


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
