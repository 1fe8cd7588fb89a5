"""Every figure drawn and laid out once, for all tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from figures import registry
from paper.study import Study


class Drawn(dict[str, Figure]):
    """Figures by name, each drawn when first asked for."""

    def __init__(self, study: Study) -> None:
        super().__init__()
        self.study = study

    def __missing__(self, name: str) -> Figure:
        self[name] = registry.draw(name, self.study)
        return self[name]


@pytest.fixture(scope="session")
def drawn(study: Study) -> Drawn:
    """Every figure. Tests only look at them."""
    return Drawn(study)


@dataclass(frozen=True)
class Layout:
    """Where things stand in a figure, in pixels.

    Attributes:
        page: The figure.
        texts: Every text that is seen, legends as one each.
        headline: Title and subtitle, for our own figures; else whatever stands above the axes.
        axes: Frames.
        points: All data that has markers, by axes.
        legends: Legends that might cover the data, by axes.
    """

    page: Bbox
    texts: dict[str, Bbox]
    headline: list[Bbox]
    axes: list[Bbox]
    points: list[np.ndarray]
    legends: list[list[Bbox]]


def _is_legend(artist: object) -> bool:
    return isinstance(artist, Legend)


def _frozen(box: Bbox) -> Bbox:
    return Bbox(box.get_points().copy())


def _texts(figure: Figure) -> dict[str, Bbox]:
    found: dict[str, Bbox] = {}

    def add(text: Text) -> None:
        if text.get_visible() and text.get_text().strip():
            found[f"{text.get_text()!r} {len(found)}"] = _frozen(text.get_window_extent())

    for text in figure.texts:
        add(text)
    for axes in figure.axes:
        for axis, limits in ((axes.xaxis, sorted(axes.get_xlim())), (axes.yaxis, sorted(axes.get_ylim()))):
            add(axis.label)
            for tick in axis.get_major_ticks():
                if limits[0] <= tick.get_loc() <= limits[1]:
                    add(tick.label1)
        for text in (*axes.texts, axes.title, axes._left_title):
            add(text)
    for legend in [*figure.legends, *(child for axes in figure.axes for child in axes.findobj(_is_legend))]:
        found[f"legend {len(found)}"] = _frozen(legend.get_window_extent())
    return found


def _points(axes: Axes) -> np.ndarray:
    at = [axes.transData.transform(line.get_xydata()) for line in axes.lines if line.get_marker() != "None"]
    clouds = [points for points in axes.collections if isinstance(points, PathCollection)]
    at += [axes.transData.transform(np.asarray(points.get_offsets())) for points in clouds]
    return np.vstack([np.empty((0, 2)), *(part for part in at if len(part))])


def lay_out(figure: Figure) -> Layout:
    """Draws ``figure`` once and measures it."""
    FigureCanvasAgg(figure).draw()
    return Layout(
        page=_frozen(figure.bbox),
        texts=_texts(figure),
        headline=[_frozen(text.get_window_extent()) for text in figure.texts[:2]],
        axes=[_frozen(axes.get_window_extent()) for axes in figure.axes],
        points=[_points(axes) for axes in figure.axes],
        legends=[
            [_frozen(legend.get_window_extent()) for legend in (*figure.legends, *axes.findobj(_is_legend))]
            for axes in figure.axes
        ],
    )


class Layouts(dict[str, Layout]):
    """Layouts by name, each measured when first asked for."""

    def __init__(self, drawn: Drawn) -> None:
        super().__init__()
        self.drawn = drawn

    def __missing__(self, name: str) -> Layout:
        self[name] = lay_out(self.drawn[name])
        return self[name]


@pytest.fixture(scope="session")
def layouts(drawn: Drawn) -> Layouts:
    """Every figure's layout."""
    return Layouts(drawn)
