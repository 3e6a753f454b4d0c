"""Procedural shapes whose factors are known: what disentanglement can be measured on without a download.

In the spirit of dSprites (Matthey et al. 2017), with shapes that no rotation maps onto themselves: there the
ellipse and the square look the same at several orientations, which makes orientation unidentifiable.
"""

from __future__ import annotations

import numpy as np

from vae_jax.data.dataset import Dataset
from vae_jax.data.rows import held_out

FACTORS = {"shape": 3, "scale": 4, "orientation": 8, "x": 8, "y": 8}
SIDE = 64
RADII = (9.0, 11.5, 14.0, 16.5)  # of the circle around the shape, in pixels
SHIFTS = (-14, -10, -6, -2, 2, 6, 10, 14)  # of its centre from the middle; 14 + 16.5 < 32, so it stays whole


def letter_l(u, v):
    """Whether points of the unit disc lie inside an L; v points down."""
    stem = (-0.52 <= u) & (u <= -0.02) & (np.abs(v) <= 0.82)
    foot = (-0.52 <= u) & (u <= 0.55) & (0.36 <= v) & (v <= 0.82)
    return stem | foot


def moon(u, v):
    """Whether points of the unit disc lie inside a crescent."""
    return (np.hypot(u, v) <= 0.97) & (np.hypot(u - 0.5, v) > 0.72)


def arrow(u, v):
    """Whether points of the unit disc lie inside an arrow that points up."""
    head = (-0.97 <= v) & (v <= 0.05) & (np.abs(u) <= (v + 0.97) * 0.78)
    shaft = (0.05 < v) & (v <= 0.93) & (np.abs(u) <= 0.26)
    return head | shaft


SHAPES = (letter_l, moon, arrow)


def render() -> tuple[np.ndarray, np.ndarray]:
    """Every combination of the factors, in lexicographic order.

    Returns:
      Images ``[n, 64, 64, 1]`` uint8 0/1, and factors ``[n, 5]`` int32 as class indices: the shape, the size
      from small to large, the turn in eighths (clockwise), the position from left to right and from top to
      bottom.
    """
    reach = max(SHIFTS)
    # Each glyph is drawn once on a larger canvas; positions are windows onto it.
    centred = np.arange(SIDE + 2 * reach) + 0.5 - (SIDE / 2 + reach)
    down, right = np.meshgrid(centred, centred, indexing="ij")
    angle = (2 * np.pi / FACTORS["orientation"] * np.arange(FACTORS["orientation"]))[:, None, None]
    radius = np.array(RADII)[:, None, None, None]
    u = (np.cos(angle) * right + np.sin(angle) * down) / radius  # [scale, orientation, canvas, canvas]
    v = (np.cos(angle) * down - np.sin(angle) * right) / radius
    glyphs = np.stack([inside(u, v) for inside in SHAPES]).astype(np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(glyphs, (SIDE, SIDE), axis=(-2, -1))
    start = reach - np.array(SHIFTS)
    images = windows[:, :, :, start[None, :], start[:, None]]  # [shape, scale, orientation, x, y, h, w]
    factors = np.indices(FACTORS.values(), dtype=np.int32).reshape(len(FACTORS), -1).T
    return images.reshape(-1, SIDE, SIDE, 1), np.ascontiguousarray(factors)


def sprites() -> Dataset:
    """6,144 binary images with five factors; a fixed tenth of the combinations is held out as test."""
    images, factors = render()
    train, test = held_out(len(images), len(images) // 10)
    return Dataset("sprites", images[train], images[test], 2, factors[train], factors[test], tuple(FACTORS))
