"""Figures 1 to 3 hold the logged numbers and look as the paper's do."""

import csv
import io
from collections import defaultdict

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from figures import style
from paper.provenance import DATA

BLUE, ORANGE, GREEN, RED, PURPLE = "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"
BROWN, PINK, GREY, OLIVE = "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22"

COLOURS = {
    "figure1": {
        "F1": BLUE,
        "F3": ORANGE,
        "F3+": GREEN,
        "F7": RED,
        "F7+": PURPLE,
        "F7+ with RA": BROWN,
        "ViT-g/14": PINK,
        "ViT-G/14": GREY,
        "SoViT-400m/14": OLIVE,
    },
    "figure2": {"F0": BLUE, "F1": ORANGE, "F3": GREEN, "F3+": RED, "F7": PURPLE, "F7+": BROWN},
    "figure3": {"F0": BLUE, "F3": ORANGE, "F7+": GREEN},
}
LIMITS = {
    "figure1": ((581, 334_000), (9.30, 14.29)),
    "figure2": ((322, 120_000), (2.32, 3.01)),
    "figure3": ((0.227, 8.80), (0.364, 1.753)),
}
TICKS = {
    "figure1": (["$\\mathdefault{10^{3}}$", "$\\mathdefault{10^{4}}$", "$\\mathdefault{10^{5}}$"], range(10, 15)),
    "figure2": (["$\\mathdefault{10^{3}}$", "$\\mathdefault{10^{4}}$", "$\\mathdefault{10^{5}}$"], None),
    "figure3": (["0.25", "0.5", "1", "2", "4", "8"], [0.4, 0.8, 1.6]),
}
PAPER = sorted(COLOURS)


def records(name: str) -> list[dict[str, str]]:
    """Rows of a CSV, read with nothing of the project's own code."""
    with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def logged(figure: str) -> dict[str, list[tuple[float, float]]]:
    """Points of each series as the files hold them."""
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    if figure == "figure1":
        for row in records("smith2023_figure1"):
            name = row["model"] + (" with RA" if row["repeated_augmentation"] == "true" else "")
            series[name].append((float(row["tpu_v4_core_hours"]), float(row["imagenet_top1_error_percent"])))
        for row in records("smith2023_figure1_vit"):
            point = row["tpu_v4_core_hours_plotted"], row["imagenet_top1_error_percent_plotted"]
            series[row["model"]].append((float(point[0]), float(point[1])))
    elif figure == "figure2":
        for row in records("smith2023_figure2"):
            series[row["model"]].append((float(row["tpu_v4_core_hours"]), float(row["jft4b_val_loss"])))
    else:
        for row in records("smith2023_figure3"):
            series[row["model"]].append((float(row["epochs"]), float(row["optimal_learning_rate"])))
    return dict(series)


def only_axes(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def lines(figure: Figure) -> dict[str, Line2D]:
    return {str(line.get_label()): line for line in only_axes(figure).lines}


@pytest.mark.parametrize("name", PAPER)
def test_every_point_is_the_logged_one(drawn: dict[str, Figure], name: str) -> None:
    expected = logged(name)
    found = {label: [tuple(point) for point in line.get_xydata()] for label, line in lines(drawn[name]).items()}
    assert found == expected
    assert sum(map(len, found.values())) == {"figure1": 29, "figure2": 36, "figure3": 18}[name]


@pytest.mark.parametrize("name", PAPER)
def test_nothing_else_is_drawn(drawn: dict[str, Figure], name: str) -> None:
    axes = only_axes(drawn[name])
    assert not axes.collections
    assert not axes.texts
    assert not axes.images
    assert axes.get_title() == ""


@pytest.mark.parametrize("name", PAPER)
def test_colours_markers_and_legend_order(drawn: dict[str, Figure], name: str) -> None:
    axes = only_axes(drawn[name])
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == list(COLOURS[name])
    assert list(lines(drawn[name])) == list(COLOURS[name])
    for label, line in lines(drawn[name]).items():
        assert to_hex(line.get_color()) == COLOURS[name][label]
        assert to_hex(line.get_markerfacecolor()) == COLOURS[name][label]
        vit = "ViT" in label
        assert line.get_marker() == ("*" if vit else "o")
        alone = vit or label == "F7+ with RA"
        expected = "None" if alone else "--" if (name, label) == ("figure3", "F7+") else "-"
        assert line.get_linestyle() == expected


@pytest.mark.parametrize("name", PAPER)
def test_scales_limits_and_tick_labels(drawn: dict[str, Figure], name: str) -> None:
    axes = only_axes(drawn[name])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    x_limits, y_limits = LIMITS[name]
    assert axes.get_xlim() == pytest.approx(x_limits)
    assert axes.get_ylim() == pytest.approx(y_limits)
    inside = [
        label.get_text()
        for label, at in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
        if x_limits[0] <= at <= x_limits[1]
    ]
    x_expected, y_expected = TICKS[name]
    assert inside == x_expected
    y_values = list(y_expected) if y_expected else [2.4, 2.5, 2.6, 2.7, 2.8, 2.9, 3.0]
    assert list(axes.get_yticks()) == pytest.approx(y_values)
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        f"{value:.1f}" if name == "figure2" else f"{value:g}" for value in y_values
    ]
    assert len(axes.yaxis.get_minorticklocs()) == 0
    assert all(label.get_text() == "" for label in axes.get_xticklabels(minor=True))
    if name == "figure3":
        assert axes.xaxis.get_transform().base == 2


