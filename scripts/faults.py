"""A run that is hit by a fault: its processes, the moment, the blow, and what lies on the disk after it.

Used by ``fault_campaign.py``.
"""

from __future__ import annotations

import glob
import random
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from launch_local import Group, cluster_commands

sys.path.append(str(Path(__file__).parents[1]))  # the package need not be installed

from vae_jax.runtime.files import read_rows

_BEGUN = re.compile(r"^(continuing from step|step (of a run )?\d+/)", re.MULTILINE)
_TRAINED = re.compile(r"^(evaluating|measuring)", re.MULTILINE)
_RESUMED = re.compile(r"^continuing from step (\d+)", re.MULTILINE)
_REFUSED = re.compile(r"checkpoint of step (\d+) cannot be used")
_WORKED = re.compile(r"^step (of a run )?\d+/", re.MULTILINE)
_SMALL_FILES = {("meta", "metadata"), ("state", "manifest.ocdbt")}  # of a checkpoint, that say what there is
_LOOK = 0.003  # seconds between two looks at a run


NUM_STEPS, LOG_EVERY, INTERVAL = (
    1500,
    10,
    100,
)  # a chunk ends at each multiple of the second, a save is due at the third


class Case(NamedTuple):
    """What is run, again and again.

    Attributes:
      name: of the row of the table.
      module: train or sweep.
      processes: how many at once.
      flags: of the binary, beside the workdir and those that say when.
      saves: the folders of a run's checkpoints, as a pattern below its workdir.
    """

    name: str
    module: str
    processes: int
    flags: tuple[str, ...]
    saves: str

    def start(self, workdir: Path, output: Path, environment: dict[str, str]) -> Group:
        """Starts its processes; what they say is added to the file ``output``."""
        when = (f"--num_steps={NUM_STEPS}", f"--log_every={LOG_EVERY}", f"--checkpoint_every={INTERVAL}")
        arguments = ["-m", f"experiments.{self.module}", f"--workdir={workdir}", *when, *self.flags]
        commands = [[sys.executable, *arguments]]
        if self.processes > 1:
            commands = cluster_commands(arguments, self.processes)

        def say(line):
            with output.open("a") as file:
                file.write(line + "\n")

        with output.open("a") as file:
            return Group(commands, environment, file, say)

    def checkpoints(self, workdir: Path) -> dict[int, Path]:
        """The complete ones, step -> folder."""
        return {int(p.name): p for p in workdir.glob(f"{self.saves}/*") if p.name.isdigit()}

    def partial(self, workdir: Path) -> set[Path]:
        """Checkpoints that are being written, or were when the run was killed."""
        return set(_glob(workdir, f"{self.saves}/*.orbax-checkpoint-tmp*"))

    def is_measured(self, workdir: Path) -> bool:
        """Whether results are there: all steps are done."""
        return any(workdir.glob("results.json")) or any(workdir.glob("runs/*/results.json"))

    def saved(self, workdir: Path, damaged: dict[Path, int]) -> int:
        """The newest step that is saved whole, 0 for none."""
        if self.is_measured(workdir):
            return NUM_STEPS
        whole = (step for step, folder in self.checkpoints(workdir).items() if not spoilt(folder, damaged))
        return max(whole, default=0)

    def reached(self, workdir: Path) -> int:
        """How many updates are on record: to the end of the last chunk that a metrics.jsonl shows."""
        last = -1
        for path in (*_glob(workdir, "metrics.jsonl"), *_glob(workdir, "runs/*/metrics.jsonl")):
            for row in read_rows(path):
                last = max(last, row["step"] if row["split"] == "train" else -1)
        return 0 if last < 0 else min(NUM_STEPS, (last // LOG_EVERY + 1) * LOG_EVERY)


def _glob(workdir: Path, pattern: str) -> list[Path]:
    # That of pathlib fails where a folder goes while it looks.
    return [workdir / name for name in glob.glob(pattern, root_dir=workdir)]


class Pace(NamedTuple):
    """When an undisturbed run begins to train, has trained and ends, in seconds from its start."""

    begun: float
    trained: float
    ended: float


class Fault(NamedTuple):
    """What is done to a run, and when.

    Attributes:
      kind: "SIGKILL", "in a save" (SIGKILL as soon as one begins) or "SIGTERM".
      part: of the run: "start", "training" or "end", which is the measuring and drawing after the training.
      share: of what is left of that part, in updates where it is the training, else in time.
      late: and how long after that update, in shares of the time from one checkpoint to the next.
      victims: which processes; None for all.
    """

    kind: str
    part: str
    share: float
    late: float
    victims: tuple[int, ...] | None


class Outcome(NamedTuple):
    """How an attempt ended: whether the fault ``hit`` anybody alive, the exit status, and what the run ``said``."""

    hit: bool
    status: int
    said: str

    @property
    def resumed(self) -> int | None:
        """The step from which it continued; None where it did not, or ended before."""
        match = _RESUMED.search(self.said)
        return int(match[1]) if match else None

    @property
    def worked(self) -> bool:
        """Whether it made an update."""
        return bool(_WORKED.search(self.said))

    @property
    def refused(self) -> set[int]:
        """The steps whose checkpoints were reported as unusable."""
        return {int(step) for step in _REFUSED.findall(self.said)}

    @property
    def in_time(self) -> bool:
        """Whether it says that it has saved because it was asked to stop."""
        return "the same command continues this" in self.said


def draw(case: Case, chooser: random.Random, saved: int) -> Fault | None:
    """A fault at random, mostly SIGKILL and mostly while it trains; None for a run that may come to its end.

    Args:
      case: what is run.
      chooser: of everything.
      saved: the step that it will continue from.
    """
    left = NUM_STEPS - saved > 2 * INTERVAL  # else there is little training to hit
    part = chooser.choices(("training", "start", "end", None), (0.8, 0.1, 0.1, 0) if left else (0, 0.1, 0.4, 0.5))[0]
    kind = chooser.choices(("SIGKILL", "in a save", "SIGTERM"), (0.6, 0.25, 0.15))[0]
    if kind == "in a save" and part != "training":
        kind = "SIGKILL"
    victims = None if chooser.random() < 0.25 else (chooser.randrange(case.processes),)
    return part and Fault(kind, part, chooser.random(), chooser.random(), victims)


def undisturbed(case: Case, workdir: Path, output: Path, environment: dict[str, str]) -> Pace:
    """Runs to the end, and says how long its parts take.

    Raises:
      RuntimeError: it failed.
    """
    began, times = time.monotonic(), []
    output.write_text("")
    with case.start(workdir, output, environment) as group:
        for pattern in (_BEGUN, _TRAINED):
            _until(lambda: pattern.search(output.read_text()), group)  # noqa: B023  (called at once)
            times.append(time.monotonic() - began)
        failed = group.wait()
    if failed:
        raise RuntimeError(f"the undisturbed run failed: {output.read_text().strip().splitlines()[-1:]}")
    return Pace(*times, time.monotonic() - began)


def attempt(
    case: Case, workdir: Path, output: Path, environment: dict[str, str], fault: Fault | None, pace: Pace, saved: int
) -> Outcome:
    """Starts, or continues, the run in ``workdir``, and lets the fault strike.

    Args:
      case, workdir, environment: of the run.
      output: a file for all that it says; written anew.
      fault: None to let it end.
      pace: of the undisturbed run.
      saved: the step it will continue from.
    """
    output.write_text("")
    with case.start(workdir, output, environment) as group:
        hit = fault is not None and _strike(case, group, workdir, output, fault, pace, saved)
        # Who waits for a dead process in a collective cannot be asked to save; who was asked to stop may need a while.
        status = group.wait(2.0 if hit and fault.kind != "SIGTERM" else 20.0)
    return Outcome(hit, status, output.read_text())


def _strike(case, group, workdir, output, fault, pace, saved) -> bool:
    training = (pace.trained - pace.begun) / NUM_STEPS * INTERVAL
    wait = {"start": fault.share * pace.begun, "training": fault.late * training}
    wait["end"] = fault.share * (pace.ended - pace.trained)
    first = {"start": re.compile(""), "training": _WORKED, "end": _TRAINED}[fault.part]
    _until(lambda: first.search(output.read_text()), group)
    if fault.part == "training":
        # In updates and not in time: the machine may be busier, or less so, than when the pace was taken.
        left = NUM_STEPS - INTERVAL - saved  # what aims at a save has to find one
        _until(lambda: case.reached(workdir) >= saved + fault.share * left, group)
    moment = time.monotonic() + wait[fault.part]
    _until(lambda: time.monotonic() >= moment, group)
    if fault.kind == "in a save":
        before = case.partial(workdir)
        _until(lambda: case.partial(workdir) - before, group)
    if any(process.poll() for process in group.processes):
        return False  # one failed before, by itself: that is to be seen
    victims = [p for i, p in enumerate(group.processes) if fault.victims is None or i in fault.victims]
    alive = [p for p in victims if p.poll() is None]
    if fault.kind == "SIGTERM" and fault.victims is None:
        group.ask(signal.SIGTERM)  # as the launcher does
        return bool(alive)
    for process in alive:
        process.send_signal(signal.SIGTERM if fault.kind == "SIGTERM" else signal.SIGKILL)
    return bool(alive)


def _until(condition: Callable[[], object], group: Group) -> None:
    """Waits for ``condition``, or for the end of the run or of one of its processes by a failure."""
    while not condition():
        codes = [process.poll() for process in group.processes]
        if None not in codes or any(codes):
            return
        time.sleep(_LOOK)


def truncate(case: Case, workdir: Path, damaged: dict[Path, int], chooser: random.Random) -> bool:
    """Cuts a file of the newest checkpoint in two, where there is an older one to fall back to.

    Args:
      case, workdir: of the run.
      damaged: which files were cut, and how long they are since; added to.
      chooser: of the file: the largest one, or one of those that say what there is.

    Returns:
      Whether it was done.
    """
    whole = {s: p for s, p in case.checkpoints(workdir).items() if not spoilt(p, damaged)}
    if len(whole) < 2 or case.is_measured(workdir):
        return False
    files = sorted((p for p in whole[max(whole)].rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    named = [p for p in files if (p.parent.name, p.name) in _SMALL_FILES]
    path = chooser.choice([files[-1], *named])
    damaged[path] = path.stat().st_size // 2
    with path.open("r+b") as file:
        file.truncate(damaged[path])
    return True


def spoilt(folder: Path, damaged: dict[Path, int]) -> bool:
    """Whether a file in ``folder`` was cut, and has not been written anew since."""
    cut = (path for path in damaged if path.is_relative_to(folder) and path.exists())
    return any(path.stat().st_size == damaged[path] for path in cut)
