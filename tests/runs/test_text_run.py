"""The text binary as a person meets it, and what its numbers mean."""

import json
import math

import numpy as np
import pytest
from conftest import golden
from helpers.binaries import call, metrics, refused, results

from experiments.papers import fu2019
from vae_jax.data.text import EOS, PAD, UNKNOWN
from vae_jax.report import read
from vae_jax.report.reading.model import explained, perplexity
from vae_jax.runs.text_results import text_numbers

SHAPES = ["--hidden=16", "--embedding=8", "--latent_dim=3", "--batch_size=16"]
SMALL = [*SHAPES, "--num_steps=20", "--log_every=10", "--checkpoint_every=10", "--iw_samples=4"]


def text_of(path, lines=60):
    words = ["red", "blue", "green", "cat", "dog"]
    chooser = np.random.RandomState(0)
    path.write_text("".join(" ".join(chooser.choice(words, 1 + i % 4)) + "\n" for i in range(lines)), encoding="utf-8")
    return str(path)


def test_the_perplexity_counts_the_end_of_each_sentence():
    # The test split of Penn Treebank has 3,761 sentences and 82,430 words with their ends: 100 nats are 95.8380.
    tokens = np.full((3761, 83), PAD)
    per = 82_430 // 3761
    tokens[:, :per] = 7
    tokens[: 82_430 - 3761 * per, per] = EOS
    found = text_numbers({"elbo": -100.0, "iw_nll": 102.637}, tokens, None, np.full(len(tokens), -100.0))
    assert found["perplexity"] == golden("95.8380") and found["iw_perplexity"] == golden("108.0913")
    assert found["words"] == 82_430 and found["mse"] is None and found["perplexity_known"] == found["perplexity"]
    tokens[:10, 0], elbo = UNKNOWN, np.where(np.arange(len(tokens)) < 10, -500.0, -100.0)
    found = text_numbers({"elbo": elbo.mean()}, tokens, None, elbo)  # ten sentences that the vocabulary does not cover
    assert found["unknown_words"] == 10 and found["perplexity"] > 100 > found["perplexity_known"]
    assert found["perplexity"] != pytest.approx(math.exp(100 / (82_430 - 3761) * 3761), rel=1e-3)


def test_what_z_explains_in_words():
    said = explained(prior_distortion=20.0, distortion=15.0, rate=4.0)
    assert "explains 5.00 nats" in said.text and "25.0%" in said.text and not said.attention
    assert explained(prior_distortion=20.0, distortion=19.99, rate=0.01).attention
    assert not {"What z explains", "Words"} & {finding.topic for finding in read({})}
    floor = {"perplexity": 3.5, "words": 10, "entropy": 12.94, "iw_nll": 13.04, "iw_perplexity": 3.6}
    assert "0.100 nats above" in perplexity(**floor).text and "vocabulary" not in perplexity(**floor).text
    unknown = perplexity(**floor, unknown_words=2, perplexity_known=2.5).text
    assert "2 of them are not in the vocabulary" in unknown and "at most 2.5" in unknown


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    flags = [f"--dataset={text_of(folder / 'colours.txt')}", *SMALL, "--word_dropout=0.5", "--weighting=linear"]
    return folder, flags, call(f"--workdir={folder / 'run'}", *flags, binary="text")[0]


def test_a_text_run_leaves_what_the_contract_promises(trained):
    folder, _, out = trained
    r = results(folder / "run")
    assert r["elbo"] == -(r["rate"] + r["distortion"]) and r["step"] == 20 and r["entropy"] is None
    assert r["mse"] is None and r["sigma"] is None and r["bits_per_dim"] is None and r["beta_norm"] is None
    assert r["words"] > 0 and r["perplexity"] > 1 and r["iw_nll"] <= -r["elbo"] + 0.5
    n = 6  # a tenth of 60 lines is the test split
    assert r["perplexity"] == pytest.approx(math.exp(-r["elbo"] * n / r["words"]))
    assert np.isfinite(r["prior_distortion"]) and np.isfinite(r["swapped_distortion"])
    assert "50% of the words not read" in out and "perplexity is at most" in out
    kept = json.loads((folder / "run" / "data.json").read_text())["words"]
    assert kept[:4] == ["<pad>", "<bos>", "<eos>", "<unk>"] and sorted(kept[4:]) == [
        "blue",
        "cat",
        "dog",
        "green",
        "red",
    ]
    said = json.loads((folder / "run" / "sentences.json").read_text())
    assert len(said["reconstructions"]) == n and len(said["samples"]) == 10
    page = (folder / "run" / "report.html").read_text()
    assert "Drawn from the prior" in page and "On a straight line" in page and "no pictures.npz" not in page
    for row in metrics(folder / "run"):
        assert abs(row["loss"] - row["distortion"] - row["beta"] * row["rate"]) < 1e-3


def test_evaluate_and_sweep_take_texts(trained):
    folder, flags, _ = trained
    before = results(folder / "run")
    assert "perplexity" in call(f"--workdir={folder / 'run'}", "--iw_samples=4", binary="evaluate")[0]
    again = json.loads((folder / "run" / "evaluation.json").read_text())
    for key in ("elbo", "iw_nll", "perplexity", "active_units"):
        assert again[key] == before[key], key
    kind = ["--likelihood=tokens", "--model=recurrent", "--clip_norm=5", "--beta=1,0.5"]
    call(f"--workdir={folder / 'sweep'}", *flags, *kind, binary="sweep")
    rows = [json.loads(line) for line in (folder / "sweep" / "sweep.jsonl").read_text().splitlines()]
    assert rows[0]["perplexity"] == pytest.approx(before["perplexity"], rel=1e-5)
    assert rows[0]["elbo"] != rows[1]["elbo"] and (folder / "sweep" / "report.html").exists()


def test_bad_texts_are_refused_in_one_line(tmp_path):
    new = f"--workdir={tmp_path / 'new'}"
    for name, content, match in (
        ("empty.txt", b"", "empty"),
        ("latin.txt", "caf\xe9\n".encode("latin-1") * 30, "UTF-8"),
        ("one.txt", b"word word\n" * 30, "one"),
    ):
        (tmp_path / name).write_bytes(content)
        refused(new, f"--dataset={tmp_path / name}", match=match, binary="text")
    refused(new, "--dataset=digits", match="not a text", binary="text")
    refused(new, "--dataset=grammar", match="--likelihood=gaussian: grammar is a text")
    refused(new, "--word_dropout=2", match="--word_dropout=2.0", binary="text")
    assert not (tmp_path / "new").exists()


def test_speed_and_arms_are_commands(tmp_path, monkeypatch):
    small = [f"--dataset={text_of(tmp_path / 'colours.txt')}", *SHAPES]
    out, _ = call(*small, "--steps=2", "--repeats=1", binary="benchmark.sequence_speed")
    assert "words a second" in out and "padding is" in out
    monkeypatch.setattr(fu2019, "ARMS", {name: fu2019.ARMS[name] for name in ("constant", "cyclical")})
    flags = [*small, "--num_steps=6", "--seed=0,1", "--iw_samples=4", f"--workdir={tmp_path / 'fu'}"]
    out, _ = call(*flags, binary="papers.fu2019")
    rows = json.loads((tmp_path / "fu" / "table.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["constant", "constant", "cyclical", "cyclical"]
    assert (tmp_path / "fu" / "annealing.png").stat().st_size > 0 and "| cyclical |" in out
