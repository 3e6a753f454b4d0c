"""The priors and posteriors of the command line, made of the settings and the model, whose encoder a prior may use."""

from __future__ import annotations

from typing import Any

import numpy as np

from vae_jax import posteriors, priors
from vae_jax.data.conditions import width
from vae_jax.likelihoods import Grid
from vae_jax.types import VAE, Prior, UserError

# The range of x in each kind of support.
_RANGES = {"unit": (0.0, 1.0), "binary": (0.0, 1.0), "positive": (0.0, np.inf), "count": (0.0, np.inf)}


def _vamp(s: Any, vae: VAE) -> Prior:
    """Makes the VampPrior of a run, its pseudo-inputs in the range of its data.

    Raises:
      UserError: there are no pseudo-inputs of such data, or the encoder puts out no Gaussian.
    """
    if s.likelihood == "tokens":
        raise UserError("--prior=vamp learns inputs by gradient, and a text is of words; use --prior=mixture or flow")
    if s.posterior != "gaussian":
        raise UserError(
            f"--prior=vamp is a mixture of the encoder's Gaussians, and --posterior={s.posterior} makes others: use "
            "--posterior=gaussian, or --prior=mixture or flow"
        )
    low, high = _range(s)
    return priors.vamp(vae, s.event, s.prior_components, low, high)


def _range(s: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lowest and the highest value of each dimension of x, ``[event]`` each; infinite where there is none.

    Integers, pixels for one, are brought to [0, 1] whatever the likelihood.
    """
    support = s.names.likelihoods[s.likelihood](s, s.levels).support
    blocks = support if isinstance(support, tuple) and not isinstance(support, Grid) else ((support, None),)
    if s.levels is not None:
        blocks = (("unit", None),)

    def ends(kind):
        return (0.0, kind.step * (kind.count - 1)) if isinstance(kind, Grid) else _RANGES.get(kind, (-np.inf, np.inf))

    if blocks[0][1] is None:
        return tuple(np.full(s.event, end) for end in ends(blocks[0][0]))
    return tuple(np.concatenate([np.full(width, ends(kind)[i]) for kind, width in blocks]) for i in (0, 1))


def _conditional(s: Any, vae: VAE) -> Prior:
    """Makes p(z|c) of a run: of discrete latents the logits are linear functions of c."""
    if s.posterior == "categorical":
        return priors.learned_categorical(s.latent_classes, s.unimix, width(s.condition))
    return priors.conditional(width(s.condition))


PRIORS = {
    "standard_normal": lambda s, vae: priors.standard_normal(),
    "mixture": lambda s, vae: priors.mixture(s.prior_components),
    "vamp": _vamp,
    "flow": lambda s, vae: priors.flow(),
    "autoregressive": lambda s, vae: priors.autoregressive(s.flow_steps, width(s.condition)),
    "conditional": _conditional,
    "categorical": lambda s, vae: priors.learned_categorical(s.latent_classes, s.unimix),
}
POSTERIORS = {
    "gaussian": lambda s, vae: posteriors.diagonal(),
    "full_covariance": lambda s, vae: posteriors.full_covariance(),
    "iaf": lambda s, vae: posteriors.iaf(s.flow_steps),
    "householder": lambda s, vae: posteriors.householder(s.flow_steps),
    "categorical": lambda s, vae: posteriors.categorical(s.latent_classes, s.gumbel_temperature, s.unimix),
}
