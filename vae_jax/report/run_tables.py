"""The tables of a run's page: its numbers with a line of meaning each, its evaluation, its flags."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from vae_jax.report.formatting import duration, number, setting
from vae_jax.report.page import Table
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
    ("perplexity_known", "Perplexity, known words", "the same over the sentences without unknown words"),
    ("iw_perplexity", "Perplexity, IW", "the same from the importance-weighted bound"),
    ("prior_distortion", "Distortion, prior", "nats; with z from the prior: what is above the distortion z explains"),
    ("entropy", "Entropy", "nats of a sentence; the floor of the NLL"),
    ("mse", "Squared error", "mean per dimension of (x - E[x|z])^2, in squared units of the data"),
    ("psnr", "PSNR", "dB; of E[x|z], the mean over images"),
    ("ssim", "SSIM", "structural similarity of E[x|z]{window}, 1 is identical"),
    ("calibration", "Calibration", "SSE / (D sigma^2); 1 where the noise assumed is the error made"),
    ("counted_dim", "Dimensions counted", "of {data_dim}, the mean over examples; the others are constant or missing"),
    ("used_latents", "Used latents", "of {latent_dim}; each carries more than 0.005 nats, whatever its scale"),
    ("active_units", "Active latents", "of {latent_dim}; the variance of the posterior mean is above 0.01"),
)
_SCALED = ("standardised_mse", "Squared error", "mean per dimension of (x - E[x|z])^2, in squared spreads of a column")
_GIVEN = (
    ("beta", "Weight beta", "of the KL in the loss, at the end of training"),
    ("beta_norm", "Normalised weight", "beta M / D: times the latents, by the data dimensions"),
    ("sigma", "Noise sigma", "standard deviation of p(x|z), in {units}"),
    ("trained_sigma", "Noise sigma, trained", "before it was recalibrated on the validation split"),
    ("water_level", "Water level s", "beta sigma^2; a direction of the data with less variance is not coded"),
    ("lambda_max", "Largest eigenvalue", "of the data's covariance; above it, s collapses the code"),
)
_ELSEWHERE = (
    "kl_per_latent second_moment information_per_latent latents_split latents_rows iw_samples latent_dim data_dim "
    "predicted_active swapped_distortion examples_per_second sigma_at_bound nats_at_bound clipped saturated skipped "
    "train validation warnings headline protocol seconds step steps_done best_step stopped_early "
    "condition per_column layers standardisation log_scale standardised_mse ssim_window"
)
# Every key of results.json that has a place on the page, or is none of the further numbers.
KNOWN = {key for key, *_ in (*_MEASURED, *_GIVEN)} | set(_ELSEWHERE.split())

# What was trained on what, by the flags whose values a reader of any run asks for.
MATTERS = (
    *("dataset", "pixels", "likelihood", "precision", "weighting", "beta", "sigma", "prior", "posterior", "objective"),
    *("model", "hidden", "latent_dim", "num_steps", "batch_size", "learning_rate", "condition"),
)
SIDE_BY_SIDE, MOST_COLUMNS = 3, 24  # rows of a table, and samples; their first columns

# Of evaluation.json, with rate_parts and gaps laid out flat.
_EVALUATED = (
    ("elbo", "ELBO", "nats; lower bound of log p(x)"),
    ("iw_nll", "IW bound", "nats; upper bound of -log p(x), {iw_samples} samples of z"),
    ("calibrated_elbo", "ELBO, recalibrated", "nats; with sigma^2 = the training error"),
    ("bits_per_dim", "Bits per dimension", "bits; from the ELBO"),
    ("iw_bits_per_dim", "Bits per dimension, IW", "bits; from the IW bound"),
    ("mutual_information", "Mutual information", "nats; part of the rate{cap}"),
    ("total_correlation", "Total correlation", "nats; part of the rate"),
    ("dimension_wise_kl", "Dimension-wise KL", "nats; part of the rate"),
    ("prior_gap", "Prior gap", "nats; KL(q(z) || p(z)): with the mutual information it is the rate"),
    ("approximation_gap", "Approximation gap", "nats; {effective_samples} effective samples"),
    ("amortisation_gap", "Amortisation gap", "nats"),
    ("log_px", "log p(x), annealed", "nats; from below, {ais}"),
    ("inference_gap", "Inference gap, annealed", "nats; of those examples, log p(x) less their ELBO"),
    ("below", "Simulated data, from below", "nats; the same chains on data that the model made"),
    ("above", "Simulated data, from above", "nats; the chains backwards: log p(x) lies between the two"),
)


def _rows(run: Run, entries, splits: tuple[str, ...] = ()) -> list[list[str]]:
    """Rows of name, value, the value of each of the other ``splits``, and meaning."""
    results, others = run.results, [run.results.get(split) or {} for split in splits]
    if results.get("standardised_mse") is not None:  # a mean over columns of different units says nothing
        entries = [_SCALED if entry[0] == "mse" else entry for entry in entries]
    samples = f", {results['iw_samples']} samples of z" if results.get("iw_samples") else ""
    sizes = {key: results.get(key) for key in ("latent_dim", "data_dim")}
    window = results.get("ssim_window")
    sizes["window"] = f" in windows of {window} pixels" if window else ""
    sizes["units"] = "spreads of a column" if results.get("standardisation") else "units of the data"
    rows = []
    for key, name, meaning in entries:
        test, beside = results.get(key), [other.get(key) for other in others]
        if test is None and not any(value is not None for value in beside):
            continue
        shown = setting(test) if key == "beta" else number(test)
        beside = ["" if value is None else number(value) for value in beside]
        rows.append([name, shown, *beside, meaning.format(samples=samples, **sizes)])
    return rows


def main_numbers(run: Run) -> Table:
    """Tells what was measured: name, test, validation where there is one, training, meaning with its unit."""
    splits = {"validation": "Validation"} if run.results.get("validation") else {}
    splits |= {"train": "Training"}
    heads = ("", "Test", *splits.values(), "Unit and meaning")
    kinds = ("name", "value", *("value" for _ in splits), "meaning")
    return Table(heads, kinds, _rows(run, _MEASURED, tuple(splits)))


def weight_numbers(run: Run) -> Table:
    """Returns the weight, the noise and the data that they are weighed against."""
    same = run.results.get("trained_sigma") == run.results.get("sigma")
    entries = [entry for entry in _GIVEN if not (same and entry[0] == "trained_sigma")]
    return Table(("", "Value", "Unit and meaning"), ("name", "value", "meaning"), _rows(run, entries))


def columns(run: Run) -> Table:
    """Returns the columns of a table, each with its kind and how well it is told; none of other data."""
    heads = ("Column", "Kind", "Family", "Missing", "RMSE", "Noise sigma", "Accuracy")
    kinds = ("name", "meaning", "meaning", "value", "value", "value", "value")
    rows = []
    for column in run.results.get("per_column") or []:
        measured = [column.get(name) for name in ("missing", "rmse", "sigma", "accuracy")]
        words = [str(column.get(name, "")) for name in ("name", "kind", "family")]
        rows.append([*words, *("" if value is None else number(value) for value in measured)])
    return Table(heads, kinds, rows)


def rows(run: Run) -> Table:
    """Returns some rows of the test split of a table beside some samples, a line for each of its first columns."""
    named, kinds = run.results.get("per_column") or [], ("inputs", "samples")
    some = [run.pictures[kind][:SIDE_BY_SIDE] for kind in kinds if kind in run.pictures]
    if not named or len(some) < len(kinds) or any(part.shape[1:] != (len(named),) for part in some):
        return Table((), (), [])
    heads = ("Column", *(word for word, part in zip(("Test row", "Sample"), some) for _ in part))
    lines = []
    for i, column in enumerate(named[:MOST_COLUMNS]):
        values = [(write, value) for write, part in zip((setting, number), some) for value in part[:, i].tolist()]
        lines.append([str(column.get("name")), *(_value(*pair, column.get("levels") or ()) for pair in values)])
    return Table(heads, ("name", *["value"] * (len(heads) - 1)), lines)


def _value(write: Callable[[float], str], value: float, levels: Sequence[str]) -> str:
    if not math.isfinite(value):
        return "missing"
    return levels[min(max(round(value), 0), len(levels) - 1)] if levels else write(value)


def layers(run: Run) -> Table:
    """Returns the layers of a hierarchy, each with what it carries; none of one layer."""
    heads = ("Layer", "Latents", "Rate, nats", "Kept: above 0.01 nats", "Active: variance above 0.01")
    rows = []
    for i, layer in enumerate(run.results.get("layers") or []):
        values = (layer.get(name) for name in ("latents", "rate", "kept_latents", "active_units"))
        name = f"{i + 1}, next to x" if i == 0 else str(i + 1)
        rows.append([name, *("" if value is None else number(value) for value in values)])
    return Table(heads, ("name", *["value"] * 4), rows)


def further_numbers(run: Run) -> list[tuple[str, str]]:
    """Returns every other single number or word that the results hold."""
    return [(k, number(v)) for k, v in run.results.items() if k not in KNOWN and isinstance(v, int | float | str)]


def flags(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns flags as somebody would type them, those that have a value."""
    return [(f"--{key}", setting(value)) for key, value in values.items() if value not in (None, "", [], ())]


