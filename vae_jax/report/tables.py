"""The tables of the report: the main numbers with a line of meaning each, and the configuration."""

from __future__ import annotations

from vae_jax.report import html
from vae_jax.report.formatting import duration, number, setting
from vae_jax.report.html import pairs, table
from vae_jax.report.run_files import Run

# Key of results.json, its name, its unit and meaning. A key that is null is left out.
_MEASURED = (
    ("elbo", "ELBO", "nats; lower bound of log p(x), the negative sum of the next two"),
    ("rate", "Rate", "nats; KL(q(z|x) || p(z)), what the code costs"),
    ("distortion", "Distortion", "nats; -log p(x|z), what the code leaves to say"),
    ("calibrated_elbo", "ELBO, recalibrated", "nats; the same with sigma^2 = the training error: compare runs by it"),
    ("iw_nll", "IW bound", "nats; upper bound of -log p(x){samples}"),
    ("bits_per_dim", "Bits per dimension", "bits; see the reading for what it compares with"),
    ("perplexity", "Perplexity", "per word, ends of sentences counted; from the ELBO, so an upper bound"),
    ("iw_perplexity", "Perplexity, IW", "the same from the importance-weighted bound"),
    ("prior_distortion", "Distortion, prior", "nats; with z from the prior: what is above the distortion z explains"),
    ("entropy", "Entropy", "nats of a sentence; the floor of the NLL"),
    ("mse", "Squared error", "mean per dimension of (x - E[x|z])^2, in squared units of the data"),
    ("psnr", "PSNR", "dB; of E[x|z], the mean over images"),
    ("ssim", "SSIM", "structural similarity of E[x|z], 1 is identical"),
    ("calibration", "Calibration", "SSE / (D sigma^2); 1 where the noise assumed is the error made"),
    ("active_units", "Active latents", "of {latent_dim}; the variance of the posterior mean is above 0.01"),
)
_GIVEN = (
    ("beta", "Weight beta", "of the KL in the loss, at the end of training"),
    ("beta_norm", "Normalised weight", "beta * latents / data dimensions"),
    ("sigma", "Noise sigma", "standard deviation of p(x|z), in units of the data"),
    ("water_level", "Water level s", "beta sigma^2; a direction of the data with less variance is not coded"),
    ("lambda_max", "Largest eigenvalue", "of the data's covariance; above it, s collapses the code"),
)
_ELSEWHERE = (
    "kl_per_latent",
    "second_moment",
    "iw_samples",
    "latent_dim",
    "data_dim",
    "predicted_active",
    "swapped_distortion",
    "examples_per_second",
    "sigma_at_bound",
    "clipped",
    "saturated",
    "skipped",
    "train",
    "warnings",
    "headline",
    "protocol",
    "seconds",
    "step",
)
# Every key of results.json that has a place on the page, or is none of the further numbers.
KNOWN = {key for key, *_ in (*_MEASURED, *_GIVEN)} | set(_ELSEWHERE)


def _rows(run: Run, entries, training: bool):
    results, train = run.results, run.results.get("train") or {}
    count = results.get("iw_samples")
    words = {
        "samples": f", {count} samples of z" if count else "",
        "latent_dim": setting(results.get("latent_dim")),
    }
    rows = []
    for key, name, meaning in entries:
        test, other = results.get(key), train.get(key)
        if test is None and other is None:
            continue
        shown = setting(test) if key == "beta" else number(test)
        beside = [number(other) if other is not None else ""] if training else []
        rows.append([name, shown, *beside, meaning.format(**words)])
    return rows


def main_numbers(run: Run) -> str:
    """What was measured: name, test, training, meaning with its unit."""
    heads, kinds = ["", "Test", "Training", "Unit and meaning"], ["name", "value", "value", "meaning"]
    return table(heads, _rows(run, _MEASURED, training=True), kinds, "numbers")


def weight_numbers(run: Run) -> str:
    """The weight, the noise and the data that they are weighed against."""
    heads, kinds = ["", "Value", "Unit and meaning"], ["name", "value", "meaning"]
    return table(heads, _rows(run, _GIVEN, training=False), kinds, "numbers")


def further_numbers(run: Run) -> str:
    """Every other single number or word that the results hold."""
    items = [(k, v) for k, v in run.results.items() if k not in KNOWN and isinstance(v, int | float | str)]
    return pairs([(key, number(value)) for key, value in items])


def configuration(run: Run) -> str:
    """Every flag, as run."""
    return pairs([(f"--{key}", setting(value)) for key, value in run.config.items()])


def one_line(run: Run) -> str:
    """What was trained, for how long and how fast, in one line."""
    results, parts = run.results, []
    if results.get("data_dim") is not None and results.get("latent_dim") is not None:
        parts.append(f"{results['data_dim']} data dimensions, {results['latent_dim']} latents")
    if results.get("step") is not None:
        parts.append(f"{results['step']} training steps")
    if results.get("seconds") is not None:
        speed = results.get("examples_per_second")
        parts.append(duration(results["seconds"]) + (f" ({number(speed)} examples per second)" if speed else ""))
    return "; ".join(parts)


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
    body = html.table(heads, _evaluation_table_rows(found), kinds, "numbers")
    notes = [found.get("protocol")]
    scores = found.get("disentanglement")
    if isinstance(scores, dict):
        notes += [scores.get("protocol"), *(scores.get("left_out") or [])]
    older = found.get("step") is not None and found["step"] != run.results.get("step")
    if older:
        notes.insert(0, f"Of step {found['step']}, not of the state that the rest of this page is about.")
    return body + "\n" + "\n".join(html.paragraph(str(note), "under") for note in notes if note)


def _evaluation_table_rows(found) -> list[list[str]]:
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


def sentences(run: Run) -> str:
    """Tables of sentences from ``sentences.json``; empty for a run that wrote none."""
    said = run.sentences
    if not said:
        return ""
    heads = ("Sentence of the test split", "The most probable words of its code")
    parts = [html.table(heads, said.get("reconstructions") or [], ("name", "meaning"))]
    parts.append(html.table(("Drawn from the prior",), [[s] for s in said.get("samples") or []], ("name",)))
    for way in said.get("homotopies") or []:
        head = ("On a straight line between two codes",)
        parts.append(html.table(head, [[s] for s in way], ("name",)))
    return "\n".join(part for part in parts if part)
