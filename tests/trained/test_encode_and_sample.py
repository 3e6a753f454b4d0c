"""The binaries encode and sample, in this process: what they write, what they continue, what they refuse."""

import csv

import numpy as np
import pytest
from helpers.binaries import refused
from PIL import Image

import vae_jax
from vae_jax.data.digits import digits
from vae_jax.trained import encoding, sampling
from vae_jax.trained.model import TrainedVAE

X = digits().test[:40]


@pytest.fixture(scope="module")
def model(digits_run):
    return vae_jax.load(digits_run)


@pytest.fixture
def encode(digits_run, monkeypatch):
    """Encodes an input, 16 examples in a part."""
    monkeypatch.setattr(encoding, "BATCHES", 1)
    monkeypatch.setattr(TrainedVAE, "__post_init__", lambda self: object.__setattr__(self, "batch_size", 16))

    def run(source, output):
        encoding.main(encoding.Config(workdir=str(digits_run), input=str(source), output=str(output)))
        return dict(np.load(output)) if str(output).endswith(".npz") else None

    return run


def save_images(folder, images=X):
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(folder / f"{i:02}.png")


def test_a_split_has_its_labels(encode, model, tmp_path):
    codes = encode("test", tmp_path / "codes.npz")
    mean, std = model.encode(digits().test)
    np.testing.assert_allclose(codes["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(codes["std"], std, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(codes["labels"], digits().test_factors[:, 0])
    assert list(codes["ids"]) == [*range(360)] and list(codes["label_names"]) == ["label"]


def test_a_folder_of_images_has_their_names_and_says_what_is_left_out(encode, model, tmp_path, capsys):
    save_images(tmp_path / "images")
    (tmp_path / "images" / "05.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "images" / "06.png")
    codes = encode(tmp_path / "images", tmp_path / "codes.npz")
    kept = [i for i in range(40) if i not in (5, 6)]
    assert list(codes["ids"]) == [f"{i:02}.png" for i in kept]
    np.testing.assert_allclose(codes["mean"], model.encode(X[kept])[0], rtol=1e-5, atol=1e-6)
    assert "left out" in capsys.readouterr().out


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_and_their_labels(encode, model, tmp_path, save):
    save(tmp_path / "in.npz", train=X[:10], test=X[10:], train_labels=np.arange(10), test_labels=np.arange(30))
    codes = encode(tmp_path / "in.npz", tmp_path / "codes.npz")
    np.testing.assert_allclose(codes["mean"], model.encode(X)[0], rtol=1e-5, atol=1e-6)
    assert list(codes["ids"][[0, 10]]) == ["train/0", "test/0"] and list(codes["labels"][8:12]) == [8, 9, 0, 1]


def test_a_csv_holds_the_same_numbers(encode, tmp_path):
    np.savez(tmp_path / "in.npz", x=X, labels=np.arange(40) % 10)
    codes = encode(tmp_path / "in.npz", tmp_path / "codes.npz")
    encode(tmp_path / "in.npz", tmp_path / "codes.csv")
    head, *rows = csv.reader((tmp_path / "codes.csv").open())
    assert head == ["id", "mean_0", "mean_1", "mean_2", "std_0", "std_1", "std_2", "label_0"]
    np.testing.assert_array_equal(np.asarray(rows, float)[:, 1:4].astype(np.float32), codes["mean"])
    assert [int(row[-1]) for row in rows] == [i % 10 for i in range(40)]


def test_labels_and_factors_of_a_folder_and_their_names_are_beside_the_codes(encode, tmp_path, capsys):
    folder = tmp_path / "images"
    save_images(folder)
    lines = [f"{i:02}.png,{'odd' if i % 2 else 'even'},{i // 10}" for i in reversed(range(40))]
    (folder / "labels.csv").write_text("\n".join(["file,parity,tens", *lines]))
    (folder / "05.png").write_bytes((folder / "05.png").read_bytes()[:-30])  # found when it is decoded
    kept = [i for i in range(40) if i != 5]
    codes = encode(folder, tmp_path / "codes.npz")
    np.testing.assert_array_equal(codes["labels"], [(i % 2, i // 10) for i in kept])
    assert [*codes["label_names"]] == ["label", "tens"] and [*codes["class_names"]] == ["even", "odd"]
    assert "label: 2 classes, from labels.csv, parity: even 20, odd 20" in capsys.readouterr().out
    encode(folder, tmp_path / "codes.csv")
    head, *rows = csv.reader((tmp_path / "codes.csv").open())
    assert head[-3:] == ["label", "tens", "class"]
    assert [row[-3:] for row in rows] == [[str(i % 2), str(i // 10), ["even", "odd"][i % 2]] for i in kept]


def test_names_of_labels_in_arrays(encode, tmp_path):
    labels = np.stack([np.arange(40) % 3, np.arange(40)], axis=1)
    names = {"factor_names": ["label", "place"], "class_names": ["a", "b", "c"]}
    np.savez(tmp_path / "in.npz", x=X, labels=labels, **names)
    codes = encode(tmp_path / "in.npz", tmp_path / "codes.npz")
    assert [*codes["label_names"]] == ["label", "place"] and [*codes["class_names"]] == ["a", "b", "c"]
    encode(tmp_path / "in.npz", tmp_path / "codes.csv")
    rows = [*csv.reader((tmp_path / "codes.csv").open())]
    assert rows[0][-1] == "class" and [row[-1] for row in rows[1:5]] == ["a", "b", "c", "a"]


def test_what_was_stopped_is_continued_to_the_same_file(encode, tmp_path, monkeypatch, capsys):
    save_images(tmp_path / "images")
    encode(tmp_path / "images", tmp_path / "whole.npz")
    calls, method = [], TrainedVAE.encode

    def stopped(self, x, **options):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(x))
        return method(self, x, **options)

    monkeypatch.setattr(TrainedVAE, "encode", stopped)
    with pytest.raises(KeyboardInterrupt):
        encode(tmp_path / "images", tmp_path / "codes.npz")
    with (tmp_path / "codes.npz.part" / "mean").open("ab") as file:
        file.write(b"torn")  # of a part that was being written
    monkeypatch.setattr(TrainedVAE, "encode", method)
    encode(tmp_path / "images", tmp_path / "codes.npz")
    assert "continuing from example 32" in capsys.readouterr().out
    assert (tmp_path / "codes.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert not (tmp_path / "codes.npz.part").exists()


def test_another_input_is_begun_anew(encode, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(encoding.CodeFile, "finish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        encode("test", tmp_path / "codes.npz")
    np.savez(tmp_path / "in.npz", x=X)
    assert len(encode(tmp_path / "in.npz", tmp_path / "codes.npz")["mean"]) == 40


def sample(run, output, **flags):
    sampling.main(sampling.Config(workdir=str(run), output=str(output), **flags))


def test_samples_as_arrays_a_grid_and_a_folder(digits_run, model, tmp_path):
    sample(digits_run, tmp_path / "a.npz", num=5, seed=3, temperature=0.5)
    made = np.load(tmp_path / "a.npz")["samples"]
    import jax

    np.testing.assert_array_equal(made, model.sample(5, jax.random.key(3), temperature=0.5))
    sample(digits_run, tmp_path / "grid.png", num=5)
    assert Image.open(tmp_path / "grid.png").size == (3 * 9 - 1, 2 * 9 - 1)
    sample(digits_run, tmp_path / "folder", num=2, reconstruct="test")
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "folder" / "inputs_00001.png")), np.rint(X[1, ..., 0] / 16 * 255)
    )
    sample(digits_run, tmp_path / "way.npz", num=4, interpolate="0,7")
    np.testing.assert_allclose(np.load(tmp_path / "way.npz")["interpolation"], model.interpolate(X[0], X[7], 4), 1e-5)


@pytest.mark.parametrize(
    ("binary", "flags", "match"),
    [
        ("encode", "--output=a.npz", "--workdir"),
        ("encode", "--workdir=RUN", "--output"),
        ("encode", "--workdir=RUN --output=a.h5", ".npz or .csv"),
        ("encode", "--workdir=RUN --output=nowhere/a.npz", "folder"),
        ("encode", "--workdir=RUN --output=a.npz --input=nothing", "no such file"),
        ("encode", "--workdir=RUN --output=a.npz --input=TMP", "no images"),
        ("encode", "--workdir=RUN --output=a.npz --input=TMP/words.txt", "only a text"),
        ("encode", "--workdir=RUN --output=a.npz --input=TMP/torn.npz", "no .npz"),
        ("encode", "--workdir=RUN --output=a.npz --input=TMP/table.csv", "columns"),
        ("encode", "--workdir=RUN --output=a.npz --input=TMP/other.npz", "expected [n, 8, 8, 1]"),
        ("encode", "--workdir=RUN --output=a.npz --input=TMP/many.npz", "array of examples"),
        ("encode", "--workdir=RUN --output=a.npz --beta=2", "at one beta"),
        ("encode", "--workdir=TMP --output=a.npz", "holds no run"),
        ("sample", "--workdir=RUN", "--output"),
        ("sample", "--output=a.png", "--workdir"),
        ("sample", "--workdir=RUN --output=a.csv", "FILE.npz, FILE.png, FOLDER"),
        ("sample", "--workdir=RUN --output=nowhere/a.png", "folder"),
        ("sample", "--workdir=RUN --output=a.png --reconstruct=test --interpolate=1,2", "two things"),
        ("sample", "--workdir=RUN --output=a.png --interpolate=1", "A,B"),
        ("sample", "--workdir=RUN --output=a.png --interpolate=1,360", "360 examples"),
        ("sample", "--workdir=RUN --output=a.png --interpolate=a.png,b.png", "no image"),
    ],
)
def test_what_cannot_be_done_is_one_line(digits_run, tmp_path, monkeypatch, binary, flags, match):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("a dog\n")
    (tmp_path / "torn.npz").write_bytes(b"PK")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    np.savez(tmp_path / "other.npz", x=np.zeros((3, 9, 9), np.uint8))
    np.savez(tmp_path / "many.npz", a=np.zeros(3), b=np.zeros(3))
    words = flags.replace("RUN", str(digits_run)).replace("TMP", str(tmp_path)).split()
    refused(*words, match=match, binary=binary)
    assert not (tmp_path / "a.npz").exists() and not (tmp_path / "a.png").exists()


def test_other_images_are_brought_to_the_size_that_the_run_was_asked_for(tmp_path):
    """A run with --image_size and --layout=chw: folders, arrays of channels first, and whole other data."""
    from helpers.trained_models import train_digits

    from vae_jax.data.fitting import fitted
    from vae_jax.runs import evaluate

    first = np.repeat(digits().train[:80], 2, axis=1)[:, None, :, :, 0] * np.uint8(15)  # 16 high, 8 wide
    np.savez(tmp_path / "own.npz", train=first, test=first[:20])
    run = tmp_path / "run"
    train_digits(run, dataset=str(tmp_path / "own.npz"), layout="chw", image_size="6x8", fit="stretch")
    model = vae_jax.load(run)
    assert model.event == (8, 6, 1)
    brought = np.stack([fitted(x[..., None], (6, 8), "stretch") for x in first[:4, 0]])
    mean = model.encode(brought)[0]
    save_images(tmp_path / "folder", first[:4, 0, :, :, None])
    for source in ("folder", "own.npz"):
        config = {"workdir": str(run), "input": str(tmp_path / source), "output": str(tmp_path / "codes.npz")}
        encoding.main(encoding.Config(**config))
        np.testing.assert_allclose(np.load(tmp_path / "codes.npz")["mean"][:4], mean, rtol=1e-5, atol=1e-6)
        sample(run, tmp_path / "made.npz", num=4, reconstruct=str(tmp_path / source))
        np.testing.assert_array_equal(np.load(tmp_path / "made.npz")["inputs"], brought)
    small = {"iw_samples": 4, "rate_samples": 8, "gap_examples": 0}
    answer = evaluate.evaluate(evaluate.Config(workdir=str(run), dataset=str(tmp_path / "folder"), **small))
    assert "4 examples" in answer["protocol"]


def test_a_model_of_deep_images_reads_such_and_one_of_bytes_reads_bytes(tmp_path):
    from helpers.malformed import refusal
    from helpers.trained_models import IMAGES, untrained

    from vae_jax.runs.known_data import KnownData
    from vae_jax.trained.sources import open_source

    deep = (np.arange(3 * 24, dtype=np.uint16) * 900).reshape(3, 4, 6)
    for i, (levels, grey) in enumerate(zip(deep, deep // 257)):
        for folder, pixels in (("deep", levels), ("bytes", grey.astype(np.uint8))):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"{i}.png")
    floats, grey = untrained(KnownData("deep", (4, 6, 1), None, 0.0, 1.0)), untrained(IMAGES)
    for model, folder, expected in ((floats, "deep", deep / 65535), (grey, "bytes", deep // 257)):
        (part,) = open_source(model, str(tmp_path / folder)).parts(0, 10)
        np.testing.assert_array_equal(part.examples[..., 0], expected.astype(part.examples.dtype))
    assert "holds images of 8 bits a channel" in refusal(lambda: open_source(floats, str(tmp_path / "bytes")))
    assert "holds 16-bit grey images" in refusal(lambda: open_source(grey, str(tmp_path / "deep")))
