"""Shared by all tests: eight virtual CPU devices, 64-bit arithmetic on request, and how golden numbers are compared."""

from __future__ import annotations

import base64
import contextlib
import gc
import os
import shutil
import signal
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

# What one test compiled, another one and the binaries that tests start need not compile again. Nearly all of the time
# of the suite is compilation, and most of it of programs that it has met before: the smallest ones count, there are
# sixty of them in a run.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# LLVM's lowest level halves a compilation, and so does the older way of making a loop of a fusion. XLA's own passes,
# which decide what is computed, run as ever. On a GPU the first would slow the kernels themselves.
if shutil.which("nvidia-smi") is None:
    wanted, given = ["--xla_backend_optimization_level=0"], os.environ.get("XLA_FLAGS", "")
    if version("jaxlib").startswith("0.10."):  # later ones have not the second, and an unknown flag ends a process
        wanted += ["--xla_cpu_use_fusion_emitters=false"]
    os.environ["XLA_FLAGS"] = " ".join([given, *(flag for flag in wanted if flag.split("=")[0] not in given)]).strip()

import jax
import numpy as np
import pytest

# A shell that starts the tests in the background has SIGINT ignored, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.default_int_handler)

from experiments.claims import bed
from vae_jax.report import figure

# Before any device is used, so that the tests of meshes have eight; everything else runs on the first of them.
jax.config.update("jax_num_cpu_devices", 8)

# As the binaries do: programs that are kept are many objects, and looking through them takes a tenth of the time.
gc.set_threshold(50_000, 20, 100)

# Coarse figures: a run draws ten, and nobody looks at those of a test.
figure.DPI = 40

# A PNG of one pixel.
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg==")
# Folders and files of tests that look at figures. In the others a run paints its own and they are not made into pixels,
# which is a third of the time of a tiny run; those of `digits_run` and of processes are.
DRAWN = {
    "experiments",
    "report",
    "test_dynamics",
    "test_sweep_run",
    "test_text_run",
    "test_waking_forecast",
    "test_weigh",
}

# The bed of every test of the linear theory.
BED_EIGENVALUES, BED_LATENTS = bed.EIGENVALUES, bed.LATENTS


def golden(text: str, single: bool = False):
    """A reference number as printed, to be compared with ``==``.

    The tolerance is 1e-9 relative in float64 and 2e-6 relative + 1e-6 absolute in float32, never less than half a unit
    of the last digit printed.
    """
    value = Decimal(text)
    printed = 0.51 * 10.0 ** value.as_tuple().exponent
    tolerance = 2e-6 * abs(float(value)) + 1e-6 if single else 1e-9 * abs(float(value))
    return pytest.approx(float(value), rel=0.0, abs=max(tolerance, printed))


def within_standard_errors(samples, expected, count: float) -> bool:
    """Whether the mean of independent ``samples [n, ...]`` is within ``count`` standard errors of ``expected``."""
    samples = np.asarray(samples, np.float64)
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    return bool(np.all(np.abs(samples.mean(axis=0) - expected) <= count * error))


@pytest.fixture
def x64():
    """64-bit arithmetic inside the test."""
    with jax.enable_x64(True):
        yield


def _folder(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: it would name the folder of {what}")
    if not Path(value).is_dir():
        pytest.skip(f"{variable} names {value}, which is not a folder")
    return Path(value)


@pytest.fixture
def raw_dir() -> Path:
    """The folder of original files (``mnist/*.gz``, ...) that ``VAE_JAX_RAW_DIR`` names; skips without it."""
    return _folder("VAE_JAX_RAW_DIR", "original data files, such as mnist/train-images-idx3-ubyte.gz")


@pytest.fixture
def data_dir() -> Path:
    """The folder of prepared TFDS data sets that ``VAE_JAX_DATA_DIR`` names; skips without it."""
    return _folder("VAE_JAX_DATA_DIR", "prepared TFDS data sets")


@pytest.fixture
def mnist_train(raw_dir) -> np.ndarray:
    """The 60,000 training images of MNIST as uint8 ``[60000, 784]``, read from the original file."""
    import gzip

    path = raw_dir / "mnist" / "train-images-idx3-ubyte.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16).reshape(60_000, 784)


@contextlib.contextmanager
def undrawn():
    """Runs call all that paints their figures, and write an image of one pixel for each."""
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, file, **_: file.write(PIXEL))
        yield


@pytest.fixture(scope="module", autouse=True)
def plain_figures(request):
    """Figures of a module are ``undrawn``; see ``DRAWN``."""
    with contextlib.nullcontext() if DRAWN & {request.path.parent.name, request.path.stem} else undrawn():
        yield


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory) -> Path:
    """The folder of a tiny run of digits, to be read only."""
    from helpers.trained_models import train_digits

    workdir = tmp_path_factory.mktemp("trained") / "digits"
    train_digits(workdir)
    return workdir
