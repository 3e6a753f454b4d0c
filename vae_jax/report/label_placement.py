"""Places small labels in a panel: beside points or along lines, over nothing that is drawn."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

# Where a label may stand about its point: right above and below before left and straight below.
_ANGLES = np.deg2rad([30, -30, 60, 0, 90, 120, 150, -150, 180, -60, -90, -120])
_AIR = 4.0  # pixels about a label that stay free


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


def room(axes) -> Room:
    """Returns the room beside the lines and the points that have been plotted in a panel so far."""
    axes.figure.draw_without_rendering()
    marks = [np.zeros((0, 2))]
    for line in axes.get_lines():
        points = line.get_transform().transform(line.get_xydata())
        points = points[np.isfinite(points).all(axis=1)]
        joined = line.get_linewidth() > 0 and line.get_linestyle() != "None" and len(points) > 1
        marks.append(_dense(points, 4.0) if joined else points)
    return Room(axes, np.concatenate(marks), [])


def beside(r: Room, point, text: str, distances=(8.0, 13.0), always: bool = False, **style) -> bool:
    """Writes ``text`` beside ``point`` (data coordinates), near before far, where there is room.

    Args:
      r: the panel.
      point: data coordinates.
      text: of one line.
      distances: from the point to the label, in points; 0 is upon it.
      always: it is written at the first place where none is free.
      style: of the text.

    Returns:
      Whether it was written.
    """
    note = _note(r, text, style)
    directions = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
    half = directions * np.abs(directions) * note.get_window_extent().size / 2.0
    gaps = np.array(distances) * r.axes.figure.dpi / 72.0
    shifts = [gap * directions + half * (gap > 0) for gap in gaps]
    return _write(r, note, r.axes.transData.transform(point) + np.concatenate(shifts), np.array([1.0, 0.0]), always)


def along(r: Room, line: np.ndarray, text: str, side: float = 4.5, **style) -> bool:
    """Writes ``text`` along a straight ``line [2, 2]`` (data coordinates), ``side`` points off it, where most is free.

    Places near the top are tried first, where a frontier leaves most room; returns whether there was one.
    """
    ends, frame = r.axes.transData.transform(line), r.axes.bbox
    path = _dense(ends[np.argsort(-ends[:, 1], kind="stable")], 6.0)
    path = path[np.all((path > frame.min) & (path < frame.max), axis=1)]
    if len(path) < 2:
        return False
    direction = (path[-1] - path[0]) / np.hypot(*(path[-1] - path[0]))
    direction = direction if direction[0] >= 0 else -direction  # a text is read from the left
    note = _note(r, text, style)
    spots = path + side * r.axes.figure.dpi / 72.0 * np.array([-direction[1], direction[0]])
    free = np.full(len(spots), np.inf)
    if len(r.marks):
        free = np.hypot(*(spots[:, None] - r.marks[None]).transpose(2, 0, 1)).min(axis=1)
    order = np.argsort(-np.minimum(free, 0.6 * note.get_window_extent().width), kind="stable")
    return _write(r, note, spots[order], direction)


def _dense(line: np.ndarray, step: float) -> np.ndarray:
    """Returns points no more than about ``step`` pixels apart on a line ``[n, 2]``."""
    parts = [line[:1]]
    for one, two in itertools.pairwise(line):
        count = min(1 + int(np.hypot(*(two - one)) / step), 2000)
        parts.append(one + (two - one) * np.linspace(0, 1, count + 1)[1:, None])
    return np.concatenate(parts)


def _note(r: Room, text: str, style):
    from matplotlib.transforms import IdentityTransform

    note = r.axes.text(0, 0, text, ha="center", va="center", transform=IdentityTransform(), **style)
    note.set_in_layout(False)
    return note


def _write(r: Room, note, centres: np.ndarray, direction: np.ndarray, always: bool = False) -> bool:
    """Moves ``note`` to the first of ``centres [n, 2]`` that is free and turns it; removes it where none is."""
    length, height = note.get_window_extent().size
    # Squares side by side: of a text that is turned, its bounding box would take far more than it covers.
    squares = np.linspace(-0.5, 0.5, int(np.ceil(length / height)))[:, None] * max(length - height, 0.0) * direction
    for centre in centres:
        boxes = np.concatenate([centre + squares - height / 2.0, centre + squares + height / 2.0], axis=1)
        if _free(r, boxes):
            break
    else:
        if not always:
            note.remove()
            return False
        centre = centres[0]
    r.boxes.extend(boxes)
    note.set_position(tuple(centre))
    note.set_rotation(np.rad2deg(np.arctan2(direction[1], direction[0])))
    return True


def _free(r: Room, boxes: np.ndarray) -> bool:
    low, high, frame = boxes[:, :2], boxes[:, 2:], r.axes.bbox
    if np.any(low < frame.min + 1.0) or np.any(high > frame.max):
        return False
    marks = r.marks[:, None]
    if np.any(np.all((marks > low - _AIR) & (marks < high + _AIR), axis=2)):
        return False
    return not any(np.any(np.all((low < b[2:]) & (b[:2] < high), axis=1)) for b in r.boxes)
