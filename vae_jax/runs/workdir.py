"""The folder of a run: claimed for its flags, locked against other runs, mirrored where it is in an object store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax.devices import processes
from vae_jax.runtime import lock
from vae_jax.runtime.config import claim_workdir
from vae_jax.runtime.files import check_plain
from vae_jax.types import UserError

DYING = 20.0  # seconds that processes of a run that lost one of them may take to end


# What runs and sweeps write into their folders.
FILES = (
    *("config.json", "data.json", "metrics.jsonl", "results.json", "evaluation.json", "pictures.npz", "sentences.json"),
    *("waking.json", "report.html", "sweep.json", "sweep.jsonl", "sweep.csv", "clock.json", "curve.json"),
)
FOLDERS = ("checkpoints", "figures", "profile", "programs", "runs")


class Workdir(NamedTuple):
    """Where a run lives.

    Attributes:
      path: the folder it works in.
      saved: to be called after each save: brings what is new to the object store, if there is one.
      ended: the same when all is done; it raises a ``UserError`` where the store does not answer.
    """

    path: Path
    saved: Callable[[], None]
    ended: Callable[[], None]


def local_folder(workdir: str) -> Path:
    """Returns the folder that a run works in: ``workdir`` itself, or the staging folder of a URL."""
    return _places(workdir)[0]


def _places(workdir: str) -> tuple[Path, Any]:
    """Returns the folder that a run works in, and the mirror of an object store or None."""
    from vae_jax.runtime.remote import Mirror, is_remote, local_path

    if not is_remote(workdir):
        return Path(workdir), None
    local = local_path(workdir)
    # file://D is D, with the same lock.
    if local is not None:
        return local, None
    if processes.count() > 1:
        raise UserError(
            f"--workdir={workdir}: several processes need one folder that all of them see; mount the store, or use a "
            "shared file system"
        )
    mirror = Mirror(workdir)
    return mirror.local, mirror


@contextlib.contextmanager
def open_workdir(config: Any, typed: Any = None, longer: bool = False) -> Iterator[Workdir]:
    """This configuration's workdir, held until the end; on every process of the run.

    Args:
      config: the settled flags.
      typed: the flags before they were settled, for messages.
      longer: whether the run that is there may be one of fewer steps, which is extended.

    Raises:
      UserError: another run holds it, it was made with other flags, or it cannot be used.
    """
    path, mirror = _places(config.workdir)
    sweep = path.absolute().parent.parent
    if path.absolute().parent.name == "runs" and lock.is_held(sweep):
        raise UserError(f"--workdir={path} is a run of the sweep in {sweep}, which goes on; wait for its end")
    with contextlib.ExitStack() as held:
        processes.first_does(lambda: held.enter_context(_lock(path)))
        if not processes.is_first():
            held.enter_context(lock.join(path))
        if mirror is not None:
            mirror.pull()
        processes.first_does(lambda: _claim(path, config, typed, ("num_steps",) if longer else ()))
        if mirror is None:
            yield Workdir(path, lambda: None, lambda: None)
        else:
            yield Workdir(path, lambda: mirror.push() and None, lambda: mirror.push(final=True) and None)


@contextlib.contextmanager
def existing_workdir(workdir: str, bring_back: bool = True) -> Iterator[Path]:
    """The folder of a run that is there already, to be read, beside a run that writes it if need be.

    Of a URL it is the copy here, which is brought back when all went well, unless nothing is written (``bring_back``);
    of a run that goes on here its own copy, which that run brings.
    """
    path, mirror = _places(workdir)
    check_plain(path, FILES, FOLDERS)
    if mirror is None or lock.is_held(path):
        yield path
        return
    with lock.take(path):
        mirror.pull()
        yield path
        # A push would end a run that goes on elsewhere; one with results has come to its end.
        if bring_back and (path / "results.json").exists():
            mirror.push(final=True)
        elif bring_back:
            print(f"{workdir} has no results yet, so it stays as it is: what was made is in {path}")


def claim_run_folder(workdir: Workdir, path: Path, config: Any) -> Workdir:
    """A run of a sweep in its folder below the sweep's, whose lock holds for it.

    Raises:
      UserError: it was made with other flags, or is being trained by itself.
    """
    check_plain(path.parent, (), (path.name,))
    if lock.is_held(path):
        raise UserError(f"{path} is being trained by itself; wait for its end, or choose another --workdir")
    processes.first_does(lambda: _claim(path, config))
    return workdir._replace(path=path)


def _claim(path: Path, config: Any, typed: Any = None, grown: tuple[str, ...] = ()) -> None:
    check_plain(path, FILES, FOLDERS)
    claim_workdir(path, config, typed, grown)


def _lock(path: Path) -> lock.Lock:
    # The members of an earlier run of several processes may outlive the one that was killed.
    several = processes.count() > 1 or len(lock.holders(path)) > 1
    return (lock.take_first if processes.count() > 1 else lock.take)(path, DYING if several else 0.0)
