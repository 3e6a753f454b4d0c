"""Training one run: from the newest good checkpoint to the end, with what is logged, evaluated and saved on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.devices import processes
from vae_jax.evaluation import summarise
from vae_jax.randomness import TEST, purpose_key
from vae_jax.runs import placement, profiling, warm_start
from vae_jax.runs.build import Run, first_state
from vae_jax.runs.evaluation_images import make_images
from vae_jax.runs.feeding import fed
from vae_jax.runs.settings import flat
from vae_jax.runs.skipped_updates import explain, is_sound, watch_skipped
from vae_jax.runs.weightings import CONTROLLED
from vae_jax.runs.workdir import Workdir
from vae_jax.runtime.checkpoint import Checkpoints
from vae_jax.runtime.interruption import Interruption
from vae_jax.runtime.logs import MetricsLog, Progress, update_rows
from vae_jax.runtime.restore import read_latest
from vae_jax.train.loop import Clock, Every, Hooks, fit
from vae_jax.types import TrainState, UserError

# What the numbers of a checkpoint mean. A change of convention gets a new number, and old checkpoints are refused.
CONVENTION = "nats per example, summed over the event, all constants; version 1"

# What a line of progress says.
SHOWN = ("loss", "elbo", "rate", "distortion", "beta", "sigma")


class Trained(NamedTuple):
    """A run at its end, or where somebody stopped it.

    Attributes:
      state: the last one.
      train, test: the splits as evaluation takes them.
      clock: how fast it went.
      stopped_by: the exit status that a stop before the end calls for; 0 at the end.
    """

    state: TrainState
    train: Any
    test: Any
    clock: Clock
    stopped_by: int


def train_and_save(r: Run, workdir: Workdir, scores: Callable) -> Trained:
    """Trains a run from its newest good checkpoint to its end, and saves, evaluates and logs on the way."""
    c, path = r.config, workdir.path
    test = placement.on_devices(r.spread, r.dataset.test)
    state = r.spread.begin(lambda: first_state(r))
    checkpoints = checkpoints_of(r, path)
    restored = checkpoints.restore_latest(state)
    if restored:
        print(f"continuing from step {restored[0]}")
    first, state = restored or (0, warm_start.begin(r, state))
    profiling.check(c, first)
    every = Every(c.log_every, c.eval_every, c.checkpoint_every)
    with (
        processes.at_first(lambda: MetricsLog(path, first, c.tracker, flat(c.flags))) as log,
        Progress(first, c.num_steps) as bar,
        Interruption() as stop,
        fed(r, first) as (advance, train),
    ):
        images = make_images(r, r.dataset.test)
        summaries: dict[int, dict[str, Any]] = {}
        watch, watch_skips = _watch_saturation(c, bar), watch_skipped(bar.say)

        def write(step, split, row, shown=None):
            if log is not None:
                log.write(step, split, row, shown)

        def on_log(first, metrics):
            length = len(metrics["loss"])
            for step, row in update_rows(first, metrics, first + length == c.num_steps, r.rates):
                write(step, "train", row)
            watch(first, length, metrics)
            watch_skips(first, metrics)
            bar.advance(length, {k: float(metrics[k][-1]) for k in SHOWN if k in metrics})

        def measured(state):
            # The last state is measured before it is saved and when it is logged.
            if int(state.step) not in summaries:
                summaries.clear()
                summary = summarise(scores(state.params, test, purpose_key(r.key, TEST)), r.data_dim)
                summaries[int(state.step)] = summary
            return summaries[int(state.step)]

        def on_evaluate(state):
            summary = measured(state)
            keys = ("elbo", "rate", "distortion", "mse", "active_units")
            shown = images(state.params) | {"nats_per_latent": np.asarray(summary["kl_per_latent"])}
            write(int(state.step), "test", {k: summary[k] for k in keys}, shown)
            bar.say(f"step {int(state.step)}: test elbo {summary['elbo']:.4f} nats")

        def on_save(state):
            if is_sound(r, state, lambda: measured(state)["elbo"]):
                checkpoints.save(int(state.step), state)
                workdir.saved()

        asked = processes.Agreement(stop.requested)
        hooks = Hooks(on_log, on_evaluate, on_save, asked, explain=lambda state, step: explain(r, state, step))
        advance = profiling.profiled(advance, path / "profile", bar.say) if c.profile else advance
        state, clock = fit(state, advance, c.num_steps, every, hooks)
        done = int(state.step) == c.num_steps
        if done:
            on_evaluate(state)
    return Trained(state, train, test, clock, 0 if done else stop.status)


def _watch_saturation(c, bar):
    """Says once, while the run goes on, that a controller's bound decides and not the controller."""
    said = False

    def watch(first, length, metrics):
        nonlocal said
        # At first the way to the target leads along a bound.
        late = first >= c.num_steps // 4
        if not said and late and length and np.mean(metrics.get("saturated", 0.0)) > 0.5:
            said = True
            bar.say(
                f"warning: --weighting={c.weighting} stands at a bound of beta, {metrics['beta'][-1]:.4g}, at step "
                f"{first}: the target is out of its reach so far"
            )

    return watch


def checkpoints_of(r: Run, workdir: Path) -> Checkpoints:
    """Returns the checkpoints of a run that is trained."""
    return Checkpoints(workdir / "checkpoints", r.config.keep_checkpoints, _note(r))


def _note(r: Run, has_data: bool = True) -> dict[str, Any]:
    """Returns what the numbers of a run's checkpoints mean."""
    # The beta of a controller is in the state.
    beta = None if r.config.weighting in CONTROLLED else r.choice.beta
    return {"convention": CONVENTION, **(r.dataset.fingerprints if has_data else {}), "beta": beta}


def trained(r: Run, has_data: bool = True) -> TrainState:
    """Restores the last state of a run that has been trained.

    Args:
      r: the run.
      has_data: whether ``r.dataset`` is what it was trained on.

    Raises:
      UserError: it has no checkpoint.
    """
    like = r.spread.begin(lambda: first_state(r))
    restored = read_latest(Path(r.config.workdir) / "checkpoints", like, _note(r, has_data))
    if restored is None:
        raise UserError(f"--workdir={r.config.workdir} holds no checkpoint; train it first")
    return restored[1]
