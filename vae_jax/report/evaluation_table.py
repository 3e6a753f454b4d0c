"""The table of evaluation.json: what `experiments.evaluate` measured, with its errors and its caveats."""

from __future__ import annotations

from vae_jax.report import page
from vae_jax.report.formatting import number
from vae_jax.report.loading import Run

_PARTS = (
    ("mutual_information", "Mutual information"),
    ("total_correlation", "Total correlation"),
    ("dimension_wise_kl", "Dimension-wise KL"),
)
_GAPS = (("approximation_gap", "Approximation gap"), ("amortisation_gap", "Amortisation gap"))


def evaluation(run: Run) -> str:
    """The section's body; empty where the run has not been evaluated."""
    found = run.evaluation
    if not found:
        return ""
    heads, kinds = ["", "Value", "Standard error", "Unit and meaning"], ["name", "value", "value", "meaning"]
    body = page.table(heads, _rows(found), kinds, "numbers")
    notes = [found.get("protocol")]
    scores = found.get("disentanglement")
    if isinstance(scores, dict):
        notes += [scores.get("protocol"), *(scores.get("left_out") or [])]
    older = found.get("step") is not None and found["step"] != run.results.get("step")
    if older:
        notes.insert(0, f"Of step {found['step']}, not of the state that the rest of this page is about.")
    return body + "\n" + "\n".join(page.paragraph(str(note), "under") for note in notes if note)


def _rows(found) -> list[list[str]]:
    rows = []

    def add(name, value, meaning, error=None):
        if isinstance(value, int | float):
            rows.append([name, number(value), "" if error is None else number(error), meaning])

    samples = found.get("iw_samples")
    add("ELBO", found.get("elbo"), "nats; lower bound of log p(x)")
    add("IW bound", found.get("iw_nll"), f"nats; upper bound of -log p(x), {samples} samples of z")
    add("ELBO, recalibrated", found.get("calibrated_elbo"), "nats; with sigma^2 = the training error")
    add("Bits per dimension", found.get("bits_per_dim"), "bits; from the ELBO")
    add("by the IW bound", found.get("iw_bits_per_dim"), "bits")
    parts, gaps = found.get("rate_parts") or {}, found.get("gaps") or {}
    cap = parts.get("cap")
    for key, name in _PARTS:
        part = parts.get(key) or {}
        limit = f"; at most log N = {number(cap)}" if key == "mutual_information" and cap is not None else ""
        add(name, part.get("value"), f"nats; part of the rate{limit}", part.get("error"))
    for key, name in _GAPS:
        few = f"; {number(gaps.get('effective_samples'))} effective samples" if key == "approximation_gap" else ""
        add(name, gaps.get(key), f"nats{few}", gaps.get(f"{key}_error"))
    scores = found.get("disentanglement")
    for key, value in scores.items() if isinstance(scores, dict) else ():
        if not isinstance(value, bool) and not key.endswith("seconds"):
            add(key.replace("_", " "), value, "disentanglement score")
    return rows
