"""A diagnosis in plain words, from a run's numbers alone."""

from __future__ import annotations

from collections.abc import Sequence

from vae_jax.report.formatting import number
from vae_jax.report.reading import decoder, model, weight
from vae_jax.report.reading.finding import Finding, Numbers, as_lines

READERS = (
    model.divergence,
    model.skipped,
    weight.collapse,
    weight.weight,
    weight.target,
    weight.calibration,
    weight.bound_of_sigma,
    decoder.dispersion,
    model.latents,
    decoder.prior,
    decoder.decoder,
    model.generalisation,
    model.posterior,
    model.bits,
    model.perplexity,
    model.explained,
)


def read(results: Numbers, config: Numbers | None = None, metrics: Sequence[Numbers] = ()) -> list[Finding]:
    """Returns all that a run's numbers say, in a fixed order; the run's own warnings last.

    Args:
      results: as ``results.json``; what is missing or None is not commented on.
      config: as ``config.json``; {} or None where unknown.
      metrics: the lines of ``metrics.jsonl``.
    """
    findings = [reader(results, config or {}) for reader in READERS] + [model.clipping(results, metrics)]
    findings += [Finding("From the run", True, str(text)) for text in results.get("warnings") or []]
    return [finding for finding in findings if finding is not None]


def summary_lines(results: Numbers, config: Numbers | None = None) -> list[str]:
    """Returns the bound with its terms and the reading as plain text for a terminal, one line each."""
    elbo, rate, distortion = (number(results.get(key)) for key in ("elbo", "rate", "distortion"))
    first = f"  ELBO {elbo}, rate {rate}, distortion {distortion} nats per example (test split, beta = 1)"
    return [first, *as_lines(read(results, config))]
