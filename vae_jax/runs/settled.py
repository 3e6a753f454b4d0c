"""The settings of a run: its flags, settled and parsed, which everything below takes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from vae_jax.runs.parsing import (
    Constants,
    parse_beta_range,
    parse_constants,
    parse_layer_betas,
    parse_layers,
    parse_missing,
    parse_widths,
)
from vae_jax.runs.settings import Config, flat

if TYPE_CHECKING:  # what only reads flags needs none of it
    from vae_jax.data.units import Table
    from vae_jax.runs.families import Column
    from vae_jax.runs.names import Names
    from vae_jax.types import Event


@dataclasses.dataclass(frozen=True)
class Settings(Config):
    """A configuration in which nothing is open and nothing is text that has to be read: what all of a run takes.

    Its numbers may be traced, one value for each run of a sweep; names and shapes may not.

    Attributes:
      hidden, beta_range, columns, constants, count_means, missing, latent_layers, layer_betas: as in ``Config``, but
        parsed.
      condition: what c is made of, as in ``Dataset``; None where nothing is known beside x.
      flags: the settled configuration as flags, which config.json holds.
      names: the tables of names, those of --plugin among them.
      event: the shape of one x; of a sentence its targets and what the decoder reads.
      levels: of the data's values, None for floats.
      data_dim: D, channels counted.
      table: the columns and units of the data, as in ``Dataset``.
    """

    hidden: tuple[int, ...] = ()
    beta_range: tuple[float, float] | None = None
    columns: tuple[Column, ...] | None = None
    constants: Constants = ()
    count_means: Constants = ()
    missing: tuple[int, ...] | None = None
    latent_layers: tuple[int, ...] = ()
    layer_betas: tuple[float, ...] = ()
    condition: Table | None = None
    flags: Config | None = dataclasses.field(default=None, repr=False)
    names: Names | None = dataclasses.field(default=None, repr=False, hash=False)
    event: Event = ()
    levels: int | None = None
    data_dim: int = 0
    table: Table | None = None


def parsed_settings(
    flags: Config,
    names: Names,
    event: Event,
    levels: int | None,
    dim: int,
    table: Table | None = None,
    condition: Table | None = None,
) -> Settings:
    """Parses the text among ``flags``, in which nothing is open; the others are attributes of ``Settings``."""
    from vae_jax.runs.families import columns_of

    parsed = {
        "hidden": parse_widths(flags.hidden),
        "beta_range": parse_beta_range(flags.beta_range),
        "columns": columns_of(flags, table),
        "constants": parse_constants(flags.constants),
        "count_means": parse_constants(flags.count_means),
        "missing": parse_missing(flags.missing),
        "condition": condition,
        "latent_layers": parse_layers(flags.latent_layers),
        "layer_betas": parse_layer_betas(flags.layer_betas, flags.latent_layers),
    }
    known = {"event": event, "levels": levels, "data_dim": dim, "table": table}
    return Settings(**flat(flags) | parsed | known, flags=flags, names=names)
