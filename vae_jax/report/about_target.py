"""What a run's numbers say about the target of its controller: whether it was met, and if not, why.

Takes results.json and config.json ({} where unknown); None where there was no target.
"""

from __future__ import annotations

from vae_jax.report.finding import Finding, Numbers
from vae_jax.report.formatting import number, setting

# weighting -> the flag of its target, and the number that it holds
HELD = {
    "pi": ("target_kl", "rate"),
    "capacity": ("target_kl", "rate"),
    "geco": ("target_distortion", "distortion"),
}
SATURATED = 0.5  # the share of the run's second half at a bound of beta


def target(results: Numbers, config: Numbers) -> Finding | None:
    """Whether the rate or the distortion of the training split is where the controller should have held it."""
    flag, key = HELD.get(config.get("weighting"), (None, None))
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
