"""One update of all modes of a linear VAE, by gradient descent or Adam; NumPy and jax.numpy run the same lines.

``dynamics.py`` heads what they stand for, theory/README.md derives it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

# What a mode's own gradient, and that of all others, weighs in the second moment that divides it (theory/README.md).
_OWN, _OTHERS = 3.5, 0.5


class Problem(NamedTuple):
    """The numbers of a run that an update reads: arrays or scalars, traced where the loop is compiled."""

    values: Any  # [k], the eigenvalues of the modes
    rest: Any  # the sum of all others
    dim: Any
    latents: Any
    others: Any  # latents but one, at least 1
    least: Any
    floor: Any
    noise: Any  # one over the batch, 0 without noise
    b1: Any
    b2: Any
    eps: Any


def update(xp, p: Problem, half, state, each, kind):
    """Makes one update of ``((w, v, t, t of free latents, e, log sigma), moments, woke)``; ``xp`` is NumPy or JAX's.

    ``e`` is the share of a mode that lies outside of its own latent, evenly in the others (theory/README.md).
    """
    (w, v, t, t_free, e, log_sigma), moments, woke = state
    count, beta, rate, sigma_rate = each
    precision, adam = kind
    tau, tau_free, missed = xp.exp(t), xp.exp(t_free), 1.0 - w * v
    e, load, load_free, around = _shared(xp, p, w, v, e, tau, tau_free)
    seen = (1.0 - e) * tau + e * around
    left = p.values * missed * missed + w * w * seen  # the expected squared error in each direction
    error = left.sum(-1, keepdims=True) + p.rest
    sigma2 = xp.maximum(error / p.dim, p.least) if precision == "optimal" else xp.exp(2.0 * log_sigma)
    kl = 0.5 * (p.values * v * v + tau - t - 1.0)
    charged = xp.where(kl > p.floor, beta, 0.0)  # below its floor a KL has no gradient
    kl_free = 0.5 * (tau_free - t_free - 1.0)
    gradients = (
        (w * seen - p.values * v * missed) / sigma2,
        p.values * (charged * v - w * missed / sigma2),
        0.5 * (load * tau / sigma2 + charged * (tau - 1.0)),
        0.5 * (load_free * tau_free / sigma2 + xp.where(kl_free > p.floor, beta, 0.0) * (tau_free - 1.0)),
        p.dim - error / sigma2,
    )
    moves, scale = gradients, (1.0, 1.0)
    if adam:
        noise = _noise(p, w, v, tau, left, error, sigma2, charged)
        moves, scale, moments = _adam(p, gradients, moments, count, noise)
    # A latent with a smaller variance costs less noise, so a mode gathers where it is most: e decays by the difference.
    size = w * w / scale[0]
    turned = rate * scale[0] / sigma2 * (around - tau) * size / (size + v * v / scale[1] + 1e-30)
    e = e / (e + (1.0 - e) * xp.exp(xp.clip(2.0 * turned, -1.0, 1.0)) + 1e-30)
    w, v, t, t_free = w - rate * moves[0], v - rate * moves[1], t - rate * moves[2], t_free - rate * moves[3]
    if precision == "learned":
        log_sigma = xp.maximum(log_sigma - sigma_rate * moves[4], 0.5 * xp.log(p.least + 1e-30))
    return (w, v, t, t_free, e, log_sigma), moments, xp.where((w * v >= half) & (woke > count), count, woke)


def _shared(xp, p: Problem, w, v, e, tau, tau_free):
    """Returns the spreads, the squared weights in each mode's latent and in a free one, the variance around each mode.

    A mode that is awake keeps others out of its direction, so what is open to these is the share that it leaves.
    """
    free = p.latents - w.shape[-1]
    open_ = 1.0 - xp.clip(w * v, 0.0, 1.0) * (1.0 - e)
    around = open_.sum(-1, keepdims=True) - open_ + free
    e = xp.minimum(e, around / p.others)
    spread = e * w * w / p.others
    load_free = spread.sum(-1, keepdims=True)
    load = (1.0 - e) * w * w + load_free - spread
    noise = (open_ * tau).sum(-1, keepdims=True) - open_ * tau + free * tau_free
    return e, load, load_free, noise / (around + 1e-30)


def _noise(p: Problem, w, v, tau, left, error, sigma2, beta):
    """Returns the variances of one entry's gradient between batches: of W, V, each log tau, a free one's, log sigma."""
    inverse = 1.0 / (sigma2 * sigma2)
    each = (inverse * w * w * left + beta * beta * v * v * p.values).sum(-1, keepdims=True)
    variance = (p.values.sum() + p.rest) / p.dim
    return (
        p.noise * inverse * error / p.dim,
        p.noise * variance * each / p.latents,
        p.noise * inverse * w * w * left * tau / 4.0,
        0.0,
        p.noise * inverse * 2.0 * (left * left).sum(-1, keepdims=True),
    )


def _adam(p: Problem, gradients, moments, count, noise):
    """Adam (Kingma and Ba 2014, 1412.6980), whose second moment all entries of W, and all of V, share.

    In a basis that has nothing to do with the eigenvectors each entry of W is a sum over all modes: what divides a
    mode's gradient is the root mean square over the matrix, to which the modes that learn now contribute most.
    """
    gw, gv, *others = gradients
    entries = p.dim * p.latents
    own = 1.0 + (_OWN - 1.0) * (1.0 - 1.0 / entries)  # one entry is divided by its own gradient
    squares = tuple((own * g * g + _OTHERS * ((g * g).sum(-1, keepdims=True) - g * g)) / entries for g in (gw, gv))
    squares += tuple(g * g for g in others)
    n = len(gradients)
    first = tuple(p.b1 * m + (1.0 - p.b1) * g for m, g in zip(moments[:n], gradients))
    second = tuple(p.b2 * q + (1.0 - p.b2) * (s + more) for q, s, more in zip(moments[n:], squares, noise))
    short, long = 1.0 - p.b1**count, 1.0 - p.b2**count
    scale = tuple(1.0 / ((q / long) ** 0.5 + p.eps) for q in second)
    return tuple(m / short * c for m, c in zip(first, scale)), scale[:2], (*first, *second)
