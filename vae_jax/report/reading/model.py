"""What a run's numbers say about the model: divergence, latents, overfitting, the posterior, units, the updates."""

from __future__ import annotations

import math

from vae_jax.report.formatting import number, setting
from vae_jax.report.reading.finding import COLLAPSED_RATE, FEW, Finding

# How far E[mu^2 + tau^2] may be from 1, its value at any stationary point of a network that can rescale its
# code; short runs of small networks stay within 0.08. Of few examples it is known less well.
MOMENT = 0.15
_SCALED = (
    "gaussian",
    "student_t",
    "laplace",
    "huber",
    "charbonnier",
)  # families whose noise can shrink until a density says anything
_SHORT = 80  # letters of --columns that a sentence quotes
_WIDE = 1e3  # the largest variance of data for which the defaults are made is about 1


def divergence(numbers, lambda_max=None) -> Finding | None:
    """Names numbers that are not finite (null once written as JSON)."""
    lost = [name for name in ("elbo", "rate", "distortion") if numbers.get(name) is None]
    if not lost:
        return None
    text = f"{' and '.join(lost)}: not finite. The run diverged: {remedy(lambda_max)}"
    return Finding("Divergence", True, f"{text}, and look at the curves for the step where it began.")


def remedy(lambda_max: float | None) -> str:
    """Tells what to do about updates that are not finite: of data in huge units no learning rate is small enough."""
    if lambda_max is not None and lambda_max > _WIDE:
        return f"the data's largest variance is {number(lambda_max, 3)}; scale its columns to about 1"
    return "lower the learning rate, or clip the gradient"


def skipped_updates(skipped, steps=0, lambda_max=None) -> Finding | None:
    """Tells of updates that were not made, because their loss or gradient was not finite."""
    if not skipped:
        return None
    share = f" ({number(100.0 * skipped / steps, 2)}%)" if steps else ""
    text = f"{skipped} of {steps} updates{share} were skipped, because their loss or gradient was not finite"
    if 2 * skipped > steps:
        text += f": more than half, so most of the data had no say: {remedy(lambda_max)}."
    else:
        text += (
            "; metrics.jsonl says when. A few examples may be extreme, or the learning rate is near what this model "
            "can bear."
        )
    return Finding("Skipped updates", True, text)


def latents(
    used,
    latent_dim,
    collapsed,
    active_units=None,
    predicted_active=None,
    second_moment=(),
    objective="elbo",
    weighting=None,
    beta=1.0,
    examples=None,
    latents_split="test",
    direction=None,
) -> Finding:
    """Tells how many latents are used, how many a linear model would use, and whether their scale has settled."""
    linear = f"; a linear model would use {predicted_active}" if predicted_active is not None else ""
    where = " on the training split, as the test split is small" if latents_split == "train" else ""
    text = f"{used} of {latent_dim} latents are used{where}{linear}."
    if active_units is not None and used != active_units and latents_split == "test":
        text += f" By the variance of their posterior means alone, above 0.01, it would be {active_units}."
    falls = direction == "falls"
    if used == latent_dim and not falls:
        text += " All are: a wider code may carry more."
    # Only a plain weight leaves the scale of the code free to settle at 1, and only one that charges for it.
    plain = objective == "elbo" and weighting != "free_bits" and beta > 0
    slack = max(MOMENT, 3.0 * math.sqrt(2.0 / examples)) if examples else MOMENT
    off = [(abs(m - 1.0), i, m) for i, m in enumerate(second_moment) if m is not None and abs(m - 1.0) > slack]
    unsettled = plain and bool(off) and not collapsed
    if unsettled:
        _, i, m = max(off)
        advice = "do not trust" if falls else "train longer before trusting"
        text += (
            f" The scale of {len(off)} of {latent_dim} has not settled: E[mu^2 + tau^2] is 1 at any optimum and "
            f"{number(m)} in latent {i}; {advice} samples from the prior."
        )
    return Finding("Latents", unsettled, text)


def generalisation(
    elbo, rate, train_elbo, examples=FEW, unknown_words=0, trend=None, direction=None, best_step=None
) -> Finding:
    """Reports the gap between the training and the test ELBO, measured against the rate."""
    gap = train_elbo - elbo
    text = (
        f"The ELBO is {number(train_elbo)} nats on the training split and {number(elbo)} on the test split, a gap of "
        f"{number(gap)} nats"
    )
    if examples < FEW:
        return Finding("Generalisation", False, f"{text}; so few test examples allow no verdict.")
    share = ""
    if rate > COLLAPSED_RATE:
        share = f", {number(100.0 * gap / rate, 2)}% of what the code carries"
        share = ", more than all that the code carries" if gap > rate else share
    if gap > max(1.0, 0.1 * rate) and direction == "rises":
        return Finding(
            "Generalisation", False, f"{text}{share}; the {trend.split} ELBO still rises, so training helps both."
        )
    if gap > max(1.0, 0.25 * rate) and unknown_words and direction != "falls":
        text += f"{share}; part of it is the {unknown_words} words of the test text that training never saw."
        return Finding("Generalisation", False, text)
    if gap > max(1.0, 0.25 * rate):
        text += f"{share}: overfitting. "
        if direction == "falls":
            text += f"The {trend.split} ELBO was highest at step {trend.step}, {number(trend.elbo)} nats"
            reported = best_step is not None and best_step <= trend.step
            text += ", which is reported. " if reported else ". "
            stop = "or a smaller network" if reported else "a smaller network or an earlier stop"
            text += f"More data{' ' if reported else ', '}{stop} would close it."
        else:
            text += "More data or a smaller network would close it."
        return Finding("Generalisation", True, text)
    if gap > max(1.0, 0.1 * rate):
        return Finding("Generalisation", False, f"{text}{share}: some overfitting.")
    return Finding("Generalisation", False, text + (": no overfitting to speak of." if gap >= -1.0 else "."))


