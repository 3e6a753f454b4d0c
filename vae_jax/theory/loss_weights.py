"""What a loss, once read, weighs: the family that it is, its scale, and the flags of ``train`` for the same thing.

A loss ``A rho(e) + K KL`` is K times ``rho(e) / T + KL`` with T = K / A, and ``rho / T`` is the negative log of a
density up to its constant: a Gaussian of sigma^2 = T / 2, a Laplace of scale T, and so on. So its gradient is K times
that of our bound at beta = 1 with the scale fixed; what that bound has besides, log Z, is a constant there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from vae_jax.likelihoods.charbonnier import charbonnier_std
from vae_jax.likelihoods.huber import huber_std
from vae_jax.theory.loss_words import Term
from vae_jax.theory.losses import Loss
from vae_jax.theory.penalties import LIKELIHOODS
from vae_jax.types import UserError


class Error(NamedTuple):
    """What all terms of one kind weigh together.

    Attributes:
      kind: as in ``Term``, but "smooth_l1" and "pseudo_huber" are told as what they are, "huber" and "charbonnier".
      weight: A, the factor of the sum over one example, in units of x in [0, 1].
      width: the delta of a Huber error, the epsilon of a Charbonnier, in units of x; else 0.
    """

    kind: str
    weight: float
    width: float = 0.0


class Weighed(NamedTuple):
    """What a loss weighs.

    Attributes:
      kl_weight: K, the factor of the KL's sum over the latents of one example.
      errors: what is compared, one for each kind and width.
      floor: ``(free nats, "each" or "sum", "batch" or "example")``, of which sum and inside which mean as in ``Term``;
        None where the KL has no floor.
      temperature: T = K / A of the one error that is a likelihood; None where there is none, or more than one.
      water_level: s in [0, 1] pixel units, exact: of a squared error alone; else None.
      flags: the flags of ``train`` that train the same thing, or as much of it as they can; None where there are none.
      cannot: sentences on what they do not train, and why; empty where they train all of it.
      remarks: sentences on how the loss was read and what is local.
    """

    kl_weight: float
    errors: tuple[Error, ...]
    floor: tuple[float, str, str] | None
    temperature: float | None
    water_level: float | None
    flags: str | None
    cannot: tuple[str, ...]
    remarks: tuple[str, ...]


def weigh(
    loss: Loss, data_dim: int, latent_dim: int, batch_size: int | None = None, pixel_scale: float = 1.0
) -> Weighed:
    """Finds what a loss weighs, per example and in units of x in [0, 1].

    Args:
      loss: from ``parse_loss``.
      data_dim, latent_dim: D, channels counted, and M.
      batch_size: B; needed where one term is summed over the batch and another averaged, or the loss names B.
      pixel_scale: c where the loss saw c times x in [0, 1]: 2 for [-1, 1], 255 for 0..255.

    Raises:
      UserError: a weight is negative, not finite or 0 where it must not be, a size is missing, or the scale does not go
        with the error.
    """
    sizes = {"D": data_dim, "M": latent_dim, "B": batch_size}
    powers, unsaid = _powers_of_batch(loss)
    totals: dict[tuple[str, float], float] = {}
    kl_weight = 0.0
    for term, power in zip(loss.terms, powers):
        factor = _factor(term, sizes, power, loss.text)
        if term.kind == "kl":
            kl_weight += factor
        else:
            kind, weight, width = _error(term, factor, pixel_scale, loss.text)
            totals[kind, width] = totals.get((kind, width), 0.0) + weight
    errors = tuple(Error(kind, weight, width) for (kind, width), weight in totals.items())
    for name, weight in [("the KL", kl_weight), *((error.kind, error.weight) for error in errors)]:
        if not (math.isfinite(weight) and weight >= 0 and (weight > 0 or name == "the KL")):
            raise UserError(
                f"--loss={loss.text}: the weight of {name} is {weight:g}, and what is minimised must be positive"
            )
    smallest = min(error.weight for error in errors)
    if not 1e-30 < smallest < 1e30 or not (kl_weight == 0 or 1e-30 < kl_weight < 1e30):
        raise UserError(f"--loss={loss.text}: its weights are beyond what a float32 holds; divide it by a constant")
    known = [error for error in errors if error.kind in LIKELIHOODS]
    temperature = kl_weight / known[0].weight if len(known) == 1 else None
    flags, remarks, cannot = None, _readings(loss, unsaid, any(powers)), _cannot(errors, known)
    if temperature is not None:
        flags, more = _flags(known[0], temperature)
        remarks += more
    floor = _floor(loss, latent_dim)
    if floor:
        if floor[1:] == ("each", "batch") and len(loss.kl) == 1:
            flags = f"{flags} --weighting=free_bits --free_nats={floor[0]:.9g}" if flags else None
        else:
            call = "objective.free_bits({:g}, over={!r}, inside={!r})".format(*floor)
            cannot.append(
                f"--free_nats is a floor of each latent's mean over the batch, and this one is {call}: name it as an "
                "objective in a --plugin file"
            )
    alone = temperature is not None and len(errors) == 1
    level = temperature / 2 if alone and errors[0].kind == "squared_error" else None
    return Weighed(kl_weight, errors, floor, temperature, level, flags, tuple(cannot), tuple(remarks))


def _powers_of_batch(loss: Loss) -> tuple[list[int], str]:
    """Returns the power of B in the weight of each term, and what is read where no reduction over it is said.

    A sum over the batch is B times a mean, and ``.sum() / B`` a mean. What all terms have in common is left out: it is
    a factor of the loss. Where it is not said of a term what is done over the batch, it is what is done with the
    others.
    """
    said = {(term.batch == "sum") + term.powers.get("B", 0) for term in loss.terms if term.batch}
    unsaid = said.pop() if len(said) == 1 else 0
    powers = [((term.batch == "sum") if term.batch else unsaid) + term.powers.get("B", 0) for term in loss.terms]
    least = min(powers)
    return [power - least for power in powers], "sum" if unsaid else "mean"


def _factor(term: Term, sizes: dict[str, int | None], batch: int, text: str) -> float:
    """Returns the factor of a term as a sum over one example and a mean over the batch, times B to ``batch``."""
    powers = {**term.powers, "B": batch}
    if term.over == "mean":
        size = "M" if term.kind == "kl" else "D"
        powers[size] = powers.get(size, 0) - 1
    factor = term.factor * (1.0 - term.arguments.get("balance", 0.0)) / term.arguments.get("count", 1.0)
    for name, power in powers.items():
        if power and sizes[name] is None:
            raise UserError(
                f"--loss={text}: one term is summed over the batch and another averaged, or B is named; add "
                "--batch_size, it is a weight"
            )
        factor *= float(sizes[name] or 1) ** power
    return factor


def _error(term: Term, factor: float, scale: float, text: str) -> Error:
    """Returns an error in units of x in [0, 1]: of c x, a square weighs c^2 and a width is 1 / c as wide."""
    if term.kind == "smooth_l1":  # PyTorch's: a Huber error over its beta
        width = term.arguments["beta"]
        return _error(term._replace(kind="huber", arguments={"delta": width}), factor / (width or 1.0), scale, text)
    if term.kind == "pseudo_huber":  # delta^2 (sqrt(1 + (e / delta)^2) - 1)
        width = term.arguments["delta"]
        return _error(term._replace(kind="charbonnier", arguments={"eps": width}), factor * width, scale, text)
    width = term.arguments.get("delta", term.arguments.get("eps", 0.0)) / scale
    if term.kind in ("huber", "charbonnier") and width == 0:
        raise UserError(f"--loss={text}: {term.words} has a width of 0; write l1 where that is meant")
    if scale != 1 and term.kind not in ("squared_error", "absolute_error", "huber", "charbonnier"):
        raise UserError(
            f"--loss={text}: --pixel_scale={scale:g} says nothing of {term.words}, which is made for x as it is"
        )
    power = {"squared_error": 2, "huber": 2, "absolute_error": 1, "charbonnier": 1}.get(term.kind, 0)
    return Error(term.kind, factor * scale**power, width)


def _floor(loss: Loss, latent_dim: int) -> tuple[float, str, str] | None:
    """Returns the free nats, of what and inside which mean; None without a floor."""
    terms = [term for term in loss.kl if "floor" in term.arguments]
    if not terms:
        return None
    nats, over, inside = (terms[0].arguments[key] for key in ("floor", "floor_over", "floor_in"))
    # A floor under the mean over the latents is M times that under their sum.
    return nats * (latent_dim if over == "sum" and terms[0].over == "mean" else 1), over, inside


def _flags(error: Error, temperature: float) -> tuple[str, list[str]]:
    """Returns the flags that train ``error / temperature + KL``, and what is local about it."""
    t, width = temperature, error.width
    if error.kind == "bce":
        return f"--likelihood=bernoulli --soft_targets --beta={t:.9g}", [
            "--soft_targets is for grey x, of which a BCE is no likelihood; leave it out with --pixels=binary"
        ]
    if error.kind == "nll":
        return f"--likelihood=FAMILY --beta={t:.9g}", ["name the family whose negative log-likelihood it is"]
    beta = 1 if t > 0 else 0  # without a KL the scale means nothing, and any will do
    fixed = "--precision=fixed --sigma={:.9g} --beta=" + str(beta)
    if error.kind == "squared_error":
        return f"--likelihood=gaussian {fixed.format(math.sqrt(t / 2) if t else 0.1)}", []
    if error.kind == "absolute_error":
        said = (
            f"a Laplace likelihood of scale b = {t:.6g}; the water level is a local one, b |e| where the error is "
            f"e: {t:.6g} times the mean absolute error, or pi / 2 times that where the errors are Gaussian"
        )
        return f"--likelihood=laplace {fixed.format(math.sqrt(2) * (t or 0.1))}", [said]
    is_huber = error.kind == "huber"
    scale = (math.sqrt(t) if is_huber else math.sqrt(t * width)) if t else 0.1
    std = scale * (huber_std if is_huber else charbonnier_std)(width / scale)
    inside, outside = (t, t / width) if is_huber else (t * width, t)
    said = (
        f"a {error.kind} likelihood, whose water level is local: {inside:.6g} for errors far below {width:g}, and "
        f"{outside:.6g} |e| for those far above"
    )
    return f"--likelihood={error.kind} --delta={width / scale:.9g} {fixed.format(std)}", [said]


_PLUGIN = "likelihoods.on_features in a --plugin file trains it"
_WHY = {
    "spectrum": f"an error of spectra is a likelihood of the spectrum, not of x ({_PLUGIN})",
    "features": f"a distance of features is a likelihood of the features, not of x ({_PLUGIN})",
    "focal": "a focal error weighs each pixel by how wrong it is, so it is the log of no density; with fixed weights w "
    "it would be one, of variance sigma^2 / w (likelihoods.on_features of sqrt(w) x)",
    "adversarial": "a discriminator is no likelihood",
    "other": "one of the terms is neither a likelihood nor a KL",
}


def _cannot(errors: tuple[Error, ...], known: list[Error]) -> list[str]:
    reasons = [_WHY[error.kind] for error in errors if error.kind in _WHY]
    if len(known) > 1:
        reasons.append(
            f"{' and '.join(error.kind for error in known)} at once are no family by name: likelihoods.product in a "
            "--plugin file adds them, each with a scale of its own"
        )
    return reasons


def _readings(loss: Loss, unsaid: str, mixed: bool) -> list[str]:
    """Says what was assumed in reading a loss."""
    said = [
        f"{term.words} is read as a mean over D, PyTorch's default: write {term.words}.sum if it is a sum"
        for term in loss.errors
        if term.assumed
    ]
    if mixed and any(term.batch is None for term in loss.terms):
        said.append(f"where no reduction over the batch is written it is read as a {unsaid}")
    if any("balance" in term.arguments for term in loss.kl):
        said.append("with a fixed prior a balanced KL trains the encoder only, with 1 - balance (DreamerV2, kl_loss)")
    if not loss.kl:
        said.append("there is no KL in it: an autoencoder with noise in its code")
    return said
