"""What a run's numbers say about the code and its decoder: the prior, whether z is used, the intervals of p(x|z).

Each function takes results.json and config.json ({} where unknown); None where the numbers say nothing.
"""

from __future__ import annotations

from vae_jax.report.formatting import number
from vae_jax.report.reading.finding import Finding, Numbers, is_collapsed

NEAR_CAP = 0.9  # of log N: from here on the mutual information counts the examples and not what the code tells
LEVEL = 0.9  # the interval that the words are about
OFF = 0.05  # a 90% interval that holds less than 85% or more than 95%: far outside the error of any test split


def prior(results: Numbers, config: Numbers) -> Finding | None:
    """Tells how far the aggregate posterior is from the prior, which samples come from (Hoffman and Johnson 2016)."""
    parts, rate = results.get("rate_parts") or {}, results.get("rate")
    pieces = ("mutual_information", "total_correlation", "dimension_wise_kl")
    mutual, total, each = ((parts.get(k) or {}).get("value") for k in pieces)
    cap = parts.get("cap")
    if None in (rate, cap, mutual, total, each) or is_collapsed(results):
        return None
    text = f"Latent by latent, the codes are {number(each)} nats from the prior"
    if mutual > NEAR_CAP * cap:
        far = each > max(1.0, 0.1 * rate)
        text += (
            f". The mutual information, {number(mutual)} nats, is at its cap log N = {number(cap)}: the posteriors "
            "hardly overlap, so the total correlation counts islands, not entanglement, and says nothing of the prior."
        )
    else:
        far = each + total > max(1.0, 0.25 * rate)
        text += (
            f", together {number(each + total)} nats, of a rate of {number(rate)}; the rest, {number(mutual)} nats, is "
            "what the code tells of the example."
        )
    if far:
        text += (
            " Samples from the prior fall where few codes lie: expect reconstructions that are better than samples. A "
            "heavier weight, longer training or a prior fitted to the codes would close it."
        )
    return Finding("Prior", far, text)


def decoder(results: Numbers, config: Numbers) -> Finding | None:
    """Tells whether the decoder uses what the code costs: the distortion with the codes of other examples."""
    swapped, distortion, rate = (results.get(k) for k in ("swapped_distortion", "distortion", "rate"))
    if None in (swapped, distortion, rate) or is_collapsed(results):
        return None
    worth = swapped - distortion
    side = "higher" if worth >= 0 else "lower"
    text = f"with the code of another example the distortion is {number(abs(worth))} nats {side}"
    if worth >= 0.5 * rate:
        return Finding("Decoder", False, f"Listens to z: {text}.")
    text += f", and the code costs {number(rate)}. Weaken the decoder, or warm the weight up."
    return Finding("Decoder", True, f"Ignores most of z: {text}")


def dispersion(results: Numbers, config: Numbers) -> Finding | None:
    """Tells whether the decoder's intervals are too wide or too narrow for unseen data."""
    measured = results.get("reliability") or {}
    shares = zip(measured.get("levels") or [], measured.get("coverage") or [])
    share = next((c for level, c in shares if abs(level - LEVEL) < 1e-6), None)
    if measured.get("skipped") or share is None:
        return None
    text = f"the {100 * LEVEL:g}% intervals of p(x|z) hold {number(100.0 * share, 3)}% of the test values"
    if abs(share - LEVEL) <= OFF:
        return Finding("Intervals", False, f"About right: {text}.")
    text = (
        f"Over-dispersed: {text}; for most values the noise assumed is too big."
        if share > LEVEL
        else f"Under-dispersed: {text}; the noise assumed is too small, or its tails are too light."
    )
    return Finding("Intervals", True, f"{text} The reliability curve shows where.")
