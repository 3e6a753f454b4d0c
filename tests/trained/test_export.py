"""Exports: read again by this package, run by JAX alone, and refused where they are damaged."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers.binaries import refused
from helpers.malformed import refusal
from helpers.trained_models import IMAGES, TABLE, TEXT, some, untrained

import vae_jax
from vae_jax.data.digits import digits
from vae_jax.trained import export
from vae_jax.types import UserError


@pytest.fixture(scope="module")
def exported(digits_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "digits"
    export.main(export.Config(workdir=str(digits_run), output=str(folder)))
    return folder


def test_what_is_exported_is_read_again(digits_run, exported):
    model, again, x = vae_jax.load(digits_run), vae_jax.from_pretrained(exported), digits().test[:5]
    for a, b in zip(jax.tree.leaves(model.params), jax.tree.leaves(again.params), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.elbo(x), again.elbo(x))
    assert again.results == model.results and again.data == model.data and again.sigma == model.sigma
    assert str(digits_run) not in (exported / "config.json").read_text()
    card = (exported / "README.md").read_text()
    for words in (
        "gaussian",
        "precision learned",
        "beta 1",
        "water level",
        "digits",
        "test split",
        f"{model.sigma:.6g}",
    ):
        assert words in card, words


@pytest.mark.parametrize(
    ("known", "flags"),
    [
        (IMAGES, {"pixels": "sampled", "likelihood": "bernoulli"}),
        (IMAGES, {"beta_range": "0.1:10"}),
        (TABLE, {"likelihood": "columns", "columns": "gaussian:1,bernoulli:1,categorical(4):1"}),
        (TEXT, {}),
    ],
)
def test_programs_of_any_batch(tmp_path, known, flags):
    model = untrained(known, **flags)
    export.save_stablehlo(model, tmp_path)
    encode, decode = (
        jax.export.deserialize((tmp_path / f"{name}.stablehlo").read_bytes()) for name in ("encode", "decode")
    )
    for n in (1, 5):
        x, z = some(known, n), np.float32(np.random.default_rng(0).normal(size=(n, 3)))
        for ours, theirs in zip(model.encode(x), encode.call(model.read(x).raw.astype(encode.in_avals[0].dtype))):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
        made = np.asarray(decode.call(z))
        if known.words:
            assert made.shape == (n, 5)
        else:
            np.testing.assert_allclose(model.decode(z), made, rtol=1e-6, atol=1e-6 * max(1.0, abs(made).max()))


def test_a_process_that_knows_jax_alone_decodes(digits_run, tmp_path):
    export.main(export.Config(workdir=str(digits_run), format="stablehlo", output=str(tmp_path / "out")))
    z = np.float32(np.random.default_rng(0).normal(size=(3, 3)))
    np.savez(tmp_path / "z.npz", z=z, x=vae_jax.load(digits_run).decode(z))
    program = (
        "import sys\nsys.modules.update(dict.fromkeys(['vae_jax', 'flax', 'optax', 'orbax', 'safetensors']))\n"
        "import jax, numpy as np\ngiven = np.load('z.npz')\n"
        "decode = jax.export.deserialize(open('out/decode.stablehlo', 'rb').read())\n"
        "print(np.abs(np.asarray(decode.call(given['z'])) - given['x']).max() / np.abs(given['x']).max())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert float(done.stdout) <= 1e-6, done.stderr


def edit(**changes):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no export"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no such file"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04pickled"), "safetensors"),
        (lambda folder: (folder / "config.json").write_text("{"), "JSON"),
        (edit(vae_jax_export=2), "this version"),
        (edit(flags=None), "no export"),
        (edit(flags={"latent_dim": 4, "hidden": "8", "sigma": 0.2}), "another model"),
        (edit(flags={"latent_dim": "4"}), "latent_dim"),
        (edit(flags={"unheard_of": 1}), "another version"),
        (edit(data=None), "describe"),
        (edit(flags={"plugin_sha256": "0" * 64}), "plugin"),
    ],
)
def test_what_is_damaged_is_one_line(exported, tmp_path, damage, match):
    folder = shutil.copytree(exported, tmp_path / "export")
    damage(folder)
    assert match in (refusal(lambda: vae_jax.from_pretrained(folder)) or "")


@pytest.mark.parametrize("path", [None, 3, "", "no/such/folder"])
def test_what_is_no_folder_is_one_line(path):
    with pytest.raises(UserError):
        vae_jax.from_pretrained(path)


def test_a_run_is_no_export(digits_run):
    assert "load opens" in refusal(lambda: vae_jax.from_pretrained(digits_run))


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ("--workdir=RUN", "--output"),
        ("--output=out", "--workdir"),
        ("--workdir=RUN --output=out --beta=2", "at one beta"),
        ("--workdir=nowhere --output=out", "holds no run"),
        ("--workdir=RUN --output=out --format=onnx", "onnx"),
        ("--workdir=RUN --output=file", "is a file"),
    ],
)
def test_what_cannot_be_done_is_one_line(digits_run, tmp_path, monkeypatch, flags, match):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    refused(*flags.replace("RUN", str(digits_run)).split(), match=match, binary="export")
    assert not (tmp_path / "out").exists()
