"""Turns a run's workdir into figures and one page."""

from __future__ import annotations

import html
from pathlib import Path

from vae_jax.report import html as page
from vae_jax.report import tables
from vae_jax.report.curves import curves, weight
from vae_jax.report.latents import embedding, kl_per_latent
from vae_jax.report.pictures import interpolations, reconstructions, samples, tempered, traversals
from vae_jax.report.reading import read
from vae_jax.report.reliability import reliability
from vae_jax.report.run_files import Run, load
from vae_jax.report.tables import evaluation, sentences
from vae_jax.runtime.files import write_atomic

_MODELS = {"mlp": "MLP", "conv": "Convolutional", "resnet": "ResNet", "recurrent": "Recurrent"}
FIGURES = (
    reconstructions,
    samples,
    tempered,
    traversals,
    interpolations,
    kl_per_latent,
    embedding,
    reliability,
    curves,
    weight,
)


OF_SENTENCES = (kl_per_latent, curves, weight)


def _title(run: Run) -> str:
    config = run.config
    model, likelihood, dataset = (config.get(k) for k in ("model", "likelihood", "dataset"))
    title = f"{_MODELS.get(model, model)} VAE" if model else "VAE"
    if likelihood:
        family = str(likelihood).replace("_", " ").replace("gaussian", "Gaussian").replace("bernoulli", "Bernoulli")
        title += f" with a {family} likelihood"
    return f"{title} on {Path(str(dataset)).name}" if dataset else title


def write_report(workdir) -> Path:
    """Writes ``figures/*.png`` and ``report.html``, each of them all at once, and returns the page's path.

    Args:
      workdir: a run's directory with ``results.json`` and, if there, ``config.json``, ``metrics.jsonl``,
        ``evaluation.json`` and ``pictures.npz``. What is missing is said on the page.

    Returns:
      The path of ``report.html``, which holds its images and needs no other file.

    Raises:
      UserError: where the run has no results yet, or a file cannot be read.
    """
    workdir = Path(workdir)
    run = load(workdir)
    plates = [figure(run) for figure in (FIGURES if run.sentences is None else OF_SENTENCES)]
    for plate in plates:
        target = workdir / "figures" / plate.name
        if plate.png is not None:
            write_atomic(target, plate.png)
        else:
            target.unlink(missing_ok=True)  # of an earlier report, and no longer true
    results, title = run.results, _title(run)
    exact = {k: v for k, v in (run.evaluation or {}).items() if k == "rate_parts"}  # of more samples than the run's own
    found = read(results | exact, run.config, run.metrics)
    under = tables.one_line(run)
    about = "The bounds and their terms are in nats per example, at beta = 1 whatever weight was trained."
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        page.paragraph(under, "under") if under else "",
        page.paragraph(results["headline"], "headline") if results.get("headline") else "",
        page.section("Main numbers", page.paragraph(about, "under") + tables.main_numbers(run)),
        page.section("Weight and data", tables.weight_numbers(run)),
        page.section("Reading", "\n".join(page.remark(f.topic, f.text, f.attention) for f in found)),
        page.section("Evaluation", evaluation(run)),
        page.section("Figures", page.plates(plates)),
        page.section("Sentences", sentences(run)),
        page.section("Further numbers", tables.further_numbers(run)),
        page.section("Configuration", tables.configuration(run) or page.paragraph("The run left no config.json.")),
        page.section("Protocol", page.paragraph(results["protocol"]) if results.get("protocol") else ""),
    ]
    path = workdir / "report.html"
    write_atomic(path, page.document(title, "\n".join(part for part in parts if part)))
    return path
