"""The sentences of an audit: what the numbers of a trained VAE mean, each with its topic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

Numbers = dict[str, Any]
FAR = 0.1  # relative: how far an identity may miss before it is told
NAMES = {"squared_error": "squared error", "absolute_error": "absolute error", "bce": "binary cross-entropy"}


def findings(answer: Numbers) -> list[Numbers]:
    """Returns what there is to say, as ``{topic, sentence, attention}``, the most important first.

    Args:
      answer: the numbers of an audit; what is None is not spoken of.
    """
    said = [_finding(topic, sentence[0].upper() + sentence[1:], True) for topic, sentence in answer["suspicions"]]
    for part in (_weight, _trust, _loss, _rate, _code, _error, _linear, _targets):
        said += part(answer)
    return said


def _finding(topic: str, sentence: str, attention: bool = False) -> Numbers:
    return {"topic": topic, "sentence": sentence.rstrip(".") + ".", "attention": attention}


def _number(value: float) -> str:
    return f"{value:.3g}"


def _weight(a: Numbers) -> Iterator[Numbers]:
    if a["levels"] is None:
        return
    if a["water_level"] is None:
        yield _finding(
            "weight",
            "No weight belongs to these variances: they are not below the prior's, as they are at every optimum, so "
            "logvar is not the log-variance, or the encoder was not trained",
            True,
        )
        return
    s, dim = a["water_level"], a["pixels"]["data_dim"]
    unit = "" if a["pixels"]["range"] == "own" else " on [0, 1] pixels"
    sentence = (
        f"This model weighs s = beta sigma^2 = {_number(s)} +- {_number(a['water_level_se'])}{unit}: as sum SE + "
        f"{_number(2 * s)} sum KL, as mean SE + {_number(2 * s / dim)} sum KL, or as the ELBO of a decoder with sigma "
        f"= {_number(a['sigma_at_beta_1'])}; beta_norm is {_number(a['beta_norm'])}"
    )
    yield _finding("weight", sentence)
    yield _finding(
        "weight",
        f"If the error was absolute, sum |error| + {_number(a['levels']['weights']['absolute_error']['value'])} sum KL"
        + (
            f"; if it was a binary cross-entropy, sum BCE + {_number(a['levels']['weights']['bce']['value'])} sum KL"
            if "bce" in a["levels"]["weights"]
            else ""
        ),
    )
    first = a["levels"]["weights"]["squared_error"]["value"] / 2
    if abs(first - s) > 0.05 * s and a["levels"]["unlinearised"]:
        said = (
            f"The decoder bends within tau: to first order s would be {_number(first)}, without the linearisation it is"
        )
        yield _finding("weight", f"{said} {_number(s)} +- {_number(a['water_level_se'])}")
    times = a["pixels"].get("beta_calibrated")
    if times is not None:
        side = "more" if times > 1 else "less"
        sentence = f"At the sigma of the error made, {_number(a['pixels']['rms'])}, that is a beta of {_number(times)}"
        if not 0.8 < times < 1.25:
            sentence += f": the KL is weighed {_number(max(times, 1 / times))} times {side} than in the calibrated ELBO"
        yield _finding("weight", sentence)


def _trust(a: Numbers) -> Iterator[Numbers]:
    levels = a["levels"]
    if levels is None or a["identity_residual"] is None:
        return
    residual, sure = a["identity_residual"], a.get("draws_hold")
    parts = [f"E mu^2 + E tau^2 is 1 within {_number(_scale_missed(a))} (root mean square over what is active)"]
    if levels["scatter"] is not None:
        parts.append(f"the latents' own levels scatter by {_number(levels['scatter'])} of s")
    off = _means_off(levels)
    if off is not None:
        kind, ratio = off
        parts.append(f"the means tell {_number(ratio)} times the weight that the variances tell ({NAMES[kind]})")
    missed = residual > FAR or (off is not None and not 0.75 < off[1] < 1.33)
    if not missed:
        yield _finding("trust", f"The identity holds within {_number(residual)}: " + "; ".join(parts))
        return
    why = "the model is not at an optimum of a Gaussian VAE: not converged (an encoder that is still learning), "
    why += "a KL with free bits or to another prior, or examples that it did not train on"
    if a["suspicions"] and not sure:
        why = "see what is wrong with the file, above; or the encoder has not converged"
    elif sure is None:
        why += "; or logvar is not the log-variance (save the draws z to tell)"
    settled = sure and (levels["scatter"] or 0.0) < FAR and _scale_missed(a) < 0.4
    end = "s rests on the variances, which settle first, and they agree" if settled else "s is then a hint"
    yield _finding(
        "unconverged", f"The identity misses by {_number(residual)}: {'; '.join(parts)}. So {why}; {end}", True
    )


def _scale_missed(a: Numbers) -> float:
    latents = a["latents"]["positions"]
    kept = [d for d, kl in zip(a["levels"]["scale"], a["kl_per_latent"]) if kl / latents > 0.01]
    return math.sqrt(sum(d * d for d in kept) / len(kept)) if kept else 0.0


def _means_off(levels: Numbers) -> tuple[str, float] | None:
    """The kind of loss for which means and variances agree best, and the ratio of what they tell."""
    ratios = {
        kind: of_means["value"] / levels["weights"][kind]["value"]
        for kind, of_means in levels["weights_of_means"].items()
        if levels["weights"][kind]["value"] > 0 and math.isfinite(of_means["value"])
    }
    if not ratios:
        return None
    return min(ratios.items(), key=lambda item: abs(math.log(item[1])) if item[1] > 0 else math.inf)


def _loss(a: Numbers) -> Iterator[Numbers]:
    loss = a["loss"]
    if loss is None:
        return
    if loss["ratio"] is None:
        yield _finding("loss", f"{loss['text']}: the weight of no such error can be told from outputs", True)
        return
    name, ratio = NAMES[loss["kind"]], loss["ratio"]
    stated, measured = (_number(loss[key]) for key in ("weight", "measured"))
    sentence = (
        f"{loss['text']} is sum {name} + {stated} sum KL, and the outputs tell {measured} +- {_number(loss['error'])}"
    )
    exact = a["levels"]["unlinearised"].get(loss["kind"])
    if 0.9 < ratio < 1.1:
        yield _finding("loss", f"{sentence}: they agree")
        return
    if exact and abs(exact["value"] - loss["weight"]) < max(2.0 * exact["error"], FAR * loss["weight"]):
        told = f"{_number(exact['value'])} +- {_number(exact['error'])}"
        yield _finding("loss", f"{sentence} to first order, {told} without the linearisation: they agree")
        return
    why = ["the encoder has not converged"] if a["identity_residual"] > FAR else []
    for factor, reason in (
        (2.0, "a half before the squared error"),
        (4.0, "pixels in [-1, 1] called [0, 1]"),
        (255.0**2, "pixels in [0, 255] called [0, 1]"),
        (a["pixels"]["data_dim"], "a mean over the values called a sum"),
        (a["latents"]["positions"] * a["latents"]["channels"], "a mean over the latents called a sum"),
    ):
        if abs(abs(math.log(ratio)) - math.log(factor)) < FAR and factor > 1:
            why.append(f"the factor is {_number(factor)}: {reason}")
    if loss["others"]:
        why.append(f"other terms pull, too ({', '.join(loss['others'])})")
    why = why or ["a logvar that was learned outside of the optimiser or clamped, another error, or perceptual terms"]
    yield _finding("loss", f"{sentence}, {_number(ratio)} times as much. Why: {'; '.join(why)}", True)


def _rate(a: Numbers) -> Iterator[Numbers]:
    if a["rate"] is None:
        return
    latents = a["latents"]
    what = "channels" if latents["positions"] > 1 else "latents"
    sentence = f"The rate is {a['rate']:.4g} +- {_number(a['rate_se'])} nats per example"
    if a["bits_per_dim_rate"] is not None:
        sentence += f", {_number(a['bits_per_dim_rate'])} bits for each value of x"
    sentence += f"; {a['active']} of {latents['channels']} {what} carry more than 0.01 nats"
    if latents["positions"] > 1:
        sentence += f" at each of {latents['positions']} positions"
    yield _finding("rate", sentence, a["active"] == 0)
    if a["calibrated_elbo"] is not None:
        yield _finding(
            "rate", f"The ELBO at the sigma of the error made is {a['calibrated_elbo']:.5g} nats per example"
        )


def _code(a: Numbers) -> Iterator[Numbers]:
    code = a["code"]
    if code is None:
        return
    factor = code["scale_factor"]
    sentence = f"The aggregate code has a standard deviation of {_number(1 / factor)} (scale factor {factor:.4g})"
    sentence += (
        f", its channels correlate by {_number(code['correlation'])}, {_number(code['largest_correlation'])} at most"
    )
    if code["low_frequencies"] is not None:
        sentence += (
            f"; over space its low frequencies hold {_number(code['low_frequencies'])} times what white noise has"
        )
    wide = not 0.8 < factor < 1.25
    if wide:
        sentence += ": samples from N(0, I) are not its codes; multiply codes by the scale factor before a second stage"
    yield _finding("code", sentence, wide)
    share = code["noise_share"]
    if code.get("verdict") == "scale":
        yield _finding(
            "code",
            f"tau^2 is {_number(share)} of the code's variance: this encoder is deterministic for every purpose but "
            "scale; the KL only holds the scale, it is no budget",
            True,
        )
    elif code.get("verdict") == "budget":
        added = a["pixels"]["noise_share"]
        yield _finding(
            "code",
            f"The KL is a budget: tau^2 is {_number(share)} of the code's variance, and drawing z makes {added:.0%} of "
            "the squared error",
        )


def _error(a: Numbers) -> Iterator[Numbers]:
    if a["pixels"] is None:
        return
    p = a["pixels"]
    yield _finding(
        "error",
        f"The error is {_number(p['rms'])} per value (root mean square, z drawn), {p['squared_error']:.4g} summed; "
        f"{p['squared_error_at_mean']:.4g} at the mean",
    )


def _linear(a: Numbers) -> Iterator[Numbers]:
    linear = a["linear"]
    if linear is None:
        return
    level, rate, own = linear["at_level"], linear["at_rate"], a["pixels"]["squared_error"]
    sentence = (
        f"A linear VAE with as many latents at this s would use {level['active']}, {level['rate']:.4g} nats, and make "
        f"an error of {level['distortion']:.4g}; at this model's rate, {rate['distortion']:.4g}, where this one makes "
        f"{own:.4g}"
    )
    few = linear["examples"] < 10 * a["pixels"]["data_dim"]
    if few:
        sentence += f" (its covariance is that of {linear['examples']} examples, which flatters it)"
    worse = own > 1.05 * rate["distortion"] and not few
    yield _finding("linear", sentence + (": PCA does better" if worse else ""), worse)


def _targets(a: Numbers) -> Iterator[Numbers]:
    targets = a["targets"] or {}
    for name, target in targets.items():
        s, now = target["water_level"], a["water_level"]
        wanted = f"a rate of {target['rate']:g} nats" if name == "rate" else f"{target['channels']} channels"
        dim = a["pixels"]["data_dim"]
        yield _finding(
            "target",
            f"For {wanted}: s = {_number(s)}, {_number(s / now)} times the present weight, sum SE + {_number(2 * s)} "
            f"sum KL or mean SE + {_number(2 * s / dim)} sum KL (to first order: a network trained again moves, too)",
        )
