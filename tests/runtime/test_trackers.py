"""Trackers, each against a module in its package's place that notes what it is told."""

import sys
import types

import numpy as np
import pytest
from helpers.malformed import refusal
from helpers.trained_models import train_digits

from vae_jax.runtime import trackers
from vae_jax.runtime.logs import MetricsLog

IMAGE, SAMPLE = np.zeros((4, 6, 1), np.uint8), np.arange(3.0)


class Noted(types.ModuleType):
    """A package whose every function notes its call, and gives back itself."""

    def __init__(self, name):
        super().__init__(name)
        self.calls = []

    def __getattr__(self, name):
        def note(*args, **options):
            self.calls.append((name, args, options))
            return self

        return note

    def named(self, name):
        return [(args, options) for called, args, options in self.calls if called == name]


@pytest.fixture
def package(monkeypatch, request):
    monkeypatch.setitem(sys.modules, request.param, Noted(request.param))
    return sys.modules[request.param]


@pytest.mark.parametrize("package", trackers.TRACKERS, indirect=True)
def test_a_tracker_is_begun_told_and_finished(package, tmp_path):
    with MetricsLog(tmp_path, 0, package.__name__, {"beta": 2.0}) as log:
        log.write(3, "test", {"elbo": -1.5, "mse": None, "rate": float("inf")}, {"samples": IMAGE, "nats": SAMPLE})
    logged = package.named("log_metrics") or package.named("log")
    ((values,), options), *_ = logged
    assert values["test/elbo"] == -1.5 and "test/mse" not in values and "test/rate" not in values
    assert options["step"] == 3 and (package.named("finish") or package.named("end_run"))
    assert package.named("log_image") or package.named("Image")
    given = str(package.named("init") or package.named("log_params"))
    assert "beta" in given and tmp_path.name in str(package.calls)


@pytest.mark.parametrize("package", ["wandb"], indirect=True)
def test_a_tracker_that_fails_stops_nothing(package, tmp_path, capsys):
    package.init = lambda **options: (_ for _ in ()).throw(OSError("no\nnetwork"))
    with MetricsLog(tmp_path, 0, "wandb") as log:
        log.write(0, "train", {"loss": 1.0})
    err = capsys.readouterr().err
    assert err.count("--tracker=wandb") == 1 and "no network" in err and (tmp_path / "metrics.jsonl").stat().st_size


def test_a_package_that_is_missing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    message = refusal(lambda: train_digits(tmp_path / "run", tracker="trackio"))
    assert "pip install trackio" in message and not (tmp_path / "run").exists()


def test_tensorboard_has_images_and_a_histogram_of_each_evaluation(digits_run):
    (events,) = digits_run.glob("events.out.tfevents.*")
    raw = events.read_bytes()
    for name in (
        b"validation/reconstructions",
        b"validation/samples",
        b"validation/nats_per_latent",
        b"validation/elbo",
    ):
        assert name in raw, name
    assert b"\x89PNG" in raw
