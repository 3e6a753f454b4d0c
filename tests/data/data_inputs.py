"""What the tests of data share: small arrays, files of images, and the message of a refusal."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from vae_jax import data
from vae_jax.data.held_out import choose
from vae_jax.types import UserError

FEW = settings(derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck), max_examples=40)
IMAGES = np.arange(10 * 4 * 4, dtype=np.uint8).reshape(10, 4, 4)
ROWS = np.linspace(0, 1, 30, dtype=np.float32).reshape(10, 3)

PLAIN = data.Reading(validation=0)  # where the validation split is not the point


def halves(images) -> list[np.ndarray]:
    """The indices of train and of the test split that is held out of images ``[n, h, w]``."""
    return [*choose("images", images[..., None], PLAIN)[0].values()]


def refused(function, *args, **kwargs) -> str:
    """The message of the UserError that the call must raise: one line."""
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    return message


def png(array, kind="PNG") -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def save_image(path, array, **options):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(descr: str, shape, body: bytes = b"", version=b"\x01\x00") -> bytes:
    """An .npy file whose header says what it likes."""
    return npy_of(f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}", body, version)


def npy_of(header: str, body: bytes = b"", version=b"\x01\x00") -> bytes:
    text = header.encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version[0] == 1 else 4, "little") + text + body


def zipped(compress=zipfile.ZIP_STORED, **members: bytes) -> bytes:
    """An .npz file of members that say what they like."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compress) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()
