"""What a run says about updates that were skipped: while it goes on, and when it cannot."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import numpy as np

from vae_jax.data.ranges import STANDARDISE, in_words
from vae_jax.devices import processes
from vae_jax.likelihoods.tokens import lengths_of
from vae_jax.randomness import batch_rows
from vae_jax.runs.build import Run, recipe
from vae_jax.train.diagnosis import diagnose, sentence
from vae_jax.train.guard import Diverged, in_doubt
from vae_jax.types import TrainState

STRETCH = 100  # updates over which the share of skipped ones is looked at


def explain(r: Run, state: TrainState, step: int) -> str:
    """Why the update ``step`` was skipped, in a sentence; every process of the run has to ask.

    Args:
      r: the run.
      state: the newest one; no update from ``step`` on was made.
      step: of the update.
    """
    c = r.config
    blocks = c.batch_size if c.order == "blocks" else 1
    lengths = lengths_of(r.dataset.train) if c.buckets > 1 else None
    sizes = len(r.dataset.train), c.batch_size, blocks
    rows = np.asarray(batch_rows(r.key, np.int32(step), 1, *sizes, lengths)[0])
    # On the host, whatever devices of whatever process hold it: there one process computes the update by itself.
    params, weight_state = jax.tree.map(processes.fetch, (state.params, state.weight_state))
    failed = state._replace(step=np.int32(step), params=params, weight_state=weight_state, key=r.key)

    def found():
        raw = jax.tree.map(np.asarray, r.dataset.split("train")[rows])
        # The advice on rates cannot help where the units are the reason.
        units = [] if r.is_text else [line for line in in_words(r.dataset) if STANDARDISE in line]
        return ". ".join([*units[:1], sentence(diagnose(recipe(r), failed, raw, rows))])

    return processes.first_does(found) or "Process 0 says why"


def is_sound(r: Run, state: TrainState, elbo: Callable[[], float]) -> bool:
    """Whether a state should be saved: not while the last update was skipped, so that the newest checkpoint is good.

    The last state of a run is measured in any case: an update whose own loss was finite may have spoiled it.

    Args:
      r: the run.
      state: to be saved.
      elbo: what the model is worth, to be asked at the end of the run, where there is no later state to wait for.

    Raises:
      Diverged: the run ends like that, and its numbers are not finite.
    """
    end, row = int(state.step), int(state.skipped.in_a_row)
    if end < r.config.num_steps:
        return not in_doubt(state.skipped)
    with np.errstate(all="ignore"):  # what cannot be computed is what is asked for
        worth = elbo()
    if math.isfinite(worth):
        return True
    advice = "Lower --learning_rate or set --clip_norm, in a new --workdir"
    if not row:
        raise Diverged(f"training diverged: the ELBO after the last update, step {end - 1}, is {worth}. {advice}", end)
    raise Diverged(
        f"training diverged: all updates from step {end - row} to the end, {row}, were skipped, because their loss or "
        f"gradient is not finite, and neither is the ELBO. {advice}. {explain(r, state, end - row)}",
        end - row,
    )


def watch_skipped(say: Callable[[str], None], name: str = "") -> Callable[[int, dict[str, np.ndarray]], None]:
    """A function of ``(first_step, metrics)`` of each chunk that says how many updates were skipped.

    It speaks up when there are any, when there are twice as many as it last said, and once when more than half of at
    least ``STRETCH`` updates were: what is left of such a run trains on whatever its numbers can hold. ``name`` tells
    one run from others.
    """
    prefix = f"warning: {name}{': ' if name else ''}"
    told, warned, length, missed = 0, False, 0, 0

    def watch(first, metrics):
        nonlocal told, warned, length, missed
        skipped, total = np.asarray(metrics["skipped"]), int(metrics["skipped_total"][-1])
        length, missed = length + len(skipped), missed + int(skipped.sum())
        if skipped.any() and total >= 2 * told:
            told = total
            at = int(np.argmax(skipped))
            say(
                f"{prefix}the update of step {first + at} was skipped, for its loss ({metrics['loss'][at]:.6g}) or "
                f"the norm of its gradient ({metrics['grad_norm'][at]:.6g}) is not finite; {total} so far"
            )
        if length >= STRETCH:
            if not warned and 2 * missed > length:
                warned = True
                say(
                    f"{prefix}{missed} of the {length} updates before step {first + len(skipped)} were skipped; lower "
                    "--learning_rate, set --clip_norm, or look at the data for examples that no batch survives"
                )
            length = missed = 0

    return watch
