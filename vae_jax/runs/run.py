"""A run: build -> train -> evaluate -> report, each file written in its place, from wherever an earlier try stopped."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shlex import quote

import numpy as np

from vae_jax.data import conditions
from vae_jax.data.spectrum import examples_for
from vae_jax.data.table import in_words
from vae_jax.devices import processes
from vae_jax.devices.cluster import join
from vae_jax.evaluation.batches import Evaluator
from vae_jax.evaluation.pictures import OF_X, pictures
from vae_jax.randomness import TEST, purpose_key
from vae_jax.runs import known_data, placement, profiling, warm_start
from vae_jax.runs.build import Material, Run, build
from vae_jax.runs.first_words import latents_in_words, start_line
from vae_jax.runs.flag_words import noted_flags
from vae_jax.runs.loop import train_and_save
from vae_jax.runs.results import clipped_and_saturated, make_instruments, measure, refuse_infinite
from vae_jax.runs.workdir import Workdir, open_workdir
from vae_jax.runtime import trackers
from vae_jax.runtime.files import read_object, write_atomic, write_json
from vae_jax.theory import finite_data
from vae_jax.types import TrainState, printable

ANEW = "remove it, and the same command writes it anew"


def train(config) -> None:
    """Trains, or continues, evaluates and reports one run."""
    profiling.check(config, 0)
    run(join(config))


def run(config, shared: Material | None = None) -> None:
    """Trains, or continues, evaluates and reports; ``shared`` is data that has been loaded before."""
    started = time.perf_counter()
    trackers.check(config.tracker)
    config, longer = warm_start.extended(config)
    r = build(config, shared)
    warm_start.check(r)
    with open_workdir(r.config.flags, config, longer) as workdir:
        _run(r, workdir, started)


def _run(r: Run, workdir: Workdir, started: float) -> None:
    config, path = r.config, workdir.path
    first = processes.is_first()
    known_data.keep(path, r)
    line = start_line(r)
    table = in_words(r.dataset.table) if r.dataset.table is not None else []
    notes = [*map(printable, [*table, *r.dataset.notes]), *r.vae.notes, *latents_in_words(r), *_on_new_data(r)]
    print(line, placement.describe(r.spread.layout, config, r.dataset), *notes, sep="\n")
    for warning in r.warnings if first else ():
        print(f"warning: {printable(warning)}", file=sys.stderr)
    if processes.told_by_first(_is_finished(path, config.num_steps)):
        there = read_object(path / "results.json", ANEW)
        measured, done = there.get("iw_samples"), there.get("steps_done")
        ended = f"all {config.num_steps} steps are done"
        if there.get("stopped_early"):
            ended = f"it stopped early at step {done}, and the best is of step {there.get('best_step')}"
        print(f"this run is finished: {ended}")
        if measured != config.iw_samples:
            from vae_jax.report.formatting import program

            again = f"{program('evaluate')} --workdir={quote(config.workdir)} --iw_samples={config.iw_samples}"
            print(f"its iw_nll has {measured} importance samples; {again} measures it again")
    else:
        instruments = make_instruments(r)
        trained = train_and_save(r, workdir, instruments.scores)
        if trained.stopped_by:
            print(f"interrupted; the same command continues this run: --workdir={config.workdir}")
            workdir.ended()
            processes.leave(trained.stopped_by)
        print("evaluating")
        state, clock = trained.state, trained.clock
        done = trained.ending["steps_done"]
        results = measure(r, state, trained.splits, instruments)[0] | trained.ending | {"headline": line}
        refuse_infinite(results, f"the checkpoint of step {done} is kept")
        write_pictures = pictures_of(r, state, trained.splits.test)
        if first:
            results |= clipped_and_saturated(path, done)
            rate = clock.steps * config.batch_size / clock.seconds if clock.seconds else None
            results |= {"examples_per_second": rate, "seconds": time.perf_counter() - started}
            write_pictures(path)
            write_json(path / "results.json", results)
    if first:
        finish(path)
    workdir.ended()


def _on_new_data(r: Run) -> list[str]:
    """Returns what the number of training examples means for a linear model of this size, where it means something."""
    n = len(r.dataset.train)
    if r.forecast is None or r.spectrum[0] <= 0 or n < 3 or len(examples_for(n, r.data_dim)) < n:
        return []
    said = finite_data.in_words(finite_data.outlook(r.spectrum, n, r.config.latent_dim), n)
    return [] if said is None else [said]


def _is_finished(path: Path, num_steps: int) -> bool:
    results = path / "results.json"
    if not results.exists():
        return False
    there = read_object(results, ANEW)
    # What is left of a killed end, or of somebody's tidying, is measured and drawn again. A sweep, which says the
    # status of each run, draws no pictures of them.
    drawn = "status" in there or any((path / name).exists() for name in ("pictures.npz", "sentences.json"))
    ended = there.get("stopped_early") or there.get("steps_done", there.get("step")) == num_steps
    return drawn and bool(ended)


def pictures_of(r: Run, state: TrainState, test) -> Callable[[Path], None]:
    """Makes pictures.npz, or a text's sentences.json, on every process; returns the function by which one writes it."""
    if r.is_text:
        from vae_jax.runs.text_results import sentences

        found = sentences(r, state, test)
        return lambda workdir: write_json(workdir / "sentences.json", found)
    drawn = pictures(
        Evaluator(r.vae, r.likelihood, r.preprocess),
        *(state.params, test, purpose_key(r.key, TEST)),
        factors=r.dataset.test_factors,
        factor_names=r.dataset.factor_names,
        class_names=r.dataset.class_names,
        conditions=conditions.rows_of_samples(r.dataset),
    )
    if r.dataset.table is not None:
        examples = [name for name in OF_X if name in drawn and drawn[name].dtype != np.uint8]  # those are shades
        drawn |= {name: r.dataset.table.to_own(drawn[name]).astype(np.float32) for name in examples}
    return lambda workdir: _write_arrays(workdir / "pictures.npz", drawn)


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_atomic(path, content.getvalue())


def finish(workdir: Path) -> None:
    """Draws the report of a finished run and says in words what it holds."""
    from vae_jax.report import load, summary_lines, write_report

    run = load(workdir)
    page = write_report(workdir, noted_flags(run.config))
    print(*summary_lines(run.results, run.config, run.metrics), sep="\n")
    print(f"report: {page}")
