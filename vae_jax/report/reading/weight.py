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

# The largest variance that one dimension of the family can have; beta times it stands in for the water level.
_LARGEST_VARIANCE = {"bernoulli": 1 / 4, "continuous_bernoulli": 1 / 12}
_NOT_A_BOUND = ("capacity", "free_bits")  # these change the loss itself, not only a weight in it


def collapse(results: Numbers, config: Numbers) -> Finding | None:
    """Whether the code is used at all, and if not, whether the weight or the optimiser is to blame."""
    rate, water, largest = (results.get(k) for k in ("rate", "water_level", "lambda_max"))
    if rate is None:
        return None
    level = ""
    if water is not None and largest is not None:
        level = (
            f"the water level beta sigma^2 is {number(water)}, "
            f"the largest eigenvalue of the data's covariance {number(largest)}"
        )
    if not is_collapsed(results):
        text = f"Not collapsed: the code carries {number(rate)} nats per example"
        return Finding("Collapse", False, f"{text} ({level})." if level else f"{text}.")
    start = f"Collapsed: the code carries {number(rate)} nats per example. "
    if rate >= COLLAPSED_RATE:
        start = f"Collapsed: {number(rate)} nats per example are paid, and no latent depends on the input. "
    return Finding("Collapse", True, start + _why_collapsed(results, config, level))


def _why_collapsed(results: Numbers, config: Numbers, level: str) -> str:
    water, largest, beta = (results.get(k) for k in ("water_level", "lambda_max", "beta"))
    failure = (
        "It is a failure of optimisation, not of the weight: below that level the collapsed solution is a "
        "saddle. Train longer, warm the weight up from 0, or lower the learning rate."
    )
    if _unfinished(results, config):
        return (
            f"The run ended at step {setting(results.get('step'))}, inside the weight's warm-up of "
            f"{setting(config['warmup_steps'])} steps: train on, or shorten the warm-up, before reading "
            "more into it."
        )
    if water is not None and largest is not None:
        if water >= largest:
            knob = "beta" if config.get("precision") in ("learned", "optimal") else "beta or sigma"
            return (
                f"This is the optimum of its loss: {level}, and under the water a code costs more than it "
                f"saves. Lower {knob}."
            )
        spend = 0.5 * math.log(largest / water) if water > 0 else math.inf
        if spend < COLLAPSED_RATE:
            return (
                f"The weight leaves almost nothing: {level}; the best direction of the data is worth "
                f"{number(spend)} nats to a linear model. Lower beta or sigma."
            )
        return f"The weight does not ask for it: {level}. {failure}"
    variance = _LARGEST_VARIANCE.get(config.get("likelihood"))
    if variance and largest and beta and largest > beta * variance:
        return (
            "The weight does not ask for it: the noise of this family weighs at most beta * "
            f"{number(variance)} = {number(beta * variance)}, the largest eigenvalue of the data is "
            f"{number(largest)}. {failure}"
        )
    return (
        "This family has no one water level to tell why: train again with a tenth of beta; if the rate "
        "rises, it was the weight, and if not, the optimisation."
    )


def _unfinished(results: Numbers, config: Numbers) -> bool:
    """Whether the run ended inside the warm-up of its weight."""
    ramped = config.get("weighting") in ("linear", "sigmoid", "cosine", "cyclical", "capacity")
    return ramped and (results.get("step") or 0) < (config.get("warmup_steps") or 0)


def weight(results: Numbers, config: Numbers) -> Finding | None:
    """Whether the loss is a bound, and at which weight the numbers are."""
    beta, water = results.get("beta"), results.get("water_level")
    weighting = config.get("weighting")
    early = ""
    if _unfinished(results, config):
        early = " The weight's warm-up had not ended when the run did."
    if weighting in _NOT_A_BOUND:
        name = weighting.replace("_", " ")
        text = f"The loss ({name}) is not a bound on log p(x). All the numbers here are at beta = 1."
        return Finding("Weight", bool(early), text + early)
    if beta is None:
        return Finding("Weight", True, early.strip()) if early else None
    if weighting in CONTROLLED:
        text = f"beta = {setting(beta)}, found by the controller: the loss is not a bound on log p(x)"
        return Finding("Weight", bool(early), f"{text}. All the numbers here are at beta = 1." + early)
    if math.isclose(beta, 1.0, rel_tol=1e-6):
        return Finding("Weight", bool(early), "beta = 1: the loss is a bound on -log p(x)." + early)
    text = f"beta = {setting(beta)}: the loss is not a bound on log p(x). All the numbers here are at beta = 1."
    if water and water > 0:
        text += f" As a squared error, this is the model of noise sigma = {number(math.sqrt(water))} at beta = 1."
    return Finding("Weight", bool(early), text + early)


