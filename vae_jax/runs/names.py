"""The names of the command line, each with the function that it stands for."""

from __future__ import annotations

from vae_jax import models, objective

OBJECTIVES = {"elbo": objective.elbo, "iwae": objective.iwae}


MODELS = {"mlp": models.mlp, "conv": models.conv, "resnet": models.resnet, "recurrent": models.recurrent}
