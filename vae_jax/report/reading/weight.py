"""What a run's numbers say about its weight: collapse, the bound, the noise.

The collapsed solution is stable exactly where the water level beta sigma^2 is above the largest eigenvalue
of the data's covariance (linear_vae.py holds the closed forms); at any optimum over a shared sigma,
SSE / (D sigma^2) = 1.

Each function takes results.json and config.json ({} where unknown); None where the numbers say nothing.
"""

from __future__ import annotations

import math

from vae_jax.report.formatting import number, setting
from vae_jax.report.reading.finding import COLLAPSED_RATE, Finding, Numbers, is_collapsed

CALIBRATED, NEARLY = 0.02, 0.05  # how far SSE / (D sigma^2) may be from 1
WORSE = 1.1  # from this multiple of the training ratio on, the test ratio tells of overfitting
SATURATED = 0.5  # the share of the run's second half at a bound of beta
# The largest variance that one dimension of the family can have; beta times it stands in for the water level.
_LARGEST_VARIANCE = {"bernoulli": 1 / 4, "continuous_bernoulli": 1 / 12}
_RAMPED = ("linear", "sigmoid", "cosine", "cyclical", "capacity")
# weighting -> the flag of its target, and the number that it controls
CONTROLLED = {
    "pi": ("target_kl", "rate"),
    "capacity": ("target_kl", "rate"),
    "geco": ("target_distortion", "distortion"),
}
_GAIN = {"pi": "--ki", "geco": "--geco_rate", "capacity": "--gamma"}
_FAILURE = (
    "It is a failure of optimisation, not of the weight: below that level the collapsed solution is a saddle. Train "
    "longer, warm the weight up from 0, or lower the learning rate."
)


def collapse(results: Numbers, config: Numbers) -> Finding | None:
    """Tells whether the code is used at all, and if not, whether the weight or the optimiser is to blame."""
    rate, water, largest = (results.get(k) for k in ("rate", "water_level", "lambda_max"))
    if rate is None:
        return None
    level = (
        f"the water level beta sigma^2 is {number(water)}, the largest eigenvalue of the data's covariance "
        f"{number(largest)}"
    )
    if not is_collapsed(results):
        known = f" ({level})" if None not in (water, largest) else ""
        return Finding("Collapse", False, f"Not collapsed: the code carries {number(rate)} nats per example{known}.")
    start = f"the code carries {number(rate)} nats per example."
    if rate >= COLLAPSED_RATE:
        start = f"{number(rate)} nats per example are paid, and no latent depends on the input."
    return Finding("Collapse", True, f"Collapsed: {start} {_why_collapsed(results, config, level)}")


def _unfinished(results: Numbers, config: Numbers) -> bool:
    """Tells whether the run ended inside the warm-up of its weight."""
    return config.get("weighting") in _RAMPED and (results.get("step") or 0) < (config.get("warmup_steps") or 0)


def _why_collapsed(results: Numbers, config: Numbers, level: str) -> str:
    water, largest, beta = (results.get(k) for k in ("water_level", "lambda_max", "beta"))
    if _unfinished(results, config):
        return (
            f"The run ended at step {setting(results.get('step'))}, inside the weight's warm-up of "
            f"{setting(config['warmup_steps'])} steps: train on, or shorten the warm-up, before reading more into it."
        )
    if None not in (water, largest):
        if water >= largest:
            knob = "beta" if config.get("precision") in ("learned", "optimal") else "beta or sigma"
            return (
                f"This is the optimum of its loss: {level}, and under the water a code costs more than it saves. "
                f"Lower {knob}."
            )
        spend = 0.5 * math.log(largest / water) if water > 0 else math.inf
        if spend < COLLAPSED_RATE:
            return (
                f"The weight leaves almost nothing: {level}; the best direction of the data is worth {number(spend)} "
                "nats to a linear model. Lower beta or sigma."
            )
        return f"The weight does not ask for it: {level}. {_FAILURE}"
    variance = _LARGEST_VARIANCE.get(config.get("likelihood"))
    if variance and largest and beta and largest > beta * variance:
        return (
            f"The weight does not ask for it: the noise of this family weighs at most beta * {number(variance)} = "
            f"{number(beta * variance)}, the largest eigenvalue of the data is {number(largest)}. {_FAILURE}"
        )
    return (
        "This family has no one water level to tell why: train again with a tenth of beta; if the rate rises, it was "
        "the weight, and if not, the optimisation."
    )


