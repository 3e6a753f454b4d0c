"""The recipes of vae_jax/theory/README.md, each executed as it is written where its library is installed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.linear_outputs import outputs
from vae_jax.data.outputs import open_outputs
from vae_jax.runs.audit import measure
from vae_jax.runs.audit_reading import Asked

README = Path(__file__).parents[2] / "vae_jax" / "theory" / "README.md"
S = 0.02


def recipe(name: str, where: Path, monkeypatch, **given) -> dict:
    """Executes the block that all share and that of ``name`` in ``where``, and audits the file that they write."""
    blocks = dict(re.findall(r"```python ?(\w*)\n(.*?)```", README.read_text(encoding="utf-8"), re.S))
    monkeypatch.chdir(where)
    exec(compile(blocks[""] + blocks[name], f"{README}: {name}", "exec"), given)
    return measure(open_outputs("outputs.npz"), Asked())


def affine():
    """The encoder and decoder of the linear VAE at its optimum: x, (matrix, offset) of mean and of xhat, logvar."""
    arrays, _ = outputs(S)
    x, mean = arrays["x"].astype(np.float32), arrays["mean"]
    up = np.linalg.lstsq(x - 0.5, mean, rcond=None)[0]
    down = np.linalg.lstsq(mean, arrays["x_mean"] - 0.5, rcond=None)[0]
    tables = [np.asarray(v, np.float32) for v in (up, -0.5 * up.sum(0), arrays["logvar"][0], down, np.full(12, 0.5))]
    return x, tables


def holds(answer):
    assert answer["water_level"] == pytest.approx(S, rel=0.01) and not answer["suspicions"]


def test_pytorch(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    x, tables = affine()
    up, at, logvar, down, offset = map(torch.as_tensor, tables)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.down = torch.nn.Parameter(down)

        def encode(self, x):
            return x @ up + at, logvar.expand(len(x), -1)

        def decode(self, z):
            return z @ self.down + offset

    holds(recipe("pytorch", tmp_path, monkeypatch, model=Model(), x=x))


def test_flax(tmp_path, monkeypatch):
    from flax import linen

    x, (up, at, logvar, down, offset) = affine()

    class Model(linen.Module):
        def encode(self, x):
            return x @ up + at, logvar + 0 * (x @ up)

        def decode(self, z):
            return z @ down + offset

    holds(recipe("flax", tmp_path, monkeypatch, model=Model(), variables={}, x=x))


def test_keras(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    x, (up, at, logvar, down, offset) = affine()
    seen, code = keras.Input((12,)), keras.Input((5,))
    mean, spread = keras.layers.Dense(5, name="mean"), keras.layers.Dense(5, name="logvar")
    made = keras.layers.Dense(12)
    encoder = keras.Model(seen, [mean(seen), spread(seen), mean(seen)])
    decoder = keras.Model(code, made(code))
    mean.set_weights([up, at])
    spread.set_weights([0 * up, logvar])
    made.set_weights([down, offset])
    holds(recipe("keras", tmp_path, monkeypatch, encoder=encoder, decoder=decoder, x=x))


def test_diffusers(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    vae = diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=2)
    vae.save_pretrained(tmp_path / "model")
    x = np.random.default_rng(0).uniform(-1, 1, (50, 3, 8, 8)).astype(np.float32)
    answer = recipe("diffusers", tmp_path, monkeypatch, folder=tmp_path / "model", x=x)
    assert answer["latents"]["channels"] == 2 and answer["pixels"]["range"] == "[-1, 1]"
    assert answer["latents"]["positions"] == 64 and answer["draws_hold"]


def test_scvi(tmp_path, monkeypatch):
    scvi = pytest.importorskip("scvi")
    anndata = pytest.importorskip("anndata")
    counts = np.random.default_rng(0).poisson(2.0, (100, 20)).astype(np.float32)
    cells = anndata.AnnData(counts)
    scvi.model.SCVI.setup_anndata(cells)
    model = scvi.model.SCVI(cells, n_latent=3)
    model.train(max_epochs=1)
    answer = recipe("scvi", tmp_path, monkeypatch, model=model)
    assert answer["rate"] > 0 and len(answer["kl_per_latent"]) == 3
