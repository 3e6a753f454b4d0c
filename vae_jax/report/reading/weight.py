"""What a run's numbers say about its weight: collapse, the bound, the noise.

The collapsed solution is stable exactly where the water level beta sigma^2 is above the largest eigenvalue
of the data's covariance (linear_vae.py holds the closed forms); at any optimum over a shared sigma,
SSE / (D sigma^2) = 1.
"""

from __future__ import annotations

import math

from vae_jax.report.formatting import number, program, setting
from vae_jax.report.reading.finding import COLLAPSED_RATE, FEW, Finding

CALIBRATED, NEARLY = 0.02, 0.05  # how far SSE / (D sigma^2) may be from 1
UNSEEN = 0.9, 1.15  # the same, between two splits that training does not see
WORSE = 1.1  # from this multiple of the training ratio on, the test ratio tells of overfitting
SATURATED = 0.5  # the share of the run's second half at a bound of beta
AT_BOUND = 1.05  # a sigma within this factor of its lower bound is held by it
# The largest variance that one dimension of the family can have; beta times it stands in for the water level.
_LARGEST_VARIANCE = {"bernoulli": 1 / 4, "continuous_bernoulli": 1 / 12}
# weighting -> the flag of its target, and the number that it controls
CONTROLLED = {
    "pi": ("target_kl", "rate"),
    "capacity": ("target_kl", "rate"),
    "geco": ("target_distortion", "distortion"),
}
_GAIN = {"pi": "--ki", "geco": "--geco_rate", "capacity": "--gamma"}
_FAILURE = (
    "It is a failure of optimisation, not of the weight: below that level the collapsed solution is a saddle. Warm the "
    "weight up from 0, or lower the learning rate."
)


def collapse(rate, numbers, collapsed, water_level=None, lambda_max=None) -> Finding:
    """Tells whether the code is used at all, and if not, whether the weight or the optimiser is to blame."""
    level = (
        f"the water level beta sigma^2 is {number(water_level)}, the largest eigenvalue of the data's covariance "
        f"{number(lambda_max)}"
    )
    if not collapsed:
        known = f" ({level})" if None not in (water_level, lambda_max) else ""
        text = f"the code carries {number(rate)} nats per example{known}"
        known = numbers["used"] is not None
        return Finding(
            "Collapse", False, f"Not collapsed: {text}." if known else f"Of so few examples no verdict: {text}."
        )
    start = f"the code carries {number(rate)} nats per example."
    if rate >= COLLAPSED_RATE:
        start = f"{number(rate)} nats per example are paid, and no latent depends on the input."
    return Finding("Collapse", True, f"Collapsed: {start} {_why_collapsed(numbers, level)}")


def _why_collapsed(numbers, level: str) -> str:
    water, largest, beta = (numbers.get(k) for k in ("water_level", "lambda_max", "beta"))
    if numbers["unfinished"]:
        return (
            f"The run ended at step {setting(numbers.get('step'))}, inside the weight's warm-up of "
            f"{setting(numbers['warmup_steps'])} steps: train on, or shorten the warm-up, before reading more into it."
        )
    if largest is not None and largest <= 0.0:
        return "The training examples are all equal, so there is nothing to encode."
    if None not in (water, largest):
        if water >= largest:
            knob = "beta" if numbers.get("precision") in ("learned", "optimal") else "beta or sigma"
            remedy = f"Lower {knob}."
            if largest <= _least_variance(numbers):
                remedy = "The data vary less than --min_sigma lets sigma follow: scale them to a spread of about 1."
            return (
                f"This is the optimum of its loss: {level}, and under the water a code costs more than it saves. "
                f"{remedy}"
            )
        spend = 0.5 * math.log(largest / water) if water > 0 else math.inf
        if spend < COLLAPSED_RATE:
            return (
                f"The weight leaves almost nothing: {level}; the best direction of the data is worth {number(spend)} "
                "nats to a linear model. Lower beta or sigma."
            )
    if numbers["direction"] == "rises":
        return "The unseen data's ELBO still rises: train on before reading more into it."
    if None not in (water, largest):
        return f"The weight does not ask for it: {level}. {_FAILURE}"
    variance = _LARGEST_VARIANCE.get(numbers.get("likelihood"))
    if variance and largest and beta and largest > beta * variance:
        return (
            f"The weight does not ask for it: the noise of this family weighs at most beta * {number(variance)} = "
            f"{number(beta * variance)}, the largest eigenvalue of the data is {number(largest)}. {_FAILURE}"
        )
    return (
        "This family has no one water level to tell why: train again with a tenth of beta; if the rate rises, it was "
        "the weight, and if not, the optimisation."
    )


