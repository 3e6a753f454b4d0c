"""weigh --loss: from a written loss to a command, and that the command trains."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from helpers.binaries import SMALL, call

from vae_jax.types import UserError

README = Path(__file__).parents[2] / "vae_jax" / "theory" / "README.md"
SIZES = ["--data_dim=784", "--latent_dim=20"]


def test_the_answer_ends_with_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said, _ = call("--loss=mean_se + 0.00025*sum_kl", *SIZES, binary="weigh")
    assert "water level  s = 0.09800" in said and re.search(r"^mean SE \+ w sum KL +0.00025$", said, re.MULTILINE)
    last = said.rstrip().split("\n")[-1]
    assert last.endswith("--likelihood=gaussian --precision=fixed --sigma=0.313049517 --beta=1 --standardise=none")
    said, _ = call("--loss=l1.mean + 10*kl", "--pixel_scale=2", *SIZES, binary="weigh")
    assert "a Laplace likelihood of scale b = 3920" in said and "--likelihood=laplace" in said
    said, _ = call("--loss=mse.sum + 0.5*lpips.sum + 0.1*max(kl, 1)", *SIZES, binary="weigh")
    assert "not x" not in said and "likelihood of the features" in said and "over='sum', inside='example'" in said
    assert "what they can:" in said
    said, _ = call("--loss=mse.sum + l1.sum + kl", *SIZES, binary="weigh")
    assert "likelihoods.product" in said and said.rstrip().endswith("No flags of train train it.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("loss", ["huber(delta=0.1).sum + 0.02*kl", "charbonnier.mean + 1e-3*free_bits(0.1)"])
def test_the_command_trains(loss, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said, _ = call(f"--loss={loss}", "--dataset=digits", "--latent_dim=3", binary="weigh")
    command = shlex.split(re.search(r"^  .*experiments.train (.*)$", said, re.MULTILINE)[1])
    assert not any("standardise" in flag for flag in command)  # digits are grey levels, not a table
    small = [flag for flag in SMALL if "latent_dim" not in flag]
    call(*command, *small, "--num_steps=10", f"--workdir={tmp_path / 'run'}")
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    written = json.loads((tmp_path / "runs" / "weigh_digits" / "weigh.json").read_text())["written"]
    assert kept["delta"] == pytest.approx(float(re.search(r"--delta=(\S+)", written["flags"])[1]))
    assert kept["weighting"] == ("free_bits" if "free" in loss else "constant") and kept["beta"] == 1.0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["elbo"] is not None


def test_the_plugin_of_the_readme_trains(tmp_path):
    (tmp_path / "mine.py").write_text(re.search(r"```python\n(# mine\.py.*?)```", README.read_text(), re.DOTALL)[1])
    flags = [f"--plugin={tmp_path / 'mine.py'}", "--likelihood=perceptual", "--objective=above_one_nat"]
    call("--dataset=digits", *flags, *SMALL, "--num_steps=10", f"--workdir={tmp_path / 'run'}")
    assert json.loads((tmp_path / "run" / "results.json").read_text())["rate"] >= 0


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--loss=mse + foo*kl", *SIZES], ">>foo<<"),
        (["--loss=mse.sum + kl"], "--data_dim"),
        (["--loss=mse.sum + kl", "--data_dim=4"], "--latent_dim"),
        (["--loss=mse.sum + kl", "--recon=bce", *SIZES], "both say"),
        (["--loss=mse.sum + kl", "--kl_reduction=sum", *SIZES], "--kl_reduction"),
        (["--loss=F.mse_loss(x, y) + kl.sum()", *SIZES], "--batch_size"),
        (["--loss=mse.sum - kl", *SIZES], "must be positive"),
        (["--loss=kl - mse.sum", *SIZES], "must be positive"),
        (["--loss=bce.sum + kl", "--pixel_scale=2", *SIZES], "--pixel_scale"),
        (["--loss=huber(delta=0).sum + kl", *SIZES], "width of 0"),
        (["--loss=1e200*mse.sum + kl", *SIZES], "float32"),
        (["--loss=mse + beta*kl", "--weight=nan", *SIZES], "--weight"),
    ],
)
def test_what_cannot_be_weighed_is_refused(flags, named):
    with pytest.raises(UserError) as caught:
        call(*flags, binary="weigh")
    assert named in str(caught.value) and "\n" not in str(caught.value)
