"""A run: build -> train -> evaluate -> report, each file written in its place, from wherever an earlier try stopped."""

from __future__ import annotations

import json
import sys
import time
import zlib
from pathlib import Path

import numpy as np

from experiments.build import Material, Run, build, first_state, training_chunk, weighed
from experiments.scoring import evaluate, make_instruments
from experiments.weights import CONTROLLED
from vae_jax.checkpoint import Checkpoints
from vae_jax.config import claim_workdir, write_json
from vae_jax.evaluation import summarise
from vae_jax.evaluation.pictures import pictures
from vae_jax.interruption import Interruption
from vae_jax.logs import MetricsLog, Progress, update_rows
from vae_jax.randomness import TEST, purpose_key
from vae_jax.train import Every, Hooks, fit
from vae_jax.types import TrainState, UserError

# What the numbers of a checkpoint mean. A change of convention gets a new number, and old checkpoints are refused.
CONVENTION = "nats per example, summed over the event, all constants; version 1"


def run(config, warnings: list[str], shared: Material | None = None) -> None:
    """Trains, or continues, evaluates and reports; ``shared`` is data that has been loaded before."""
    started = time.perf_counter()
    r = build(config, warnings, shared)
    config, workdir = r.config, Path(config.workdir)
    claim_workdir(workdir, config)
    if r.is_text:
        write_json(workdir / "vocabulary.json", list(r.dataset.words))
    line = weighed(r)
    print(line, *r.dataset.notes, sep="\n")
    for warning in r.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    results_path = workdir / "results.json"
    if results_path.exists() and json.loads(results_path.read_text()).get("step") == config.num_steps:
        print(f"this run is finished: all {config.num_steps} steps are done")
    else:
        train, test = (r.spread.place(a) for a in (r.dataset.train, r.dataset.test))
        instruments = make_instruments(r)
        state, clock = train_and_save(r, workdir, train, test, instruments.scores)
        if state is None:
            print(f"interrupted; the same command continues this run: --workdir={workdir}")
            sys.exit(130)
        print("evaluating")
        results = evaluate(r, state, train, test, instruments)[0] | {"headline": line}
        results |= shares(workdir, config.num_steps)
        results["examples_per_second"] = clock.steps * config.batch_size / clock.seconds if clock.seconds else None
        results["seconds"] = time.perf_counter() - started
        write_looks(r, workdir, state, test)
        write_json(results_path, results)
    finish(workdir)


def write_looks(r: Run, workdir: Path, state: TrainState, test) -> None:
    """What a person looks at: pictures.npz, or of a text sentences.json."""
    if r.is_text:
        from experiments.scoring_text import sentences

        write_json(workdir / "sentences.json", sentences(r, state, test))
        return
    drawn = pictures(
        *(r.vae, r.likelihood, r.preprocess, state.params, test, purpose_key(r.key, TEST), r.config.latent_dim),
        factors=r.dataset.test_factors,
        factor_names=r.dataset.factor_names,
    )
    np.savez(workdir / "pictures.npz", **drawn)


def finish(workdir: Path) -> None:
    """Draws the report of a finished run and says in words what it holds."""
    from vae_jax.report import summary_lines, write_report

    page = write_report(workdir)
    results, config = (json.loads((workdir / name).read_text()) for name in ("results.json", "config.json"))
    print(*summary_lines(results, config), sep="\n")
    print(f"report: {page}")


def train_and_save(r: Run, workdir: Path, train, test, scores):
    """Runs the loop from the last good checkpoint; the state is None where a person interrupted it."""
    c = r.config
    chunk = r.spread.compile(training_chunk(r, c, r.spread.all_mean, r.spread.split))
    state = _first_state(r)
    with checkpoints_of(r, workdir) as checkpoints:
        found = checkpoints.restore_latest(state)
        first, state = found or (0, state)
        if found:
            print(f"continuing from step {first}")
        every = Every(c.log_every, c.eval_every, c.checkpoint_every)
        with MetricsLog(workdir, first) as log, Progress(first, c.num_steps) as bar, Interruption() as stop:
            watch = _watch_saturation(c, bar)

            def on_log(first, metrics):
                length = len(metrics["loss"])
                for step, row in update_rows(first, metrics, first + length == c.num_steps, r.rates):
                    log.write(step, "train", row)
                watch(first, length, metrics)
                bar.update(first + length, {k: float(v[-1]) for k, v in metrics.items()})

            def on_evaluate(state):
                summary = summarise(scores(state.params, test, purpose_key(r.key, TEST)), r.data_dim)
                keys = ("elbo", "rate", "distortion", "mse", "active_units")
                log.write(int(state.step), "test", {k: summary[k] for k in keys})
                bar.say(f"step {int(state.step)}: test elbo {summary['elbo']:.4f} nats")

            hooks = Hooks(on_log, on_evaluate, lambda s: checkpoints.save(int(s.step), s), stop.requested)
            state, clock = fit(state, lambda s, length: chunk(s, train, length), c.num_steps, every, hooks)
            done = int(state.step) == c.num_steps
            if done:
                on_evaluate(state)
    return (state if done else None), clock


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


def _first_state(r: Run) -> TrainState:
    return r.spread.place(first_state(r, r.config, r.key))


def checkpoints_of(r: Run, workdir: Path) -> Checkpoints:
    """The checkpoints of a run, with a note of what its numbers mean."""
    beta = None if r.config.weighting in CONTROLLED else r.weighting.beta  # a controller's is in the state
    note = {"convention": CONVENTION, "data": zlib.crc32(r.dataset.train.tobytes()), "beta": beta}
    return Checkpoints(workdir / "checkpoints", r.config.keep_checkpoints, note)


def trained(r: Run) -> TrainState:
    """The last state of a run that has been trained, from its workdir.

    Raises:
      UserError: it has no checkpoint.
    """
    with checkpoints_of(r, Path(r.config.workdir)) as checkpoints:
        found = checkpoints.restore_latest(_first_state(r))
    if found is None:
        raise UserError(f"--workdir={r.config.workdir} holds no checkpoint; train it first")
    return found[1]


def shares(workdir: Path, num_steps: int) -> dict[str, float | None]:
    """How often gradients were clipped, and in the second half of the run a controller was at its bound."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["split"] == "train"]
    late = [row["saturated"] for row in rows if row["step"] >= num_steps // 2 and "saturated" in row]
    return {
        "clipped": float(np.mean([row["clipped"] for row in rows])),
        "saturated": float(np.mean(late)) if late else None,
    }