@pytest.mark.parametrize("name", PAPER)
def test_frame_and_sizes_are_the_papers(drawn: dict[str, Figure], name: str) -> None:
    axes = only_axes(drawn[name])
    box = axes.get_position()
    width, height = np.array([box.width, box.height]) * drawn[name].get_size_inches()
    assert width / height == pytest.approx(788 / 511, rel=2e-3)
    assert width / height == pytest.approx(588 / 381, rel=2e-3)
    pixel = 588 / (width * 72)  # of the paper's picture, for a point of ours
    for line in axes.lines:
        if line.get_linestyle() != "None":
            assert line.get_linewidth() * pixel == pytest.approx(3.5, abs=0.1)
        if line.get_marker() == "o":
            assert 8 <= (line.get_markersize() + line.get_markeredgewidth()) * pixel <= 10
    assert all(spine.get_visible() and to_hex(spine.get_edgecolor()) == "#000000" for spine in axes.spines.values())
    assert not any(line.get_visible() for line in [*axes.get_xgridlines(), *axes.get_ygridlines()])
    for axis, sides in ((axes.xaxis, ("bottom", "top")), (axes.yaxis, ("left", "right"))):
        ticks = axis.get_tick_params(which="major")
        assert (ticks.get(sides[0], True), ticks.get(sides[1], False)) == (True, False)
        assert ticks.get("direction", "out") == "out"


@pytest.mark.parametrize("name", PAPER)
def test_legend_stands_where_the_papers_does(drawn: dict[str, Figure], name: str) -> None:
    figure = drawn[name]
    axes = only_axes(figure)
    FigureCanvasAgg(figure).draw()
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_frame_on()
    box, frame = legend.get_window_extent(), axes.get_window_extent()
    if name == "figure1":
        assert box.x0 > frame.x1
        assert box.x1 < figure.bbox.x1
    else:
        assert frame.x0 < box.x0
        assert box.x1 < (frame.x0 + frame.x1) / 2
        assert frame.y0 < box.y0
    for line in axes.lines:
        assert not any(box.contains(x, y) for x, y in axes.transData.transform(line.get_xydata()))


@pytest.mark.parametrize("name", PAPER)
def test_every_series_shows_its_colour_in_the_picture(drawn: dict[str, Figure], name: str) -> None:
    figure = drawn[name]
    image = np.asarray(Image.open(io.BytesIO(style.render(figure, "png"))).convert("RGB"))
    axes = only_axes(figure)
    scale = image.shape[1] / figure.bbox.width
    shown = {}
    for line in axes.lines:
        at = axes.transData.transform(line.get_xydata()) * scale
        pixels = [image[round(image.shape[0] - y), round(x)] for x, y in at]
        shown[line] = [to_hex(pixel / 255) == to_hex(line.get_color()) for pixel in pixels]
    assert all(any(marks) for marks in shown.values())  # a marker may lie under a later series, never all
    assert all(shown[axes.lines[-1]])
