"""What a run looks at while it trains, and which of its models it reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from vae_jax.evaluation import summarise
from vae_jax.evaluation.recalibration import recalibrate
from vae_jax.randomness import TEST, VALIDATION, purpose_key
from vae_jax.runs import placement
from vae_jax.runs.build import Run
from vae_jax.runs.settled import Settings
from vae_jax.traced import one_by_one
from vae_jax.train.averaging import averaged
from vae_jax.train.best import Evaluation, Rule, considered, has_stopped
from vae_jax.types import Params, TrainState

# Validation examples that a run is scored on each time: more would take longer than training does, and as each
# evaluation has the same ones with the same noise, differences between steps are known far better than the bound.
MOST = 2000
# The share of a run after which a controller has found its weight, where its target is within reach.
CONTROLLER = 0.25
METRICS = ("elbo", "rate", "distortion", "mse", "active_units")
# The most latents whose rates are written one by one: a map of features has thousands.
LATENTS = 256


def final_from(s: Settings) -> int:
    """Returns the first step at which the weight is final: before it a better bound may be a better weight only.

    The end of a warm-up, of the cycles, or of the steps in which the encoder is trained ahead; a controller (pi, geco)
    is taken to have settled after a quarter of the run.
    """
    first = s.aggressive_steps if s.encoder_steps else 0
    # A schedule of a plugin may use the warm-up as well.
    constant = s.weighting in ("constant", "free_bits", "pi", "geco")
    if not constant:
        first = max(first, s.warmup_steps)
    return max(first, int(CONTROLLER * s.num_steps)) if s.weighting in ("pi", "geco") else first


def rule_of(r: Run) -> Rule:
    """Returns how a run decides; without a validation split there is nothing to decide by."""
    s = r.config
    if r.dataset.validation is None:
        return Rule("last", 0, s.num_steps)
    return Rule(s.keep, final_from(s), s.num_steps, s.patience)


class Watch:
    """The evaluations of a run while it is trained, on the validation split; on the test split where it has no other.

    Args:
      r: the run.
      scores: ``evaluation.make_scorer``'s function, which may be shared by runs that differ in numbers only.

    Attributes:
      split: the name of the split.
      rows: its examples, on the devices where they fit.
    """

    def __init__(self, r: Run, scores: Callable):
        self.split = "test" if r.dataset.validation is None else "validation"
        whole = evenly(r.dataset.split("validation"), MOST) if self.split == "validation" else r.dataset.split("test")
        self.rows = placement.on_devices(r.spread, whole)
        self._r, self._scores = r, scores
        own = r.likelihood
        if own.rescale is not None:  # for the one run; the programs of many would be compiled one by one
            own = own._replace(variance=one_by_one(own.variance), rescale=one_by_one(own.rescale))
        self._likelihood = own
        self._purpose = TEST if r.dataset.validation is None else VALIDATION
        self._last: tuple[int, dict[str, Any]] | None = None

    def measured(self, state: TrainState) -> dict[str, Any]:
        """Returns the numbers of a state, which are computed once: the last one is asked for twice."""
        step = int(state.step)
        if self._last is None or self._last[0] != step:
            self._last = step, self.summary(self.params(state), self._r.key)
        return self._last[1]

    def params(self, state: TrainState) -> Params:
        """Returns the parameters that are evaluated."""
        return averaged(state, self._r.likelihood.frozen)

    def summary(self, params: Params, key: jax.Array) -> dict[str, Any]:
        """Returns ``summarise`` of parameters; each evaluation with the run's ``key`` has the same noise."""
        return summarise(self._scores(params, self.rows, purpose_key(key, self._purpose)), self._r.data_dim)

    def chosen(self, r: Run, state: TrainState, summary: dict[str, Any]) -> tuple[TrainState, dict[str, Any]]:
        """Returns the state with the best of it and what was before, and what metrics.jsonl says of the evaluation.

        Args:
          r: the run, or one of the runs that share this object.
          state: of it.
          summary: of ``summary``, of its ``params``.
        """
        line = {name: summary[name] for name in METRICS}
        if summary["kl_per_latent"] is not None and len(summary["kl_per_latent"]) <= LATENTS:
            # Four digits are what a curve shows, in a file that people read.
            line["rate_per_latent"] = [float(f"{kl:.4g}") for kl in summary["kl_per_latent"]]
        if state.best is None:
            return state, line
        params, found = self.params(state), None
        if self.split == "validation":
            likelihood = self._likelihood if r is self._r else r.likelihood
            found = recalibrate(likelihood, params["likelihood"], r.event, summary)
            if r.likelihood.rescale is not None:
                line |= {"calibration": summary["calibration"], "recalibrated_elbo": found.elbo}
        own, factor, elbo = found or (params["likelihood"], 1.0, summary["elbo"])
        evaluation = Evaluation({**params, "likelihood": own}, elbo, factor, summary["calibration"])
        return state._replace(best=considered(rule_of(r), state, evaluation)), line


def evenly(rows: Any, most: int) -> Any:
    """Returns at most so many examples, evenly spaced: splits may be sorted by class."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def ending(state: TrainState) -> dict[str, Any]:
    """Returns what results.json says about which model is reported, from a run's last state."""
    best, stopped = state.best, has_stopped(state.best)
    done = int(best.stopped_at) if stopped else int(state.step)
    step = None if best is None or int(best.step) < 0 else int(best.step)
    return {"steps_done": done, "best_step": step, "stopped_early": stopped}


def in_words(r: Run, state: TrainState) -> str:
    """Returns which model is reported and why, from the state that is reported; nothing where that is the last one."""
    best = state.best
    if best is None or int(best.step) < 0:
        return ""
    of = "the moving average of the parameters" if r.config.ema is not None else "the model"
    text = f"reported is {of} at step {int(state.step)}"
    if r.dataset.validation is None:
        return text
    n = min(MOST, len(r.dataset.validation))
    why = ", of the best bound (beta = 1)" if r.config.keep == "best" else ", the last evaluation's"
    text += f"{why} on {n} validation examples"
    if has_stopped(best):
        text += f", where training stopped at step {int(best.stopped_at)}"
    if r.likelihood.rescale is not None:
        text += f"; sigma was multiplied by {float(best.factor):.4g}, so that it is the error made on these"
    return text
