"""What a sweep is read for: settled, and refused before anything is trained where the data cannot tell."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from vae_jax.runs.code_numbers import LEAST_ROWS, scorable
from vae_jax.runs.results import TRAIN_LIMIT
from vae_jax.runs.sweep.plan import Job
from vae_jax.runs.weightings import NEEDS
from vae_jax.types import UserError


def settle_goal(config: Any) -> tuple[Any, dict[str, Any]]:
    """Returns the flags of the runs, and the goal as sweep.json holds it; {} of the ELBO.

    With ``--goal=rate`` the flag ``--target_kl`` is the goal's and not the runs', so that one sweep can be read for
    several rates.

    Raises:
      UserError: the goal is a rate and there is none, no number above 0, or the runs hold one by themselves.
    """
    if config.goal != "rate":
        return config, {} if config.goal == "elbo" else {"name": config.goal}
    text = config.target_kl
    if text is None:
        raise UserError(
            "--goal=rate chooses the weight whose rate is nearest to --target_kl, in nats: add --target_kl=25"
        )
    held = [name for name in (config.weighting or "").split(",") if NEEDS.get(name.strip()) == "target_kl"]
    if held:
        raise UserError(
            f"--goal=rate with --weighting={held[0]}: each of these runs holds its --target_kl by itself; leave out one"
        )
    try:
        target = float(text)
    except ValueError:
        target = math.nan
    if not 0 < target < math.inf:
        raise UserError(f"--target_kl={text}: with --goal=rate it is one number of nats above 0")
    return dataclasses.replace(config, target_kl=None), {"name": "rate", "target": target}


def check_goal(goal: dict[str, Any], jobs: list[Job]) -> None:
    """Checks that the scores of the goal can be had from the data.

    Raises:
      UserError: they need factors that the data have not, or more examples.
    """
    if goal.get("name") not in ("mig", "dci"):
        return
    for job in jobs:
        data = job.run.dataset
        rows = min(len(data.train), TRAIN_LIMIT) + len(data.test)
        if not scorable((data.train_factors, data.test_factors), rows):
            width = 0 if data.train_factors is None else data.train_factors.shape[1]
            has = ("no factors", "one factor", f"{rows} examples")[min(width, 2)]
            raise UserError(
                f"--goal={goal['name']} scores codes by the factors of the data, and --dataset={data.name} has {has}; "
                f"it takes two factors and {LEAST_ROWS} examples, such as sprites, or FILE.npz with train_factors and "
                "test_factors"
            )
