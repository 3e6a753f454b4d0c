"""Where the local copy of a remote run is."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from vae_jax.types import UserError


def staging_folder(url: str) -> Path:
    """Returns ``~/.cache/vae_jax/workdirs/NAME-DIGEST`` of a URL, not made yet, in a folder that nobody else can read.

    Raises:
      UserError: there is no home, or it cannot be written.
    """
    url = url.rstrip("/")
    name = re.sub(r"[^A-Za-z0-9._=-]+", "-", url.rpartition("/")[2])[:40].strip("-.") or "run"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    try:
        root = cache.expanduser().absolute() / "vae_jax" / "workdirs"
        make_private(root)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home to expand ~ to
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"no local copy of {url} can be kept in {cache}: {reason}; set XDG_CACHE_HOME to a folder that can be "
            "written"
        ) from error
    return root / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def make_private(folder: Path) -> None:
    """Makes ``folder``, for its owner only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
