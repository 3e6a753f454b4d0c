"""What a sweep says of itself: the data's own frontier, the predicted collapse, the time; ``sweep.json``."""

from __future__ import annotations

import dataclasses
from typing import Any

from experiments.sweeping.plan import Job
from vae_jax import weighing
from vae_jax.linear_vae import beta_at


def summary(
    config,
    asked: dict[str, str],
    shared: dict[str, Any],
    jobs: list[Job],
    rows: list[dict[str, Any]],
    swept: list[str],
    notes: list[str],
    programs: int,
    spent: dict[str, float],
) -> dict[str, Any]:
    """Plain numbers for the report; ``spent`` holds the seconds of the whole sweep and of its training."""
    first = jobs[0].run
    plain = {f.name: f.default for f in dataclasses.fields(config)}
    given = asked | {k: v for k, v in shared.items() if v != plain[k] and k != "data_dir"}
    return {
        "flags": given,
        "method": config.method,
        "dataset": first.config.dataset,
        "data_dim": first.data_dim,
        "gaussian": all(job.run.config.likelihood == "gaussian" for job in jobs),
        "swept": swept,
        "reference": _references(jobs),
        "seconds": spent.get("seconds", 0.0),
        "training_seconds": spent.get("training_seconds", 0.0),
        "runs": len(rows),
        "programs": programs,
        "halving": _halving(rows, spent) if config.halving else None,
        "notes": notes,
    }


def _references(jobs: list[Job]) -> list[dict[str, Any]]:
    """The linear theory of this data for each number of latents and each kind of sigma that was run."""
    found: dict[tuple, dict[str, Any]] = {}
    for job in jobs:
        c, values = job.run.config, job.run.spectrum
        fixed = c.sigma if c.likelihood == "gaussian" and c.precision == "fixed" else None
        key = (c.latent_dim, c.precision, fixed)
        if values is None or key in found or values[0] <= 0:
            continue
        best = weighing.calibrated(values, c.latent_dim)
        known = c.likelihood == "gaussian"
        # The last latent closes where the water reaches the largest eigenvalue.
        collapse = beta_at(float(values[0]), values, c.latent_dim, None if fixed is None else fixed**2)
        found[key] = {
            "latent_dim": c.latent_dim,
            "precision": c.precision,
            "frontier": weighing.frontier(values, c.latent_dim),
            "calibrated": best._asdict() if best else None,
            "collapse_beta": collapse if known else None,
        }
    return list(found.values())


def _halving(rows: list[dict[str, Any]], spent: dict[str, float]) -> dict[str, Any]:
    """What halving stopped, and the steps and seconds that were not spent."""
    trained = [row for row in rows if row["method"] == "separate"]
    steps = sum(row["step"] for row in trained)
    whole = sum(row["num_steps"] for row in trained)
    ends = sorted({row["step"] for row in trained if row["status"] == "stopped"})
    left = len(trained)
    stops = []
    for step in ends:
        stopped = sum(row["status"] == "stopped" and row["step"] == step for row in trained)
        left -= stopped
        stops.append({"step": step, "kept": left, "stopped": stopped})
    each = spent.get("training_seconds", 0.0) / max(spent.get("training_steps", 1), 1)
    return {"stops": stops, "saved_share": 1.0 - steps / max(whole, 1), "saved_seconds": (whole - steps) * each}
