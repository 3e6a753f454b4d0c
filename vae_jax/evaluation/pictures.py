"""Pictures of a trained model, as arrays: reconstructions, samples, what each latent does, and a map of the code.

Nothing is drawn here: the arrays go to ``pictures.npz``, of which the report makes its figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import priors
from vae_jax.evaluation.batches import Evaluator, inputs, is_on_devices
from vae_jax.evaluation.rate import USED, information_per_latent
from vae_jax.gaussian import DiagGaussian
from vae_jax.objective import infer
from vae_jax.randomness import PRIOR, purpose_key
from vae_jax.traced import one_by_one
from vae_jax.types import Array, Event, Given, Latents, Params, condition_of, value_of

BYTES = 1_600_000  # of all pictures together
TEMPERATURES = (0.5, 0.7, 1.0)
QUANTILES = np.linspace(0.02, 0.98, 9)  # of the prior, along which one latent is moved
OF_PRIOR = 2000  # draws of a learned prior that its quantiles are of
ROW = 10  # samples of each condition, at most
STEPS = 8  # from one end of an interpolation to the other
POINTS, ROUND = 1500, 250  # of the map of the posterior means, so many at a time
DECODED = 64  # codes at a time
# The arrays of pictures.npz that are examples, or what a decoder makes of codes.
OF_X = ("inputs", "reconstructions", "samples", "traversals", "interpolations", "interpolation_ends", "tempered")
VALUES = 2**25  # and, of large examples, fewer: 128 MiB of them


class Counts(NamedTuple):
    """How many of each: ``ends`` pairs of examples, ``latents`` moved, ``tempered`` samples of each temperature."""

    inputs: int = 16
    samples: int = 64
    latents: int = 8
    ends: int = 5
    tempered: int = 10

    def pictures(self) -> int:
        """Returns how many pictures that makes."""
        along = self.latents * len(QUANTILES) + self.ends * (STEPS + 2)
        return 2 * self.inputs + self.samples + along + self.tempered * len(TEMPERATURES)


def counts_for(event, bytes_per_value: int) -> Counts:
    """Returns as many pictures as fit into ``BYTES``: fewer of large examples; of huge ones inputs and samples only."""
    room = BYTES // (math.prod(event) * bytes_per_value)
    for counts in (Counts(), Counts(10, 20, 6, 2, 5), Counts(10, 10, 0, 0, 0), Counts(5, 5, 0, 0, 0)):
        if counts.pictures() <= room:
            return counts
    return Counts(1, 1, 0, 0, 0)


def pictures(
    evaluator: Evaluator,
    params: Params,
    data: Any,
    key: Array,
    counts: Counts | None = None,
    factors: np.ndarray | None = None,
    factor_names: Sequence[str] = (),
    class_names: Sequence[str] = (),
    conditions: tuple[np.ndarray, Sequence[str]] | None = None,
) -> dict[str, np.ndarray]:
    """Returns the arrays of ``pictures.npz``; every picture is E[x|z], without the noise of p(x|z).

    Images with pixels on [0, 1] come as uint8, 0 to 255 and clipped; everything else as float32 in its own units.

    Args:
      evaluator, params: the model and how it reads its data.
      data: the split whose first examples are shown, on the devices or on the host.
      key: consumed.
      counts: how many of each; None for as many as keep the file below 2 MB.
      factors, factor_names: known factors or labels of ``data``, ``[n, f]`` and ``f`` names, to colour the map by.
      class_names: of the values 0, 1, ... of the factor ``label``, where they have some.
      conditions: where x has some, those of the rows of samples ``[g, m]``, and a name for each row.

    Returns:
      ``inputs``, ``reconstructions`` [n, *event] and ``samples`` [m, *event]: E[x|z] at z ~ q(z|x) and at z ~ p(z).
      ``traversals`` [l, t, *event]: the first example's posterior mean with one latent moved to ``traversal_z`` [t],
      for the latents ``traversal_latents`` [l], those of largest KL first, which cost ``traversal_kl`` [l] nats; where
      only their sum is known those that carry most first, and no ``traversal_kl``. The values are quantiles of the
      prior, of a learned one each latent's own, without ``traversal_z``.
      ``interpolations`` [p, t, *event]: at equal steps between the posterior means of two examples,
      ``interpolation_ends`` [p, 2, *event].
      ``tempered`` [k, n, *event]: at the same n draws of N(0, I) times each of ``temperatures`` [k]; of no other prior.
      Where x has conditions, ``samples`` has ``sample_rows`` [g] rows one after another, a condition each.
      ``embedding`` [n, 2] with its two ``embedding_axes``: posterior means of examples spread over the split, and where
      given their ``factors`` [n, f], ``factor_names`` [f] and ``class_names``.
    """
    vae, likelihood, preprocess = evaluator[:3]
    own, n = params["likelihood"], data.shape[0]
    image = len(data.shape) == 4 and data.shape[-1] in (1, 3)
    counts = counts or counts_for(data.shape[1:], 1 if image else 4)
    shown_c, row_names = (None, ()) if conditions is None else conditions
    decode = jax.jit(lambda params, z: jax.vmap(lambda z: likelihood.mean(own, vae.decode(params["model"], z)))(z))
    on_devices = is_on_devices(data)

    encode = _encoder(vae, preprocess, key, on_devices)
    first, spread = np.arange(min(counts.inputs, n)), np.linspace(0, n - 1, min(POINTS, n)).astype(int)
    rows = np.union1d(first, spread)
    pairs = _pairs(len(rows), counts.ends)
    kept = np.union1d(np.arange(len(first)), pairs)
    x, z, q, c, (low, high) = _in_rounds(
        lambda part: encode(params, data if on_devices else data[part], part), rows, kept, data.shape[1:]
    )
    with np.errstate(divide="ignore"):  # a variance that has underflown
        information = information_per_latent(q.mean, np.exp(q.logvar))
    kl = np.asarray(q.parts if isinstance(q, Latents) else one_by_one(DiagGaussian.kl)(q)).mean(axis=0)
    known, prior = kl.shape == information.shape, priors.of(vae)
    order = np.argsort(-(kl if known else information), kind="stable")[: counts.latents]
    first_c = None if c is None else c[0]
    drawn, drawn_c, quantiles = _drawn(vae, params, key, counts.samples, q.mean.shape[1], shown_c, first_c)
    latents = {
        "reconstructions": z[: counts.inputs],
        "samples": drawn,
        "traversals": _moved(q.mean[0], order, quantiles),
        "interpolations": _between(q.mean, counts.ends),
    }
    if prior.standard:
        latents["tempered"] = np.multiply.outer(TEMPERATURES, drawn[: counts.tempered]).astype(np.float32)
    beside_z = {} if c is None else _conditions_beside(c, drawn_c, counts)
    shown = {"inputs": x[: counts.inputs]}
    shown |= _decoded(decode, params, {name: codes for name, codes in latents.items() if codes.size}, beside_z)
    if "interpolations" in shown:
        shown["interpolation_ends"] = x[np.searchsorted(kept, pairs)]
    if image and low >= 0.0 and high <= 1.0:
        shown = {name: _bytes(values) for name, values in shown.items()}
    shown |= {} if c is None else {"sample_rows": np.asarray(row_names, dtype=str)}
    shown |= {"traversal_latents": order} | ({"traversal_kl": kl[order]} if known else {})
    if prior.standard:
        shown |= {"traversal_z": _prior_quantiles(), "temperatures": np.asarray(TEMPERATURES)}
    return shown | _map_of(q.mean, information, rows, factors, factor_names, class_names)


def _map_of(means, information, rows, factors, factor_names, class_names) -> dict[str, np.ndarray]:
    """Returns the points of the map of the posterior means of ``rows``, its axes, and what colours its points."""
    points, axes = embed(means, information)
    found = {"embedding": points, "embedding_axes": np.asarray(axes)}
    if factors is not None:
        found |= {"factors": np.asarray(factors)[rows], "factor_names": np.asarray(factor_names, dtype=str)}
        found |= {"class_names": np.asarray(class_names, dtype=str)} if len(class_names) else {}
    return found


def _encoder(vae, preprocess, key, on_devices: bool):
    """Returns ``(params, data or its rows, rows) -> (x, z [n, d], q, c)`` of examples, as one program."""

    @jax.jit
    def encode(params, raw, rows):
        raw = raw[rows] if on_devices else raw
        x, keys = inputs(preprocess, raw, rows, key)
        q, z, _ = jax.vmap(lambda x, key: infer(vae, params, x, key))(x, keys)
        return value_of(x), z[:, 0], q, condition_of(x)

    return encode


def _conditions_beside(c, drawn_c, counts: Counts) -> dict[str, np.ndarray]:
    """Returns the conditions that the codes of each kind of picture are decoded with."""
    return {
        "reconstructions": c[: counts.inputs],
        "samples": drawn_c,
        "traversals": c[0],
        "interpolations": _between(c, counts.ends),
        "tempered": drawn_c[: counts.tempered],
    }


def _drawn(vae, params, key, count, latent_dim, c, first_c) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Draws codes of the prior, ``[n, d]``; with conditions ``c [g, m]`` as many for each, next to each other.

    Returns them, their conditions and the values that each latent is moved to, ``[t, d]``: quantiles of its prior, of
    a learned one those of draws at the condition ``first_c``.
    """
    each, c = (count, None) if c is None else (max(1, min(ROW, count // len(c))), np.asarray(c[:count]))
    standard = priors.of(vae).standard

    # One program: a learned prior has many operations, of which each would be compiled by itself.
    @one_by_one
    def draw(params, c, first_c):
        def some(c):
            # The same key for all: of N(0, I) the same codes, so that a column differs in the condition alone.
            return priors.draw(vae, params, purpose_key(key, PRIOR), each, latent_dim, c)

        drawn = some(None) if c is None else jax.vmap(some)(c)
        many = () if standard else priors.draw(vae, params, purpose_key(key, PRIOR, 1), OF_PRIOR, latent_dim, first_c)
        return drawn, many

    drawn, many = draw({"model": params["model"]}, c, first_c)
    if standard:
        values = np.broadcast_to(_prior_quantiles()[:, None], (len(QUANTILES), latent_dim))
    else:
        values = np.quantile(np.asarray(many), QUANTILES, axis=0).astype(np.float32)
    return np.asarray(drawn).reshape(-1, latent_dim), None if c is None else np.repeat(c, each, axis=0), values


def _decoded(
    decode: Callable, params: Params, codes: dict[str, np.ndarray], conditions: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Decodes all ``codes [..., d]`` to E[x|z] ``[..., *event]``, so many at a time that one program serves them."""
    flat = np.concatenate([some.reshape(-1, some.shape[-1]) for some in codes.values()])
    size = min(DECODED, len(flat))

    def in_parts(values):
        return np.resize(values, (-(-len(values) // size), size, values.shape[-1]))

    filled = in_parts(flat)
    if conditions:
        each = [np.broadcast_to(conditions[k], (*z.shape[:-1], conditions[k].shape[-1])) for k, z in codes.items()]
        filled = Given(filled, in_parts(np.concatenate([c.reshape(-1, c.shape[-1]) for c in each])))
    means = np.concatenate([np.asarray(decode(params, filled[i])) for i in range(len(filled))])
    ends = np.cumsum([some[..., 0].size for some in codes.values()])
    parts = zip(codes.items(), np.split(means[: len(flat)], ends[:-1]))
    return {name: part.reshape(*some.shape[:-1], *means.shape[1:]) for (name, some), part in parts}


def _in_rounds(encode: Callable, rows: np.ndarray, kept: np.ndarray, event: Event):
    """Returns x of the rows at the places ``kept``, z, q and c of all ``rows``, on the host; and the range of x."""
    # Rounds of one size, so that one compilation serves them all.
    size = min(ROUND, max(16, VALUES // math.prod(event)))
    parts, low, high = [], np.inf, -np.inf
    for number, part in enumerate(np.resize(rows, (-(-len(rows) // size), size))):
        x, *rest = jax.tree.map(np.asarray, encode(part))
        low, high = np.minimum(low, x.min()), np.maximum(high, x.max())
        here = kept[kept // size == number] - number * size
        parts.append((x[here], rest))
    x, rest = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return x, *jax.tree.map(lambda v: v[: len(rows)], rest), (low, high)


def _prior_quantiles() -> np.ndarray:
    return np.asarray(jax.jit(jax.scipy.special.ndtri)(QUANTILES.astype(np.float32)))


def _moved(mean, order, values) -> np.ndarray:
    """Moves each latent of ``order [l]`` of ``mean [d]`` along the prior's ``values [t, d]``: ``[l, t, d]``."""
    codes = np.broadcast_to(mean, (len(order), len(values), len(mean))).copy()
    for row, latent in zip(codes, order):
        row[:, latent] = values[:, latent]
    return codes


def _pairs(n: int, count: int) -> np.ndarray:
    """Returns which examples the interpolations join, ``[p, 2]``: half a split apart, as neighbours may be alike."""
    first = np.arange(min(count, n // 2)) * n // (2 * max(count, 1))
    return np.stack([first, first + n // 2], axis=1)


def _between(means, count: int) -> np.ndarray:
    """Takes equal steps on the straight line between two means: ``[p, t, d]``."""
    a, b = (means[_pairs(len(means), count)[:, side]][:, None] for side in (0, 1))
    along = np.linspace(0.0, 1.0, STEPS, dtype=np.float32)[None, :, None]
    return a + along * (b - a)


def _bytes(values) -> np.ndarray:
    return np.rint(255.0 * np.clip(np.nan_to_num(values), 0.0, 1.0)).astype(np.uint8)


def embed(means, information) -> tuple[np.ndarray, list[str]]:
    """Returns two coordinates of each example: the latents in use, where there are but two, else principal components.

    Args:
      means: posterior means, ``[n, d]``.
      information: nats that each latent carries, ``[d]``.

    Returns:
      ``[n, 2]`` float32 and the names of the two axes. With a single latent the second coordinate is the share of
      examples below: its distribution function.
    """
    means = np.nan_to_num(np.asarray(means, np.float64))
    information = np.asarray(information)
    order = np.argsort(-information, kind="stable")
    if means.shape[1] == 1:
        share = np.argsort(np.argsort(means[:, 0], kind="stable")) / len(means)
        return np.stack([means[:, 0], share], axis=1).astype(np.float32), ["latent 0", "share of examples below"]
    if np.sum(information > USED) <= 2:
        first, second = order[:2]
        return means[:, [first, second]].astype(np.float32), [f"latent {first}", f"latent {second}"]
    centred = means - means.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    vectors = vectors[:, ::-1][:, :2]
    # An eigenvector has no sign of its own: its largest entry is made positive, so that a map looks the same twice.
    vectors = vectors * np.sign(vectors[np.argmax(np.abs(vectors), axis=0), [0, 1]])
    shares = values[::-1][:2] / values.sum()
    names = [f"component {i + 1} ({100 * share:.0f}% of the variance)" for i, share in enumerate(shares)]
    return (centred @ vectors).astype(np.float32), names
