"""Kills train and sweep at random moments, and compares where they end with a run that nobody disturbed, bit for bit.

    python scripts/fault_campaign.py                                      100 faults, two CPU cores
    python scripts/fault_campaign.py --kills=10 --cases=train1,sweep1 --seed=3

Cases: train and sweep, each with one process and with two that find each other as on two hosts. A fault is a SIGKILL at
a moment drawn uniformly over what is left of the training (sometimes over the start, or over what comes after it), a
SIGKILL as soon as a checkpoint begins to be written, or a SIGTERM; of one process or of all. Now and then a file of the
newest checkpoint is cut between two attempts. A run continues until it has ended, and others begin until all faults
have struck.

Two cases are no kills: ``readers`` has a second process evaluate a run, draw its report and open its checkpoints while
it trains, and ``limits`` takes permission, handles or memory from who continues or evaluates it; --rounds times each.

Compared: results.json and sweep.jsonl without the timings, every metrics.jsonl, the checksum of every array of every
last checkpoint. Checked as well: at most one interval between two checkpoints is lost, nothing where SIGTERM came
first; a run continues from the newest checkpoint that is whole; a cut one is reported. Exit status 1 where anything is
not so.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from faults import INTERVAL, Case, Pace, attempt, draw, truncate, undisturbed
from launch_local import restarts
from reading import beside_a_living_run, taken_away

from vae_jax.runtime.files import read_rows

TIMINGS = {"seconds", "examples_per_second"}
TRUNCATE = 0.15  # of the attempts begin with a checkpoint that was cut
# So small that half of the time goes into updates and half into saves.
_SMALL = ("--hidden=16", "--latent_dim=3", "--batch_size=64", "--iw_samples=4")
_FLAGS = {
    "train": ((*_SMALL, "--eval_every=500", "--weighting=linear"), "checkpoints"),
    "sweep": ((*_SMALL, "--beta=0.3,1", "--seed=0,1"), "programs/*/rung_*"),
}
CASES = {f"{m}{n}": Case(f"{m}{n}", m, n, *own) for n in (1, 2) for m, own in _FLAGS.items()}


class Tally:
    """What happened to one case: a row of the table."""

    COLUMNS = ("SIGKILL", "in a save", "SIGTERM", "truncated", "resumes")

    def __init__(self, name: str):
        self.name, self.counts, self.ends = name, dict.fromkeys(self.COLUMNS, 0), 0
        self.lost: list[int] = []  # updates on record that no checkpoint holds, for each fault
        self.differences: list[str] = []
        self.problems: list[str] = []

    def add(self, other: Tally) -> None:
        """Counts what happened to another case too."""
        self.counts = {name: count + other.counts[name] for name, count in self.counts.items()}
        self.ends += other.ends
        for name in ("lost", "differences", "problems"):
            getattr(self, name).extend(getattr(other, name))

    def row(self) -> list[str]:
        """Returns its cells."""
        mean = f"{sum(self.lost) / len(self.lost):.1f}" if self.lost else "-"
        lost = (mean, max(self.lost, default="-"), INTERVAL)
        ends = (self.ends, len(self.differences), len(self.problems))
        return [str(cell) for cell in (self.name, len(self.lost), *self.counts.values(), *lost, *ends)]


HEADER = ["case", "kills", *Tally.COLUMNS, "lost, mean", "lost, most", "interval", "ends", "differences", "problems"]


def comparable(workdir: Path) -> dict[str, object]:
    """All that must not depend on how often a run was stopped: name -> value.

    Args:
      workdir: of a run or of a sweep that has ended.
    """
    found = {}
    for path in [*workdir.rglob("metrics.jsonl"), *workdir.glob("sweep.jsonl"), *workdir.rglob("results.json")]:
        rows = read_rows(path) if path.suffix == ".jsonl" else [json.loads(path.read_text())]
        name = str(path.relative_to(workdir))
        found[f"{name}: lines"] = path.read_text().count("\n")  # those that are torn are none of the rows
        for number, row in enumerate(rows):
            found |= {f"{name}:{number}:{key}": value for key, value in row.items() if key not in TIMINGS}
    for folder in workdir.rglob("checkpoints"):
        last = max((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
        sums = json.loads((last / "meta" / "metadata").read_text())["checksums"]
        found |= {f"{folder.relative_to(workdir)}/{last.name}:{leaf}": value for leaf, value in sums.items()}
    return found


def unlike(workdir: Path, reference: Path) -> list[str]:
    """Returns the names under which a run differs from one that nobody disturbed."""
    return differences(comparable(workdir), comparable(reference))


def differences(ours: dict[str, object], theirs: dict[str, object]) -> list[str]:
    """The names under which two runs differ; NaN equals NaN."""
    return sorted(k for k in ours.keys() | theirs.keys() if repr(ours.get(k)) != repr(theirs.get(k)))


def campaign(case: Case, kills: int, chooser: random.Random, folder: Path, environment: dict[str, str]) -> Tally:
    """Strikes ``kills`` times.

    Args:
      case: what is run.
      kills: how many faults.
      chooser: of everything random.
      folder: for the workdirs; those of runs that end as they should are removed.
      environment: of the processes.
    """
    tally = Tally(case.name)
    _say(case, "undisturbed, twice: the first fills the compilation cache")
    undisturbed(case, folder / "first", folder / "first.log", environment)
    pace = undisturbed(case, folder / "reference", folder / "reference.log", environment)
    reference = comparable(folder / "reference")
    for name in differences(comparable(folder / "first"), reference):
        tally.problems.append(f"two undisturbed runs differ in {name}")
    number = 0
    while len(tally.lost) < kills and number < kills + 5:  # a run may fail by itself, but not for ever
        workdir = folder / f"run{number}"
        number += 1
        if _one_run(case, workdir, kills, chooser, environment, pace, tally):
            found = differences(comparable(workdir), reference)
            tally.ends += 1
            tally.differences += [f"{workdir}: {name}" for name in found]
            if not found:
                shutil.rmtree(workdir)
    return tally


def _one_run(case, workdir, kills, chooser, environment, pace: Pace, tally: Tally) -> bool:
    """One run from its start to its end, with all the faults that meet it; whether it came to its end."""
    damaged: dict[Path, int] = {}
    while True:
        if chooser.random() < TRUNCATE and truncate(case, workdir, damaged, chooser):
            tally.counts["truncated"] += 1
        saved, cut = case.saved(workdir, damaged), _cut(case, workdir, damaged)
        fault = draw(case, chooser, saved) if len(tally.lost) < kills else None
        outcome = attempt(case, workdir, workdir.with_suffix(".log"), environment, fault, pace, saved)
        _check_start(case, saved, cut, outcome, tally)
        if not outcome.hit:
            if outcome.status:
                tally.problems.append(f"ended by itself with status {outcome.status}: {outcome.said.strip()[-300:]}")
            return outcome.status == 0
        _record(case, workdir, damaged, fault, outcome, tally)
        if outcome.status == 0:  # it was over before the signal was felt
            return True
        if not restarts(outcome.status) and fault.victims is None:
            tally.problems.append(f"{fault.kind} ended it with status {outcome.status}: {outcome.said.strip()[-300:]}")


def _cut(case: Case, workdir: Path, damaged: dict[Path, int]) -> set[int]:
    """The steps whose checkpoints are cut and newer than the newest whole one."""
    saved = case.saved(workdir, damaged)
    return {step for step in case.checkpoints(workdir) if step > saved}


def _check_start(case: Case, saved: int, cut: set[int], outcome, tally: Tally) -> None:
    if outcome.resumed is None:
        return  # from step 0, or it came to its end before it said so
    tally.counts["resumes"] += 1
    if outcome.resumed != saved:
        tally.problems.append(f"continued from step {outcome.resumed}, and {saved} was the newest whole checkpoint")
    if not cut <= outcome.refused:
        tally.problems.append(f"the cut checkpoints of steps {sorted(cut - outcome.refused)} were not reported")


def _record(case: Case, workdir: Path, damaged: dict[Path, int], fault, outcome, tally: Tally) -> None:
    tally.counts[fault.kind] += 1
    reached = case.reached(workdir)
    # What an attempt did not reach has been counted as lost before.
    lost = max(0, reached - case.saved(workdir, damaged)) if outcome.worked else 0
    tally.lost.append(lost)
    allowed = 0 if outcome.in_time else INTERVAL
    if lost > allowed:
        tally.problems.append(f"{fault.kind} at step {reached} lost {lost} steps; {allowed} are allowed")
    who = "all" if fault.victims is None else f"process {fault.victims[0]}"
    _say(case, f"{len(tally.lost)}: {fault.kind} of {who}, status {outcome.status}, at step {reached}, {lost} lost")


def _say(case: Case, text: str) -> None:
    print(f"{case.name}: {text}", file=sys.stderr, flush=True)


def table(tallies: list[Tally]) -> list[str]:
    """Returns the lines of a table in Markdown, a row a case and one for all."""
    rows = [HEADER, ["---"] * len(HEADER), *(tally.row() for tally in tallies)]
    if len(tallies) > 1:
        total = Tally("all")
        for tally in tallies:
            total.add(tally)
        rows.append(total.row())
    return ["| " + " | ".join(row) + " |" for row in rows]


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="faults, over all cases")
    parser.add_argument("--rounds", type=int, default=50, help="how often a run is read, or deprived")
    names = [*CASES, "readers", "limits"]
    parser.add_argument("--cases", default=",".join(names), help=f"some of {','.join(names)}")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--workdir", help="default: a temporary folder, removed where all is well")
    args = parser.parse_args(argv)
    args.cases = args.cases.split(",")
    unknown = [name for name in args.cases if name not in names]
    if unknown or min(args.kills, args.rounds) < 1:
        parser.error(f"no case {unknown[0]}" if unknown else "--kills and --rounds must be at least 1")
    return args


def main(argv: list[str]) -> int:
    """Runs the campaign and prints its table; the exit status."""
    args, began = parse(argv), time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes end with it
    root = Path(args.workdir or tempfile.mkdtemp(prefix="fault_campaign_")).resolve()
    environment = {"JAX_COMPILATION_CACHE_DIR": str(root / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    environment["PYTHONUNBUFFERED"] = "1"
    outcomes = {}
    killed = [name for name in args.cases if name in CASES]
    for name in args.cases:
        folder, chooser = root / name, random.Random(f"{args.seed} {name}")
        folder.mkdir(parents=True)
        if name == "readers":
            outcomes[name] = beside_a_living_run(args.rounds, unlike, folder, environment)
        elif name == "limits":
            outcomes[name] = taken_away(args.rounds, unlike, folder, environment, chooser)
        else:
            kills = args.kills // len(killed) + (killed.index(name) < args.kills % len(killed))
            outcomes[name] = campaign(CASES[name], kills, chooser, folder, environment)
    for name, outcome in outcomes.items():
        for kind, texts in (("difference", outcome.differences), ("problem", outcome.problems)):
            for text in texts:
                print(f"{kind} in {name}: {text}", file=sys.stderr)
        if name not in CASES:
            ends = f"{len(outcome.differences)} differences, {len(outcome.problems)} problems"
            print(f"{name}: {', '.join(f'{n} {what}' for what, n in outcome.counts.items())}; {ends}")
    if killed:
        print(*table([outcomes[name] for name in killed]), sep="\n")
    print(f"in {time.monotonic() - began:.0f} s, --seed={args.seed}")
    wrong = any(outcome.differences or outcome.problems for outcome in outcomes.values())
    if wrong:
        print(f"what was left of them is in {root}", file=sys.stderr)
    elif args.workdir is None:
        shutil.rmtree(root)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
