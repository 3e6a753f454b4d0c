"""Files that somebody else made, or that broke: data, checkpoints and results, refused in one line or taken."""

import io
import json
import shutil
import struct
import zipfile

import jax
import jax.numpy as jnp
import malformed as m
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_malformed import FEW
from test_report import config, metrics, results, write_run

from vae_jax import data
from vae_jax.data.dataset import Dataset
from vae_jax.data.text.dataset import read as read_text
from vae_jax.report import load, read, run_page
from vae_jax.report.sweep.sweep_files import load_sweep
from vae_jax.runtime.checkpoint import Checkpoints
from vae_jax.runtime.logs import rewind


def taken(function, *arguments):
    """What ``function`` returns, or None where it refuses."""
    found = []
    m.refusal(lambda: found.append(function(*arguments)))
    return found[0] if found else None


# ---------------------------------------------------------------- arrays


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(header: str, body: bytes = b"") -> bytes:
    """One array as .npy holds it, with a header of one's own."""
    text = header.encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def zipped(compress=zipfile.ZIP_STORED, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compress) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 4)).astype(np.uint8)
ROWS = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
WHOLE = npz(train=IMAGES, test=IMAGES[:2])
_HEADER = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }"
TRAIN = npy(_HEADER % ("|u1", "(6, 4, 4)"), IMAGES.tobytes())
NPZ = {
    "empty": b"",
    "text": b"train,test\n1,2\n",
    "an .npy": npy(_HEADER % ("<f4", "(6, 3)"), ROWS.tobytes()),
    "an empty zip": zipped(),
    "the magic alone": b"PK\x03\x04",
    "no test": npz(train=IMAGES),
    "other names": npz(x_train=IMAGES, x_test=IMAGES),
    "objects": npz(train=np.array([{}, None], object), test=IMAGES),
    "strings": npz(train=np.array([["a", "b"]]), test=np.array([["a", "b"]])),
    "bytes": npz(train=np.array([[b"a"]]), test=np.array([[b"a"]])),
    "complex": npz(train=ROWS.astype(complex), test=ROWS.astype(complex)),
    "dates": npz(train=ROWS.astype("M8[s]"), test=ROWS.astype("M8[s]")),
    "structures": npz(train=np.zeros((3, 2), [("a", "f4")]), test=np.zeros((3, 2), [("a", "f4")])),
    "a scalar": npz(train=np.float32(1), test=np.float32(1)),
    "a vector": npz(train=ROWS[0], test=ROWS[0]),
    "no examples": npz(train=IMAGES[:0], test=IMAGES),
    "no columns": npz(train=ROWS[:, :0], test=ROWS[:, :0]),
    "NaN": npz(train=np.full((6, 3), np.nan, np.float32), test=ROWS),
    "infinity": npz(train=np.full((6, 3), np.inf), test=ROWS),
    "too large for float32": npz(train=np.full((6, 3), 1e300), test=ROWS),
    "negative whole numbers": npz(train=-IMAGES.astype(int), test=IMAGES),
    "whole numbers above 255": npz(train=IMAGES.astype(int) + 300, test=IMAGES),
    "other kinds": npz(train=IMAGES, test=IMAGES.astype(np.float32)),
    "other shapes": npz(train=IMAGES, test=IMAGES[:, :2]),
    "other axes": npz(train=IMAGES, test=IMAGES.reshape(6, 16)),
    "factors of other examples": npz(train=ROWS, test=ROWS, train_factors=np.ones(3), test_factors=np.ones(6)),
    "factors that are words": npz(train=ROWS, test=ROWS, train_factors=np.array(list("abcdef"))),
    "factors of many axes": npz(
        train=ROWS, test=ROWS, train_factors=np.ones((6, 2, 2)), test_factors=np.ones((6, 2, 2))
    ),
    "names that are numbers": npz(train=ROWS, test=ROWS, train_factors=np.ones(6), factor_names=np.ones(1)),
    "a header that is no dict": zipped(train=npy("[1, 2]"), test=TRAIN),
    "a header of calls": zipped(train=npy("__import__('os').getpid()"), test=TRAIN),
    "a header of open brackets": zipped(train=npy("{'descr': " + "(" * 300), test=TRAIN),
    "no such dtype": zipped(train=npy(_HEADER % ("<q9", "(6, 4)")), test=TRAIN),
    "a negative shape": zipped(train=npy(_HEADER % ("|u1", "(-6, 4)")), test=TRAIN),
    "more than there is": zipped(train=npy(_HEADER % ("|u1", "(600, 4)"), b"abc"), test=TRAIN),
    "terabytes promised": zipped(train=npy(_HEADER % ("<f8", "(1000000000, 1000)"), b"abc"), test=TRAIN),
    "more than any memory promised": zipped(train=npy(_HEADER % ("<f8", "(10000000000000, 10000000)")), test=TRAIN),
    "a shape beyond 64 bits": zipped(train=npy(_HEADER % ("|u1", "(99999999999999999999, 4)")), test=TRAIN),
    "pickled by its header": zipped(train=npy(_HEADER % ("|O", "(2,)"), b"cos\nsystem\n(S'false'\ntR."), test=TRAIN),
    "an unknown version": zipped(train=b"\x93NUMPY\x09\x00" + TRAIN[8:], test=TRAIN),
    "not an array": zipped(train=b"hello", test=TRAIN),
    "nothing in a member": zipped(train=b"", test=TRAIN),
}
GOOD = {
    "float64": npz(train=ROWS.astype(float), test=ROWS.astype(float)),
    "float16": npz(train=ROWS.astype(np.float16), test=ROWS.astype(np.float16)),
    "big-endian": npz(train=ROWS.astype(">f4"), test=ROWS.astype(">f4")),
    "columns first": npz(train=np.asfortranarray(ROWS), test=np.asfortranarray(ROWS)),
    "bool": npz(train=IMAGES > 128, test=IMAGES > 128),
    "int64": npz(train=IMAGES.astype(np.int64), test=IMAGES.astype(np.int64)),
    "further arrays": npz(train=ROWS, test=ROWS, notes=np.array(["anything"]), more=ROWS),
    "names of no factors": npz(train=ROWS, test=ROWS, factor_names=np.array(["a"])),
    "compressed": zipped(zipfile.ZIP_DEFLATED, train=TRAIN, test=TRAIN),
}


