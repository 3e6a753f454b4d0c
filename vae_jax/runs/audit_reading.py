"""What an audit is asked, and its arrays laid out: latents in units of the prior, pixels summed in [0, 1] units."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from vae_jax.data import outputs as files
from vae_jax.data.outputs import Outputs
from vae_jax.theory import audit, suspicions
from vae_jax.theory.aggregate import spatial
from vae_jax.theory.audit import Latents
from vae_jax.types import UserError

LOOKED_AT = 2**22  # values of the first examples, from which layouts and ranges are told


class Asked(NamedTuple):
    """What somebody wants to know.

    Attributes:
      loss: the loss that was used, as written; None where it is not known.
      pixel_range: lowest and highest value of x, or None: as in the file, or as the values show.
      channel_axis: of latents ``[n, a, b, c]``: "first", "last" or "auto".
      target_rate: nats per example to be reached.
      target_channels: how many channels or latents are to be kept.
      batch_size: of the loss, where it matters.
    """

    loss: str | None = None
    pixel_range: tuple[float, float] | None = None
    channel_axis: str = "auto"
    target_rate: float | None = None
    target_channels: int | None = None
    batch_size: int | None = None


def read_latents(outputs: Outputs, asked: Asked, answer: dict[str, Any]) -> Latents:
    """Lays the latents out as positions and channels, in units of the prior, and notes what is wrong with them."""
    given, kind = outputs.latents, "logvar" if "logvar" in outputs.latents else "std"
    mean, spread, z = given["mean"], given[kind], given.get("z")
    axis = 1
    if mean.ndim == 4:
        found, alike = suspicions.channel_axis(mean)
        axis = {"first": 1, "last": 3}.get(asked.channel_axis, found)
        answer["notes"].append(
            f"latents {list(mean.shape[1:])}: {mean.shape[axis]} channels, the {'first' if axis == 1 else 'last'} one"
            + ("" if asked.channel_axis == "auto" else ", as stated")
        )
        if axis != found and alike[axis] > alike[4 - axis] + suspicions.OFF:
            answer["suspicions"].append(["channels", _swapped_axis(axis, alike)])
    elif mean.ndim not in (2, 3):
        raise UserError(f"mean has shape {mean.shape}; expected [n, d], [n, t, d], [n, h, w, c] or [n, c, h, w]")
    if kind == "std" and spread.min() < 0:
        answer["suspicions"].append(
            ["logvar", "`std` has negative values, so it is no standard deviation; it is read as a log-variance"]
        )
        kind = "logvar"
    last = mean.ndim - 1 if mean.ndim < 4 else axis
    grid = np.moveaxis(mean, last, -1)

    def flat(array, lead=0):
        channels = array.shape[last + lead]
        return np.moveaxis(array, last + lead, -1).reshape(*array.shape[: 1 + lead], -1, channels)

    m, raw = flat(mean), flat(spread)
    log_variance = raw if kind == "logvar" else 2.0 * np.log(np.maximum(raw, 1e-30))
    variance = np.exp(np.clip(log_variance, -80.0, 80.0))
    noise = None
    if z is not None:
        moved = flat(z, 1) - m
        noise = moved / np.sqrt(variance)
        _draws(moved**2, noise, raw, variance, kind, answer)
    at, scale = (given.get(f"prior_{name}", default) for name, default in (("mean", 0.0), ("std", 1.0)))
    try:
        at, scale = (flat(np.broadcast_to(value, mean.shape)) for value in (at, scale))
    except ValueError:
        raise UserError(f"prior_mean and prior_std must broadcast against mean, {mean.shape}") from None
    if np.min(scale) <= 0:
        raise UserError("prior_std must be above 0")
    answer["latents"] = {"positions": m.shape[1], "channels": m.shape[2], "grid": grid.shape[1:-1]}
    answer["low_frequencies"] = spatial(grid) if grid.ndim == 4 and min(grid.shape[1:3]) >= 4 else None
    return Latents((m - at) / scale, variance / scale**2, noise)


def _swapped_axis(axis, alike):
    return (
        f"the channels are said to be on axis {axis}, but the code is smooth there (neighbours correlate at "
        f"{alike[axis]:.2f}) and not on axis {4 - axis} ({alike[4 - axis]:.2f}): channels and space look swapped"
    )


def _draws(squares, noise, raw, variance, kind, answer) -> None:
    """Holds the draws against the variances that the file claims."""
    off = suspicions.draws_off(noise)
    if off < suspicions.OFF:
        answer["draws_hold"] = True
        return
    answer["draws_hold"] = False
    observed = squares.mean(0)
    order = suspicions.permuted(observed.mean((0, 1)), variance.mean((0, 1)))
    name = suspicions.named_spread(raw, kind, observed)
    times = float(np.exp(np.mean(np.log(np.mean(noise**2, (0, 1, 2))))))
    said = f"the draws z scatter about mean with {times:.3g} times the variance that `{kind}` claims"
    if name:
        said += f": `{kind}` holds {name}"
    elif order is not None:
        said = f"`{kind}` has its channels in another order than mean and z: {', '.join(map(str, order[:12]))} fits"
    else:
        said += f": `{kind}` is not the spread with which z was drawn"
    answer["suspicions"].append(["channels" if not name and order is not None else "logvar", said])


def read_pixels(outputs: Outputs, asked: Asked, answer: dict[str, Any]):
    """Sums over pixels in blocks, after layout, range and colours have been told from the first examples."""
    size = max(2, min(2000, LOOKED_AT // math.prod(outputs.shapes["x"])))
    head = next(files.pixel_blocks(outputs, size))
    x, made = head["x"], head["x_mean"]
    order = files.laid_out(x, made)
    if order is None or math.prod(outputs.shapes["x_sample"]) != math.prod(outputs.shapes["x_mean"]):
        shapes = ", ".join(f"{name} {list(shape)}" for name, shape in outputs.shapes.items())
        raise UserError(f"the arrays of pixels do not fit each other: {shapes}")
    if order != tuple(range(made.ndim)):
        answer["notes"].append("x_mean has its channels on another axis than x, and was turned to the layout of x")
    made = made.transpose(order).reshape(x.shape)
    stated = asked.pixel_range or outputs.pixel_range
    name, ends = suspicions.range_of(x, stated)
    slack = 0.05 * (ends[1] - ends[0])
    if stated and (x.min() < ends[0] - slack or x.max() > ends[1] + slack):
        claimed, (name, ends) = name, suspicions.range_of(x)
        answer["suspicions"].append(
            ["range", f"x is said to be in {claimed}, but goes from {x.min():.3g} to {x.max():.3g}: read as {name}"]
        )
    low, span = ends[0], ends[1] - ends[0]
    theirs = suspicions.other_range((x - low) / span, made, name)
    made_low, made_span = low, span
    if theirs:
        made_low, made_high = suspicions.RANGES[theirs]
        made_span = made_high - made_low
        answer["suspicions"].append(
            ["range", f"x is in {name} and its reconstructions are in {theirs}: each is read in its own range"]
        )
    _colours((x - low) / span, (made - made_low) / made_span, answer)
    blocks = []
    for block in files.pixel_blocks(outputs):
        count = len(block["x"])
        mean = block["x_mean"].transpose(order).reshape(count, -1)
        sample = block["x_sample"].transpose(0, *(axis + 1 for axis in order))
        sample = sample.reshape(len(sample), count, -1)
        own = (block["x"].reshape(count, -1) - low) / span
        blocks.append(audit.pixel_terms(own, (mean - made_low) / made_span, (sample - made_low) / made_span))
    dim = math.prod(outputs.shapes["x"])
    answer["pixels"] = {"data_dim": dim, "range": name, "low": low, "span": span}
    return audit.joined(blocks), (made.reshape(len(made), -1) - made_low) / made_span


def _colours(x, made, answer) -> None:
    if x.ndim == 4:
        axis = min((1, 3), key=lambda a: x.shape[a])
        order = suspicions.other_colours(x, made, axis)
        if order:
            said = f"the colours of x_mean are in another order than those of x: {list(order)} fits (BGR and RGB?)"
            answer["suspicions"].append(["channels", said])
