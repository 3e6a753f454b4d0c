"""What a run's numbers say about the model: divergence, latents, overfitting, the posterior, units, the updates.

Each function takes results.json and config.json ({} where unknown); None where the numbers say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from vae_jax.report.formatting import number, setting
from vae_jax.report.reading.finding import COLLAPSED_RATE, Finding, Numbers, is_collapsed

# How far E[mu^2 + tau^2] may be from 1, its value at any stationary point of a network that can rescale its
# code; short runs of small networks stay within 0.08.
MOMENT = 0.15
_SCALED = ("gaussian", "student_t", "laplace")  # families whose noise can shrink until a density says anything


def divergence(results: Numbers, config: Numbers) -> Finding | None:
    """Numbers that are not finite (null once written as JSON)."""
    lost = [name for name in ("elbo", "rate", "distortion") if results.get(name) is None]
    if not lost:
        return None
    text = (
        f"{' and '.join(lost)}: not finite. The run diverged: lower the learning rate, or clip the gradient, and look "
        "at the curves for the step where it began."
    )
    return Finding("Divergence", True, text)


def skipped(results: Numbers, config: Numbers) -> Finding | None:
    """Updates that were not made, because their loss or gradient was not finite."""
    count, steps = results.get("skipped") or 0, results.get("step") or 0
    if not count:
        return None
    share = f" ({number(100.0 * count / steps, 2)}%)" if steps else ""
    text = f"{count} of {steps} updates{share} were skipped, because their loss or gradient was not finite"
    if 2 * count > steps:
        text += ": more than half, so most of the data had no say. Lower the learning rate, or clip the gradient."
    else:
        text += (
            "; metrics.jsonl says when. A few examples may be extreme, or the learning rate is near what this model "
            "can bear."
        )
    return Finding("Skipped updates", True, text)


def latents(results: Numbers, config: Numbers) -> Finding | None:
    """Tells how many latents are used, how many a linear model would use, and whether their scale has settled."""
    active, total, predicted = (results.get(k) for k in ("active_units", "latent_dim", "predicted_active"))
    if active is None or total is None:
        return None
    linear = f"; a linear model would use {predicted}" if predicted is not None else ""
    text = f"{active} of {total} latents are used{linear}."
    if active == total and total:
        text += " All are: a wider code may carry more."
    # Only a plain weight leaves the scale of the code free to settle at 1.
    plain = config.get("objective", "elbo") == "elbo" and config.get("weighting") != "free_bits"
    moments = enumerate(results.get("second_moment") or [])
    off = [(abs(m - 1.0), i, m) for i, m in moments if m is not None and abs(m - 1.0) > MOMENT]
    unsettled = plain and bool(off) and not is_collapsed(results)
    if unsettled:
        _, i, m = max(off)
        text += (
            f" The scale of {len(off)} of them has not settled: E[mu^2 + tau^2] is 1 at any optimum and {number(m)} "
            f"in latent {i}; train longer before trusting samples from the prior."
        )
    return Finding("Latents", unsettled, text)


def generalisation(results: Numbers, config: Numbers) -> Finding | None:
    """Reports the gap between the training and the test ELBO, measured against the rate."""
    train, test, rate = (results.get("train") or {}).get("elbo"), results.get("elbo"), results.get("rate")
    if None in (train, test, rate):
        return None
    gap = train - test
    share = f", {number(100.0 * gap / rate, 2)}% of what the code carries" if rate > COLLAPSED_RATE else ""
    text = (
        f"The ELBO is {number(train)} nats on the training split and {number(test)} on the test split, a gap of "
        f"{number(gap)} nats"
    )
    if gap > max(1.0, 0.25 * rate):
        text += f"{share}: overfitting. More data, a smaller network or an earlier stop would close it."
        return Finding("Generalisation", True, text)
    if gap > max(1.0, 0.1 * rate):
        return Finding("Generalisation", False, f"{text}{share}: some overfitting.")
    return Finding("Generalisation", False, text + (": no overfitting to speak of." if gap >= -1.0 else "."))


def posterior(results: Numbers, config: Numbers) -> Finding | None:
    """Tells what the importance-weighted bound adds to the ELBO."""
    elbo, nll, count = (results.get(k) for k in ("elbo", "iw_nll", "iw_samples"))
    if elbo is None or nll is None:
        return None
    gap = -elbo - nll
    text = f"The importance-weighted bound (with {count or 'several'} samples)"
    if gap < -0.01 * max(1.0, abs(elbo)):
        text += f" is {number(-gap)} nats looser than the ELBO: evaluate with more samples, these were too few."
        return Finding("Posterior", True, text)
    text += (
        f" puts -log p(x) at {number(nll)} nats or less, {number(max(gap, 0.0))} nats below the negative ELBO: at "
        "least that much is lost by the approximate posterior, not by the decoder."
    )
    return Finding("Posterior", False, text)


def bits(results: Numbers, config: Numbers) -> Finding | None:
    """Tells what the bits per dimension may be compared with."""
    value, likelihood, pixels = results.get("bits_per_dim"), config.get("likelihood"), config.get("pixels")
    if value is None:
        text = (
            "A Bernoulli on grey pixels is no density: the distortion is a cross-entropy whose floor is the entropy of "
            "the pixels. Compare it with no likelihood; --likelihood=continuous_bernoulli is the one that normalises."
        )
        return Finding("Units", True, text) if likelihood == "bernoulli" and config.get("soft_targets") else None
    endless = " (a smaller sigma can lower it without end)" if likelihood in _SCALED else ""
    text = (
        f": of a density at grey values, which is no code length{endless}. Compare it only with the same data, "
        "undequantised."
    )
    if likelihood == "columns":
        text = (
            ", a sum over columns of different kinds: probabilities of some, densities in their own units of others. "
            f"Compare it only with the same columns and families (--columns={config.get('columns')})."
        )
    elif likelihood in ("discretized_logistic", "categorical"):
        text = ": a code length of discrete pixels, comparable as it is."
    elif pixels == "dequantised":
        text = ": a bound on the code length of the grey levels, comparable with others dequantised so."
    elif likelihood == "bernoulli" or pixels in ("binary", "sampled"):
        kind = pixels if pixels in ("binary", "sampled") else "black and white"
        text = f", of {kind} pixels: comparable only where the pixels were made binary in the same way."
    if likelihood == "beta":  # part of the number: what 0 and 1 are worth depends on it
        squeeze = config.get("squeeze")
        text = f" (Beta of values squeezed by {setting(squeeze) if squeeze else 'half a grey level'}){text}"
    return Finding("Units", False, f"{number(value)} bits per dimension{text}")


def clipping(results: Numbers, metrics: Sequence[Numbers]) -> Finding | None:
    """Tells whether most gradients of the run's second half (of all of it, without its lines) were clipped."""
    shares = [m["clipped"] for m in metrics if m["split"] == "train" and m.get("clipped") is not None]
    late = shares[len(shares) // 2 :]
    share = sum(late) / len(late) if late else results.get("clipped") or 0.0
    if share <= 0.5:
        return None
    when = " in the second half of the run" if late else ""
    text = (
        f"{number(100.0 * share, 3)}% of the gradients were clipped{when}: the step no longer depends on the size of "
        "the loss, so weights that should be equal may not train alike."
    )
    return Finding("Clipping", True, text)


def perplexity(results: Numbers, config: Numbers) -> Finding | None:
    """Reports the perplexity, and how far the bound is above the entropy where that is known."""
    value, weighted, floor, nll = (results.get(k) for k in ("perplexity", "iw_perplexity", "entropy", "iw_nll"))
    if value is None:
        return None
    text = (
        f"The perplexity is at most {number(value)} per word, the end of a sentence counted as one "
        f"({results.get('words')} words)"
    )
    text += f", {number(weighted)} by the importance-weighted bound." if weighted is not None else "."
    if None not in (floor, nll):
        text += (
            f" A sentence has an entropy of {number(floor)} nats, and the bound is {number(nll)}: "
            f"{number(nll - floor, 3)} nats above what no model can beat on average."
        )
    return Finding("Words", False, text)


def explained(results: Numbers, config: Numbers) -> Finding | None:
    """Tells what of the distortion z explains: z from the prior in place of z from the posterior."""
    prior, distortion = results.get("prior_distortion"), results.get("distortion")
    if prior is None or distortion is None:
        return None
    gain, rate = prior - distortion, results.get("rate") or 0.0
    text = (
        f"z explains {number(gain, 3)} nats of a sentence, {100.0 * gain / prior:.1f}% of the {number(prior)} that it "
        f"takes with a z drawn from the prior; its rate is {number(rate, 3)} nats."
    )
    ignored = gain < 0.1
    return Finding("What z explains", ignored, text + (" The decoder does without it." if ignored else ""))
