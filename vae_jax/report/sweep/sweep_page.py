"""Turns a sweep's workdir into two figures and one page."""

from __future__ import annotations

import html
from pathlib import Path

from vae_jax.report import html as page
from vae_jax.report.sweep import tables
from vae_jax.report.sweep.about_sweep import read_sweep
from vae_jax.report.sweep.beta_profile import beta_profile
from vae_jax.report.sweep.frontier import frontier
from vae_jax.report.sweep.settings import done
from vae_jax.report.sweep.sweep_files import Sweep, load_sweep
from vae_jax.runtime.files import write_atomic

FIGURES = (frontier, beta_profile)


def _title(sweep: Sweep) -> str:
    dataset = sweep.summary.get("dataset") or sweep.rows[0].get("dataset")
    on = f" on {Path(str(dataset)).name}" if dataset else ""
    separate = len({row["run"] for row in sweep.rows if row["method"] != "multi_rate"})
    shared = len({row["run"] for row in sweep.rows if row["method"] == "multi_rate"})
    parts = [_count(separate, "VAE")] if separate else []
    parts += [_count(shared, "VAE") + " for all weights"] if shared else []
    return f"A sweep of {' and '.join(parts)}{on}"


def _count(n: int, what: str) -> str:
    return f"one {what}" if n == 1 else f"{n} {what}s"


def write_sweep_report(workdir) -> Path:
    """Writes ``frontier.png``, ``beta_profile.png`` and ``report.html``, each all at once; returns the page's path.

    Args:
      workdir: a sweep's directory with ``sweep.jsonl`` and, if there, ``sweep.json``.

    Raises:
      UserError: where the sweep has no runs yet, or a file cannot be read.
    """
    workdir = Path(workdir)
    sweep = load_sweep(workdir)
    rows, summary = sweep
    plates = [figure(rows, summary) for figure in FIGURES]
    for plate in plates:
        if plate.png is not None:
            write_atomic(workdir / plate.name, plate.png)
        else:
            (workdir / plate.name).unlink(missing_ok=True)  # of an earlier report, and no longer true
    title, found = _title(sweep), read_sweep(rows, summary)
    gaussian = any(row.get("calibrated_elbo") is not None for row in done(rows))
    about = "Nats per example on the test split, at beta = 1 whatever weight was trained"
    about += ", with sigma^2 the error of the training split." if gaussian else "."
    many = len(rows) > tables.RUNS
    about += " Means over the seeds that came to their end, ± one standard deviation." if many else ""
    protocol = next((row["protocol"] for row in rows if row.get("protocol")), None)
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        page.paragraph(tables.one_line(rows, summary), "under"),
        page.section("Reading", "\n".join(page.remark(f.topic, f.text, f.attention) for f in found)),
        page.section("Figures", page.plates(plates)),
        page.section("Runs", page.paragraph(about, "under") + tables.runs_table(rows)),
        page.section("Time", tables.timings(rows, summary)),
        page.section("Configuration", tables.configuration(rows, summary)),
        page.section("Protocol", page.paragraph(f"Of the first run: {protocol}") if protocol else ""),
    ]
    path = workdir / "report.html"
    write_atomic(path, page.document(title, "\n".join(part for part in parts if part)))
    return path
