"""What goes into a trained model and comes out of it, in the data's own units, and what is refused.

Images are grey levels, 0 to ``levels - 1``, as integers or floats; rows, tables and other arrays are in their own
units; a text is a list of sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from vae_jax.data.column_kinds import as_numbers
from vae_jax.data.table_files import text_of
from vae_jax.data.text.vocabulary import decode, encode
from vae_jax.likelihoods import Grid
from vae_jax.runs.known_data import KnownData
from vae_jax.types import Event, UserError

SLACK = 10.0  # how many widths of the training data's range a real number may lie outside of it
OVERSHOOT = 0.5  # and a grey level: E[x|z] of a Gaussian may be a little below black or above white
DARK = 0.02  # floats that reach no higher than this share of the grey levels are in other units


class Given(NamedTuple):
    """What somebody handed in.

    Attributes:
      raw: ``[n, *event]`` as the data set has it; token ids ``[n, t]`` of a text.
      single: whether it was one example, without an axis for n.
      back: brings results ``[n, *event]`` into the form that was handed in: a frame for a frame, a dict for a dict.
    """

    raw: np.ndarray
    single: bool = False
    back: Callable[[np.ndarray], Any] = lambda values: values


def own_units(pixels: str, levels: int | None) -> Callable:
    """Returns the map from x to the data's own units, the inverse of ``data.pixels.preprocess`` but for its noise."""
    if levels is None:
        return lambda x: x
    return (lambda x: x * levels - 0.5) if pixels == "dequantised" else (lambda x: x * (levels - 1))


def read(
    known: KnownData,
    support: Any,
    x: Any,
    name: str = "x",
    one: bool = False,
    ranged: bool = True,
    missing: bool = False,
) -> Given:
    """Reads what somebody handed in as examples of this kind of data.

    Args:
      known: the kind of data.
      support: of the likelihood.
      x: the examples.
      name: of the argument, for messages.
      one: whether a single example, without an axis for n, is taken as well.
      ranged: whether real numbers far outside of the training data's range are refused.
      missing: whether a NaN is a value that is missing.

    Raises:
      UserError: it is none of this kind; the message says what was expected.
    """
    if known.words:
        return _sentences(known, x, name, one)
    x, back = _columns(known, x, name)
    array = _numbers(x, name, known.event, missing)
    single = one and array.shape == known.event
    array = array[None] if single else array
    if len(known.event) == 3 and known.event[-1] == 1 and array.shape[1:] == known.event[:2]:
        array = array[..., None]  # as the data set takes grey images
    if array.shape[1:] != known.event or array.ndim != 1 + len(known.event):
        raise UserError(
            f"{name} has shape {np.shape(x)}, expected {_shape(known.event)}{_hint(array.shape, known.event)}"
        )
    if known.levels is None:
        return Given(_real(known, support, array, name, ranged), single, back)
    return Given(_grey(known.levels, array, name), single, back)


def codes(z: Any, latent_dim: int, name: str = "z") -> np.ndarray:
    """Reads codes ``[n, d]``.

    Raises:
      UserError: they are none.
    """
    array = _numbers(z, name, (latent_dim,)).astype(np.float32)
    if array.ndim != 2 or array.shape[1] != latent_dim:
        one = "; one code needs an axis for n: z[None]" if array.shape == (latent_dim,) else ""
        raise UserError(
            f"{name} has shape {array.shape}, expected [n, {latent_dim}], n codes of {latent_dim} latents{one}"
        )
    return array


def sentences_of(known: KnownData, tokens: np.ndarray) -> list[str]:
    """Returns the sentences of token ids ``[n, t]``."""
    return decode(tokens, known.words)


