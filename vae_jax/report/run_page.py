"""Turns a run's workdir into figures and one page."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from vae_jax.report import image_grids, latent_figures, page, run_tables, training_curves
from vae_jax.report.figure import Figure
from vae_jax.report.reading import read
from vae_jax.report.reliability_figure import reliability
from vae_jax.report.run_files import Run, load
from vae_jax.report.waking_figure import waking
from vae_jax.runtime.files import write_atomic

_MODELS = {"mlp": "MLP", "conv": "Convolutional", "resnet": "ResNet", "recurrent": "Recurrent"}
_MODELS |= {"ladder": "Ladder", "hierarchy": "Hierarchical"}
_LIKELIHOODS = {"columns": " with a likelihood for each column", "tokens": " of sentences"}
FIGURES = (
    image_grids.reconstructions,
    image_grids.samples,
    image_grids.tempered,
    image_grids.traversals,
    image_grids.interpolations,
    latent_figures.kl_per_latent,
    latent_figures.embedding,
    reliability,
    training_curves.curves,
    training_curves.weight,
    waking,
)
TEXT_FIGURES = (latent_figures.kl_per_latent, training_curves.curves, training_curves.weight, waking)


def _title(run: Run) -> str:
    model, likelihood, dataset = (run.config.get(k) for k in ("model", "likelihood", "dataset"))
    title = f"{_MODELS.get(model, model)} VAE" if model else "VAE"
    if likelihood in _LIKELIHOODS:
        title += _LIKELIHOODS[likelihood]
    elif likelihood:
        family = str(likelihood).replace("_", " ").replace("gaussian", "Gaussian").replace("bernoulli", "Bernoulli")
        title += f" with a {family} likelihood"
    return f"{title} on {Path(str(dataset)).name}" if dataset else title


def render(run: Run, figures: Sequence[Figure], noted: Collection[str] = ()) -> bytes:
    """Returns the page of a run, with ``figures`` inside it, and the flags ``noted`` among those at first sight."""
    # evaluation.json takes the rate apart with more samples than the run's own.
    exact = {k: v for k, v in (run.evaluation or {}).items() if k == "rate_parts"}
    findings = read(run.results | exact, run.config, run.metrics)
    shown = {"findings": findings, "figures": figures, "flags": run_tables.configuration(run, noted)}
    return page.render("run.html", title=_title(run), run=run, tables=run_tables, **shown)


def write_report(workdir, noted: Collection[str] = ()) -> Path:
    """Writes ``figures/*.png`` and ``report.html``, each of them all at once, and returns the page's path.

    Args:
      workdir: a run's directory with ``results.json`` and, if there, ``config.json``, ``metrics.jsonl``,
        ``evaluation.json`` and ``pictures.npz``. The page says what is missing.
      noted: the names of flags that the page shows beside those of every run; the rest are folded away.

    Returns:
      The path of ``report.html``, which holds its images and needs no other file.

    Raises:
      UserError: where the run has no results yet, or a file cannot be read.
    """
    workdir = Path(workdir)
    run = load(workdir)
    figures = [draw(run) for draw in (FIGURES if run.sentences is None else TEXT_FIGURES)]
    page.write_figures(workdir / "figures", figures)
    write_atomic(workdir / "report.html", render(run, figures, noted))
    return workdir / "report.html"