def _least_variance(numbers) -> float:
    """Returns the square of the lower bound of a sigma that is not fixed, as far as the run says."""
    fixed = numbers.get("precision") in (None, "fixed")
    return 0.0 if fixed else (numbers.get("min_sigma") or 0.0) ** 2


def weight(unfinished, beta=None, water_level=None, weighting=None) -> Finding | None:
    """Tells whether the loss is a bound, and at which weight the numbers are."""
    end = " The weight's warm-up had not ended when the run did." if unfinished else ""
    no_bound = "not a bound on log p(x). All the numbers here are at beta = 1."
    if weighting in ("capacity", "free_bits"):  # these change the loss itself, not only a weight in it
        text = f"The loss ({weighting.replace('_', ' ')}) is {no_bound}"
    elif beta is None:
        return Finding("Weight", True, end.strip()) if unfinished else None
    elif weighting in CONTROLLED:
        text = f"beta = {setting(beta)}, found by the controller: the loss is {no_bound}"
    elif math.isclose(beta, 1.0, rel_tol=1e-6):
        text = "beta = 1: the loss is a bound on -log p(x)."
    else:
        text = f"beta = {setting(beta)}: the loss is {no_bound}"
        if water_level and water_level > 0:
            sigma = number(math.sqrt(water_level))
            text += f" As a squared error, this is the model of noise sigma = {sigma} at beta = 1."
    return Finding("Weight", unfinished, text + end)


def calibration(
    numbers,
    calibration=None,
    train_calibration=None,
    sigma=None,
    precision=None,
    min_sigma=0.0,
    examples=FEW,
    direction=None,
    validation_calibration_before=None,
) -> Finding | None:
    """Tells whether the noise that the decoder assumes is the error it makes."""
    if None not in (validation_calibration_before, calibration):
        return _recalibrated(numbers, calibration, validation_calibration_before)
    ratio, split = (calibration, "test") if train_calibration is None else (train_calibration, "training")
    if not ratio:
        return None
    off, both = abs(ratio - 1.0), None not in (calibration, train_calibration)
    overfit = both and examples >= FEW and calibration > WORSE * ratio
    text = f"SSE / (D sigma^2) is {number(ratio)} on the {split} split"
    if both:
        text += f" and {number(calibration)} on the test split"
    if off <= NEARLY and overfit:
        text = f"Calibrated on the training split only: {text}: unseen data is reconstructed worse."
    elif off <= CALIBRATED:
        text = f"Calibrated: {text}; the noise assumed is the error made."
    elif off <= NEARLY:
        text = f"Nearly calibrated: {text}, where 1 is calibrated."
    else:
        word = "too small (the model is overconfident)" if ratio > 1 else "too big (its samples of x are too noisy)"
        text = f"Not calibrated: {text}; the noise assumed is {word}{' for the training split' if overfit else ''}."
        if precision in (None, "fixed") and sigma:
            text += _would_be_calibrated(numbers, ratio, sigma)
        elif precision != "fixed" and sigma and ratio < 1 and sigma <= AT_BOUND * min_sigma:
            text += (
                f" Sigma cannot follow the error below --min_sigma={setting(min_sigma)}: scale the data to a spread "
                "of about 1, or lower that bound."
            )
        elif precision != "fixed" and direction != "falls":
            text += " A learned sigma ends at 1: train longer, or give it a higher learning rate."
        text += " Unseen data is reconstructed worse." if overfit else ""
    return Finding("Calibration", off > NEARLY or overfit, text)


