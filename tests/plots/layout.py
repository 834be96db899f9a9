"""What is wrong with how a figure is laid out: text over text, off the canvas, legends over axes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

TOUCH = 1.0  # pixels by which boxes may touch


def faults_of(figure: Figure) -> list[str]:
    """A line per fault, empty where there is none."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    hidden = _hidden_labels(figure)
    texts = [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in hidden and _axes_shown(text)
    ]
    boxes = [_corners(text, renderer) for text in texts]
    width, height = figure.bbox.width, figure.bbox.height
    faults = []
    for text, box in zip(texts, boxes, strict=True):
        low, high = box.min(axis=0), box.max(axis=0)
        if (low < -TOUCH).any() or high[0] > width + TOUCH or high[1] > height + TOUCH:
            faults.append(f"off the canvas: {text.get_text()!r}")
    for i, (text, box) in enumerate(zip(texts, boxes, strict=True)):
        for other, second in zip(texts[i + 1 :], boxes[i + 1 :], strict=True):
            if _overlap(box, second):
                faults.append(f"text over text: {text.get_text()!r}, {other.get_text()!r}")
    for legend in figure.legends:
        box = _rectangle(legend.get_window_extent(renderer))
        for axes in figure.axes:
            if axes.get_visible() and _overlap(box, _rectangle(axes.get_window_extent(renderer))):
                faults.append(f"legend over axes: {_title(legend)}")
    return faults


def _axes_shown(text: Text) -> bool:
    return text.axes is None or text.axes.get_visible()


def _title(legend: Legend) -> str:
    return ", ".join(text.get_text() for text in legend.get_texts())


def _hidden_labels(figure: Figure) -> set[Text]:
    """Labels of ticks outside the limits, which exist and are not drawn."""
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            hidden |= _outside(axes, axis)
    return hidden


def _outside(axes: Axes, axis: Axis) -> set[Text]:
    scaled = axis.get_transform().transform
    low, high = sorted(scaled(axis.get_view_interval()))
    room = 1e-6 * (high - low)
    every = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    out = {
        label
        for tick in every
        for label in (tick.label1, tick.label2)
        if not low - room <= scaled([tick.get_loc()])[0] <= high + room
    }
    return out | ({label for t in every for label in (t.label1, t.label2)} if not axes.axison else set())


def _corners(text: Text, renderer) -> np.ndarray:
    """(4, 2) corners of the text's box in pixels, turned as the text is."""
    angle = text.get_rotation()
    if angle % 90 == 0:
        return _rectangle(text.get_window_extent(renderer))
    centre = _rectangle(text.get_window_extent(renderer)).mean(axis=0)
    text.set_rotation(0)
    level = _rectangle(text.get_window_extent(renderer))
    text.set_rotation(angle)
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return (level - level.mean(axis=0)) @ np.array([[cos, sin], [-sin, cos]]) + centre


def _rectangle(box) -> np.ndarray:
    return np.array([[box.x0, box.y0], [box.x1, box.y0], [box.x1, box.y1], [box.x0, box.y1]])


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two convex quadrilaterals share more than a touch: no side separates them."""
    for box in (a, b):
        for start, end in zip(box, np.roll(box, -1, axis=0), strict=True):
            along = end - start
            if not np.hypot(*along):
                return False
            normal = np.array([along[1], -along[0]]) / np.hypot(*along)
            first, second = a @ normal, b @ normal
            if min(first.max(), second.max()) - max(first.min(), second.min()) <= TOUCH:
                return False
    return True