def posterior(elbo, iw_nll, iw_samples="several") -> Finding:
    """Tells what the importance-weighted bound adds to the ELBO."""
    gap = -elbo - iw_nll
    text = f"The importance-weighted bound (with {iw_samples} samples)"
    if gap < -0.01 * max(1.0, abs(elbo)):
        text += f" is {number(-gap)} nats looser than the ELBO: evaluate with more samples, these were too few."
        return Finding("Posterior", True, text)
    text += (
        f" puts -log p(x) at {number(iw_nll)} nats or less, {number(max(gap, 0.0))} nats below the negative ELBO: at "
        "least that much is lost by the approximate posterior, not by the decoder."
    )
    return Finding("Posterior", False, text)


def bits(likelihood=None, pixels=None, bits_per_dim=None, soft_targets=False, columns=None, squeeze=None):
    """Tells what the bits per dimension may be compared with."""
    if bits_per_dim is None:
        text = (
            "A Bernoulli on grey pixels is no density: the distortion is a cross-entropy whose floor is the entropy of "
            "the pixels. Compare it with no likelihood; --likelihood=continuous_bernoulli is the one that normalises."
        )
        return Finding("Units", True, text) if likelihood == "bernoulli" and soft_targets else None
    endless = " (a smaller sigma can lower it without end)" if likelihood in _SCALED else ""
    text = (
        f": of a density at grey values, which is no code length{endless}. Compare it only with the same data, "
        "undequantised."
    )
    if likelihood == "columns":
        named = f" (--columns={columns})" if columns and len(columns) <= _SHORT else ""
        text = (
            ", a sum over columns of different kinds: probabilities of some, densities in their own units of others. "
            f"Compare it only with the same columns and families{named}."
        )
    elif likelihood in ("discretized_logistic", "categorical"):
        text = ": a code length of discrete pixels, comparable as it is."
    elif likelihood in ("poisson", "negative_binomial"):
        text = ": a code length of counts, comparable as it is."
    elif likelihood == "log_normal":
        text = ": of a density in the data's own units. Compare it only with the same columns in the same units."
    elif pixels == "dequantised":
        text = ": a bound on the code length of the grey levels, comparable with others dequantised so."
    elif likelihood == "bernoulli" or pixels in ("binary", "sampled"):
        kind = pixels if pixels in ("binary", "sampled") else "black and white"
        text = f", of {kind} pixels: comparable only where the pixels were made binary in the same way."
    if likelihood == "beta":  # part of the number: what 0 and 1 are worth depends on it
        text = f" (Beta of values squeezed by {setting(squeeze) if squeeze else 'half a grey level'}){text}"
    return Finding("Units", False, f"{number(bits_per_dim)} bits per dimension{text}")


def clipping(metrics, clipped=0.0) -> Finding | None:
    """Tells whether most gradients of the run's second half (of all of it, without its lines) were clipped."""
    shares = [m["clipped"] for m in metrics if m["split"] == "train" and m.get("clipped") is not None]
    late = shares[len(shares) // 2 :]
    share = sum(late) / len(late) if late else clipped
    when = " in the second half of the run" if late else ""
    text = (
        f"{number(100.0 * share, 3)}% of the gradients were clipped{when}: the step no longer depends on the size of "
        "the loss, so weights that should be equal may not train alike."
    )
    return Finding("Clipping", True, text) if share > 0.5 else None


def perplexity(
    perplexity, iw_perplexity=None, entropy=None, iw_nll=None, words=None, unknown_words=0, perplexity_known=None
) -> Finding:
    """Reports the perplexity, what unknown words add to it, and how far the bound is above the entropy."""
    text = (
        f"The perplexity is at most {number(perplexity)} per word, the end of a sentence counted as one ({words} words)"
    )
    text += f", {number(iw_perplexity)} by the importance-weighted bound." if iw_perplexity is not None else "."
    if unknown_words and perplexity_known is not None:
        text += (
            f" {unknown_words} of them are not in the vocabulary; over the sentences without such it is at most "
            f"{number(perplexity_known)}."
        )
    if None not in (entropy, iw_nll):
        text += (
            f" A sentence has an entropy of {number(entropy)} nats, and the bound is {number(iw_nll)}: "
            f"{number(iw_nll - entropy, 3)} nats above what no model can beat on average."
        )
    return Finding("Words", False, text)


def explained(prior_distortion, distortion, rate=0.0) -> Finding:
    """Tells what of the distortion z explains: z from the prior in place of z from the posterior."""
    gain = prior_distortion - distortion
    text = (
        f"z explains {number(gain, 3)} nats of a sentence, {100.0 * gain / prior_distortion:.1f}% of the "
        f"{number(prior_distortion)} that it takes with a z drawn from the prior; its rate is {number(rate, 3)} nats."
    )
    ignored = gain < 0.1
    return Finding("What z explains", ignored, text + (" The decoder does without it." if ignored else ""))