def weight(results: Numbers, config: Numbers) -> Finding | None:
    """Tells whether the loss is a bound, and at which weight the numbers are."""
    beta, water, weighting = results.get("beta"), results.get("water_level"), config.get("weighting")
    early = _unfinished(results, config)
    end = " The weight's warm-up had not ended when the run did." if early else ""
    no_bound = "not a bound on log p(x). All the numbers here are at beta = 1."
    if weighting in ("capacity", "free_bits"):  # these change the loss itself, not only a weight in it
        text = f"The loss ({weighting.replace('_', ' ')}) is {no_bound}"
    elif beta is None:
        return Finding("Weight", True, end.strip()) if early else None
    elif weighting in CONTROLLED:
        text = f"beta = {setting(beta)}, found by the controller: the loss is {no_bound}"
    elif math.isclose(beta, 1.0, rel_tol=1e-6):
        text = "beta = 1: the loss is a bound on -log p(x)."
    else:
        text = f"beta = {setting(beta)}: the loss is {no_bound}"
        if water and water > 0:
            text += f" As a squared error, this is the model of noise sigma = {number(math.sqrt(water))} at beta = 1."
    return Finding("Weight", early, text + end)


def calibration(results: Numbers, config: Numbers) -> Finding | None:
    """Tells whether the noise that the decoder assumes is the error it makes."""
    train, test = (results.get("train") or {}).get("calibration"), results.get("calibration")
    ratio, split = (test, "test") if train is None else (train, "training")
    if not ratio:
        return None
    off, sigma, precision = abs(ratio - 1.0), results.get("sigma"), config.get("precision")
    text = f"SSE / (D sigma^2) is {number(ratio)} on the {split} split"
    if off <= CALIBRATED:
        text = f"Calibrated: {text}; the noise assumed is the error made."
    elif off <= NEARLY:
        text = f"Nearly calibrated: {text}, where 1 is calibrated."
    else:
        word = "too small (the model is overconfident)" if ratio > 1 else "too big (its samples of x are too noisy)"
        text = f"Not calibrated: {text}; the noise assumed is {word}."
        if precision in (None, "fixed") and sigma:
            text += _would_be_calibrated(results, ratio, sigma)
            if precision == "fixed":
                text += " --precision=learned finds the sigma that stays calibrated as the network follows it."
        elif precision != "fixed":
            text += " A learned sigma ends at 1: train longer, or give it a higher learning rate."
    overfit = train is not None and test is not None and test > WORSE * ratio
    if train is not None and test is not None:
        text += f" On the test split it is {number(test)}" + (
            ": unseen data is reconstructed worse." if overfit else "."
        )
    return Finding("Calibration", off > NEARLY or overfit, text)


def _would_be_calibrated(results: Numbers, ratio: float, sigma: float) -> str:
    text = f" Calibrated would be sigma = {number(sigma * math.sqrt(ratio))}, the root of the error made"
    beta, dim, test = (results.get(k) for k in ("beta", "data_dim", "calibration"))
    if beta:
        text += f"; at that sigma, these same weights are those of beta = {number(beta / ratio)}"
    if dim and test:
        # -(D/2) log(2 pi v) - SSE / (2 v) at v = ratio sigma^2, minus the same at v = sigma^2.
        gain = 0.5 * dim * (test * (1.0 - 1.0 / ratio) - math.log(ratio))
        text += f", and their test ELBO is {number(gain)} nats higher" if gain > 0 else ""
    return text + "."


def bound_of_sigma(results: Numbers, config: Numbers) -> Finding | None:
    """Tells whether a learned sigma lies on its lower bound."""
    share = results.get("sigma_at_bound")
    if not share:
        return None
    text = (
        f"{number(100.0 * share, 3)}% of the standard deviations lie at their lower bound. The likelihood would grow "
        "without limit there, so its value says more about the bound than about the model: compare the MSE instead."
    )
    return Finding("Noise at its bound", True, text)


def target(results: Numbers, config: Numbers) -> Finding | None:
    """Tells whether the rate or the distortion of the training split is where the controller should have held it."""
    flag, key = CONTROLLED.get(config.get("weighting"), (None, None))
    wanted, train = config.get(flag), (results.get("train") or {}).get(key)
    reached, split = (results.get(key), "test") if train is None else (train, "training")
    if wanted is None or reached is None:
        return None
    text = f"a {key} of {setting(wanted)} nats was asked for and the {split} split has {number(reached)}"
    share = results.get("saturated") or 0.0
    if share > SATURATED:
        text = (
            f"Saturated: {text}; in {number(100.0 * share, 3)}% of the second half of the run the weight stood at a "
            f"bound (--beta_min={setting(config.get('beta_min'))} and --beta_max={setting(config.get('beta_max'))}), "
            "so the bound decided and not the controller. Ask for less, or widen the range."
        )
        return Finding("Target", True, text)
    # 5% of the rate, or what they buy: a nat of rate is worth beta nats of distortion.
    nats = abs(wanted) if key == "rate" else abs(results.get("rate") or 0.0) * max(results.get("beta") or 0.0, 0.0)
    if abs(reached - wanted) <= max(0.5, 0.05 * nats):
        return Finding("Target", False, f"Met: {text}.")
    text += (
        f". Train longer, raise {_GAIN[config['weighting']]}, or ask for a target within reach: "
        "python -m experiments.weigh says what is."
    )
    return Finding("Target", True, f"Missed: {text}")
