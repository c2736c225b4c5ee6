"""What every figure must be: filled, not cut off, and readable."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.text import Text


def tick_labels(axis):
    """Labels of the ticks within the view; others are not drawn."""
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [
        tick.label1
        for tick in ticks
        if low <= tick.get_loc() <= high and tick.label1.get_visible() and tick.label1.get_text()
    ]


def extent(text):
    """Box of a text without the line to what it names."""
    return Text.get_window_extent(text)


def texts_of(ax):
    legend = ax.get_legend()
    texts = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
    texts += [*tick_labels(ax.xaxis), *tick_labels(ax.yaxis)]
    texts += [*legend.get_texts(), legend.get_title()] if legend else []
    return [text for text in texts if text.get_text() and text.get_visible()]


def assert_nothing_cut_off(figure):
    """All texts lie within the figure, and no axes are squeezed to nothing."""
    figure.canvas.draw()
    canvas = figure.bbox
    assert figure.axes, "there are no axes"
    for ax in figure.axes:
        is_bar = ax.get_label() == "<colorbar>"
        least = 5 if is_bar else 60
        assert min(ax.get_window_extent().size) > least, "axes are squeezed"
        for text in texts_of(ax):
            box = extent(text)
            assert box.x0 >= -1, text.get_text()
            assert box.y0 >= -1, text.get_text()
            assert box.x1 <= canvas.x1 + 1, text.get_text()
            assert box.y1 <= canvas.y1 + 1, text.get_text()


def assert_texts_apart(texts):
    """No text lies on another."""
    boxes = [(text.get_text(), extent(text)) for text in texts]
    for (one, first), (other, second) in combinations(boxes, 2):
        width = min(first.x1, second.x1) - max(first.x0, second.x0)
        height = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert min(width, height) < 1.5, f"{one} lies on {other}"


def assert_readable(figure):
    """Names of ticks, labels and titles neither overlap nor are tiny."""
    figure.canvas.draw()
    for ax in figure.axes:
        for texts in (tick_labels(ax.xaxis), tick_labels(ax.yaxis), ax.texts):
            assert_texts_apart(texts)
        assert all(text.get_fontsize() >= 4.5 for text in texts_of(ax))
    assert_texts_apart([ax.title for ax in figure.axes if ax.title.get_text()])


def points_of(ax):
    """Points of scatters and ends of lines of collections, × 2."""
    points = [np.empty((0, 2))]
    for artist in ax.collections:
        if isinstance(artist, LineCollection):
            points += artist.get_segments()
        elif isinstance(artist, PathCollection):
            points.append(np.ma.filled(artist.get_offsets(), np.nan))
    return np.concatenate(points)


def assert_filled(figure):
    """Every panel draws data, and none of it lies beyond the axes."""
    panels = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    assert panels, "there are no panels"
    for ax in panels:
        points = points_of(ax)
        assert len(points) or ax.images or ax.lines, "nothing is drawn"
        low, high = np.sort(np.array([ax.get_xlim(), ax.get_ylim()]), axis=1).T
        assert np.isfinite(points).all()
        assert ((points >= low) & (points <= high)).all(), "points lie beyond the axes"
        for image in ax.images:
            left, right, bottom, top = image.get_extent()
            assert sorted(ax.get_xlim()) == sorted((left, right)), "the image is cut"
            assert sorted(ax.get_ylim()) == sorted((bottom, top)), "the image is cut"


def assert_saved(path):
    """The file holds a picture whose margin is blank, so that nothing runs over its edge."""
    picture = plt.imread(path)[..., :3]
    assert picture.std() > 0.02, "the picture is blank"
    for edge in (picture[:2], picture[-2:], picture[:, :2], picture[:, -2:]):
        assert (edge == 1).all(), "the picture is cut off"
