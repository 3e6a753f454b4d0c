"""How data are read: the flags of a run that say so, in one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vae_jax.data.units import Table


class Reading(NamedTuple):
    """What every source of data is told; each heeds what concerns it.

    Attributes:
      data_dir: where prepared TFDS sets are; else $VAE_JAX_DATA_DIR, else TFDS's default.
      most_held: the most bytes of a split of decoded images to hold in memory. A larger split of a folder of images
        or of a TFDS set becomes ``Rows``, read while it is used. None: everything is held.
      whole: whether data that come without a split are to be in all splits, all of them, as an evaluation of other
        data wants it; nothing is held out then.
      validation, test, image_size, fit, alpha, layout, standardise, columns, likelihood, pixels: the flags of the same
        names; the last two say which units a density can be in.
      table: of a run that has been trained, as whose data these are read; None for data with units of their own.
    """

    data_dir: str | None = None
    most_held: int | None = None
    whole: bool = False
    validation: float | None = None
    test: float | None = None
    image_size: str | None = None
    fit: str = "crop"
    alpha: str = "white"
    layout: str = "hwc"
    standardise: str = "auto"
    columns: str | None = None
    likelihood: str = "gaussian"
    pixels: str = "grey"
    table: Table | None = None

    @classmethod
    def of(cls, config, most_held: int | None = None, whole: bool = False) -> Reading:
        """Returns what a configuration says, of the fields that it has."""
        named = {name: getattr(config, name) for name in cls._fields if hasattr(config, name)}
        return cls(**named | {"most_held": most_held, "whole": whole})

    def as_of(self, table: Table | None) -> Reading:
        """Returns the same for data that are read as those of a run with this table; None: it has no units."""
        return self._replace(table=table, standardise="none")
