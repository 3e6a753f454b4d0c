"""Where the numbers of a run go beside metrics.jsonl: TensorBoard's events, and a tracker of the user's.

A tracker is a function ``(workdir, flags, step) -> Tracker``. The packages of all but TensorBoard are the user's to
install, and are imported here alone, when they are asked for.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.types import UserError

PROJECT = "vae_jax"
Values = Mapping[str, Any]


class Tracker(NamedTuple):
    """One place that follows a run.

    Attributes:
      log: ``(step, values)``: name -> a number, an image (uint8 ``[h, w, c]``), or numbers for a histogram (``[n]``).
      finish: called once, at the end.
    """

    log: Callable[[int, Values], None]
    finish: Callable[[], None]


def split(values: Values) -> tuple[dict[str, float], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the finite numbers, the images, in colour, and the histograms among ``values``."""
    numbers = {k: float(v) for k, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}
    arrays = {k: v for k, v in values.items() if isinstance(v, np.ndarray)}
    # Not every package takes an image of one channel.
    images = {k: np.repeat(v, 3, axis=2) if v.shape[2] == 1 else v for k, v in arrays.items() if v.ndim == 3}
    return numbers, images, {k: v for k, v in arrays.items() if v.ndim == 1}


def tensorboard(workdir: Path, flags: Values, step: int) -> Tracker | None:
    """TensorBoard's events in the run's folder; None, with a warning, where tensorboardX is missing."""
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError:
        print("warning: no tensorboardX here, so no TensorBoard events; metrics.jsonl has all of them", file=sys.stderr)
        return None
    writer = SummaryWriter(str(workdir), purge_step=step or None)

    def log(step, values):
        numbers, images, histograms = split(values)
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)
        for name, image in images.items():
            writer.add_image(name, image, step, dataformats="HWC")
        for name, sample in histograms.items():
            writer.add_histogram(name, sample, step)

    return Tracker(log, writer.close)


def wandb(workdir: Path, flags: Values, step: int) -> Tracker:
    """Weights & Biases; the same folder continues the same run."""
    import wandb as package

    name = hashlib.sha256(str(workdir.absolute()).encode()).hexdigest()[:16]
    run = package.init(project=PROJECT, name=workdir.name, id=name, resume="allow", config=dict(flags))

    def log(step, values):
        numbers, images, histograms = split(values)
        shown = {k: package.Image(v) for k, v in images.items()}
        run.log({**numbers, **shown, **{k: package.Histogram(v) for k, v in histograms.items()}}, step=step)

    return Tracker(log, run.finish)


def mlflow(workdir: Path, flags: Values, step: int) -> Tracker:
    """MLflow, where its own environment variables say; histograms are left out."""
    import mlflow as package

    package.set_experiment(PROJECT)
    package.start_run(run_name=workdir.name)
    package.log_params(dict(flags))

    def log(step, values):
        numbers, images, _ = split(values)
        package.log_metrics(numbers, step=step)
        for name, image in images.items():
            package.log_image(image, key=name, step=step)

    return Tracker(log, package.end_run)


def trackio(workdir: Path, flags: Values, step: int) -> Tracker:
    """Trackio, on this machine; histograms are left out."""
    import trackio as package

    package.init(project=PROJECT, name=workdir.name, config=dict(flags), resume="allow")

    def log(step, values):
        numbers, images, _ = split(values)
        package.log({**numbers, **{k: package.Image(v) for k, v in images.items()}}, step=step)

    return Tracker(log, package.finish)


TRACKERS = {"wandb": wandb, "mlflow": mlflow, "trackio": trackio}
NAMES = ("none", *TRACKERS)


def check(name: str) -> None:
    """Refuses a tracker whose package is not installed."""
    if name != "none" and name not in sys.modules and importlib.util.find_spec(name) is None:
        raise UserError(f"--tracker={name} needs the package {name}, which is not here: pip install {name}")


def followed(workdir: Path, step: int, name: str = "none", flags: Values | None = None) -> list[Tracker]:
    """Returns what follows a run: TensorBoard, and the tracker of this name, which may fail and cannot stop the run."""
    trackers = [tensorboard(workdir, {}, step)]
    if name != "none":
        trackers.append(_patient(name, lambda: TRACKERS[name](workdir, flags or {}, step)))
    return [tracker for tracker in trackers if tracker is not None]


def _patient(name: str, begin: Callable[[], Tracker]) -> Tracker | None:
    """Begins a tracker; where it fails, then or later, it is left out from there on, with one warning."""

    def tried(action):
        if failed:
            return None
        try:
            return action()
        except Exception as error:  # of a service that does not answer: errors of many kinds
            failed.append(error)
            what = " ".join(str(error).split())[:200] or type(error).__name__
            print(f"warning: --tracker={name} does not follow this run any more ({what})", file=sys.stderr)
            return None

    failed: list[Exception] = []
    tracker = tried(begin)
    if tracker is None:
        return None
    return Tracker(lambda step, values: tried(lambda: tracker.log(step, values)), lambda: tried(tracker.finish))
