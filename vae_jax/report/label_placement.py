"""Finds free places for small labels in a panel: beside points, or along lines, over nothing that is drawn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Where a label may stand about its point, in points: near before far, above and right before below and left.
_ANGLES = np.deg2rad([30, -30, 60, 0, 90, 120, 150, -150, 180, -60, -90, -120])
_OFFSETS = [(radius * np.cos(a), radius * np.sin(a)) for radius in (8.0, 13.0) for a in _ANGLES]


class Room(NamedTuple):
    """What is taken in a panel whose limits and place are final.

    Attributes:
      axes: the panel.
      marks: ``[n, 2]``, pixels that no label may cover.
      boxes: of the labels so far, each (left, bottom, right, top) in pixels.
    """

    axes: object
    marks: np.ndarray
    boxes: list[np.ndarray]


def room(axes, lines: Sequence[np.ndarray]) -> Room:
    """The room beside ``lines``, each ``[n, 2]`` in data coordinates; every stretch between their points counts."""
    axes.figure.draw_without_rendering()
    marks = [dense(axes.transData.transform(np.asarray(line, float))) for line in lines if len(line)]
    return Room(axes, np.concatenate(marks) if marks else np.zeros((0, 2)), [])


def dense(line: np.ndarray, step: float = 4.0) -> np.ndarray:
    """Points no more than about ``step`` pixels apart on a line ``[n, 2]``."""
    parts = [line[:1]]
    for one, two in itertools.pairwise(line):
        count = min(1 + int(np.hypot(*(two - one)) / step), 2000)
        parts.append(one + (two - one) * np.linspace(0, 1, count + 1)[1:, None])
    return np.concatenate(parts)


def beside(r: Room, point, text: str, **style) -> bool:
    """Writes ``text`` beside ``point`` (data coordinates) where there is room; returns whether there was."""
    note = r.axes.annotate(
        text, point, (0, 0), textcoords="offset points", ha="center", va="center", annotation_clip=False, **style
    )
    note.set_in_layout(False)
    size = np.array(note.get_window_extent().size)
    here, scale = r.axes.transData.transform(point), r.axes.figure.dpi / 72.0
    for offset in _OFFSETS:
        direction = np.array(offset) / np.hypot(*offset)
        shift = np.array(offset) + direction * np.abs(direction) * size / scale / 2.0
        if _take(r, here + shift * scale, size):
            note.xyann = tuple(shift)
            return True
    note.remove()
    return False


def along(r: Room, line: np.ndarray, text: str, side: float = 4.5, **style) -> bool:
    """Writes ``text`` along a straight ``line [2, 2]`` (data coordinates), ``side`` points off it, where most is free.

    Places near the top are tried first, where a frontier leaves most room; returns whether there was one.
    """
    from matplotlib.transforms import IdentityTransform

    ends, frame = r.axes.transData.transform(line), r.axes.bbox
    path = dense(ends[np.argsort(-ends[:, 1], kind="stable")], 6.0)
    path = path[(path[:, 0] > frame.x0) & (path[:, 0] < frame.x1) & (path[:, 1] > frame.y0) & (path[:, 1] < frame.y1)]
    if len(path) < 2:
        return False
    direction = (path[-1] - path[0]) / np.hypot(*(path[-1] - path[0]))
    direction = direction if direction[0] >= 0 else -direction  # a text is read from the left
    normal = np.array([-direction[1], direction[0]])
    note = r.axes.text(0, 0, text, ha="center", va="center", transform=IdentityTransform(), **style)
    note.set_in_layout(False)
    length, height = note.get_window_extent().size
    count = max(1, round(length / height))
    pieces = (np.linspace(-0.5, 0.5, count)[:, None] * max(length - height, 0.0)) * direction  # squares along the text
    spots = path + side * r.axes.figure.dpi / 72.0 * normal
    free = np.full(len(spots), np.inf)
    if len(r.marks):
        free = np.hypot(*(spots[:, None] - r.marks[None]).transpose(2, 0, 1)).min(axis=1)
    for i in np.argsort(-np.minimum(free, 0.6 * length), kind="stable"):
        if _take(r, spots[i] + pieces, (height, height)):
            note.set_position(tuple(spots[i]))
            note.set_rotation(np.rad2deg(np.arctan2(direction[1], direction[0])))
            return True
    note.remove()
    return False


def _take(r: Room, centres, size, air: float = 4.0) -> bool:
    """Takes boxes of ``size`` pixels about ``centres [n, 2]`` if all are inside the panel and free."""
    half, frame = np.asarray(size) / 2.0, r.axes.bbox
    boxes = [np.concatenate([c - half, c + half]) for c in np.atleast_2d(centres)]
    for box in boxes:
        if box[0] < frame.x0 + 1 or box[1] < frame.y0 + 1 or box[2] > frame.x1 or box[3] > frame.y1:
            return False
        inside = np.all((r.marks > box[:2] - air) & (r.marks < box[2:] + air), axis=1)
        if inside.any() or any(np.all(box[:2] < b[2:]) and np.all(b[:2] < box[2:]) for b in r.boxes):
            return False
    r.boxes.extend(boxes)
    return True