@pytest.mark.parametrize("name", sorted(NPZ))
def test_arrays_that_are_no_data_are_refused_by_the_files_name(tmp_path, name):
    path = tmp_path / "mine.npz"
    path.write_bytes(NPZ[name])
    said = m.refusal(data.load, str(path))
    assert said is not None and "mine.npz" in said, said


@pytest.mark.parametrize("name", sorted(GOOD))
def test_arrays_of_every_numeric_kind_are_taken(tmp_path, name):
    path = tmp_path / "mine.npz"
    path.write_bytes(GOOD[name])
    found = data.load(str(path))
    assert found.train.dtype in (np.uint8, np.float32) and np.isfinite(found.train).all()


@settings(FEW, max_examples=150)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255), st.booleans())
def test_a_flipped_byte_or_a_torn_end_is_refused_or_harmless(tmp_path_factory, at, flip, cut):
    raw = bytearray(WHOLE)
    raw[at] ^= flip
    path = tmp_path_factory.mktemp("npz") / "mine.npz"
    path.write_bytes(WHOLE[:at] if cut else bytes(raw))
    found = taken(data.load, str(path))
    # A zip has a crc32 of every member: what is read in spite of the flip is what was written.
    assert found is None or (not cut and np.array_equal(found.train[..., 0], IMAGES))


@settings(FEW, max_examples=60)
@given(st.text("{}()[]'\"descrfortan_ohp:,<>|u1f48 0123456789TrueFalsNn-", max_size=60), st.binary(max_size=20))
def test_any_header_is_refused_or_an_array(tmp_path_factory, header, body):
    path = tmp_path_factory.mktemp("npz") / "mine.npz"
    path.write_bytes(zipped(train=npy(header, body), test=TRAIN))
    assert taken(data.load, str(path)) is None