def check_whole(what: str, value: Any, least: int = 0, most: int | None = None) -> None:
    """Refuses what is no whole number of this range."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        limit = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise UserError(f"{what} is {value!r}, expected a whole number {limit}")


def nested(flat: list, shape: tuple[int, ...]):
    """Folds a list into lists of lists of this shape."""
    for size in reversed(shape[1:]):
        flat = [flat[i : i + size] for i in range(0, len(flat), size)] if size else [[] for _ in range(shape[0])]
    return flat


def _numbers(x: Any, name: str, event: Event, missing: bool = False) -> np.ndarray:
    try:
        array = np.asarray(x)
    except Exception as error:  # ragged lists, arrays on a device that is gone: errors of many kinds
        raise UserError(f"{name} is no array ({error}), expected {_shape(event)}") from None
    if array.dtype.kind not in "buif":
        raise UserError(f"{name} holds {array.dtype} values, expected numbers, {_shape(event)}")
    if array.dtype.kind == "f" and not (~np.isinf(array) if missing else np.isfinite(array)).all():
        raise UserError(f"{name} holds {int((~np.isfinite(array)).sum())} NaN or infinite values, expected finite ones")
    return array


def _grey(levels: int, array: np.ndarray, name: str) -> np.ndarray:
    last = levels - 1
    expected = f"expected grey levels 0 to {last}, the data's own"
    if array.dtype.kind == "b" and last > 1:
        raise UserError(f"{name} holds booleans, {expected}; multiply by {last}")
    if not array.size:
        return array.astype(np.uint8)
    low, high = array.min(), array.max()
    values = f"{name} has values from {low:g} to {high:g}"
    if array.dtype.kind == "f":
        if low < -OVERSHOOT * last or high > (1 + OVERSHOOT) * last:
            raise UserError(f"{values}, {expected}")
        if last > 1 and 0 < max(high, -low) <= max(1.0, DARK * last):
            raise UserError(f"{values}, {expected}; pixels in [0, 1] have to be multiplied by {last}")
        return array.astype(np.float32)
    if last == 1 and high == 255 and ((array == 0) | (array == 255)).all():
        array = array // 255  # black and white as image files store them
    elif low < 0 or high > last:
        raise UserError(f"{values}, {expected}")
    return array.astype(np.uint8)


def _real(known: KnownData, support: Any, array: np.ndarray, name: str, ranged: bool) -> np.ndarray:
    if not array.size:
        return array.astype(np.float32)
    low, high = _limits(known, support, ranged)
    outside = (array < low) | (array > high)
    if outside.any():
        where = np.argwhere(outside)[0]
        low, high = (np.broadcast_to(limit, known.event)[tuple(where[1:])] for limit in (low, high))
        column = f" in column {_column(known, where[1])}" if len(known.event) == 1 else ""
        raise UserError(
            f"{name} has the value {array[tuple(where)]:g}{column} (example {where[0]}), expected values from {low:g} "
            f"to {high:g}; the model was trained in other units"
        )
    return array.astype(np.float32) if known.table is None else known.table.to_x(array)


def _limits(known: KnownData, support: Any, ranged: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns the smallest and the largest value that an array of this kind may have."""
    low, high = np.asarray(known.low, np.float64), np.asarray(known.high, np.float64)
    width = np.where(high > low, high - low, np.maximum(1.0, np.abs(high)))
    slack = SLACK * width if ranged else np.inf
    low, high = low - slack, high + slack
    columns = support if isinstance(support, tuple) and not isinstance(support, Grid) else ((support, None),)
    start = 0
    for kind, count in columns:
        part = ... if count is None else slice(start, start + count)
        start += count or 0
        if kind in ("count", "positive"):  # of any size: their spread is a factor
            low[part], high[part] = (0.0 if kind == "count" else np.finfo(np.float32).tiny), np.inf
        elif kind != "real":
            low[part] = 0.0
            high[part] = kind.step * (kind.count - 1) if isinstance(kind, Grid) else 1.0
    return low, high


