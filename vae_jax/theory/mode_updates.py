"""One update of the matrices of a linear VAE, by gradient descent or Adam; NumPy and jax.numpy run the same lines.

``dynamics.py`` heads what they stand for, theory/README.md derives it. The matrices are B blocks that share no latents:
W ``[r, B, d, m]``, V ``[r, B, m, d]``, log tau ``[r, B, m]``. A block is a mode (d = m = 1) or all of the data (B = 1).
"""

from __future__ import annotations

from typing import Any, NamedTuple

# What a mode's own gradient, and that of all others, weighs in the second moment that divides it (theory/README.md).
_OWN, _OTHERS = 3.5, 0.5


class Problem(NamedTuple):
    """The numbers of a run that an update reads: arrays or scalars, traced where the loop is compiled."""

    covariance: Any  # [B, d, d], of the data
    axes: Any  # [B, d, d], its eigenvectors, a column each
    one: Any  # [d, d], the identity
    rest: Any  # the sum of all eigenvalues that have no block
    variance: Any  # the mean of all eigenvalues
    dim: Any
    latents: Any
    least: Any
    floor: Any
    noise: Any  # one over the batch, 0 without noise
    b1: Any
    b2: Any
    eps: Any


class Terms(NamedTuple):
    """What the loss is made of: what passes of each direction, I - W V, this times the covariance, the KLs, the error.

    The KL is ``[..., B, m]``, of each latent; the error ``[..., 1, 1, 1]``, expected, of all dimensions together.
    """

    passed: Any
    missed: Any
    left: Any
    kl: Any
    error: Any


def terms(xp, p: Problem, w, v, t) -> Terms:
    """Returns the parts of the loss; ``xp`` is NumPy or JAX's, axes before the blocks are free."""
    through = w @ v
    missed = p.one - through
    left = missed @ p.covariance
    error = (left * missed).sum((-3, -2, -1), keepdims=True) + p.rest
    error = error + (w * w * xp.exp(t)[..., None, :]).sum((-3, -2, -1), keepdims=True)
    kl = 0.5 * (((v @ p.covariance) * v).sum(-1) + xp.maximum(xp.expm1(t) - t, 0.0))
    return Terms((p.axes * (through @ p.axes)).sum(-2), missed, left, kl, error)


def update(xp, p: Problem, half, state, each, kind):
    """Makes one update of ``((w, v, t, log sigma), moments, woke)``, and notes what was awake before it."""
    (w, v, t, log_sigma), moments, woke = state
    count, beta, rate, sigma_rate = each
    precision, adam, whole, noisy = kind
    found, tau = terms(xp, p, w, v, t), xp.exp(t)
    woke = xp.where((found.passed >= half) & (woke > count - 1.0), count - 1.0, woke)
    sigma2 = xp.maximum(found.error / p.dim, p.least) if precision == "optimal" else xp.exp(2.0 * log_sigma)
    charged = xp.where(found.kl > p.floor, beta, 0.0)  # below its floor a KL has no gradient
    gradients = (
        (w * tau[..., None, :] - found.left @ _turned(v)) / sigma2,
        charged[..., None] * (v @ p.covariance) - _turned(w) @ found.left / sigma2,
        0.5 * ((w * w).sum(-2) * tau / sigma2[..., 0] + charged * (tau - 1.0)),
        p.dim - found.error / sigma2,
    )
    moves = gradients
    if adam:
        noise = _noise(p, w, v, tau, found, sigma2, charged) if noisy else (0.0,) * 4
        moves, moments = _adam(p, gradients, moments, count, noise, whole)
    w, v, t = (a - rate * move for a, move in zip((w, v, t), moves))
    if precision == "learned":
        log_sigma = xp.maximum(log_sigma - sigma_rate * moves[3], 0.5 * xp.log(p.least + 1e-30))
    return (w, v, t, log_sigma), moments, woke


def _turned(a):
    return a.swapaxes(-1, -2)


def _noise(p: Problem, w, v, tau, found: Terms, sigma2, charged):
    """Returns the variances of one entry's gradient between batches: of W, V, each log tau, log sigma.

    Of one example and draw the gradient of W is -e z' / sigma^2, with the error e = x - W z, that of V is a x' with
    a = beta mu - W' e / sigma^2, that of log tau_i is -tau_i^(1/2) eps_i (W' e)_i / (2 sigma^2) but for a constant, and
    that of log sigma D - e'e / sigma^2. The variance of a product is taken as the product of the second moments: 1 for
    those of z and eps, the data's for x, E a^2 for a. Those of W and V are spread evenly over the entries.
    """
    inverse = 1.0 / (sigma2 * sigma2)
    errors = found.left @ _turned(found.missed) + (w * tau[..., None, :]) @ _turned(w)  # E e e'
    felt = ((errors @ w) * w).sum(-2)  # E (W' e)_i^2
    told = ((v @ p.covariance) * v).sum(-1)  # E mu_i^2
    both = ((v @ _turned(found.left)) * _turned(w)).sum(-1)  # E mu_i (W' e)_i
    each = inverse[..., 0] * felt + charged * (charged * told - 2.0 * both / sigma2[..., 0])
    each = each.sum((-2, -1))[..., None, None, None]
    return (
        p.noise * inverse * found.error / p.dim,
        p.noise * p.variance * each / p.latents,
        p.noise * inverse[..., 0] * felt * tau / 4.0,
        p.noise * inverse * 2.0 * (errors * errors).sum((-3, -2, -1), keepdims=True),
    )


def _adam(p: Problem, gradients, moments, count, noise, whole: bool):
    """Adam (Kingma and Ba 2014, 1412.6980). Where matrices are whole each entry has its own second moment.

    Of modes the entries are not known: in a basis that has nothing to do with the eigenvectors each entry of W is a sum
    over all of them, so what divides a mode's gradient is about the root mean square over the matrix.
    """
    squares = tuple(g * g for g in gradients)
    if not whole:
        entries = p.dim * p.latents
        own = 1.0 + (_OWN - 1.0) * (1.0 - 1.0 / entries)  # one entry is divided by its own gradient
        shared = ((own - _OTHERS) * q + _OTHERS * q.sum(-3, keepdims=True) for q in squares[:2])
        squares = (*(q / entries for q in shared), *squares[2:])
    n = len(gradients)
    first = tuple(p.b1 * m + (1.0 - p.b1) * g for m, g in zip(moments[:n], gradients))
    second = tuple(p.b2 * q + (1.0 - p.b2) * (s + more) for q, s, more in zip(moments[n:], squares, noise))
    short, long = 1.0 - p.b1**count, 1.0 - p.b2**count
    moves = tuple(m / short / ((q / long) ** 0.5 + p.eps) for m, q in zip(first, second))
    return moves, (*first, *second)