def without_effect(results: Mapping[str, Any], text: bool) -> set[str]:
    """Returns the flags that do nothing where there is no sigma, and in a text."""
    unused = set() if results.get("sigma") is not None else {"precision", "sigma"}
    return unused | {"pixels"} if text else unused


def configuration(run: Run, noted: Collection[str] = ()) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Returns the flags that say what was trained and those ``noted``, then all others that have a value."""
    unused = without_effect(run.results, run.sentences is not None)
    if run.results.get("per_column"):  # what was found of the columns has a table of its own
        unused |= {"pixels", "columns", "count_means", "missing"}
    shown = {k: v for k, v in run.config.items() if (k in noted or k in MATTERS) and k not in unused}
    return flags(shown), flags({k: v for k, v in run.config.items() if k not in shown})


def one_line(run: Run) -> str:
    """Tells what was trained, for how long and how fast, in one line."""
    results, parts = run.results, []
    if results.get("data_dim") is not None and results.get("latent_dim") is not None:
        parts.append(f"{results['data_dim']} data dimensions, {results['latent_dim']} latents")
    step, done = results.get("step"), results.get("steps_done", results.get("step"))
    if done is not None:
        parts.append(f"{done} training steps" + (f", of which step {step} is reported" if step != done else ""))
    if results.get("seconds") is not None:
        speed = results.get("examples_per_second")
        parts.append(duration(results["seconds"]) + (f" ({number(speed)} examples per second)" if speed else ""))
    return "; ".join(parts)


def evaluation(run: Run) -> Table:
    """Returns the numbers of evaluation.json with their standard errors."""
    measured, scores = run.evaluation or {}, (run.evaluation or {}).get("disentanglement") or {}
    parts, gaps = measured.get("rate_parts") or {}, measured.get("gaps") or {}
    values, cap = {**gaps, **measured}, parts.get("cap")
    annealed = measured.get("annealed") or {}
    chosen = ("log_px", "log_px_error", "inference_gap")
    values |= {name: annealed.get(name) for name in chosen} | (annealed.get("simulated") or {})
    for name, part in parts.items():
        if isinstance(part, dict):
            values |= {name: part.get("value"), f"{name}_error": part.get("error")}
    words = {
        "iw_samples": measured.get("iw_samples"),
        "ais": "{} examples, {} chains, {} temperatures".format(
            *(annealed.get(name) for name in ("examples", "chains", "temperatures"))
        ),
        "cap": "" if cap is None else f"; at most log N = {number(cap)}",
        "effective_samples": number(gaps.get("effective_samples")),
    }
    entries = [(key, name, values.get(key), meaning) for key, name, meaning in _EVALUATED]
    for key, value in scores.items():
        if not isinstance(value, bool) and not key.endswith("seconds"):
            entries.append(("", key.replace("_", " "), value, "disentanglement score"))
    rows = []
    for key, name, value, meaning in entries:
        error = values.get(f"{key}_error")
        if isinstance(value, int | float):
            rows.append([name, number(value), "" if error is None else number(error), meaning.format(**words)])
    return Table(("", "Value", "Standard error", "Unit and meaning"), ("name", "value", "value", "meaning"), rows)


def evaluation_notes(run: Run) -> list[str]:
    """Tells what has to be known about the numbers of ``evaluation``."""
    measured, scores = run.evaluation or {}, (run.evaluation or {}).get("disentanglement") or {}
    notes = [measured.get("protocol"), scores.get("protocol"), *(scores.get("left_out") or [])]
    if measured.get("step") is not None and measured["step"] != run.results.get("step"):
        notes.insert(0, f"Of step {measured['step']}, not of the state that the rest of this page is about.")
    return [str(note) for note in notes if note]


def sentences(run: Run) -> list[Table]:
    """Returns the tables of ``sentences.json``; none for a run that wrote none."""
    written = run.sentences or {}
    heads = ("Sentence of the test split", "The most probable words of its code")
    tables = [Table(heads, ("name", "meaning"), written.get("reconstructions") or [])]
    lists = [("Drawn from the prior", written.get("samples") or [])]
    lists += [("On a straight line between two codes", line) for line in written.get("homotopies") or []]
    return tables + [Table((head,), ("name",), [[s] for s in lines]) for head, lines in lists]
