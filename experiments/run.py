"""A run: build -> train -> evaluate -> report, each file written in its place, from wherever an earlier try stopped."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import placing, profiling
from experiments.build import Material, Run, build, first_state, weighed
from experiments.feeding import fed
from experiments.scoring import evaluate, make_instruments
from experiments.trouble import explain, is_sound, watch_skipped
from experiments.weights import CONTROLLED
from experiments.workdir import Workdir, opened
from vae_jax import processes
from vae_jax.checkpoint import Checkpoints
from vae_jax.config import write_json
from vae_jax.evaluation import summarise
from vae_jax.evaluation.pictures import pictures
from vae_jax.interruption import Interruption
from vae_jax.jsonfile import read_object
from vae_jax.logs import MetricsLog, Progress, update_rows
from vae_jax.randomness import TEST, purpose_key
from vae_jax.train import Clock, Every, Hooks, fit
from vae_jax.types import TrainState, UserError

# What the numbers of a checkpoint mean. A change of convention gets a new number, and old checkpoints are refused.
CONVENTION = "nats per example, summed over the event, all constants; version 1"


def run(config, warnings: list[str], shared: Material | None = None) -> None:
    """Trains, or continues, evaluates and reports; ``shared`` is data that has been loaded before."""
    started = time.perf_counter()
    r = build(config, warnings, shared)
    with opened(r.config) as workdir:
        _run(r, workdir, started)


def _run(r: Run, workdir: Workdir, started: float) -> None:
    config, path = r.config, workdir.path
    first = processes.is_first()
    if r.is_text and first:
        write_json(path / "vocabulary.json", list(r.dataset.words))
    line = weighed(r)
    print(line, placing.said(r.spread.layout, config, r.dataset), *r.dataset.notes, sep="\n")
    for warning in r.warnings if first else ():
        print(f"warning: {warning}", file=sys.stderr)
    if processes.told_by_first(_is_finished(path, config.num_steps)):
        print(f"this run is finished: all {config.num_steps} steps are done")
    else:
        instruments = make_instruments(r)
        trained = train_and_save(r, workdir, instruments.scores)
        if trained.stopped_by:
            print(f"interrupted; the same command continues this run: --workdir={config.workdir}")
            workdir.ended()
            processes.leave(trained.stopped_by)
        print("evaluating")
        state, clock = trained.state, trained.clock
        results = evaluate(r, state, trained.train, trained.test, instruments)[0] | {"headline": line}
        looks = seen(r, state, trained.test)
        if first:
            results |= shares(path, config.num_steps)
            rate = clock.steps * config.batch_size / clock.seconds if clock.seconds else None
            results |= {"examples_per_second": rate, "seconds": time.perf_counter() - started}
            looks(path)
            write_json(path / "results.json", results)
    if first:
        finish(path)
    workdir.ended()


def _is_finished(path: Path, num_steps: int) -> bool:
    results = path / "results.json"
    remedy = "remove it, and the same command writes it anew"
    return results.exists() and read_object(results, remedy).get("step") == num_steps


def seen(r: Run, state: TrainState, test) -> Callable[[Path], None]:
    """What a person looks at: pictures.npz, or of a text sentences.json; every process computes it, one writes it."""
    if r.is_text:
        from experiments.scoring_text import sentences

        found = sentences(r, state, test)
        return lambda workdir: write_json(workdir / "sentences.json", found)
    drawn = pictures(
        *(r.vae, r.likelihood, r.preprocess, state.params, test, purpose_key(r.key, TEST), r.config.latent_dim),
        factors=r.dataset.test_factors,
        factor_names=r.dataset.factor_names,
    )
    return lambda workdir: np.savez(workdir / "pictures.npz", **drawn)


def finish(workdir: Path) -> None:
    """Draws the report of a finished run and says in words what it holds."""
    from vae_jax.report import summary_lines, write_report

    page = write_report(workdir)
    results, config = (json.loads((workdir / name).read_text()) for name in ("results.json", "config.json"))
    print(*summary_lines(results, config), sep="\n")
    print(f"report: {page}")


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
    """Runs the loop from the last good checkpoint."""
    c, path = r.config, workdir.path
    test = placing.on_devices(r.spread, r.dataset.test)
    state = r.spread.begin(lambda: first_state(r, c, r.key))
    with checkpoints_of(r, path) as checkpoints:
        found = checkpoints.restore_latest(state)
        first, state = found or (0, state)
        if found:
            print(f"continuing from step {first}")
        profiling.check(c, first)
        every = Every(c.log_every, c.eval_every, c.checkpoint_every)
        with (
            processes.at_first(lambda: MetricsLog(path, first)) as log,
            Progress(first, c.num_steps) as bar,
            Interruption() as stop,
            fed(r, first) as (advance, train),
        ):
            watch, watch_skips = _watch_saturation(c, bar), watch_skipped(bar.say)

            def write(step, split, row):
                if log is not None:
                    log.write(step, split, row)

            def on_log(first, metrics):
                length = len(metrics["loss"])
                for step, row in update_rows(first, metrics, first + length == c.num_steps, r.rates):
                    write(step, "train", row)
                watch(first, length, metrics)
                watch_skips(first, metrics)
                bar.update(first + length, {k: float(v[-1]) for k, v in metrics.items()})

            def measured(state):
                return summarise(scores(state.params, test, purpose_key(r.key, TEST)), r.data_dim)

            def on_evaluate(state):
                summary = measured(state)
                keys = ("elbo", "rate", "distortion", "mse", "active_units")
                write(int(state.step), "test", {k: summary[k] for k in keys})
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
        late = first >= c.num_steps // 4  # the way to the target leads along a bound
        if not said and late and length and np.mean(metrics.get("saturated", 0.0)) > 0.5:
            said = True
            bar.say(
                f"warning: --weighting={c.weighting} stands at a bound of beta, {metrics['beta'][-1]:.4g}, at step "
                f"{first}: the target is out of its reach so far"
            )

    return watch


def checkpoints_of(r: Run, workdir: Path) -> Checkpoints:
    """The checkpoints of a run, with a note of what its numbers mean."""
    beta = None if r.config.weighting in CONTROLLED else r.weighting.beta  # a controller's is in the state
    note = {"convention": CONVENTION, **r.dataset.fingerprints, "beta": beta}
    return Checkpoints(workdir / "checkpoints", r.config.keep_checkpoints, note)


def trained(r: Run) -> TrainState:
    """The last state of a run that has been trained, from its workdir.

    Raises:
      UserError: it has no checkpoint.
    """
    with checkpoints_of(r, Path(r.config.workdir)) as checkpoints:
        found = checkpoints.restore_latest(r.spread.begin(lambda: first_state(r, r.config, r.key)))
    if found is None:
        raise UserError(f"--workdir={r.config.workdir} holds no checkpoint; train it first")
    return found[1]


def shares(workdir: Path, num_steps: int) -> dict[str, float | None]:
    """How often gradients were clipped, and in the second half of the run a controller was at its bound."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["split"] == "train"]
    late = [row["saturated"] for row in rows if row["step"] >= num_steps // 2 and "saturated" in row]
    clipped = [row["clipped"] for row in rows if "clipped" in row]
    return {
        "clipped": float(np.mean(clipped)) if clipped else None,
        "saturated": float(np.mean(late)) if late else None,
    }
