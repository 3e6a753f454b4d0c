"""What the numbers of a sequence VAE say in plain words: perplexity, how near the floor is, what z explains."""

from __future__ import annotations

from vae_jax.report.finding import Finding, Numbers
from vae_jax.report.formatting import number


def perplexity(results: Numbers, config: Numbers) -> Finding | None:
    """The perplexity, and how far the bound is above the entropy where that is known."""
    if results.get("perplexity") is None:
        return None
    text = (
        f"The perplexity is at most {number(results['perplexity'])} per word, the end of a sentence counted as one "
        f"({results.get('words')} words)"
    )
    if results.get("iw_perplexity") is not None:
        text += f", {number(results['iw_perplexity'])} by the importance-weighted bound"
    floor, nll = results.get("entropy"), results.get("iw_nll")
    if floor is None or nll is None:
        return Finding("Words", False, text + ".")
    text += (
        f". A sentence has an entropy of {number(floor)} nats, and the bound is {number(nll)}: "
        f"{number(nll - floor, 3)} nats above what no model can beat on average."
    )
    return Finding("Words", False, text)


def explained(results: Numbers, config: Numbers) -> Finding | None:
    """What of the distortion z explains: z from the prior in place of z from the posterior."""
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
