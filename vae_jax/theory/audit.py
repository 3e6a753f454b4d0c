"""What a trained VAE weighs, from its outputs alone: the water level s of any loss, and how well they agree on it.

Where the variances of a Gaussian encoder are stationary, the columns J_i of the decoder's Jacobian satisfy
``|J_i|^2 tau_i^2 = s (1 - tau_i^2)``: of ``|J_i|^2 tau_i^2 / 2 + s KL`` the derivative in tau_i^2 (Lucas 2019,
1911.02469, at the optimum of a linear decoder). To first order in tau, and exactly for a linear decoder,

    s = E |xhat(z) - xhat(mu)|^2 / E sum_i (1 - tau_i^2)

and for a loss ``sum rho(xhat - x) + w KL`` of any kind ``w = E rho'(xhat(z) - x) (xhat(z) - xhat(mu)) / E sum_i
(1 - tau_i^2)``. Where the draws z are known each latent has a level of its own, and the means say the weight again:
``-J_i rho' = w mu_i``. With several draws of each example nothing has to be linear: by Stein's lemma (1981, Annals of
Statistics 9) ``E rho(xhat(z) - x) (|noise|^2 - M) = w E sum_i (1 - tau_i^2)``, at the price of more chance. At a
stationary point of the scale of a latent, which a linear layer on either side can move, ``E mu_i^2 + E tau_i^2 = 1``
whatever the loss. How far these miss is told, not judged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

RESAMPLES = 200
CARRIES = 0.01  # nats: a latent or channel that has less of them carries nothing
MOST_GROUPS = 128  # latents or channels that are told apart
FOLDS = 20
SURE = 0.03  # relative standard error


class Estimate(NamedTuple):
    """A number and its bootstrap standard error over examples."""

    value: float
    error: float


class Pixels(NamedTuple):
    """Sums over the values of an example, in [0, 1] units.

    Attributes:
      noise: ``[k, n]``, |xhat(z) - xhat(mu)|^2.
      error: ``[k, n]``, |x - xhat(z)|^2.
      error_at_mean: ``[n]``, |x - xhat(mu)|^2.
      absolute: ``[k, n]``, sum |x - xhat(z)|.
      pulls: ``[k, n]`` of each kind of loss, ``rho'(xhat(z) - x) . (xhat(z) - xhat(mu))``: of the squared error (not
        half of it), of the absolute one, and of the binary cross-entropy where xhat is inside (0, 1).
    """

    noise: np.ndarray
    error: np.ndarray
    error_at_mean: np.ndarray
    absolute: np.ndarray
    pulls: dict[str, np.ndarray]


class Latents(NamedTuple):
    """The posteriors in units of the prior: n examples, p positions (1 of a flat code), c channels or latents.

    Attributes:
      mean, variance: ``[n, p, c]``.
      noise: ``[k, n, p, c]``, (z - mu) / tau of the draws; None where they are not known.
    """

    mean: np.ndarray
    variance: np.ndarray
    noise: np.ndarray | None = None

    @property
    def kl(self) -> np.ndarray:
        """KL(q(z|x) || p(z)) of each latent, ``[n, p, c]`` nats."""
        return 0.5 * (self.mean**2 + self.variance - 1.0 - np.log(self.variance))


class Levels(NamedTuple):
    """The weight as the outputs tell it.

    Attributes:
      water_level: s of the variances: half the weight of the squared error, or by
        |xhat(z) - xhat(mu)|^2 where that has a standard error above 3%; by Stein's lemma where that
        is surely another; not finite, or below 0, where the variances are those of no optimum.
      weights: kind of loss -> the weight w of ``sum rho + w sum KL`` that the variances tell.
      unlinearised: the same by Stein's lemma; empty without the draws, or with one of each example.
      weights_of_means: the same as the means tell it; empty without the draws.
      per_group: ``[c]``, s of each latent or channel, not a number where it carries nothing; None without the draws.
      group_errors: ``[c]``, their standard errors.
      scatter: of ``per_group`` about s beyond their standard errors, relative to s; None without the draws.
      scale: ``[c]``, E mu^2 + E tau^2 - 1 of each latent or channel.
      scale_error: ``[c]``, its standard error.
      residual: how far the identities miss: the largest of the scatter and the root mean square of ``scale`` over
        those that carry something.
    """

    water_level: Estimate
    weights: dict[str, Estimate]
    unlinearised: dict[str, Estimate]
    weights_of_means: dict[str, Estimate]
    per_group: np.ndarray | None
    group_errors: np.ndarray | None
    scatter: float | None
    scale: np.ndarray
    scale_error: np.ndarray
    residual: float


def pixel_terms(x: np.ndarray, x_mean: np.ndarray, x_sample: np.ndarray) -> Pixels:
    """Computes the ``Pixels`` of a block of examples.

    Args:
      x, x_mean: ``[b, D]``, the examples and the decoder at the posteriors' means, in [0, 1] units.
      x_sample: ``[k, b, D]``, the decoder at draws from the posteriors.
    """
    x, x_mean, x_sample = (np.asarray(array, np.float64) for array in (x, x_mean, x_sample))
    shift, miss = x_sample - x_mean, x_sample - x
    pulls = {"squared_error": 2.0 * np.sum(miss * shift, -1), "absolute_error": np.sum(np.sign(miss) * shift, -1)}
    if all(0.0 < a.min() and a.max() < 1.0 for a in (x_mean, x_sample)) and x.min() >= 0 and x.max() <= 1:
        # The Jacobian that the loss sees is that of the logits.
        moved = np.log(x_sample / x_mean) - np.log((1.0 - x_sample) / (1.0 - x_mean))
        pulls["bce"] = np.sum(miss * moved, -1)
    noise, error, absolute = np.sum(shift**2, -1), np.sum(miss**2, -1), np.sum(np.abs(miss), -1)
    return Pixels(noise, error, np.sum((x - x_mean) ** 2, -1), absolute, pulls)


def joined(blocks: list[Pixels]) -> Pixels:
    """Joins blocks of examples; a kind of loss that one of them cannot have is left out."""
    kinds = [kind for kind in blocks[0].pulls if all(kind in block.pulls for block in blocks)]
    arrays = [np.concatenate(parts, -1) for parts in zip(*(block[:4] for block in blocks))]
    return Pixels(*arrays, {kind: np.concatenate([block.pulls[kind] for block in blocks], -1) for kind in kinds})


def bootstrap(columns: np.ndarray, statistic: Callable, seed: int = 0) -> list[Estimate]:
    """Estimates statistics of means over examples, with standard errors by resampling the examples.

    Args:
      columns: ``[n, q]``, one row an example.
      statistic: means ``[q]`` -> values ``[v]``.
      seed: of the resampling.
    """
    generator, n = np.random.default_rng(seed), len(columns)
    draws = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(RESAMPLES):
            counts = np.bincount(generator.integers(0, n, n), minlength=n)
            draws.append(statistic(counts @ columns / n))
        values, spread = np.atleast_1d(statistic(columns.mean(0))), np.std(np.reshape(draws, (RESAMPLES, -1)), 0)
    return [Estimate(float(v), float(e)) for v, e in zip(values, spread)]


def levels(pixels: Pixels, latents: Latents) -> Levels:
    """Finds the weight of a trained VAE, and how well its outputs agree on it.

    Args:
      pixels: of the same n examples and k draws as ``latents``.
      latents: the posteriors.

    Returns:
      A ``Levels``.
    """
    kept, kinds = 1.0 - latents.variance, list(pixels.pulls)
    # With the draws known the chance in |xhat(z) - xhat(mu)|^2 is mostly in the denominator too, and cancels.
    features = None if latents.noise is None else (kept * latents.noise**2).sum(2)  # [k, n, c]
    below = kept.sum((1, 2)) if features is None else features.sum(-1).mean(0)
    columns = np.stack([below, pixels.noise.mean(0), *(pixels.pulls[kind].mean(0) for kind in kinds)], 1)
    first, *weights = bootstrap(columns, lambda means: means[1:] / means[0])
    named = dict(zip(kinds, weights))
    # The derivative of the error itself is off by a tenth of what |xhat(z) - xhat(mu)|^2 is where a decoder bends
    # (0.1% and 4% on networks of known weight), but all chance where x is far from xhat and tau is small.
    whole = named["squared_error"]
    sure = whole.value > 0 and whole.error < SURE * whole.value
    level = Estimate(whole.value / 2.0, whole.error / 2.0) if sure else first
    carries = latents.kl.mean((0, 1)) > CARRIES
    per_group = errors = scatter = None
    of_means: dict[str, Estimate] = {}
    exact: dict[str, Estimate] = {}
    if features is not None:
        of_means = {kind: _weight_of_means(pixels.pulls[kind], named[kind].value, latents) for kind in kinds}
        if len(latents.noise) > 1:
            terms = {"squared_error": pixels.error, "absolute_error": pixels.absolute}
            exact = {kind: _by_stein(term, kept.sum((1, 2)), latents.noise) for kind, term in terms.items()}
            told = Estimate(exact["squared_error"].value / 2.0, exact["squared_error"].error / 2.0)
            # A decoder that bends within tau: the place before the digits.
            level = (
                told if abs(told.value - level.value) > 3.0 * told.error and told.error < 0.1 * told.value else level
            )
        per_group, errors = _per_group(pixels.noise, features, carries)
        scatter = _scatter(per_group, errors, kept.mean((0, 1)), first.value)
    moments = (latents.mean**2 + latents.variance - 1.0).mean(1)  # [n, c]
    scale = moments.mean(0)
    missed = float(np.sqrt(np.mean(scale[carries] ** 2))) if carries.any() else 0.0
    return Levels(
        level,
        named,
        exact,
        of_means,
        per_group,
        errors,
        scatter,
        scale,
        moments.std(0) / np.sqrt(len(moments)),
        max(missed, scatter or 0.0),
    )


def _by_stein(term: np.ndarray, kept: np.ndarray, noise: np.ndarray) -> Estimate:
    """The slope of an error ``[k, n]`` in |noise|^2 among the draws of an example, times the variance of the latter."""
    square, size = np.sum(noise**2, (2, 3)), noise.shape[2] * noise.shape[3]
    # About the mean over the draws: what differs between examples is no chance of the draws.
    term, square = term - term.mean(0), square - square.mean(0)
    columns = np.stack([np.sum(square**2, 0), np.sum(term * square, 0), kept], 1)
    return bootstrap(columns, lambda means: 2.0 * size * means[1:2] / means[0] / means[2])[0]


def _weight_of_means(pull: np.ndarray, weight: float, latents: Latents) -> Estimate:
    """The slope of ``-pull`` in ``sum_i mu_i (z_i - mu_i)``: odd in the noise, where the variances' part is even."""
    kept = ((1.0 - latents.variance) * latents.noise**2).sum((2, 3))
    moved = (latents.mean * np.sqrt(latents.variance) * latents.noise).sum((2, 3))
    columns = np.stack([(moved**2).mean(0), (-(pull - weight * kept) * moved).mean(0)], 1)
    return bootstrap(columns, lambda means: means[1:] / means[0])[0]


