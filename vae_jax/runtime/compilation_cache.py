"""What one run compiled, the next one reads: JAX's persistent compilation cache, in the user's own cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from vae_jax.devices.user_cache import private_folder, prune

LARGEST = 1 << 30  # bytes that the folder may hold when a program starts
# Every program is kept: reading one back takes 2 ms, and the sixty small ones of a run take 3 s to compile.
LEAST_SECONDS = 0.0


def remember(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Turns the cache on, before anything is compiled, and returns its folder.

    None, and nothing is done, where JAX has been told of a cache, or not to have one, or where no folder can be had
    that is the user's alone: what lies there is executed.

    Args:
      environ: the environment.
    """
    import jax

    if jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:
        return None
    folder = own_folder(environ)
    if folder is None:
        return None
    with contextlib.suppress(OSError):  # a folder that is only too large is no reason to stop
        prune(folder, LARGEST)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    return folder


def own_folder(environ: Mapping[str, str]) -> Path | None:
    """Returns the user's own ``jax/MACHINE``, where compiled programs are; None where others could write.

    MACHINE stands for the kind of processor: one home is often that of many machines, and a program that was compiled
    for another processor ends with an illegal instruction.
    """
    return private_folder(environ, "jax", _machine())


def _machine() -> str:
    """Returns eight digits that differ between processors of different abilities."""
    kind = f"{platform.system()} {platform.machine()} "
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kind += next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    except OSError:
        pass  # no Linux
    return hashlib.sha256(kind.encode()).hexdigest()[:8]
