"""vae_jax: variational autoencoders whose KL weight you can trust.

Here are the nouns (``types.py``, with the legend of the axes) and the core of pure functions: ``objective`` holds the
bound, ``likelihoods`` the families, ``schedules`` and ``weighting`` say where beta comes from, ``conventions`` and
``linear_vae`` what a beta means. Models, data, training, evaluation and reports are imported by their own names.
``load`` opens a trained run, ``from_pretrained`` an export of one.
"""

from typing import Any

from vae_jax import conventions, likelihoods, linear_vae, objective, schedules, weighting
from vae_jax.types import VAE, KLWeight, Likelihood, Schedule, Terms, TrainState, UserError

__version__ = "0.1.0"

__all__ = [
    "VAE",
    "KLWeight",
    "Likelihood",
    "Schedule",
    "Terms",
    "TrainState",
    "TrainedVAE",
    "UserError",
    "conventions",
    "from_pretrained",
    "likelihoods",
    "linear_vae",
    "load",
    "objective",
    "schedules",
    "weighting",
]


def __getattr__(name: str) -> Any:
    """Imports what opens trained models where it is used: the core needs none of it."""
    if name in ("TrainedVAE", "from_pretrained", "load"):
        from vae_jax import trained

        return getattr(trained, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
