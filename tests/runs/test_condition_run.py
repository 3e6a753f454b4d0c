"""A run with a condition from its data to samples of each class: digits by their label, a table by its columns."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from helpers.binaries import SMALL, call, metrics, refused, results
from sklearn.datasets import load_wine

import vae_jax
from vae_jax.types import UserError

LABELLED = [*SMALL, "--condition=label", "--checkpoint_every=20"]
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    call(f"--workdir={folder}", "--prior=conditional", *LABELLED)
    return folder, vae_jax.load(folder)


def test_a_run_says_what_its_codes_know_of_the_condition(digits):
    folder, _ = digits
    (found,) = results(folder)["condition"]
    assert found["name"] == "label" and 0.05 < found["majority"] < 0.2 and 0 <= found["accuracy"] <= 1
    assert "A linear reading of the codes tells label by" in (folder / "report.html").read_text()
    with np.load(folder / "pictures.npz") as pictures:
        assert list(pictures["sample_rows"]) == [str(i) for i in range(10)]
        assert pictures["samples"].shape == (60, 8, 8, 1)


def test_another_label_gives_other_samples_and_other_bounds(digits):
    _, model = digits
    of = {label: model.sample(3, KEY, c=label) for label in (1, 7)}
    assert np.abs(of[1] - of[7]).max() > 0.01
    np.testing.assert_array_equal(model.sample(3, KEY, c="7"), of[7])
    np.testing.assert_array_equal(model.sample(2, KEY, c=[1, 7])[0], of[1][0])
    x = of[1].clip(0, 16)
    mean, std = model.encode(x, c=1)
    assert mean.shape == std.shape == (3, 3) and np.abs(mean - model.encode(x, c=7)[0]).max() > 0
    assert model.reconstruct(x, c=1).shape == x.shape and model.decode(mean, c=1).shape == x.shape
    assert model.traverse(x[0], 1, [-1.0, 1.0], c=4).shape == (2, 8, 8, 1)
    assert (model.elbo(x, c=1) != model.elbo(x, c=7)).all()
    for wrong, match in ((None, "give c, such as c='0'"), (12, "label is 12"), ([1, 2], "2 values of label")):
        with pytest.raises(UserError, match=match):
            model.sample(3, KEY, c=wrong)


def test_the_commands_take_a_condition(digits, tmp_path):
    folder, model = digits
    run = f"--workdir={folder}"
    call(run, f"--output={tmp_path / 'a.npz'}", "--num=3", "--condition=7", binary="sample")
    with np.load(tmp_path / "a.npz") as made:
        np.testing.assert_allclose(made["samples"], model.sample(3, KEY, c=7), atol=1e-5)
    call(run, f"--output={tmp_path / 'r.png'}", "--num=5", "--reconstruct=test", binary="sample")
    call(run, f"--output={tmp_path / 'codes.npz'}", binary="encode")
    refused(run, f"--output={tmp_path / 'b.npz'}", binary="sample", match="this model knows label")
    call(run, "--iw_samples=4", "--gap_examples=0", binary="evaluate")
    scored, measured = json.loads((folder / "evaluation.json").read_text()), results(folder)
    assert scored["elbo"] == pytest.approx(measured["elbo"], abs=1e-4)


def test_it_goes_on_to_the_same_bits_and_is_the_same_wherever_the_data_are(tmp_path):
    flags = [*LABELLED, "--lr_schedule=constant", "--validation=0", "--keep=last"]
    whole, parts, streamed = (tmp_path / name for name in ("whole", "parts", "streamed"))
    call(f"--workdir={whole}", *flags)
    call(f"--workdir={parts}", *flags, "--num_steps=20")
    assert "continuing from step" in call(f"--workdir={parts}", *flags)[0]
    last = [metrics(folder)[-1] for folder in (whole, parts)]
    assert last[0]["loss"] == last[1]["loss"] and results(whole)["elbo"] == results(parts)["elbo"]
    call(f"--workdir={streamed}", *flags, "--placement=streamed", "--parallel=pmap", devices=2)
    assert metrics(streamed)[-1]["loss"] == pytest.approx(last[0]["loss"], rel=1e-4)
    assert results(streamed)["elbo"] == pytest.approx(results(whole)["elbo"], rel=1e-3)


def table(path):
    wine = load_wine()
    names = ("alcohol", "hue", "proline", "kind")
    rows = [[*(f"{row[j]:g}" for j in (0, 10, 12)), ("a", "b", "c")[k]] for row, k in zip(wine.data, wine.target)]
    path.write_text("\n".join(",".join(row) for row in [names, *rows]) + "\n")
    return path


def test_columns_of_a_table_are_known_and_no_longer_modelled(tmp_path):
    data, run = table(tmp_path / "wine.csv"), tmp_path / "run"
    call(f"--dataset={data}", f"--workdir={run}", "--condition=kind,proline", *SMALL)
    found = results(run)
    assert found["data_dim"] == 2 and [part["name"] for part in found["condition"]] == ["kind", "proline"]
    assert "r2" in found["condition"][1]
    model = vae_jax.load(run)
    assert model.data.column_names == ("alcohol", "hue") and {"a", "b", "c"} <= set(model.data.condition.levels[0])
    made = model.sample(4, KEY, c={"kind": "b", "proline": 700})
    assert made.shape == (4, 2) and 8 < made[:, 0].mean() < 18
    call(f"--workdir={run}", f"--input={data}", f"--output={tmp_path / 'codes.npz'}", binary="encode")
    with np.load(tmp_path / "codes.npz") as codes:
        assert codes["mean"].shape == (178, 3)
    call(f"--workdir={run}", f"--dataset={data}", "--iw_samples=4", "--gap_examples=0", binary="evaluate")


def test_a_text_knows_the_labels_beside_it(tmp_path):
    words, run = ["red", "blue"] * 60, tmp_path / "run"
    (tmp_path / "t.txt").write_text("".join(f"{word} {'very ' * (i % 3)}much\n" for i, word in enumerate(words)))
    (tmp_path / "t.labels").write_text("".join(f"{word}\n" for word in words))
    flags = [f"--dataset={tmp_path / 't.txt'}", "--hidden=16", "--embedding=8", "--latent_dim=3", "--batch_size=16"]
    flags += ["--num_steps=300", "--log_every=100", "--iw_samples=4", "--learning_rate=0.01"]
    call(f"--workdir={run}", *flags, "--condition=label", "--prior=conditional", binary="text")
    (found,) = results(run)["condition"]
    assert found["name"] == "label" and "accuracy" in found
    model = vae_jax.load(run)
    # The first word is the label, so it is known without any code.
    for label in ("red", "blue"):
        assert [made.split()[0] for made in model.sample(4, KEY, c=label)] == [label] * 4
        assert model.decode(np.zeros((1, 3)), c=label)[0].split()[0] == label
    x = ["red very much", "red much"]
    assert (model.elbo(x, c="red") > model.elbo(x, c="blue") + 1).all()
    assert [made.split()[0] for made in model.reconstruct(x, c="blue")] == ["blue", "blue"]
    call(f"--workdir={run}", f"--output={tmp_path / 's.txt'}", "--num=3", "--condition=blue", binary="sample")
    assert all(line.startswith("blue") for line in (tmp_path / "s.txt").read_text().splitlines())
    call(f"--workdir={run}", "--iw_samples=4", "--ais=2,16", "--examples=2", binary="evaluate")
    assert np.isfinite(json.loads((run / "evaluation.json").read_text())["annealed"]["log_px"])


def test_what_does_not_go_together_is_one_line(tmp_path):
    run = f"--workdir={tmp_path / 'never'}"
    refused(run, "--condition=age", match="--condition=age must name")
    refused(run, "--condition=label", "--beta_range=0.5:2", match="--beta_range and --condition")
    refused(run, "--prior=conditional", match="give --condition")
    refused(run, "--dataset=grammar", "--condition=age", binary="text", match="is a text, and has: label")
    assert not (tmp_path / "never").exists()