def _recalibrated(numbers, ratio: float, before: float) -> Finding:
    """Tells how well a sigma that was recalibrated on the validation split fits other unseen data."""
    train, trained, sigma = (numbers.get(k) for k in ("train_calibration", "trained_sigma", "sigma"))
    fits = UNSEEN[0] <= ratio <= UNSEEN[1] or (numbers.get("examples") or FEW) < FEW
    text = f"SSE / (D sigma^2) is {number(ratio)} on the test split"
    text += "" if train is None else f" and {number(train)} on the training split"
    text += f". On the validation split it was {number(before)} at the sigma that training left"
    text += "" if None in (trained, sigma) else f", so sigma was brought from {number(trained)} to {number(sigma)}"
    if fits:
        return Finding("Calibration", False, f"Calibrated on unseen data: {text}.")
    return Finding("Calibration", True, f"Not calibrated: {text}: the test split is unlike the validation split.")


def _would_be_calibrated(numbers, ratio: float, sigma: float) -> str:
    """Tells which sigma would be calibrated, and what the same weights then are, where sigma is fixed."""
    wanted, least = sigma * math.sqrt(ratio), numbers.get("min_sigma") or 0.0
    text = f" Calibrated would be sigma = {number(wanted)}, the root of the error made"
    beta, dim, test = (numbers.get(k) for k in ("beta", "data_dim", "calibration"))
    if beta:
        text += f"; at that sigma, these same weights are those of beta = {number(beta / ratio)}"
    if dim and test:
        # -(D/2) log(2 pi v) - SSE / (2 v) at v = ratio sigma^2, minus the same at v = sigma^2.
        gain = 0.5 * dim * (test * (1.0 - 1.0 / ratio) - math.log(ratio))
        text += f", and their test ELBO is {number(gain)} nats higher" if gain > 0 else ""
    if numbers.get("precision") != "fixed":
        return f"{text}."
    if wanted < least:
        return (
            f"{text}. A learned sigma would stop at --min_sigma={setting(least)}: scale the data, or lower that bound."
        )
    return f"{text}. --precision=learned finds the sigma that stays calibrated as the network follows it."


def bound_of_sigma(sigma_at_bound, nats_at_bound=None) -> Finding | None:
    """Tells whether a learned sigma lies on its lower bound, and what of the ELBO comes from there."""
    if not sigma_at_bound:
        return None
    text = f"{number(100.0 * sigma_at_bound, 3)}% of the standard deviations lie at their lower bound"
    if nats_at_bound is not None:
        text += f"; {number(nats_at_bound)} nats of the ELBO come from the dimensions there"
    text += (
        ". The likelihood would grow without limit there, so its value says more about the bound than about the "
        "model: compare the MSE instead."
    )
    return Finding("Noise at its bound", True, text)


def target(numbers, weighting, beta=0.0, rate=0.0, saturated=0.0, direction=None) -> Finding | None:
    """Tells whether the rate or the distortion of the training split is where the controller should have held it."""
    flag, key = CONTROLLED.get(weighting, (None, None))
    wanted, train = numbers.get(flag), numbers.get(f"train_{key}")
    reached, split = (numbers.get(key), "test") if train is None else (train, "training")
    if wanted is None or reached is None:
        return None
    text = f"a {key} of {setting(wanted)} nats was asked for and the {split} split has {number(reached)}"
    if saturated > SATURATED:
        text = (
            f"Saturated: {text}; in {number(100.0 * saturated, 3)}% of the second half of the run the weight stood at "
            f"a bound (--beta_min={setting(numbers.get('beta_min'))} and "
            f"--beta_max={setting(numbers.get('beta_max'))}), so the bound decided and not the controller. Ask for "
            "less, or widen the range."
        )
        return Finding("Target", True, text)
    # 5% of the rate, or what they buy: a nat of rate is worth beta nats of distortion.
    nats = abs(wanted) if key == "rate" else abs(rate) * max(beta, 0.0)
    if abs(reached - wanted) <= max(0.5, 0.05 * nats):
        return Finding("Target", False, f"Met: {text}.")
    raise_gain = "Raise" if direction == "falls" else "Train longer, raise"
    text += f". {raise_gain} {_GAIN[weighting]}, or ask for a target within reach: {program('weigh')} says what is."
    return Finding("Target", True, f"Missed: {text}")
