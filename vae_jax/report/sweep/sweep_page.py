"""Turns a sweep's workdir into two figures and one page."""

from __future__ import annotations

from pathlib import Path

from vae_jax.report import page
from vae_jax.report.sweep import sweep_tables
from vae_jax.report.sweep.beta_profile import beta_profile
from vae_jax.report.sweep.frontier_figure import frontier
from vae_jax.report.sweep.grouping import done
from vae_jax.report.sweep.sweep_files import Sweep, load_sweep
from vae_jax.report.sweep.sweep_findings import read_sweep
from vae_jax.runtime.files import write_atomic


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
    figures = [frontier(rows, summary), beta_profile(rows, summary)]
    page.write_figures(workdir, figures)
    made = page.render(
        "sweep.html",
        title=_title(sweep),
        summary=sweep_tables.one_line(rows, summary),
        findings=read_sweep(rows, summary),
        figures=figures,
        gaussian=any(row.get("calibrated_elbo") is not None for row in done(rows)),
        averaged=len(rows) > sweep_tables.SHOWN_ONE_BY_ONE,
        runs=sweep_tables.runs_table(rows),
        timings=sweep_tables.timings(rows, summary),
        configuration=sweep_tables.configuration(rows, summary),
        protocol=next((row["protocol"] for row in rows if row.get("protocol")), None),
    )
    write_atomic(workdir / "report.html", made)
    return workdir / "report.html"
