"""What discrete examples are made of: the indices of levels, counts and words, as whole numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax.data.text.vocabulary import decode, words_of
from vae_jax.likelihoods import Grid, is_discrete
from vae_jax.trained.model import TrainedVAE
from vae_jax.types import UserError

MISSING = -1  # in place of a value that is not there
LARGEST = 2**24  # no count is as large: float32, in which models see them, would lose its last digit


class Kinds(NamedTuple):
    """What each dimension of the flattened event is; an example is its values ``[D]``, int64.

    Attributes:
      levels: the values of the levels as the model sees them, ``[k, D]``; a dimension that has fewer repeats its last.
      counts: how many levels each dimension has, ``[D]``; 0 of a count, which is its own value.
      is_text: whether the values are token ids.
    """

    levels: np.ndarray
    counts: np.ndarray
    is_text: bool = False

    @property
    def number(self) -> np.ndarray:
        """Which dimensions are counts, bool ``[D]``."""
        return self.counts == 0


def kinds_of(model: TrainedVAE) -> Kinds:
    """Returns what the examples of a model are made of.

    Raises:
      UserError: a dimension is a density, which has no code length.
    """
    support, event = model.likelihood.support, model.x_event
    if model.data.words:
        return Kinds(np.zeros((1, event[-1])), np.full(event[-1], model.data.levels), is_text=True)
    parts = support if isinstance(support, tuple) and not isinstance(support, Grid) else ((support, np.prod(event)),)
    if not is_discrete(support) or model.config.pixels not in ("grey", "binary"):
        raise UserError(f"--workdir: {_density(model, parts)}, and only probabilities are code lengths")
    columns: list[np.ndarray] = []
    for own, width in parts:
        values = (
            np.zeros(1) if own == "count" else np.arange(2.0) if own == "binary" else own.step * np.arange(own.count)
        )
        columns += [values] * int(width)
    most = max(map(len, columns))
    counts = np.array([0 if len(column) == 1 else len(column) for column in columns])
    return Kinds(np.stack([np.pad(column, (0, most - len(column)), mode="edge") for column in columns], axis=1), counts)


def _density(model: TrainedVAE, parts) -> str:
    """Says in words what of a model is a density."""
    if len(parts) == 1:
        return f"the model is a density (--likelihood={model.config.likelihood}, --pixels={model.config.pixels})"
    names = model.data.column_names or [f"{i} (counted from 0)" for i in range(model.event[0])]
    kinds = [own for own, width in parts for _ in range(width)]
    dense = [name for name, own in zip(names, kinds) if not is_discrete(own)]
    more = f" and {len(dense) - 3} more" if len(dense) > 3 else ""
    return f"the model has a density for column {', '.join(dense[:3])}{more}"


def read(model: TrainedVAE, kinds: Kinds, examples: Any, name: str) -> np.ndarray:
    """Returns the values of examples in their own units, ``[n, D]``.

    Raises:
      UserError: a value is no level or no count, or a count is too large.
    """
    raw = model.read(examples).raw
    if kinds.is_text:
        return raw.astype(np.int64)
    x = np.asarray(jax.vmap(lambda row: model.view(model.own_key, row))(raw), np.float64).reshape(len(raw), -1)
    gone = np.isnan(x)
    step = kinds.levels[min(1, len(kinds.levels) - 1)] - kinds.levels[0]
    whole = np.rint(np.where(gone, 0.0, x) / np.where(kinds.number, 1.0, step)).astype(np.int64)
    levels = np.clip(whole, 0, np.where(kinds.number, LARGEST - 1, kinds.counts - 1))
    wrong = ~gone & (np.abs(_seen(kinds, levels) - x) > 1e-5)
    if wrong.any():
        value = x[tuple(np.argwhere(wrong)[0])]
        limit = f", or a count of {LARGEST:,} or more" if kinds.number.any() else ""
        raise UserError(f"--input={name} holds {value:g}: a value that is none of the model's levels{limit}")
    return np.where(gone, MISSING, levels)


def _seen(kinds: Kinds, values: np.ndarray) -> np.ndarray:
    levels = np.take_along_axis(kinds.levels, np.clip(values, 0, len(kinds.levels) - 1), axis=0)
    return np.where(kinds.number, values, levels)


def missing_rates(model: TrainedVAE) -> np.ndarray:
    """Returns how probable it is that a value of each column is there and that it is missing, ``[D, 2]``.

    By the training data of a file with columns; of arrays, whose columns were not counted, a half.
    """
    table, count = model.data.table, model.data.examples[0] if model.data.examples else 0
    gone = np.array(table.missing if table is not None and table.missing else [count / 2] * model.event[0])
    return np.stack([count - gone + 1, gone + 1], axis=1) / (count + 2)


def missing_nats(model: TrainedVAE, values: np.ndarray) -> float:
    """Returns what it costs to say which values ``[n, D]`` are missing, of which the bound knows nothing."""
    if model.config.missing is None:
        return 0.0
    return -float(np.sum(np.log(np.where(values == MISSING, *missing_rates(model).T[::-1]))))


def to_x(model: TrainedVAE, kinds: Kinds, values: np.ndarray) -> np.ndarray:
    """Returns values ``[n, D]`` as the networks take them, ``[n, *event]``, float64."""
    if kinds.is_text:
        return np.asarray(jax.vmap(lambda row: model.view(model.own_key, row))(values.astype(np.int32)))
    return np.where(values == MISSING, np.nan, _seen(kinds, values)).reshape(len(values), *model.x_event)


def symbols_in(kinds: Kinds, values: np.ndarray) -> int:
    """Returns how many values there are; of sentences how many words and ends."""
    return words_of(values) if kinds.is_text else values.size


def plain(model: TrainedVAE, kinds: Kinds, values: np.ndarray) -> bytes:
    """Returns examples as another compressor would be given them: 0/1 as bits, else as few bytes a value as all of
    these need; of sentences lines of text."""
    if kinds.is_text:
        return "".join(f"{line}\n" for line in decode(values, model.data.words)).encode()
    low, high = values.min(), values.max()
    if low >= 0 and (kinds.counts == 2).all():
        return np.packbits(values.astype(bool), axis=None).tobytes()
    return values.astype(np.result_type(np.min_scalar_type(low), np.min_scalar_type(high))).tobytes()


def stored_dtype(model: TrainedVAE, kinds: Kinds) -> np.dtype:
    """Returns the type of ``stored``: grey levels are bytes, whole numbers unsigned, all else float32."""
    if model.data.levels is not None and not kinds.is_text:
        return np.dtype(np.uint8)
    if model.config.missing is not None or np.any(kinds.levels % 1):
        return np.dtype(np.float32)
    return np.min_scalar_type(int(max(LARGEST if kinds.number.any() else 0, kinds.counts.max() - 1)))


def stored(model: TrainedVAE, kinds: Kinds, values: np.ndarray) -> np.ndarray:
    """Returns values as files hold them, ``[n, *event]``: grey levels, 0/1, token ids, or the columns' own values."""
    content = values if kinds.is_text or model.data.levels is not None else _seen(kinds, values)
    if model.config.missing is not None:
        content = np.where(values == MISSING, np.nan, content)
    return content.astype(stored_dtype(model, kinds)).reshape(len(values), *model.event)
