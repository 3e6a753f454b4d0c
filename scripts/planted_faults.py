"""Plants ten faults, one after the other, in a copy of the clone, and says which of them its tests catch.

.venv/bin/python scripts/planted_faults.py                  about ten minutes; status 1 where one is missed
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# (file, what stands there, the fault, the tests that should fail)
FAULTS = [
    ("vae_jax/likelihoods/gaussian.py", "+ LOG_2PI) - log_sigma", "- LOG_2PI) - log_sigma", "tests/likelihoods"),
    ("vae_jax/gaussian.py", "jnp.expm1(logvar) - logvar", "jnp.expm1(logvar) + logvar", "tests/core/test_gaussian.py"),
    ("vae_jax/schedules.py", "ramp = Fraction(ratio)", "ramp = Fraction(1)", "tests/core/test_schedules.py"),
    ("vae_jax/conventions.py", "beta /= latent_dim if", "beta *= latent_dim if", "tests/core/test_conventions.py"),
    ("vae_jax/weighting/geco.py", "+ jnp.clip(rate * average", "- jnp.clip(rate * average", "tests/weighting"),
    ("vae_jax/randomness.py", "in_axes=(None, 0))(key, index)", "in_axes=(None, 0))(key, 0 * index)", "tests/train"),
    ("vae_jax/runtime/restore.py", "get(name) != crc for", "get(name) == {} for", "tests/runtime"),
    ("vae_jax/runtime/lock.py", "if fcntl is None:", "if True:", "tests/runtime/test_lock.py"),
    ("vae_jax/report/page.py", 'autoescape=not name.endswith(".txt")', "autoescape=False", "tests/report"),
    ("vae_jax/data/pixels.py", 'if mode == "dequantised" else levels - 1)', ")", "tests/data/test_pixels.py"),
]


def is_caught(clone: Path, file: str, old: str, new: str, tests: str) -> bool:
    """Whether one of ``tests`` fails with the fault in its place; the file is put back."""
    path = clone / file
    source = path.read_text()
    assert source.count(old) >= 1, f"{file} no longer holds {old!r}"
    path.write_text(source.replace(old, new))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests.split()]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    path.write_text(source)
    # Status 1 is a test that failed; any other is no verdict.
    assert done.returncode in (0, 1), done.stdout[-2000:]
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    print(f"{'caught' if failed else 'MISSED'}  {file}: {new}  {failed[0][:110] if failed else ''}", flush=True)
    return bool(failed)


def main() -> None:
    """Copies the clone, plants the faults and counts."""
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        shutil.copytree(root, clone, ignore=shutil.ignore_patterns(".git", ".venv*", "runs", ".pytest_cache"))
        caught = [is_caught(clone, *fault) for fault in FAULTS]
    print(f"{sum(caught)} of {len(FAULTS)} caught")
    sys.exit(not all(caught))


if __name__ == "__main__":
    main()
