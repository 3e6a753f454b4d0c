"""What a run's numbers say about the code and its decoder: the prior, whether z is used, the intervals of p(x|z)."""

from __future__ import annotations

from vae_jax.report.formatting import number
from vae_jax.report.reading.finding import FEW, Finding

NEAR_CAP = 0.9  # of log N: from here on the mutual information counts the examples and not what the code tells
LEVEL = 0.9  # the interval that the words are about
KNOW_C = ("conditional", "autoregressive", "vamp")  # priors that are told what is known beside x
OFF = 0.05  # a 90% interval that holds less than 85% or more than 95%: far outside the error of any test split


def prior(
    rate, cap, mutual_information, total_correlation, dimension_wise_kl, collapsed, examples=FEW, direction=None
) -> Finding | None:
    """Tells how far the aggregate posterior is from the prior, which samples come from (Hoffman and Johnson 2016)."""
    each, both = dimension_wise_kl, dimension_wise_kl + total_correlation
    if collapsed or examples < FEW:
        return None
    text = f"Latent by latent, the codes are {number(each)} nats from the prior"
    if mutual_information > NEAR_CAP * cap:
        far = each > max(1.0, 0.1 * rate)
        text += (
            f". The mutual information, {number(mutual_information)} nats, is at its cap log N = {number(cap)}: the "
            "posteriors hardly overlap, so the total correlation counts islands, not entanglement, and says nothing of "
            "the prior."
        )
    else:
        far = both > max(1.0, 0.25 * rate)
        text += (
            f", together {number(both)} nats, of a rate of {number(rate)}; the rest, {number(mutual_information)} "
            "nats, is what the code tells of the example."
        )
    if far:
        longer = "" if direction == "falls" else ", longer training"
        text += (
            " Samples from the prior fall where few codes lie: expect reconstructions that are better than samples. A "
            f"heavier weight{longer} or a prior fitted to the codes would close it."
        )
    return Finding("Prior", far, text)


def learned_prior(prior_gap, rate, cap, mutual_information, collapsed, examples=FEW) -> Finding | None:
    """Tells how far the aggregate posterior is from a prior that was learned (Hoffman and Johnson 2016)."""
    if collapsed or examples < FEW:
        return None
    text = f"The codes are {number(prior_gap)} nats from the prior that was learned, of a rate of {number(rate)}."
    if mutual_information > NEAR_CAP * cap:
        # Of N islands, which any smooth prior has to miss, it is at least the rate less log N.
        return Finding("Prior", False, f"{text} The {examples} posteriors hardly overlap: most of it is unavoidable.")
    return Finding("Prior", prior_gap > max(1.0, 0.25 * rate), text)


def condition(condition, prior="standard_normal", model="mlp") -> Finding | None:
    """Tells what the codes still know of what is known beside x, by a linear classifier or regression.

    Where the prior is p(z|c) that costs no rate, and is nothing to attend to.
    """
    parts, known = [], False
    for part in condition:
        if "accuracy" in part:
            parts.append(f"{part['name']} by {part['accuracy']:.1%} (the most frequent class: {part['majority']:.1%})")
            known |= part["accuracy"] > part["majority"] + 0.1
        else:
            parts.append(f"{part['name']} by R\N{SUPERSCRIPT TWO} = {part['r2']:.2f}")
            known |= part["r2"] > 0.1
    text = f"A linear reading of the codes tells {', '.join(parts)}"
    if known and (prior in KNOW_C or model in ("ladder", "hierarchy")):
        return Finding("Condition", False, f"{text}: p(z|c) knows it too, so it costs no rate.")
    return Finding("Condition", known, f"{text}: {'they say again what is known' if known else 'nearly nothing'}.")


def decoder(rate, distortion, swapped_distortion, collapsed, examples=FEW, direction=None) -> Finding | None:
    """Tells whether the decoder uses what the code costs: the distortion with the codes of other examples."""
    if collapsed or examples < FEW:
        return None
    worth = swapped_distortion - distortion
    side = "higher" if worth >= 0 else "lower"
    text = f"with the code of another example the distortion is {number(abs(worth))} nats {side}"
    if worth >= 0.5 * rate:
        return Finding("Decoder", False, f"Listens to z: {text}.")
    text += f", and the code costs {number(rate)}."
    if direction == "rises":
        return Finding(
            "Decoder", False, f"Uses little of z so far: {text} The unseen data's ELBO still rises: train on."
        )
    return Finding("Decoder", True, f"Ignores most of z: {text} Weaken the decoder, or warm the weight up.")


def dispersion(reliability, calibration=None, train_calibration=None, examples=FEW) -> Finding | None:
    """Tells whether the decoder's intervals are too wide or too narrow for unseen data."""
    shares = zip(reliability.get("levels") or [], reliability.get("coverage") or [])
    share = next((c for level, c in shares if abs(level - LEVEL) < 1e-6), None)
    if reliability.get("skipped") or share is None or examples < FEW:
        return None
    text = f"the {100 * LEVEL:g}% intervals of p(x|z) hold {number(100.0 * share, 3)}% of the test values"
    if abs(share - LEVEL) <= OFF:
        return Finding("Intervals", False, f"About right: {text}.")
    ratio = train_calibration or calibration
    average = "right on average, but " if ratio and abs(ratio - 1.0) <= OFF else ""
    text = (
        f"Over-dispersed: {text}; the noise assumed is {average}too big for most values."
        if share > LEVEL
        else f"Under-dispersed: {text}; the noise assumed is {average}too small for many, or its tails are too light."
    )
    return Finding("Intervals", True, f"{text} The reliability curve shows where.")
