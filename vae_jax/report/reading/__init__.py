"""A diagnosis in plain words, from a run's numbers alone."""

from __future__ import annotations

from collections.abc import Sequence

from vae_jax.report.formatting import number
from vae_jax.report.reading import decoder, model, weight
from vae_jax.report.reading.finding import Finding, Numbers, as_lines, ask, facts

# Each takes the numbers that its parameters name, and returns a finding, or None where they say nothing.
READERS = (
    model.divergence,
    model.skipped_updates,
    weight.collapse,
    weight.weight,
    weight.target,
    weight.calibration,
    weight.bound_of_sigma,
    decoder.dispersion,
    model.latents,
    decoder.prior,
    decoder.learned_prior,
    decoder.decoder,
    decoder.condition,
    model.generalisation,
    model.posterior,
    model.bits,
    model.perplexity,
    model.explained,
    model.clipping,
)


def read(results: Numbers, config: Numbers | None = None, metrics: Sequence[Numbers] = ()) -> list[Finding]:
    """Returns all that a run's numbers say, in a fixed order; the run's own warnings last.

    Args:
      results: as ``results.json``; what is missing or None is not commented on.
      config: as ``config.json``; {} or None where unknown.
      metrics: the lines of ``metrics.jsonl``.
    """
    numbers = facts(results, config or {}, metrics)
    # Of examples that are all equal there is nothing to say but that.
    readers = READERS[:3] if results.get("lambda_max") == 0 else READERS
    findings = [ask(reader, numbers) for reader in readers]
    findings += [Finding("From the run", True, str(text)) for text in results.get("warnings") or []]
    return [finding for finding in findings if finding is not None]


def summary_lines(results: Numbers, config: Numbers | None = None, metrics: Sequence[Numbers] = ()) -> list[str]:
    """Returns the bound with its terms and the reading as plain text for a terminal, one line each.

    The run's own warnings were printed when it began.
    """
    elbo, rate, distortion = (number(results.get(key)) for key in ("elbo", "rate", "distortion"))
    step, done = results.get("step"), results.get("steps_done", results.get("step"))
    of = "" if step == done else f", of step {step} of {done}: the best bound on the validation split"
    first = f"  ELBO {elbo}, rate {rate}, distortion {distortion} nats per example (test split, beta = 1){of}"
    return [first, *as_lines(read({**results, "warnings": []}, config, metrics))]
