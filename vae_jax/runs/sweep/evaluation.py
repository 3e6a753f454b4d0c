"""The evaluations of a sweep's runs on the validation split: each run keeps its best as it would by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from vae_jax.devices.run_mesh import RunMesh
from vae_jax.runs.selection import Watch
from vae_jax.runs.sweep.plan import Job
from vae_jax.train.averaging import averages
from vae_jax.train.best import has_stopped
from vae_jax.train.many_runs import FINITE, SweepState

Write = Callable[[int, int, str, dict[str, Any]], None]  # (row, step, split, values)


def evaluated(state: SweepState, jobs: list[Job], mesh: RunMesh, watch: Watch, write: Write) -> SweepState:
    """Returns the state after an evaluation of every run that is neither frozen nor stopped by its patience.

    A run that has stopped is trained on with the others of its program, but what it reports stays as it is.

    Args:
      state: on the devices.
      jobs: the runs, in the order of the state.
      mesh: the devices.
      watch: of the program's first run.
      write: for metrics.jsonl.
    """
    # Run by run on the host: a slice of an array on many devices would be a program of all of them.
    runs = mesh.fetch(state.runs._replace(opt_state=averages(state.runs.opt_state), key=()))
    bad, bests = np.asarray(mesh.fetch(state.bad_step)), []
    for row, job in enumerate(jobs):
        one = jax.tree.map(lambda leaf, row=row: leaf[row], runs)
        if bad[row] == FINITE and not has_stopped(one.best):
            summary = watch.summary(job.run.spread.place(watch.params(one)), job.run.key)
            one, values = watch.chosen(job.run, one, summary)
            write(row, int(one.step), watch.split, values)
        bests.append(one.best)
    best = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *bests)
    return state._replace(runs=state.runs._replace(best=mesh.rows(best)))


def stopped(runs: Any) -> np.ndarray:
    """Returns the rows of the runs that their patience has stopped; ``runs``, their states, are on the host."""
    return np.arange(0) if runs.best is None else np.flatnonzero(np.asarray(runs.best.stopped_at) >= 0)
