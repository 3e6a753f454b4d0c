"""vae_jax: variational autoencoders whose KL weight you can trust.

Here are the nouns (``types.py``, with the legend of the axes) and the core of pure functions: ``objective`` holds the
bound, ``likelihoods`` the families, ``schedules`` and ``weighting`` say where beta comes from, ``conventions`` and
``linear_vae`` what a beta means. Other folders (models, data, priors ...) are imported where they are first named.
``load`` opens a trained run, ``from_pretrained`` an export of one.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_jax import conventions, likelihoods, linear_vae, objective, schedules, weighting
    from vae_jax.errors import UserError
    from vae_jax.trained.export import from_pretrained
    from vae_jax.trained.loading import load
    from vae_jax.trained.model import TrainedVAE
    from vae_jax.types import VAE, KLWeight, Likelihood, Schedule, Terms, TrainState

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
_HOMES = {"UserError": "errors", "TrainedVAE": "trained.model", "from_pretrained": "trained.export"}
_FOLDERS = ("data", "evaluation", "models", "posteriors", "priors", "train")
_HOMES |= {"load": "trained.loading"} | dict.fromkeys(__all__[:6], "types")


# A name is imported where it is first used: --help and a refusal need no JAX, and the core needs no trained models.
def __getattr__(name: str) -> Any:
    """Imports a public name, or the module that it is."""
    if name not in __all__ and name not in _FOLDERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in _HOMES:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Returns the public names, those among them that are not imported yet."""
    return sorted({*globals(), *__all__})
