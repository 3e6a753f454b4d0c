"""Flags whose text holds more than one number."""

from __future__ import annotations

import math

from vae_jax.errors import UserError

# A width is a 32-bit size on the device; more layers than this were never asked for but by a slip of the pen.
WIDEST, DEEPEST = 2**31 - 1, 100

Constants = tuple[tuple[int, float], ...]  # the index of a dimension, and the one value it has


def parse_beta_range(text: str | None) -> tuple[float, float] | None:
    """``"0.1:10" -> (0.1, 10.0)``; None where there is none.

    Raises:
      UserError: the text is not two positive numbers, the lower one first.
    """
    if text is None:
        return None
    try:
        low, high = (float(end) for end in text.split(":"))
    except ValueError:
        low = high = 0.0
    if not 0 < low < high < math.inf:
        raise UserError(f"--beta_range={text} must be LOW:HIGH with 0 < LOW < HIGH, such as 0.1:10")
    return low, high


def parse_widths(text: str) -> tuple[int, ...]:
    """``"512,512" -> (512, 512)``.

    Raises:
      UserError: the text is not positive widths, or names too many of them.
    """
    try:
        values = tuple(int(v) for v in text.split(","))
    except ValueError:
        values = ()
    if not values or min(values) < 1 or max(values) > WIDEST:
        raise UserError(f"--hidden={text} must be positive widths separated by commas, such as 512,512")
    if len(values) > DEEPEST:
        raise UserError(f"--hidden={text} names {len(values)} layers; the models here have at most {DEEPEST}")
    return values


def parse_layers(text: str | None) -> tuple[int, ...]:
    """``"32,16,8" -> (32, 16, 8)``; () where there are none.

    Raises:
      UserError: the text is not 2 to 5 positive numbers.
    """
    if text is None:
        return ()
    try:
        values = tuple(int(v) for v in text.split(","))
    except ValueError:
        values = ()
    if not 2 <= len(values) <= 5 or min(values) < 1 or max(values) > WIDEST:
        raise UserError(f"--latent_layers={text} must be 2 to 5 positive numbers separated by commas, such as 32,16,8")
    return values


def parse_layer_betas(text: str | None, layers: str | None) -> tuple[float, ...]:
    """``"1,0.5" -> (1.0, 0.5)``, one for each of the ``layers``; () where there are none.

    Raises:
      UserError: the text is not as many numbers as there are layers, none negative.
    """
    if text is None:
        return ()
    try:
        values = tuple(float(v) for v in text.split(","))
    except ValueError:
        values = ()
    count = len(parse_layers(layers))
    if not count or len(values) != count or not all(0 <= v < math.inf for v in values):
        raise UserError(
            f"--layer_betas={text} must be one number for each layer of --model=ladder or hierarchy, of which there "
            f"are {count or 'none'}"
        )
    return values


def parse_constants(text: str | None) -> Constants:
    """``"0-1=0.0,60=0.25" -> ((0, 0.0), (1, 0.0), (60, 0.25))``, ``"none" -> ()``.

    Raises:
      UserError: for any other text.
    """
    constants = []
    try:
        for part in text.split(",") if text and text != "none" else ():
            where, value = part.split("=")
            first, _, last = where.partition("-")
            constants += [(i, float(value)) for i in range(int(first), int(last or first) + 1)]
    except ValueError:
        raise UserError(f"constants {text[:60]!r} of config.json are not FIRST-LAST=VALUE, such as 0-11=0.0") from None
    return tuple(constants)


def parse_missing(text: str | None) -> tuple[int, ...] | None:
    """``"0,3" -> (0, 3)``; ``""`` is no column of the training split, and None no missing value at all.

    Raises:
      UserError: for any other text.
    """
    try:
        return None if text is None else tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        raise UserError(f"missing {text[:60]!r} of config.json are not columns such as 0,3") from None
