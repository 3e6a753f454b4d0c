"""``weigh --loss``: a loss as code has it, what it weighs, and the command that trains the same thing."""

from __future__ import annotations

import shlex
from typing import Any

from vae_jax.report.formatting import program
from vae_jax.theory.loss_weights import Weighed, weigh
from vae_jax.theory.losses import parse_loss


def weigh_written(c, data_dim: int, table: bool = True) -> tuple[Weighed, dict[str, Any]]:
    """Weighs ``--loss``.

    Args:
      c: the flags of ``weigh``, checked.
      data_dim: D.
      table: whether x may be a table of floats, which ``train`` brings to other units unless it is told not to.

    Returns:
      What it weighs, and the same for weigh.json: with ``command``, None where there is none.

    Raises:
      UserError: the loss is not understood, or cannot be weighed.
    """
    loss = parse_loss(c.loss, c.weight)
    found = weigh(loss, data_dim, c.latent_dim, c.batch_size, c.pixel_scale or 1.0)
    written = found._asdict() | {
        "text": c.loss,
        "errors": [error._asdict() for error in found.errors],
        "data_dim": data_dim,
        "latent_dim": c.latent_dim,
        "written_weight": loss.kl[0].factor if len(loss.kl) == 1 else found.kl_weight,
        "command": found.flags and _command(c, found.flags, table),
    }
    return found, written


def _command(c, flags: str, table: bool) -> str:
    """Returns the command of ``train``, to be pasted; where the data are not named they are DATA."""
    parts = [program("train"), f"--dataset={c.dataset}" if c.dataset else "--dataset=DATA"]
    parts = [parts[0], shlex.quote(parts[1]), f"--latent_dim={c.latent_dim}", flags]
    parts += [f"--pixels={c.pixels}"] * (c.pixels != "grey") + ["--standardise=none"] * table
    parts += [f"--batch_size={c.batch_size}"] * (c.batch_size is not None)
    return " ".join(parts)
