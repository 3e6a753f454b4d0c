"""What is wrong with a file of outputs: a logvar that is none, channels in another order, a range of another kind.

Nothing is believed because a file says it: the draws must have the spread that is claimed, the latents the scale that
any optimum has, the reconstructions the colours and the range of the examples.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from vae_jax.theory.audit import Latents

RANGES = {"[0, 1]": (0.0, 1.0), "[-1, 1]": (-1.0, 1.0), "[0, 255]": (0.0, 255.0)}
OFF = 0.1  # relative: what is further off than this is named
# What people save in place of log tau^2 (or of tau): the name, and log tau^2 of the value.
AS_LOGVAR = {
    "the standard deviation": lambda v: 2.0 * np.log(v),
    "the variance": np.log,
    "the log of the standard deviation, which is half of it": lambda v: 2.0 * v,
    "twice the log-variance": lambda v: 0.5 * v,
    "minus the log-variance, a log-precision": lambda v: -v,
}
AS_STD = {
    "the variance": np.log,
    "the log-variance": lambda v: v,
    "the log of the standard deviation": lambda v: 2.0 * v,
}


def draws_off(noise: np.ndarray) -> float:
    """Returns how far draws are from the spread claimed: the mean over latents of |log E noise^2|, over its chance.

    Args:
      noise: ``[k, n, p, c]``, (z - mu) / tau.
    """
    spread = np.mean(noise**2, (0, 1, 2))
    chance = np.sqrt(2.0 / noise[..., 0].size)
    return max(float(np.mean(np.abs(np.log(np.maximum(spread, 1e-30))))) - 2 * chance, 0.0)


def named_spread(given: np.ndarray, kind: str, squares: np.ndarray) -> str | None:
    """Names what ``logvar`` or ``std`` holds instead, from the draws.

    Args:
      given: ``[n, p, c]``, as in the file.
      kind: "logvar" or "std".
      squares: ``[n, p, c]``, the mean over draws of (z - mu)^2.

    Returns:
      Its name, None where it is nothing known.
    """
    for name, log_variance in (AS_LOGVAR if kind == "logvar" else AS_STD).items():
        with np.errstate(all="ignore"):
            ratio = np.mean(squares * np.exp(-log_variance(given)), (0, 1))
        if np.isfinite(ratio).all() and np.all(ratio > 0) and np.mean(np.abs(np.log(ratio))) < OFF:
            return name
    return None


def permuted(squares: np.ndarray, variance: np.ndarray) -> np.ndarray | None:
    """Returns the order in which the channels of ``variance`` belong to those of the draws, None where it is theirs.

    Args:
      squares: ``[c]``, E (z - mu)^2 of each channel or latent; or 1 - E mu^2 where there are no draws.
      variance: ``[c]``, E tau^2.
    """
    logs = [np.log(np.maximum(values, 1e-6)) for values in (squares, variance)]
    order = np.empty(len(variance), int)
    order[np.argsort(logs[0])] = np.argsort(logs[1])  # sorted against sorted: the least total distance on a line
    apart = [np.mean(np.abs(logs[0] - logs[1][index])) for index in (np.arange(len(order)), order)]
    return order if apart[0] > OFF and apart[1] < 0.3 * apart[0] else None


def jacobian_slope(x_mean: np.ndarray, latents: Latents) -> tuple[float, float] | None:
    """Asks the decoder itself, where no draws are known: xhat(mu) regressed on mu.

    Args:
      x_mean: ``[n, D]`` in [0, 1] units.
      latents: of the same n examples, of a flat code.

    Returns:
      The slope of log |J_i|^2 in log tau_i^2 / (1 - tau_i^2) over the latents, -1 at any optimum of a linear decoder,
      and sum |J_i|^2 tau_i^2, at most about E |xhat(z) - xhat(mu)|^2; None of too few examples or latents, or tau
      that are all alike.
    """
    mean, variance = latents.mean[:, 0], latents.variance[:, 0].mean(0)
    carries = (latents.kl.mean((0, 1)) > 0.1) & (variance < 0.9)
    if len(mean) < 4 * mean.shape[1] or carries.sum() < 4:
        return None
    centred = mean - mean.mean(0)
    solution = np.linalg.lstsq(centred, x_mean - x_mean.mean(0), rcond=1e-6)[0]
    squares = np.sum(solution**2, 1)
    level = np.log(variance[carries] / (1.0 - variance[carries]))
    slope = np.polyfit(level, np.log(np.maximum(squares[carries], 1e-30)), 1)[0] if level.std() > 0.3 else -1.0
    return float(slope), float(np.sum(squares[carries] * variance[carries]))


def range_of(x: np.ndarray, named: str | tuple[float, float] | None = None) -> tuple[str, tuple[float, float]]:
    """Returns the range of pixels, as stated or as the values show: its name and ends; "own" units are (0, 1)."""
    if isinstance(named, tuple):
        return next((name for name, ends in RANGES.items() if ends == named), f"[{named[0]:g}, {named[1]:g}]"), named
    low, high = float(x.min()), float(x.max())
    if low >= 0.0:
        name = "[0, 1]" if high <= 1.0 + 1e-6 else "[0, 255]" if 1.5 < high <= 255.0 else "own"
    else:
        name = "[-1, 1]" if low >= -1.0 - 1e-6 and high <= 1.0 + 1e-6 and low < -0.5 else "own"
    return name, RANGES.get(name, (0.0, 1.0))


def other_range(x: np.ndarray, made: np.ndarray, known: str) -> str | None:
    """Names the range of ``made`` where it is not that of ``x``: that in which it is much nearer to x.

    Args:
      x: ``[n, D]`` examples in [0, 1] units.
      made: the same reconstructed, as in the file.
      known: the range that x has.
    """
    apart = {name: float(np.mean(((made - low) / (high - low) - x) ** 2)) for name, (low, high) in RANGES.items()}
    best = min(apart, key=apart.__getitem__)
    return best if known in apart and best != known and apart[best] < 0.5 * apart[known] else None


def other_colours(x: np.ndarray, made: np.ndarray, axis: int) -> tuple[int, ...] | None:
    """Returns the order of the channels of ``made`` that fits ``x`` much better than its own, None where there is none.

    Args:
      x, made: ``[n, ...]`` of the same shape and range.
      axis: of the channels, 2 to 4 of them.
    """
    count = x.shape[axis]
    if not 2 <= count <= 4:
        return None
    apart = {
        order: float(np.mean((np.take(made, order, axis) - x) ** 2)) for order in itertools.permutations(range(count))
    }
    best = min(apart, key=apart.__getitem__)
    return best if apart[best] < 0.5 * apart[tuple(range(count))] else None


def channel_axis(mean: np.ndarray) -> tuple[int, Mapping[int, float]]:
    """Finds which axis of a code ``[n, a, b, c]`` holds the channels.

    The size that differs from two equal ones, else the axis along which neighbours are least alike: a picture is smooth
    over space, and its channels are in no order.

    Returns:
      The axis, 1 or 3, and the mean correlation of neighbours along each axis.
    """
    alike = {}
    centred = mean - mean.mean(0)
    centred = centred / np.maximum(centred.std(0), 1e-12)
    for axis in (1, 2, 3):
        size = centred.shape[axis]
        one, other = (np.take(centred, range(i, size - 1 + i), axis) for i in (0, 1))
        alike[axis] = float(np.mean(one * other)) if size > 1 else 0.0
    a, b, c = mean.shape[1:]
    if b == c != a:
        return 1, alike
    if a == b != c:
        return 3, alike
    return (1 if alike[1] < alike[3] else 3), alike
