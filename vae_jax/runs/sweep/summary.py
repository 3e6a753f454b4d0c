"""What sweep.json holds: the sweep's flags, the linear theory of its data, and what halving saved."""

from __future__ import annotations

import dataclasses
from typing import Any

from vae_jax.linear_vae import beta_at
from vae_jax.runs.sweep.flags import given_lists, shared
from vae_jax.runs.sweep.plan import Job
from vae_jax.runs.sweep.session import Clock
from vae_jax.theory import prospects


def summary(config: Any, jobs: list[Job], rows: list[dict[str, Any]], clock: Clock) -> dict[str, Any]:
    """Returns plain numbers for the report.

    Args:
      config: the sweep's flags.
      jobs: its runs.
      rows: of sweep.jsonl.
      clock: the times of the whole sweep.
    """
    first = jobs[0].run
    defaults = {f.name: f.default for f in dataclasses.fields(config)}
    changed = {k: v for k, v in shared(config).items() if v != defaults[k] and k not in ("data_dir", "plugin")}
    return {
        "flags": given_lists(config) | changed,
        "workdir": config.workdir,
        "method": config.method,
        "dataset": first.config.dataset,
        "data_dim": first.data_dim,
        "gaussian": all(job.run.config.likelihood == "gaussian" for job in jobs),
        "reference": _references(jobs),
        "seconds": clock.spent.get("seconds", 0.0),
        "training_seconds": clock.spent.get("training_seconds", 0.0),
        "halving": _halving(rows, clock) if config.halving else None,
    }


def _references(jobs: list[Job]) -> list[dict[str, Any]]:
    """Returns the linear theory of this data for each number of latents and each kind of sigma that was run."""
    references: dict[tuple, dict[str, Any]] = {}
    for job in jobs:
        c, values = job.run.config, job.run.spectrum
        gaussian = c.likelihood == "gaussian"
        sigma = c.sigma if gaussian and c.precision == "fixed" else None
        key = (c.latent_dim, c.precision, sigma)
        if values is None or key in references or values[0] <= 0:
            continue
        best = prospects.calibrated(values, c.latent_dim)
        # The last latent closes where the water reaches the largest eigenvalue.
        collapse = beta_at(float(values[0]), values, c.latent_dim, None if sigma is None else sigma**2)
        references[key] = {
            "latent_dim": c.latent_dim,
            "precision": c.precision,
            "frontier": prospects.frontier(values, c.latent_dim),
            "calibrated": best._asdict() if best else None,
            "collapse_beta": collapse if gaussian else None,
        }
    return list(references.values())


def _halving(rows: list[dict[str, Any]], clock: Clock) -> dict[str, Any]:
    """Returns what halving stopped, and the steps and seconds that were not spent."""
    trained = [row for row in rows if row["method"] == "separate"]
    steps, all_steps = (sum(row[name] for row in trained) for name in ("steps_done", "num_steps"))
    stopped = [row["steps_done"] for row in trained if row["status"] == "stopped"]
    kept, stops = len(trained), []
    for step in sorted(set(stopped)):
        kept -= stopped.count(step)
        stops.append({"step": step, "kept": kept, "stopped": stopped.count(step)})
    return {
        "stops": stops,
        "saved_share": 1.0 - steps / max(all_steps, 1),
        "saved_seconds": (all_steps - steps) * clock.seconds_per_step,
    }
