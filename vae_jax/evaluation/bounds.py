"""Bounds, rate and distortion of a whole split, exact over every example whatever the batch size.

Each example is scored by itself with noise keyed by its own index, the last batch is padded and its padding
dropped, and the means are taken once, in float64, over per-example numbers. So a ragged batch, another batch size
or more devices change nothing. The ELBO is the one of ``objective.py`` at weight 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import objective as bounds
from vae_jax.evaluation.batches import Evaluator, gather, in_batches, watched
from vae_jax.evaluation.rate import active_units, information_per_latent, is_one_hot, second_moments, used_latents
from vae_jax.gaussian import LOG_2PI, at_least_float32
from vae_jax.likelihoods.shared import AT_BOUND
from vae_jax.types import VAE, Array, Likelihood, Params, value_of


class Scores(NamedTuple):
    """Per-example numbers, ``[n]`` unless said; nats, and x in its own units ([0, 1] pixels).

    Attributes:
      rate: KL(q(z|x) || p(z)).
      distortion: -log p(x|z), the mean over the samples of z.
      iw_nll: -L_K, with K importance samples; None where none were asked for.
      squared_error: (x - E[x|z])^2, summed over the event but for codes of classes without an order. Of a likelihood
        that leaves dimensions out (``likelihoods.partial``) this and what follows is of those that it counts.
      standardised_error: (x - E[x|z])^2 / Var[x|z], summed over the event.
      variance: Var[x|z], summed over the event.
      at_bound: the share of dimensions whose sigma is below ``AT_BOUND`` times the family's lower bound.
      nats_at_bound: the log density of these dimensions under a Gaussian of that mean and variance, their sum.
      kl: the rate per latent, ``[n, d]``; ``[n, 1]`` where there is no closed form, and so only their sum.
      posterior_mean, posterior_variance: of q(z|x), ``[n, d]``.
      log_loss, correct: -log p of the class that x is, nats, and whether it is the most probable one, ``[n, *event]``:
        NaN in a dimension whose values have an order. None where all have.
      counted: how many dimensions the likelihood counts, and how many of them have an order, ``[n, 2]``; None where it
        counts all.
      own_error: ``squared_error`` in squared units of the data, where x is in others; None where it is not.
      log_scale: what the change of units adds to the distortion, nats; None likewise.
      columns: of rows with units of their own the squared error and Var[x|z] of each column in squared units of the
        data, ``[n, 2, f]``, NaN where it has none; None likewise.
    """

    rate: Any
    distortion: Any
    iw_nll: Any
    squared_error: Any
    standardised_error: Any
    variance: Any
    at_bound: Any
    nats_at_bound: Any
    kl: Any
    posterior_mean: Any
    posterior_variance: Any
    log_loss: Any = None
    correct: Any = None
    counted: Any = None
    own_error: Any = None
    log_scale: Any = None
    columns: Any = None


def score_example(
    vae: VAE,
    likelihood: Likelihood,
    params: Params,
    x: Array,
    key: Array,
    iw_samples: int = 0,
    chunk: int = 16,
) -> Scores:
    """Computes all scores of one example; consumes ``key``.

    Args:
      x: one example, ``[event]``.
      iw_samples: K of the importance-weighted bound (Burda 2016, 1509.00519, eq. 8); 0 for none. They are drawn
        ``chunk`` at a time, so memory does not grow with K.
    """
    own = params["likelihood"]
    q, z, theta = bounds.infer(vae, params, x, jax.random.fold_in(key, 0))
    t = bounds.score(likelihood, own, x, q, z, theta)
    # The errors are at the one z of the distortion: at the posterior mean they would be smaller than any code allows.
    theta, given, x = at_least_float32(theta[0]), x, value_of(x)
    error = jnp.square(x - likelihood.mean(own, theta))
    log_loss, correct = None, None
    if likelihood.log_classes is not None:
        log_loss, correct = _of_classes(likelihood.log_classes(own, theta), x)
        error = jnp.where(jnp.isnan(log_loss), error, 0.0)
    variance = likelihood.variance(own, theta)
    bound = likelihood.sigma_bound
    near = jnp.zeros(variance.shape, bool) if bound is None else jnp.sqrt(variance) < AT_BOUND * bound
    counted, there, total = None, None, jnp.sum(variance)
    if likelihood.counted is not None:
        there = likelihood.counted(x)
        ordered = there if log_loss is None else there & jnp.isnan(log_loss)
        counted = jnp.stack([jnp.sum(there), jnp.sum(ordered)])
        if log_loss is not None:
            log_loss, correct = (jnp.where(there, v, jnp.nan) for v in (log_loss, correct))
        # What is not counted: no error, and a variance that divides it and adds nothing.
        error, near, total = jnp.where(there, error, 0.0), near & there, jnp.sum(jnp.where(there, variance, 0.0))
        variance = jnp.where(there, variance, 1.0)
    density = -0.5 * (error / variance + jnp.log(variance) + LOG_2PI)
    own = {}
    if likelihood.units is not None:
        # In double precision until the end: a unit of 1e-40 is none in single.
        units = np.broadcast_to(np.asarray(likelihood.units, np.float64), x.shape)
        squares, logs = jnp.float32(units**2), jnp.float32(np.log(units))
        there = jnp.ones(x.shape, bool) if there is None else there
        own = {"own_error": jnp.sum(error * squares), "log_scale": jnp.sum(jnp.where(there, logs, 0.0))}
        if x.ndim == 1:
            ordered = there if log_loss is None else there & jnp.isnan(log_loss)
            own["columns"] = jnp.where(ordered, jnp.stack([error, variance]) * squares, jnp.nan)
    return Scores(
        rate=bounds.rate(t),
        distortion=bounds.distortion(t),
        iw_nll=-_importance_weighted(vae, likelihood, params, given, key, iw_samples, chunk) if iw_samples else None,
        squared_error=jnp.sum(error),
        standardised_error=jnp.sum(error / variance),
        variance=total,
        at_bound=jnp.mean(near),
        nats_at_bound=jnp.sum(jnp.where(near, density, 0.0)),
        kl=q.kl(),
        posterior_mean=q.mean,
        posterior_variance=jnp.exp(q.logvar),
        log_loss=log_loss,
        correct=correct,
        counted=counted,
        **own,
    )


def _of_classes(log_p, x):
    """Returns the log loss and whether it is right of each dimension, ``[event]``; ``log_p [event, k]``."""
    code = jnp.clip(jnp.rint(x).astype(jnp.int32), 0, log_p.shape[-1] - 1)
    log_loss = -jnp.take_along_axis(log_p, code[..., None], axis=-1)[..., 0]
    no_order = jnp.max(log_p, axis=-1) > -jnp.inf
    return jnp.where(no_order, log_loss, jnp.nan), jnp.where(no_order, jnp.argmax(log_p, axis=-1) == code, jnp.nan)


def _importance_weighted(vae, likelihood, params, x, key, num_samples, chunk):
    """Returns L_K of one example by a running log-sum-exp over chunks of samples; the last chunk is cut by a mask."""

    def body(total, i):
        # 0 is the fold of the distortion's own z.
        t = bounds.terms(vae, likelihood, params, x, jax.random.fold_in(key, i + 1), chunk)
        log_w = t.log_px_z + t.log_pz - t.log_qz
        log_w = jnp.where(i * chunk + jnp.arange(chunk) < num_samples, log_w, -jnp.inf)
        return jnp.logaddexp(total, jax.nn.logsumexp(log_w)), None

    total, _ = jax.lax.scan(body, -jnp.inf, jnp.arange(-(-num_samples // chunk)))
    return total - jnp.log(num_samples)


def make_scorer(evaluator: Evaluator) -> Callable[..., Scores]:
    """Makes ``(params, data[n, *event], key, iw_samples=0) -> Scores`` of numpy arrays over all n examples.

    The data may be on the devices or on the host (``batches.py``). Two more arguments: ``limit``, only the first so
    many examples; ``watch``, called after each batch with the number of its examples.
    """

    def measure(params, x, key, iw_samples):
        return score_example(evaluator.vae, evaluator.likelihood, params, x, key, iw_samples)

    weighed = in_batches(evaluator, measure)
    plain = in_batches(evaluator._replace(batch_size=evaluator.without_samples or evaluator.batch_size), measure)

    def scores(params: Params, data: Any, key: Array, iw_samples: int = 0, limit: int | None = None, watch=None):
        batches = (weighed if iw_samples else plain)(params, data, key, limit, (iw_samples,))
        return gather(batches if watch is None else watched(batches, watch))

    return scores


def summarise(scores: Scores, data_dim: int, active_threshold: float = 0.01) -> dict[str, Any]:
    """Takes the means of a split, from per-example scores.

    Args:
      scores: of all its examples.
      data_dim: D; where the likelihood leaves dimensions out, the mean number that it counted takes its place.
      active_threshold: of ``active_units``: latents whose posterior mean has a larger variance over the examples
        (Burda 2016, 1509.00519, section 5).

    Returns:
      ``elbo``, ``rate``, ``distortion`` (nats per example; elbo = -(rate + distortion)), ``mse`` (per dimension whose
      values have an order; None where none have; the others have ``accuracy`` and ``log_loss``, nats, and both
      ``_per_column``, None in the columns that have a squared error),
      ``calibration`` (the mean standardised squared error, SSE / (D sigma^2) where sigma is one number), ``sigma``
      (root mean variance), ``sigma_at_bound``, ``nats_at_bound`` (of the ELBO, from the dimensions there),
      ``active_units``, ``used_latents`` and ``information_per_latent`` (``rate.py``), ``kl_per_latent`` (None
      where only the sum over the latents is known),
      ``second_moment`` (E[mu^2 + tau^2] per latent, 1 at any optimum), ``iw_nll`` where it was computed;
      where x is in other units than the data ``standardised_mse`` beside the ``mse`` in theirs, ``log_scale``, the nats
      that the change of units adds to the distortion, and of rows ``rmse_per_column`` and ``sigma_per_column``; and
      ``counted_dim``, the mean number of dimensions counted, where some are left out. What nothing was observed of is
      None.
    """

    def mean(values, axis=None):
        return np.mean(np.asarray(values, np.float64), axis=axis)

    rate, distortion = float(mean(scores.rate)), float(mean(scores.distortion))
    units = active_units(scores.posterior_mean, active_threshold)
    classes = {"accuracy": scores.correct, "log_loss": scores.log_loss} if scores.log_loss is not None else {}
    if scores.counted is None:
        columns = {name: mean(values, axis=0) for name, values in classes.items()}
        dims, ordered = data_dim, data_dim - (int(np.sum(~np.isnan(columns["accuracy"]))) if columns else 0)
    else:
        columns = {name: _observed_mean(values) for name, values in classes.items()}
        dims, ordered = (float(v) for v in mean(scores.counted, axis=0))
    with np.errstate(divide="ignore"):  # a variance that has underflown
        second = second_moments(scores.posterior_mean, np.log(scores.posterior_variance)).tolist()
        information = information_per_latent(scores.posterior_mean, scores.posterior_variance)
    if is_one_hot(scores.posterior_mean, scores.posterior_variance):
        # A latent is a group of classes, which has a KL of its own and no scale.
        information, second = mean(scores.kl, axis=0), None
        units = units.reshape(len(information), -1).any(axis=1)
    known = np.shape(scores.kl)[1] == len(information)
    summary = {
        "elbo": -(rate + distortion),
        "rate": rate,
        "distortion": distortion,
        "mse": float(mean(scores.squared_error)) / ordered if ordered else None,
        "calibration": float(mean(scores.standardised_error)) / dims if dims else None,
        "sigma": float(np.sqrt(mean(scores.variance) / dims)) if dims else None,
        "sigma_at_bound": float(mean(scores.at_bound)) * (data_dim / dims if dims != data_dim else 1.0)
        if dims
        else None,
        "nats_at_bound": float(mean(scores.nats_at_bound)),
        "active_units": int(np.sum(units)),
        "used_latents": used_latents(information, len(scores.rate)),
        "information_per_latent": [float(v) for v in information],
        "kl_per_latent": [float(v) for v in mean(scores.kl, axis=0)] if known else None,
        "second_moment": second,
    }
    if scores.iw_nll is not None:
        summary["iw_nll"] = float(mean(scores.iw_nll))
    if scores.counted is not None:
        summary["counted_dim"] = dims
    if scores.own_error is not None:
        summary["standardised_mse"] = summary["mse"]
        summary["mse"] = float(mean(scores.own_error)) / ordered if ordered else None
        summary["log_scale"] = float(mean(scores.log_scale))
    if scores.columns is not None:
        roots = np.sqrt(_observed_mean(scores.columns))
        for name, values in zip(("rmse_per_column", "sigma_per_column"), roots):
            summary[name] = [None if np.isnan(v) else float(v) for v in values]
    for name, values in columns.items():
        summary[name] = float(np.nanmean(values)) if not np.isnan(values).all() else None
        summary[f"{name}_per_column"] = [None if np.isnan(v) else float(v) for v in values.ravel()]
    return summary


def _observed_mean(values):
    """Returns the mean over the examples of what is a number, ``[n, ...] -> [...]``; NaN where nothing is."""
    values = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore"):
        return np.nansum(values, axis=0) / np.sum(~np.isnan(values), axis=0)


def calibrated_elbo(results: Mapping[str, Any]) -> float:
    """Returns the held-out ELBO at beta = 1 and sigma^2 = the training split's mean squared error, nats per example.

    Weights trained on a squared error belong to no particular sigma: declared at one or another, the same model has
    ELBOs that are tens of nats apart. At the variance of its training error (the maximum likelihood, Rybkin 2021,
    2006.13202) models of any weight can be compared. The test split has no say in it.

    Args:
      results: of a run with a Gaussian likelihood, as in results.json.

    Returns:
      The ELBO; -infinity where the training error has underflown to 0.
    """
    dim, variance = results.get("counted_dim", results["data_dim"]), model_mse(results["train"])
    if variance == 0.0:
        return -math.inf
    distortion = 0.5 * dim * (math.log(2 * math.pi * variance) + model_mse(results) / variance)
    return -(distortion + results.get("log_scale", 0.0) + results["rate"])


def model_mse(summary: Mapping[str, Any]) -> float | None:
    """Returns the mean squared error in units of x, those of the model's sigma."""
    return summary.get("standardised_mse", summary.get("mse"))