def calibration(results: Numbers, config: Numbers) -> Finding | None:
    """Whether the noise that the decoder assumes is the error it makes."""
    train = results.get("train") or {}
    test_ratio, sigma = results.get("calibration"), results.get("sigma")
    ratio, split = train.get("calibration"), "training"
    if ratio is None:
        ratio, split = test_ratio, "test"
    if not ratio:
        return None
    off = abs(ratio - 1.0)
    said = f"SSE / (D sigma^2) is {number(ratio)} on the {split} split"
    if off <= CALIBRATED:
        text = f"Calibrated: {said}; the noise assumed is the error made."
    elif off <= NEARLY:
        text = f"Nearly calibrated: {said}, where 1 is calibrated."
    else:
        word = "too small (the model is overconfident)" if ratio > 1 else "too big (its samples of x are too noisy)"
        text = f"Not calibrated: {said}; the noise assumed is {word}."
        if config.get("precision") in (None, "fixed") and sigma:
            text += _would_be_calibrated(results, ratio, sigma)
            if config.get("precision") == "fixed":
                text += " --precision=learned finds the sigma that stays calibrated as the network follows it."
        elif config.get("precision") != "fixed":
            text += " A learned sigma ends at 1: train longer, or give it a higher learning rate."
    overfit = split == "training" and test_ratio is not None and test_ratio > WORSE * ratio
    if overfit:
        text += f" On the test split it is {number(test_ratio)}: unseen data is reconstructed worse."
    elif split == "training" and test_ratio is not None:
        text += f" On the test split it is {number(test_ratio)}."
    return Finding("Calibration", off > NEARLY or overfit, text)


def _would_be_calibrated(results: Numbers, ratio: float, sigma: float) -> str:
    text = f" Calibrated would be sigma = {number(sigma * math.sqrt(ratio))}, the root of the error made"
    beta, dim, test = (results.get(k) for k in ("beta", "data_dim", "calibration"))
    if beta:
        text += f"; at that sigma, these same weights are those of beta = {number(beta / ratio)}"
    if dim and test:
        # -(D/2) log(2 pi v) - SSE / (2 v) at v = ratio sigma^2, minus the same at v = sigma^2.
        gain = 0.5 * dim * (test * (1.0 - 1.0 / ratio) - math.log(ratio))
        if gain > 0:
            text += f", and their test ELBO is {number(gain)} nats higher"
    return text + "."


def bound_of_sigma(results: Numbers, config: Numbers) -> Finding | None:
    """Whether a learned sigma lies on its lower bound."""
    share = results.get("sigma_at_bound")
    if not share:
        return None
    text = (
        f"{number(100.0 * share, 3)}% of the standard deviations lie at their lower bound: the likelihood "
        "would grow without limit there, so its value says more about the bound than about the model. "
        "Compare the MSE instead."
    )
    return Finding("Noise at its bound", True, text)


# weighting -> the flag of its target, and the number that it holds
CONTROLLED = {
    "pi": ("target_kl", "rate"),
    "capacity": ("target_kl", "rate"),
    "geco": ("target_distortion", "distortion"),
}
SATURATED = 0.5  # the share of the run's second half at a bound of beta


def target(results: Numbers, config: Numbers) -> Finding | None:
    """Whether the rate or the distortion of the training split is where the controller should have held it."""
    flag, key = CONTROLLED.get(config.get("weighting"), (None, None))
    asked = config.get(flag) if flag else None
    train = results.get("train") or {}
    got, split = (train.get(key), "training") if train.get(key) is not None else (results.get(key), "test")
    if asked is None or got is None:
        return None
    said = f"a {key} of {setting(asked)} nats was asked for and the {split} split has {number(got)}"
    # 5% of the rate, or what they buy: a nat of rate is worth beta nats of distortion.
    worth = 1.0 if key == "rate" else max(results.get("beta") or 0.0, 0.0)
    missed = abs(got - asked) > max(0.5, 0.05 * worth * abs(asked if key == "rate" else results.get("rate") or 0.0))
    share = results.get("saturated") or 0.0
    if share > SATURATED:
        ends = f"--beta_min={setting(config.get('beta_min'))} and --beta_max={setting(config.get('beta_max'))}"
        text = (
            f"Saturated: {said}; in {number(100.0 * share, 3)}% of the second half of the run the weight stood at a "
            f"bound ({ends}), so the bound decided and not the controller. Ask for less, or widen the range."
        )
        return Finding("Target", True, text)
    if missed:
        text = (
            f"Missed: {said}. Train longer, raise {_gain(config)}, or ask for a target within reach: "
            "python -m experiments.weigh says what is."
        )
        return Finding("Target", True, text)
    return Finding("Target", False, f"Met: {said}.")


def _gain(config: Numbers) -> str:
    return {"pi": "--ki", "geco": "--geco_rate", "capacity": "--gamma"}[config["weighting"]]
