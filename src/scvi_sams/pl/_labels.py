"""Names beside points, none over another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scvi_sams.pl._figure import SMALL, figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

    Points = npt.NDArray[np.float64]

_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_DISTANCES = (4.0, 8.0, 13.0, 20.0, 30.0)  # points
_LINE = {"arrowstyle": "-", "color": "0.5", "linewidth": 0.5, "shrinkA": 0}
_MOST_COVERED = 4  # points that a name may hide
_NEAR = 8.0  # so close, a name needs no line to its point


def settle(ax: Axes) -> None:
    """Lay out the figure of ``ax``, which decides where points lie."""
    figure_of(ax).draw_without_rendering()


def place_labels(
    ax: Axes,
    points: Points,
    names: Sequence[str],
    *,
    others: Points | None = None,
    fontsize: float = SMALL,
) -> list[Annotation]:
    """Write names beside points where they are free, the first of them first.

    A name goes where it covers the fewest points, close to its own; one that fits nowhere is left
    out. Limits must be set already, and the layout settled (:func:`settle`).

    Parameters
    ----------
    ax
        Axes to write on.
    points
        Where the named points are, names × 2.
    names
        The names, the most important first.
    others
        All points, named or not, × 2.
    fontsize
        In points.

    Returns
    -------
    The names written.
    """
    from matplotlib.patheffects import withStroke

    pixels = figure_of(ax).dpi / 72
    frame = np.array(ax.get_window_extent().extents)
    at = ax.transData.transform(np.asarray(points, dtype=float).reshape(-1, 2))
    crowd = at if others is None else ax.transData.transform(others)
    taken, lines = np.empty((0, 4)), np.empty((0, 2))
    written = []
    for pixel, point, name in zip(at, points, names, strict=True):
        probe = ax.text(0, 0, name, fontsize=fontsize)
        size = np.add(probe.get_window_extent().size, (3 * pixels, 0))
        probe.remove()
        place = _place(pixel, size, pixels, frame, taken, lines, crowd)
        if place is None:
            continue
        box, line = place
        text = ax.annotate(
            name,
            tuple(point),
            xytext=tuple((box[:2] + size / 2 - pixel) / pixels),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=fontsize,
            path_effects=[withStroke(linewidth=1.5, foreground="white", alpha=0.8)],
            arrowprops=_LINE if len(line) else None,
            zorder=5,
        )
        text.set_in_layout(False)  # within the axes already
        taken, lines = np.vstack([taken, box]), np.vstack([lines, line])
        written.append(text)
    return written


def _place(
    point: Points,
    size: Points,
    pixels: float,
    frame: Points,
    taken: Points,
    lines: Points,
    crowd: Points,
) -> tuple[Points, Points] | None:
    """Box for a name of ``size``, and the line from there to its point; None if all are taken."""
    best, least = None, np.inf
    for box, distance in _boxes(point, size, pixels):
        if (box[:2] < frame[:2]).any() or (box[2:] > frame[2:]).any():
            continue
        if ((box[:2] < taken[:, 2:]) & (box[2:] > taken[:, :2])).all(axis=1).any():
            continue
        middle = (box[:2] + box[2:]) / 2
        line = middle + np.linspace(0, 1, 20)[:, None] * (point - middle)
        line = line[: 20 if distance > _NEAR else 0]
        if _inside(line, taken).any() or _inside(lines, box[None]).any():
            continue
        covered = int(_inside(crowd, box[None]).sum())
        cost = 2 * covered + distance / 10
        if covered <= _MOST_COVERED and cost < least:
            best, least = (box, line), cost
    return best


def _boxes(point: Points, size: Points, pixels: float) -> Iterator[tuple[Points, float]]:
    """Boxes around a point where its name may go, nearest first, and their distance in points."""
    for distance in _DISTANCES:
        for direction in _DIRECTIONS:
            away = distance * pixels * (0.7 if all(direction) else 1)
            corner = point + np.multiply(direction, away) + (np.array(direction) - 1) / 2 * size
            yield np.concatenate([corner, corner + size]), distance


def _inside(points: Points, boxes: Points) -> npt.NDArray[np.bool_]:
    """Whether each of the points lies in each of the boxes; points × boxes."""
    at = points[:, None]
    return np.asarray(((at >= boxes[:, :2]) & (at <= boxes[:, 2:])).all(axis=2))
