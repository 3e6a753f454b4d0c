"""Places small labels beside points of a panel, over nothing that is drawn."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

# Where a label may stand about its point: right above and below before left and straight below.
_ANGLES = np.deg2rad([30, -30, 60, 0, 90, 120, 150, -150, 180, -60, -90, -120])
_AIR = 4.0  # pixels about a label that stay free


class Room(NamedTuple):
    """What is taken in a panel whose limits and place are final, in pixels.

    Attributes:
      axes: the panel.
      points: ``[n, 2]``, of all lines.
      paths: of those that join their points.
      boxes: of the labels so far.
    """

    axes: Any
    points: np.ndarray
    paths: list
    boxes: list

    def takes(self, box) -> bool:
        """Tells whether ``box`` lies in the panel and covers no point, line or label."""
        frame, wide = self.axes.bbox, box.padded(_AIR)
        inside = np.all(box.min >= frame.min + 1.0) and np.all(box.max <= frame.max)
        crossed = any(path.intersects_bbox(wide, filled=False) for path in self.paths)
        return bool(inside) and not (crossed or wide.count_contains(self.points) or box.count_overlaps(self.boxes))


def room(axes) -> Room:
    """Returns the room beside the lines and the points in a panel of a figure that has been drawn without rendering."""
    points, paths = [np.zeros((0, 2))], []
    for line in axes.get_lines():
        path = line.get_path().transformed(line.get_transform())
        points.append(path.vertices[np.isfinite(path.vertices).all(axis=1)])
        if line.get_linewidth() > 0 and line.get_linestyle() != "None":
            paths.append(path)
    return Room(axes, np.concatenate(points), paths, [])


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
    note = r.axes.annotate(text, point, (0, 0), textcoords="offset points", ha="center", va="center", **style)
    note.set_in_layout(False)
    directions = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
    half = directions * np.abs(directions) * note.get_window_extent().size * 36.0 / r.axes.figure.dpi
    offsets = np.concatenate([gap * directions + half * (gap > 0) for gap in distances])
    for offset in [*offsets, offsets[0]]:
        note.set_position(offset)
        box = note.get_window_extent()
        if r.takes(box):
            break
    else:
        if not always:
            note.remove()
            return False
    r.boxes.append(box)
    return True