# ---------------------------------------------------------------- images and texts


def png(array=IMAGES[0], kind="PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


@settings(FEW, max_examples=40)
@given(
    st.integers(0, len(png()) - 1),
    st.integers(1, 255),
    st.sampled_from(["flip", "cut", "replace"]),
    st.sampled_from([".png", ".jpg", ".gif", ".tif", ".ppm", ".bmp", ".webp"]),
)
def test_a_folder_with_a_broken_image_is_refused_or_read(tmp_path_factory, at, flip, how, suffix):
    folder = tmp_path_factory.mktemp("images")
    for i in range(3):
        (folder / f"{i}.png").write_bytes(png(IMAGES[i]))
    raw = bytearray(png())
    raw[at] ^= flip
    broken = {"flip": bytes(raw), "cut": png()[:at], "replace": bytes([flip]) * at}[how]
    (folder / f"broken{suffix}").write_bytes(broken)
    found = taken(data.load, str(folder))
    assert found is None or (isinstance(found, Dataset) and len(found.train) >= 2)


@settings(FEW, max_examples=60)
@given(
    st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | st.text("ab \n<unk>", max_size=80).map(str.encode)
)
def test_any_text_is_refused_or_read(tmp_path_factory, raw):
    path = tmp_path_factory.mktemp("text") / "mine.txt"
    path.write_bytes(raw)
    found = taken(read_text, str(path), None, 20, 100)
    assert found is None or (len(found.train) >= 1 and found.levels == len(found.words))


# ---------------------------------------------------------------- checkpoints


def _state(scale=1.0):
    return {"w": scale * jnp.arange(6.0), "step": jnp.int32(3), "key": jax.random.key(0)}


META = {
    "empty": b"",
    "torn": b'{"checksums": {',
    "a list": b"[]",
    "null": b"null",
    "no note": b'{"checksums": {}}',
    "a note that is a list": b'{"note": [], "checksums": {}}',
    "a note that is null": b'{"note": null, "checksums": null}',
    "checksums of another tree": b'{"note": {}, "checksums": {"x": 1}}',
    "checksums that are words": b'{"note": {}, "checksums": "none", "format": "x", "shapes": 3}',
    "a newer format": b'{"note": {}, "checksums": {}, "shapes": {}, "format": 999}',
    "another run's note": b'{"note": {"beta": "<img src=x onerror=alert(1)>"}, "checksums": {}}',
    "binary": bytes(range(256)),
    "deep": b'{"note":' + b"[" * 100_000,
    "large": b'{"note": "' + b"x" * 1_000_000 + b'"}',
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(3, _state())
    return folder


@pytest.mark.parametrize("name", sorted(META))
def test_a_checkpoint_whose_metadata_is_not_its_own_is_refused_or_passed_over(saved, tmp_path, name):
    folder = tmp_path / "checkpoints"
    shutil.copytree(saved, folder)
    (found,) = (p for p in (folder / "3").rglob("*") if p.is_file() and b'"checksums"' in p.read_bytes())
    found.write_bytes(META[name])
    with Checkpoints(folder) as checkpoints:
        assert taken(checkpoints.restore_latest, _state(0.0)) is None


# ---------------------------------------------------------------- results, and the report of them

WRONG = ("many", -1.5, [], [1, "x", {}], {}, {"value": "x"}, True, 10**400, [[1]], "<img src=x onerror=alert(1)>")
EVALUATION = {
    "step": 3000,
    "elbo": 1.0,
    "iw_nll": -2.0,
    "gaps": {"approximation_gap": 1.0},
    "rate_parts": {"cap": 7.0, "mutual_information": {"value": 1.0, "error": 0.1}},
    "disentanglement": {"mig": 0.1, "protocol": "made", "left_out": []},
    "protocol": "made",
}
SAID = {"reconstructions": [["a b", "a c"]], "samples": ["a"], "homotopies": [["a", "b"]]}


def whole_page(workdir):
    """All of the page but the figures, whose numbers have been checked when they are drawn."""
    return run_page.render(load(workdir), [])


@pytest.mark.parametrize("name", ["results.json", "config.json", "evaluation.json", "sentences.json"])
def test_a_number_that_is_none_is_named_or_shown(tmp_path, name):
    made = {"results.json": results(), "config.json": config(), "evaluation.json": EVALUATION, "sentences.json": SAID}
    write_run(tmp_path, metrics=metrics(200))
    refused = 0
    for key in made[name]:
        for wrong in WRONG:
            for file, content in made.items():
                text = json.dumps(content | ({key: wrong} if file == name else {}))
                (tmp_path / file).write_text(text)
            said = m.refusal(whole_page, tmp_path)
            refused += said is not None
            assert said is None or (name in said and key in said), (key, str(wrong)[:50], said)
    assert refused > 2 * len(made[name])


@settings(FEW, max_examples=80)
@given(st.binary(max_size=80) | st.sampled_from(['{"split": "test", "step": %s}', '{"split": 1, "step": %s}', "%s"]))
def test_any_line_of_the_metrics_is_read_or_left_out(tmp_path_factory, raw):
    folder = tmp_path_factory.mktemp("lines")
    values = ("1", "1e400", "[]", "null", '"x"', "-1", "9" * 400, "NaN", "{}", "true", "[" * 50_000)
    lines = [raw] if isinstance(raw, bytes) else [(raw % value).encode() for value in values]
    write_run(folder, results=results(), config=config())
    path = folder / "metrics.jsonl"
    path.write_bytes(b"\n".join([b'{"split": "train", "step": 1, "loss": 1.0}', *lines, b""]))
    run = load(folder)
    assert run.metrics[0]["step"] <= 1 and all(isinstance(line["step"], int | float) for line in run.metrics)
    assert read(run.results, run.config, run.metrics)
    rewind(path, 10)
    assert b'"train"' in path.read_bytes()


def test_pictures_that_are_none_are_refused(tmp_path):
    write_run(tmp_path, results=results(), config=config())
    whole = npz(inputs=IMAGES[..., None], embedding_axes=np.array(["a", "b"]))
    for raw in (b"", b"x", whole[:200], npz(inputs=np.array([{}], object)), npz(inputs=np.array(["a"])), npz(inputs=1)):
        (tmp_path / "pictures.npz").write_bytes(raw)
        said = m.refusal(load, tmp_path)
        assert said is not None and "pictures.npz" in said
    (tmp_path / "pictures.npz").write_bytes(npz(embedding_axes=np.ones(2)))
    said = m.refusal(load, tmp_path)
    assert said is not None and "embedding_axes" in said
    (tmp_path / "pictures.npz").write_bytes(whole)
    assert load(tmp_path).pictures["inputs"].shape == (6, 4, 4, 1)


def test_rows_of_a_sweep_that_are_none_are_refused(tmp_path):
    row = {"run": "beta=1", "method": "separate", "status": "done", "asked": {"beta": 1.0}, **results()}
    good = json.dumps(row)
    for key in ("elbo", "rate", "mse", "train", "asked", "kl_per_latent", "disentanglement"):
        bad = json.dumps(row | {key: ["x", [3]]})
        (tmp_path / "sweep.jsonl").write_text(f"{bad}\n{good}\n")
        said = m.refusal(load_sweep, tmp_path)
        assert said is not None and "line 1" in said, (key, said)
    for line in ("[]", "3", "null", "{}", "[" * 50_000, '{"asked": 3}', '{"run": 1, "asked": {}}'):
        (tmp_path / "sweep.jsonl").write_text(f"{line}\n{good}\n")
        assert m.refusal(load_sweep, tmp_path) is not None, line[:50]
    (tmp_path / "sweep.jsonl").write_text(f"{good}\n")
    for summary in ("[]", '{"reference": 3}', '{"reference": [{"frontier": {"rate": "x"}}]}', '{"seconds": "long"}'):
        (tmp_path / "sweep.json").write_text(summary)
        said = m.refusal(load_sweep, tmp_path)
        assert said is not None and "sweep.json" in said, said