def _columns(known: KnownData, x: Any, name: str) -> tuple[Any, Callable]:
    """Takes a frame or a dict of columns apart: its values ``[n, f]``, and what makes the same of others."""
    if isinstance(x, Mapping):
        names = list(x)
        lengths = {np.shape(column) for column in x.values()}
        if len(lengths) > 1 or any(len(length) != 1 for length in lengths):
            raise UserError(f"{name} holds columns of shapes {sorted(lengths)}, expected arrays [n] of one length")

        def take(wanted):
            return _stacked(known, name, {column: x[column] for column in wanted}) if wanted else np.zeros((0, 0))

        def back(values):
            return _apart(known, values, wanted)

    elif hasattr(x, "columns") and hasattr(x, "to_numpy"):
        names = list(x.columns)

        def take(wanted):
            if not _has_classes(known):
                return x[wanted].to_numpy()
            return _stacked(known, name, {column: x[column].to_numpy() for column in wanted})

        def back(values):
            if values.ndim != 2 or len(values) != len(x):
                return values
            content = _apart(known, values, wanted) if _has_classes(known) else values
            return type(x)(content, columns=wanted, index=x.index)

    else:
        return x, lambda values: values
    wanted = list(known.column_names) or names
    missing = [str(column) for column in wanted if column not in names]
    if missing or len(known.event) != 1 or len(wanted) != known.event[0]:
        what = f"no column {', '.join(missing[:3])}" if missing else f"{len(names)} columns"
        raise UserError(f"{name} has {what}, expected {_shape(known.event)}" + _named(known))
    return take(wanted), back


def _has_classes(known: KnownData) -> bool:
    return known.table is not None and any(known.table.levels)


def _stacked(known: KnownData, name: str, columns: Mapping[str, Any]) -> np.ndarray:
    """Returns columns as rows ``[n, f]``; of a file's classes, which may be names, the codes."""
    if not _has_classes(known):
        return np.stack([np.asarray(column) for column in columns.values()], axis=-1)
    rows = []
    for (column, values), kind, levels in zip(columns.items(), known.table.kinds, known.table.levels):
        values = np.asarray(values)
        if levels and values.dtype.kind in "OUS":
            values = as_numbers(name, str(column), text_of(values), levels, kind == "categorical")[0]
        rows.append(np.asarray(values, np.float64) if values.dtype.kind == "O" else values)
    return np.stack(rows, axis=-1)


def _apart(known: KnownData, values: np.ndarray, wanted: list) -> dict:
    """Returns rows ``[..., f]`` as columns, of a file's classes their names."""
    if not _has_classes(known) or values.ndim != 2:
        return {column: values[..., i] for i, column in enumerate(wanted)}
    return known.table.columns(values)


def _named(known: KnownData) -> str:
    return f": {', '.join(known.column_names[:20])}" if known.column_names else ""


def _column(known: KnownData, index: int) -> str:
    return known.column_names[index] if known.column_names else f"{index} (counted from 0)"


def _sentences(known: KnownData, x: Any, name: str, one: bool) -> Given:
    (length,), expected = known.event, "expected a list of sentences, words with spaces between"
    single = one and isinstance(x, str)
    if isinstance(x, str) and not one:
        raise UserError(f"{name} is one text, {expected}: [{name}]")
    if isinstance(x, np.ndarray) and x.dtype.kind in "iu":
        if x.ndim != 2 or x.shape[1] != length or (x.size and not 0 <= x.min() <= x.max() < known.levels):
            raise UserError(f"{name} has shape {x.shape}, {expected}, or token ids [n, {length}] below {known.levels}")
        return Given(x)
    try:
        texts = [x] if single else list(x)
    except TypeError:
        raise UserError(f"{name} is {type(x).__name__}, {expected}") from None
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"{name}[{i}] is {type(text).__name__}, {expected}")
        words = len(text.split())
        if not 1 <= words <= length:
            raise UserError(f"{name}[{i}] has {words} words, expected 1 to {length}: the model reads no more")
    # One that fills all places has no room for its end, as those that the model itself writes.
    return Given(encode([text.split() for text in texts], known.words, length + 1)[:, :length], single)


def _shape(event: Event) -> str:
    what = "rows" if len(event) == 1 else "images, channels last" if len(event) == 3 else "examples"
    return f"[{', '.join(map(str, ('n', *event)))}], n {what}"


def _hint(shape: tuple[int, ...], event: Event) -> str:
    """Says what was probably meant by an array of another shape, as the end of a sentence."""
    if len(event) == 3 and len(shape) == 4 and (shape[2], shape[3], shape[1]) == event:
        return "; channels come last: numpy.moveaxis(x, 1, -1)"
    if shape == event or (len(event) == 3 and event[-1] == 1 and shape == event[:2]):
        return "; one example needs an axis for n: x[None]"
    if len(shape) == 2 and shape[1] == np.prod(event):
        return f"; these are flat: x.reshape(-1, {', '.join(map(str, event))})"
    return ""