def _per_group(noise, features, carries):
    """Regresses |xhat(z) - xhat(mu)|^2 on ``(1 - tau^2) noise^2`` of each group; errors by a jackknife over folds."""
    k, n, c = features.shape
    shown = np.flatnonzero(carries)
    most = min(MOST_GROUPS, k * n // 20)
    shown = shown[np.argsort(-features.mean((0, 1))[shown])[:most]]
    levels, errors = np.full(c, np.nan), np.full(c, np.nan)
    if not len(shown) or n < 2 * FOLDS:
        return levels, errors
    rest = np.delete(features, shown, axis=2).sum(2, keepdims=True)
    design = np.concatenate([features[..., shown], rest], 2)
    products = []
    for part in np.array_split(np.arange(n), FOLDS):
        own = design[:, part].reshape(-1, design.shape[2])
        products.append((own.T @ own, own.T @ noise[:, part].ravel()))
    squares, crossed = (sum(parts) for parts in zip(*products))
    without = np.stack([_solved(squares - a, crossed - b) for a, b in products])[:, : len(shown)]
    levels[shown] = _solved(squares, crossed)[: len(shown)]
    errors[shown] = np.sqrt((FOLDS - 1) / FOLDS * np.sum((without - without.mean(0)) ** 2, 0))
    return levels, errors


def _solved(squares, crossed):
    return np.linalg.lstsq(squares, crossed, rcond=1e-10)[0]


def _scatter(levels, errors, kept, level):
    shown = np.isfinite(levels)
    if not shown.any() or not level > 0:
        return None
    weight = np.maximum(kept[shown], 1e-9)
    excess = np.average((levels[shown] - level) ** 2 - errors[shown] ** 2, weights=weight)
    return float(np.sqrt(max(excess, 0.0)) / level)
