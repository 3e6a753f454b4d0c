"""Opening a run: without its data, beside a training, and where something is wrong with it."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers.binaries import ROOT, results
from helpers.malformed import contents, refusal

import vae_jax
from vae_jax.data.digits import digits
from vae_jax.types import UserError


@pytest.fixture
def run(digits_run, tmp_path):
    """A copy of the run, to be changed."""
    return shutil.copytree(digits_run, tmp_path / "run")


def test_the_model_has_the_numbers_of_results_json_and_changes_nothing(digits_run):
    before = contents(digits_run)
    model, numbers, x = vae_jax.load(digits_run), results(digits_run), digits().test
    assert model.elbo(x).mean() == pytest.approx(numbers["elbo"], rel=1e-6)
    assert model.rate(x).mean(0) == pytest.approx(numbers["kl_per_latent"], rel=1e-5, abs=1e-7)
    assert model.log_prob(x, 4).mean() == pytest.approx(-numbers["iw_nll"], rel=1e-6)
    assert model.results["step"] == 4 and list(model.active) == [kl > 0.01 for kl in numbers["kl_per_latent"]]
    assert model.sigma == pytest.approx(numbers["sigma"]) and model.event == (8, 8, 1) and model.data.levels == 17
    assert model.config.latent_dim == model.latent_dim == 3 and model.data.factor_names == ("label",)
    assert contents(digits_run) == before


def test_it_needs_no_data_and_few_packages(digits_run):
    blocked = ("tensorflow_datasets", "matplotlib", "sklearn", "tensorflow", "grain", "PIL", "tensorboardX", "jinja2")
    program = (
        f"import sys\nsys.modules.update(dict.fromkeys({blocked}))\nimport jax, vae_jax\n"
        f"model = vae_jax.load({str(digits_run)!r})\nprint(model.sample(2, jax.random.key(0)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(2, 8, 8, 1)", done.stderr


def test_a_run_that_kept_nothing_is_opened_through_its_data(run, monkeypatch):
    x = digits().test[:3]
    expected = vae_jax.load(run).encode(x)[0]
    (run / "data.json").unlink()
    np.testing.assert_array_equal(vae_jax.load(run).encode(x)[0], expected)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"dataset": "gone/away.npz"}))
    message = refusal(lambda: vae_jax.load(run))
    assert "no such file" in message and "experiments.evaluate" in message


def test_an_older_checkpoint_serves_where_the_newest_is_torn(run):
    newest = run / "checkpoints" / "9"
    shutil.copytree(run / "checkpoints" / "4", newest)
    for path in (newest / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:20])
    before = contents(run)
    assert vae_jax.load(run).results["step"] == 4 and contents(run) == before


def edit(name, **changes):
    def change(run):
        path = run / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def write(name, text):
    return lambda run: (run / name).write_text(text)


def remove(name):
    return lambda run: shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (remove("config.json"), "holds no run"),
        (remove("checkpoints"), "no checkpoint"),
        (remove("checkpoints/4/state"), "can be read"),
        (edit("checkpoints/4/meta/metadata", format=9), "later version"),
        (edit("checkpoints/4/meta/metadata", checksums={}), "can be read"),
        (write("config.json", "[]"), "JSON object"),
        (edit("config.json", latent_dim=4), "another model"),
        (edit("config.json", model="unheard_of"), "--model"),
        (edit("config.json", plugin="/nowhere.py"), "--plugin"),
        (write("data.json", "{"), "JSON"),
        (write("data.json", "{}"), "describe"),
        (edit("data.json", event=[]), "event"),
        (edit("data.json", event=[8, -8, 1]), "event"),
        (edit("data.json", event=[8, 8, 2]), "another model"),
        (edit("data.json", levels="many"), "levels"),
        (edit("data.json", levels=None, low=1, high="two"), "low and high"),
        (edit("data.json", words=["a"]), "words"),
        (edit("data.json", later=1), "later version"),
        (write("results.json", "{"), "JSON"),
    ],
)
def test_what_is_damaged_is_one_line(run, damage, match):
    damage(run)
    assert match in (refusal(lambda: vae_jax.load(run)) or "")


@pytest.mark.parametrize("path", [None, 3, "", "no/such/folder", b"run"])
def test_what_is_no_folder_is_one_line(path):
    with pytest.raises(UserError):
        vae_jax.load(path)
