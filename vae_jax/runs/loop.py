"""Training one run: from the newest good checkpoint to the end, with what is logged, evaluated and saved on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax.devices import processes
from vae_jax.runs import placement, profiling, waking_forecast, warm_start
from vae_jax.runs.build import Run, first_state
from vae_jax.runs.evaluation_images import make_images
from vae_jax.runs.feeding import begin, fed
from vae_jax.runs.selection import Watch, ending
from vae_jax.runs.settings import flat
from vae_jax.runs.skipped_updates import explain, is_sound, watch_skipped
from vae_jax.runs.weightings import CONTROLLED
from vae_jax.runs.workdir import Workdir
from vae_jax.runtime.checkpoint import Checkpoints
from vae_jax.runtime.interruption import Interruption
from vae_jax.runtime.logs import MetricsLog, Progress, update_rows
from vae_jax.runtime.restore import holds, read_latest
from vae_jax.traced import one_by_one
from vae_jax.train.best import beside, has_stopped, nothing_yet, reported
from vae_jax.train.loop import Clock, Every, Hooks, fit, next_stop
from vae_jax.types import Best, TrainState, UserError

# What the numbers of a checkpoint mean. A change of convention gets a new number, and old checkpoints are refused.
CONVENTION = "nats per example, summed over the event, all constants; version 1"

# What a line of progress says.
SHOWN = ("loss", "elbo", "rate", "distortion", "beta", "sigma")


class Trained(NamedTuple):
    """A run at its end, or where somebody stopped it.

    Attributes:
      state: the last one, with the parameters and the step that the run reports.
      ending: of ``selection.ending``.
      splits: as evaluation takes them.
      clock: how fast it went.
      stopped_by: the exit status that a stop before the end calls for; 0 at the end.
    """

    state: TrainState
    ending: dict[str, Any]
    splits: placement.Splits
    clock: Clock
    stopped_by: int


def train_and_save(r: Run, workdir: Workdir, scores: Callable) -> Trained:
    """Trains a run from its newest good checkpoint to its end, and saves, evaluates and logs on the way."""
    c, path = r.config, workdir.path
    watched = Watch(r, scores)
    every, is_new = Every(c.log_every, c.eval_every, c.checkpoint_every), not (path / "checkpoints").exists()
    begun = begin(r, next_stop(0, c.num_steps, every) if is_new else None)
    state, checkpoints = begun.state, checkpoints_of(r, path)
    restored = checkpoints.restore_latest(state)
    if restored:
        print(f"continuing from step {restored[0]}")
    first, state = restored or (0, warm_start.begin(r, state))
    profiling.check(c, first)
    with (
        processes.at_first(lambda: MetricsLog(path, first, c.tracker, flat(c.flags))) as log,
        Progress(first, c.num_steps) as bar,
        Interruption() as stop,
        waking_forecast.beside(r, path, bar.say) as foretell,
        fed(r, first, begun) as (advance, train),
    ):
        images = make_images(r, watched.rows)
        rate = one_by_one(r.rates.model)
        watch, watch_skips = _watch_saturation(c, bar), watch_skipped(bar.say)
        watch_parting = _watch_parting(watched.split, bar)

        def write(step, split, row, shown=None):
            if log is not None:
                log.write(step, split, row, shown)

        def on_log(first, metrics):
            length = len(metrics["loss"])
            for step, row in update_rows(first, metrics, first + length == c.num_steps, rate):
                write(step, "train", row)
            foretell()
            watch(first, length, metrics)
            watch_skips(first, metrics)
            bar.advance(length, {k: float(metrics[k][-1]) for k in SHOWN if k in metrics})

        def on_evaluate(state):
            step = int(state.step)
            if step == c.num_steps:  # raises where nothing is to be written of it
                is_sound(r, state, lambda: watched.measured(state)["elbo"])
            summary = watched.measured(state)
            state, row = watched.chosen(r, state, summary)
            state = state._replace(best=_placed(r, state.best))
            kl = summary["kl_per_latent"]
            shown = images(watched.params(state)) | ({} if kl is None else {"nats_per_latent": np.asarray(kl)})
            write(step, watched.split, row, shown)
            bar.say(f"step {step}: {watched.split} elbo {summary['elbo']:.4f} nats")
            watch_parting(state, row)
            if has_stopped(state.best):
                bar.say(f"step {step}: no better bound in {c.patience} evaluations: training stops")
            return state, has_stopped(state.best)

        def on_save(state):
            if has_stopped(state.best) or is_sound(r, state, lambda: watched.measured(state)["elbo"]):
                checkpoints.save(int(state.step), state)
                workdir.saved()

        asked = processes.Agreement(stop.requested)
        hooks = Hooks(on_log, on_evaluate, on_save, asked, explain=lambda state, step: explain(r, state, step))
        advance = profiling.profiled(advance, path / "profile", bar.say) if c.profile else advance
        num_steps = int(state.step) if has_stopped(state.best) else c.num_steps
        state, clock = fit(state, beside(advance), num_steps, every, hooks)
        done = int(state.step) == c.num_steps or has_stopped(state.best)
    splits = placement.splits(r.spread, r.dataset, train)
    return Trained(reported(state), ending(state), splits, clock, 0 if done else stop.status)


def _placed(r: Run, best: Best | None) -> Best | None:
    """Puts the numbers that were decided on the host where the state's own are."""
    if best is None:
        return None
    numbers = {name: value for name, value in best._asdict().items() if name not in ("params", "weight_state")}
    return best._replace(**r.spread.place(numbers))


def _watch_parting(split, bar):
    """Says once, while the run goes on, that the bound on the validation split falls from its best."""
    said = False

    def watch(state, row):
        nonlocal said
        best = state.best
        if said or split != "validation" or best is None or int(best.misses) < 1:
            return
        fell = float(best.elbo) - row.get("recalibrated_elbo", row["elbo"])
        # What the reading of a finished run calls a fall.
        if fell > max(0.5, 0.1 * row["rate"]):
            said = True
            bar.say(
                f"warning: the validation bound is {fell:.4g} nats below its best, {float(best.elbo):.5g} nats "
                f"{int(best.misses)} evaluations ago, while training goes on: the run overfits. --keep=best keeps that "
                "step, --patience=N stops after N evaluations without a better one"
            )

    return watch


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
    """Restores the state of a run that has been trained, with the parameters and the step that it reports.

    Args:
      r: the run.
      has_data: whether ``r.dataset`` is what it was trained on.

    Raises:
      UserError: it has no checkpoint.
    """
    folder = Path(r.config.workdir) / "checkpoints"

    def first():
        # Other data, where they stand in for the run's own, may have no validation split.
        state = first_state(r)._replace(best=None)
        has_best = holds(folder, ".best.step")
        return state._replace(best=jax.jit(nothing_yet)(state.params, state.weight_state)) if has_best else state

    restored = read_latest(folder, r.spread.begin(first), _note(r, has_data))
    if restored is None:
        raise UserError(f"--workdir={r.config.workdir} holds no checkpoint; train it first")
    return reported(restored[1])
