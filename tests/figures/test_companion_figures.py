"""Our own figures: what is drawn is what was computed, and nothing hides anything else."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from figures import compute_optimal, loss_vs_error, registry, scaling_law, style, utilisation
from paper.results import MODELS, run_name
from paper.study import Study

OURS = tuple(name for name in registry.names() if not name[-1].isdigit())
NO_UNIT = {
    "Training epochs",
    "Optimal learning rate",
    "TPU-v4 core hours",
    "FLOPs",
}  # their names say it, or they have none


def headline(figure: Figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in figure.texts)


def texts(figure: Figure) -> dict[str, Bbox]:
    """Boxes of every text that is seen, legends as one each."""
    FigureCanvasAgg(figure).draw()
    found: dict[str, Bbox] = {}

    def add(text: Text) -> None:
        if text.get_visible() and text.get_text().strip():
            found[f"{text.get_text()!r} {len(found)}"] = text.get_window_extent()

    for text in figure.texts:
        add(text)
    for axes in figure.axes:
        for axis, limits in ((axes.xaxis, sorted(axes.get_xlim())), (axes.yaxis, sorted(axes.get_ylim()))):
            add(axis.label)
            for tick in axis.get_major_ticks():
                if limits[0] <= tick.get_loc() <= limits[1]:
                    add(tick.label1)
        for text in axes.texts:
            add(text)
    legends = [*figure.legends, *(child for axes in figure.axes for child in axes.findobj(type_of_legend))]
    for legend in legends:
        found[f"legend {len(found)}"] = legend.get_window_extent()
    return found


def type_of_legend(artist: object) -> bool:
    return type(artist).__name__ == "Legend"


def overlap(first: Bbox, second: Bbox) -> bool:
    both = Bbox.intersection(first, second)
    return both is not None and both.width > 0.5 and both.height > 0.5


@pytest.mark.parametrize("name", registry.names())
def test_no_text_overlaps_another_or_leaves_the_page(drawn: dict[str, Figure], name: str) -> None:
    figure = drawn[name]
    boxes = texts(figure)
    hidden = [pair for pair in combinations(boxes, 2) if overlap(boxes[pair[0]], boxes[pair[1]])]
    assert hidden == []
    page = figure.bbox
    assert [
        text for text, box in boxes.items() if box.x0 < 0 or box.y0 < 0 or box.x1 > page.x1 or box.y1 > page.y1
    ] == []


@pytest.mark.parametrize("name", OURS)
def test_headline_stands_above_the_axes(drawn: dict[str, Figure], name: str) -> None:
    figure = drawn[name]
    FigureCanvasAgg(figure).draw()
    title, subtitle = figure.texts
    assert (title.get_gid(), subtitle.get_gid()) == ("title", "subtitle")
    assert title.get_window_extent().y0 > subtitle.get_window_extent().y1
    assert subtitle.get_window_extent().y0 > max(axes.get_window_extent().y1 for axes in figure.axes)


def points_of(axes: Axes) -> np.ndarray:
    """Pixels of all data that has markers."""
    at = [axes.transData.transform(line.get_xydata()) for line in axes.lines if line.get_marker() != "None"]
    clouds = [points for points in axes.collections if isinstance(points, PathCollection)]
    at += [axes.transData.transform(np.asarray(points.get_offsets())) for points in clouds]
    return np.vstack([np.empty((0, 2)), *(part for part in at if len(part))])


@pytest.mark.parametrize("name", registry.names())
def test_no_legend_covers_data_and_no_data_is_cut_off(drawn: dict[str, Figure], name: str) -> None:
    figure = drawn[name]
    FigureCanvasAgg(figure).draw()
    for axes in figure.axes:
        points = points_of(axes)
        frame = axes.get_window_extent()
        assert all(frame.contains(x, y) for x, y in points)
        for legend in [*figure.legends, *axes.findobj(type_of_legend)]:
            box = legend.get_window_extent()
            assert not any(box.contains(x, y) for x, y in points)


@pytest.mark.parametrize("name", registry.names())
def test_axes_say_what_and_in_which_unit(drawn: dict[str, Figure], name: str) -> None:
    figure = drawn[name]
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            label = axis.label.get_text()
            numbers = [text.get_text() for text in axis.get_ticklabels() if text.get_text()]
            named = all(not text[0].isdigit() and not text.startswith(("$", "−")) for text in numbers)
            if not numbers or named:  # rows and columns with names
                continue
            shared = axis is axes.xaxis and not axis.get_tick_params().get("labelbottom", True)
            assert shared or label in NO_UNIT or (label.count("(") == 1 and label.endswith(")")), label


def test_scaling_law_draws_every_run_and_both_laws(drawn: dict[str, Figure], study: Study) -> None:
    upper, lower = drawn["scaling_law"].axes
    law, saturating = study.fits.loss_law, study.fits.loss_law_saturating
    runs = study.results.pretraining
    expected = sorted(zip(runs.tpu_v4_core_hours.astype(float), runs.jft4b_val_loss, strict=True))
    markers = [line for line in upper.lines if line.get_linestyle() == "None"]
    assert sorted(tuple(point) for line in markers for point in line.get_xydata()) == expected
    filled = [tuple(point) for line in markers if line.get_markerfacecolor() != "white" for point in line.get_xydata()]
    assert sorted(filled) == sorted(zip(law.compute, law.value, strict=True))
    solid, dashed = (line for line in upper.lines if line.get_linestyle() != "None")
    hours = solid.get_xdata()
    np.testing.assert_allclose(solid.get_ydata(), law.coefficient.value * hours**-law.exponent.value)
    np.testing.assert_allclose(dashed.get_ydata(), saturating.predict(hours))
    (band,) = upper.collections
    low, high = law.band(hours)
    corners = band.get_paths()[0].vertices[:, 1]
    assert (corners.min(), corners.max()) == (low.min(), high.max())
    filled = [
        tuple(point)
        for line in lower.lines
        if line.get_linestyle() == "None" and line.get_markerfacecolor() != "white"
        for point in line.get_xydata()
    ]
    np.testing.assert_allclose(sorted(filled), sorted(zip(law.compute, 100 * law.residuals, strict=True)), atol=1e-9)


def test_scaling_law_states_what_was_fitted(study: Study) -> None:
    runs, law, saturating = study.results.pretraining, study.fits.loss_law, study.fits.loss_law_saturating
    text = headline(scaling_law.draw(runs, law, saturating))
    assert f"−{law.exponent.value:.3f}" in text
    assert f"{law.exponent.low:.3f} to {law.exponent.high:.3f}" in text
    assert "cannot be told from" in text
    from dataclasses import replace

    worse = replace(law, criterion=saturating.criterion + 3)
    assert "fits worse than" in headline(scaling_law.draw(runs, worse, saturating))
    better = replace(law, criterion=saturating.criterion - 3)
    assert "fits better than" in headline(scaling_law.draw(runs, better, saturating))


def test_diagonal_is_the_slope_between_the_corners() -> None:
    runs = pd.DataFrame(
        {"tpu_v4_core_hours": [100, 10_000, 1000], "parameters": [1e6, 1e8, 5e5], "epochs": [1, 10, 100]}
    )
    assert compute_optimal.diagonal(runs) == pytest.approx({"parameters": 1, "epochs": 0.5})


def test_compute_optimal_draws_the_routes(drawn: dict[str, Figure], study: Study) -> None:
    size_axes, epochs_axes, exponent_axes, passing_axes = drawn["compute_optimal"].axes
    for axes, column in ((size_axes, "parameters"), (epochs_axes, "epochs")):
        for optimum in study.fits.optima:
            colour = style.ROUTES[optimum.method].colour
            mine = [line for line in axes.lines if line.get_color() == colour]
            drawn_line = next(line for line in mine if line.get_linestyle() != "None")
            intercept, slope = optimum.size_line if column == "parameters" else optimum.epochs_line
            np.testing.assert_allclose(
                np.log(drawn_line.get_ydata()), intercept + slope * np.log(drawn_line.get_xdata())
            )
            markers = [line.get_xydata() for line in mine if line.get_linestyle() == "None"]
            if len(optimum.points):
                np.testing.assert_allclose(markers[0], optimum.points[["tpu_v4_core_hours", column]])
            if column == "epochs":
                assert markers[-1].tolist() == [[optimum.one_epoch.value, 1]]

    def intervals(axes: Axes) -> list[tuple[float, float, float]]:
        return sorted(
            (float(bar.lines[0].get_xdata()[0]), *(float(x) for x in bar.lines[2][0].get_segments()[0][:, 0]))
            for bar in axes.containers
        )

    exponents = [e for o in study.fits.optima for e in (o.size_exponent, o.epochs_exponent)]
    np.testing.assert_allclose(intervals(exponent_axes), sorted((e.value, e.low, e.high) for e in exponents))
    crossings = [optimum.one_epoch for optimum in study.fits.optima]
    np.testing.assert_allclose(intervals(passing_axes), sorted((e.value, e.low, e.high) for e in crossings))
    inside = sum(optimum.same_rate for optimum in study.fits.optima)
    assert f"of {inside} of the 3 routes" in headline(drawn["compute_optimal"])


def test_compute_optimal_title_follows_the_exponents(study: Study) -> None:
    from dataclasses import replace

    stated = study.results.stated("pretrain.compute_where_optimal_epochs_exceed_one")
    swapped = [
        replace(optimum, size_exponent=optimum.epochs_exponent, epochs_exponent=optimum.size_exponent)
        for optimum in study.fits.optima
    ]
    runs = study.fits.pretraining
    assert "optimal size grows faster" in headline(compute_optimal.draw(runs, swapped, stated))
    mixed = [*swapped[:1], *study.fits.optima[1:]]
    assert "routes disagree" in headline(compute_optimal.draw(runs, mixed, stated))


def test_loss_vs_error_draws_checkpoints_and_swaps(drawn: dict[str, Figure], study: Study) -> None:
    (axes,) = drawn["loss_vs_error"].axes
    table = study.checkpoints
    expected = sorted(zip(table.jft4b_val_loss, table.imagenet_top1_error_percent, strict=True))
    assert sorted(tuple(map(float, point)) for cloud in axes.collections for point in cloud.get_offsets()) == expected
    arrows = [text for text in axes.texts if text.arrow_patch is not None]
    assert len(arrows) == len(study.swaps) == 7
    places = {
        run_name(r.model, r.epochs): (r.jft4b_val_loss, r.imagenet_top1_error_percent) for r in table.itertuples()
    }
    for arrow, pair in zip(arrows, study.swaps.itertuples(), strict=True):
        assert arrow.xyann == places[pair.better_loss]
        assert arrow.xy == places[pair.better_error]
        assert arrow.xyann[0] < arrow.xy[0]  # lower loss where it starts
        assert arrow.xyann[1] > arrow.xy[1]  # lower error where it ends
    none = loss_vs_error.draw(table, study.swaps.iloc[:0])
    assert headline(none).startswith("0 pairs")


def test_utilisation_draws_every_run_under_both_readings(drawn: dict[str, Figure], study: Study) -> None:
    (axes,) = drawn["utilisation"].axes
    table = study.utilisation
    for reading in style.READINGS:
        shown = table if reading == "published" else table[table.published != table.released]
        clouds = [cloud for cloud in axes.collections if cloud.get_gid() == reading]
        found = sorted(tuple(map(float, point)) for cloud in clouds for point in cloud.get_offsets())
        expected = sorted(zip(utilisation.positions(table)[shown.index], 100 * shown[reading], strict=True))
        np.testing.assert_allclose(found, expected)
    assert [label.get_text() for label in axes.get_xticklabels()] == list(MODELS)


def test_utilisation_notices_hours_that_do_not_fit(study: Study) -> None:
    table = study.utilisation.assign(hours_half_width=study.utilisation.tpu_v4_core_hours * 0.003)
    table.loc[table.model == "F7", "published"] = [0.33, 0.33, 0.33, 0.33, 0.33, 0.30]
    constant = sum(utilisation._constant(group) for _, group in table.groupby("model"))
    assert constant < len(MODELS)
    assert f"of {constant} of the {len(MODELS)} models" in headline(utilisation.draw(table))
