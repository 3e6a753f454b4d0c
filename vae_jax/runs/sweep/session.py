"""A sweep while it runs: its flags, its folder, its times, and whether somebody asked for a stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax.devices import processes
from vae_jax.runs.workdir import Workdir
from vae_jax.runtime.files import read_object, write_json
from vae_jax.types import UserError


class Interrupted(Exception):
    """Somebody asked for a stop; everything up to the last chunk is saved. Its argument, if any, is an exit status."""


class Clock:
    """Where the time of a sweep goes, over all the times that it was started; kept in ``clock.json``.

    Attributes:
      spent: name -> amount: ``seconds`` of everything, ``training_seconds``, ``training_steps``.
    """

    def __init__(self, path: Path):
        self._path = path
        try:
            before = read_object(path, "remove it")
        except UserError:
            # The first time, or a file that somebody broke: only the times are lost.
            before = {}
        self.spent = {name: float(spent) for name, spent in before.items() if isinstance(spent, int | float)}
        self._last = time.perf_counter()

    def add(self, **amounts: float) -> None:
        """Adds to the named amounts, and the time since the last call to ``seconds``."""
        now = time.perf_counter()
        amounts["seconds"], self._last = now - self._last, now
        for name, amount in amounts.items():
            self.spent[name] = self.spent.get(name, 0.0) + amount
        if processes.is_first():
            write_json(self._path, self.spent)

    @property
    def seconds_per_step(self) -> float:
        """What a training step of one run took, on average."""
        return self.spent.get("training_seconds", 0.0) / max(self.spent.get("training_steps", 1), 1)


class Session(NamedTuple):
    """A sweep while it runs.

    Attributes:
      config: the sweep's flags.
      workdir: its folder.
      clock: its times.
      stop: ``() -> bool``, whether somebody asked for a stop.
    """

    config: Any
    workdir: Workdir
    clock: Clock
    stop: Callable[[], bool]

    def check_stop(self) -> None:
        """Raises ``Interrupted`` where somebody asked for a stop."""
        if self.stop():
            raise Interrupted
