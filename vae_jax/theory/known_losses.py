"""What well-known implementations really weigh, by default.

Each row says what the code that we read in 2026 does where nothing is changed: the loss in the terms of
``conventions.canonical``, the size of its usual data and its number of latents. Codes change: the row names the commit,
the files and the lines, so look before you rely on it. No number of the result is written here:
``KnownLoss.convention`` computes it.
"""

from __future__ import annotations

from vae_jax.theory.known_elsewhere import ELSEWHERE
from vae_jax.theory.known_images import IMAGES
from vae_jax.theory.known_loss import KnownLoss

KNOWN: tuple[KnownLoss, ...] = (*IMAGES, *ELSEWHERE)
