"""Our own figures: what is drawn is what was computed, and nothing hides anything else."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from figures import compute_optimal, loss_vs_error, registry, scaling_law, speed, style, utilisation
from paper.benchmarks import load_speeds
from paper.noise import INTERVAL, difference_z
from paper.results import run_name
from paper.study import Study

OURS = tuple(name for name in registry.names() if not name[-1].isdigit())
NO_UNIT = {
    "Training epochs",
    "Optimal learning rate",
    "TPU-v4 core hours",
    "FLOPs",
    "Step",
    "Variance",
    "Mean²",
    "Branch variance",
    "Norm of gradient",
    "Norm of weights, at least ε",
    "Exponent of size less that of epochs",
}  # their names say it, or they have none


def headline(figure: Figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in figure.texts)


def overlap(first: Bbox, second: Bbox) -> bool:
    both = Bbox.intersection(first, second)
    return both is not None and both.width > 0.5 and both.height > 0.5


@pytest.mark.parametrize("name", registry.names())
def test_no_text_overlaps_another_or_leaves_the_page(layouts: Mapping, name: str) -> None:
    boxes, page = layouts[name].texts, layouts[name].page
    assert [pair for pair in combinations(boxes, 2) if overlap(boxes[pair[0]], boxes[pair[1]])] == []
    assert [
        text for text, box in boxes.items() if box.x0 < 0 or box.y0 < 0 or box.x1 > page.x1 or box.y1 > page.y1
    ] == []


@pytest.mark.parametrize("name", OURS)
def test_headline_stands_above_the_axes(drawn: Mapping[str, Figure], layouts: Mapping, name: str) -> None:
    assert [text.get_gid() for text in drawn[name].texts[:2]] == ["title", "subtitle"]
    title, subtitle = layouts[name].headline
    assert title.y0 > subtitle.y1
    assert subtitle.y0 > max(box.y1 for box in layouts[name].axes)


@pytest.mark.parametrize("name", OURS)
def test_headline_states_a_number(drawn: Mapping[str, Figure], name: str) -> None:
    assert any(letter.isdigit() for letter in drawn[name].texts[0].get_text())


@pytest.mark.parametrize("name", registry.names())
def test_no_legend_covers_data_and_no_data_is_cut_off(layouts: Mapping, name: str) -> None:
    layout = layouts[name]
    for frame, points, legends in zip(layout.axes, layout.points, layout.legends, strict=True):
        assert all(frame.contains(x, y) for x, y in points)
        for box in legends:
            assert not any(box.contains(x, y) for x, y in points)


def inside(inner: Bbox, outer: Bbox) -> bool:
    return outer.x0 < inner.x0 and inner.x1 < outer.x1 and outer.y0 < inner.y0 and inner.y1 < outer.y1


@pytest.mark.parametrize("name", registry.names())
def test_axes_say_what_and_in_which_unit(drawn: Mapping[str, Figure], name: str) -> None:
    figure = drawn[name]
    for axes in figure.axes:
        if any(inside(axes.get_position(), other.get_position()) for other in figure.axes):
            continue  # an inset shares the quantities of the axes around it
        for axis in (axes.xaxis, axes.yaxis):
            label = axis.label.get_text()
            numbers = [text.get_text() for text in axis.get_ticklabels() if text.get_text()]
            named = all(not text[0].isdigit() and not text.startswith(("$", "−")) for text in numbers)
            if not numbers or named:  # rows and columns with names
                continue
            side = "labelbottom" if axis is axes.xaxis else "labelleft"
            shared = not axis.get_tick_params().get(side, True)
            assert shared or label in NO_UNIT or (label.count("(") == 1 and label.endswith(")")), label


def test_scaling_law_draws_every_run_and_both_laws(drawn: Mapping[str, Figure], study: Study) -> None:
    upper, lower = drawn["scaling_law"].axes
    law, saturating = study.fits.loss_law, study.fits.loss_law_saturating
    runs = study.results.pretraining
    expected = sorted(zip(runs.tpu_v4_core_hours.astype(float), runs.jft4b_val_loss, strict=True))
    markers = [line for line in upper.lines if line.get_linestyle() == "None"]
    assert sorted(tuple(point) for line in markers for point in line.get_xydata()) == expected
    filled = [tuple(point) for line in markers if line.get_markerfacecolor() != "white" for point in line.get_xydata()]
    assert sorted(filled) == sorted(zip(law.compute, law.value, strict=True))
    solid, dashed, stairs = (line for line in upper.lines if line.get_linestyle() != "None")
    np.testing.assert_array_equal(stairs.get_xydata(), sorted(filled))
    assert (stairs.get_gid(), stairs.get_drawstyle()) == ("frontier", "steps-post")
    hours = solid.get_xdata()
    np.testing.assert_allclose(solid.get_ydata(), law.coefficient.value * hours**-law.exponent.value)
    np.testing.assert_allclose(dashed.get_ydata(), saturating.predict(hours))
    for band, (low, high) in zip(upper.collections, (law.prediction_band(hours), law.band(hours)), strict=True):
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
    assert f"{(law.residuals > 0).sum()} of them lie above" in text
    worse = replace(law, criterion=saturating.criterion + 3)
    assert "fits worse than" in headline(scaling_law.draw(runs, worse, saturating))
    better = replace(law, criterion=saturating.criterion - 3)
    assert "fits better than" in headline(scaling_law.draw(runs, better, saturating))


def test_compute_optimal_draws_routes_and_rule(drawn: Mapping[str, Figure], study: Study) -> None:
    size_axes, epochs_axes, *_ = drawn["compute_optimal"].axes
    loss = study.fits.loss
    for axes, column in ((size_axes, "parameters"), (epochs_axes, "epochs")):
        lines = {line.get_gid(): line for line in axes.lines if line.get_gid()}
        for method in compute_optimal.SHOWN:
            optimum = loss.optima[method]
            intercept, slope = optimum.size_line if column == "parameters" else optimum.epochs_line
            hours, value = lines[method].get_data()
            np.testing.assert_allclose(np.log(value), intercept + slope * np.log(hours))
        points = loss.optima["profiles"].points
        drawn_points = [line.get_xydata() for line in axes.lines if line.get_marker() == "s"]
        np.testing.assert_array_equal(drawn_points, [points[["compute", column]]])
        # The rule meets the optimum at the anchor, and both of its lines have the same slope.
        hours, value = lines["rule"].get_data()
        rate = np.log(value[1] / value[0]) / np.log(hours[1] / hours[0])
        assert rate == pytest.approx(1 / (1 + loss.cost.slope))
        at = np.exp(np.interp(np.log(loss.anchor), np.log(hours), np.log(value)))
        general = np.exp(np.interp(np.log(loss.anchor), *np.log(lines["general"].get_data())))
        assert at == pytest.approx(general)


def intervals(axes: Axes) -> list[tuple[float, float, float]]:
    return [
        (float(bar.lines[0].get_xdata()[0]), *(float(x) for x in bar.lines[2][0].get_segments()[0][:, 0]))
        for bar in axes.containers
    ]


def test_compute_optimal_tells_what_each_route_is_worth(drawn: Mapping[str, Figure], study: Study) -> None:
    _, _, differences, passing, _ = drawn["compute_optimal"].axes
    loss = study.fits.loss
    routes = [loss.allocation.routes[name] for name in style.ROUTES]
    assert [label.get_text() for label in differences.get_yticklabels()] == [
        style.ROUTES[route.method].label for route in routes
    ]
    expected = [(r.difference.value, r.difference.low, r.difference.high) for r in routes]
    np.testing.assert_allclose(intervals(differences), expected)
    filled = [bar.lines[0].get_markerfacecolor() != "white" for bar in differences.containers]
    assert filled == [route.unbiased for route in routes]
    assert len(set(filled)) == 2
    means = [
        line.get_xdata()[0] for line in differences.lines if line.get_marker() == "|" and len(line.get_xdata()) == 1
    ]
    biases = [route.bias["equal rates"] for route in routes]
    assert set(biases) <= set(means)
    crossings = [loss.optima[name].one_epoch for name in style.ROUTES]
    np.testing.assert_allclose(intervals(passing), [(e.value, e.low, e.high) for e in crossings])


def test_compute_optimal_draws_the_regret(drawn: Mapping[str, Figure], study: Study) -> None:
    axes = drawn["compute_optimal"].axes[-1]
    lines = {line.get_label().split()[0]: line for line in axes.lines}
    for form, regret in study.fits.loss.regret.items():
        np.testing.assert_array_equal(lines[form].get_data(), (regret.compute, regret.percent))
        assert f"{regret.percent.max():.2f}% ({form} surface)" in headline(drawn["compute_optimal"])


def test_compute_optimal_title_follows_the_allocation(study: Study) -> None:
    loss = study.fits.loss
    stated = study.results.stated("pretrain.compute_where_optimal_epochs_exceed_one")

    def title(p_value: float, move: float) -> str:
        routes = {
            name: replace(
                route,
                difference=replace(
                    route.difference,
                    value=route.difference.value + move,
                    low=route.difference.low + move,
                    high=route.difference.high + move,
                ),
            )
            for name, route in loss.allocation.routes.items()
        }
        allocation = replace(loss.allocation, routes=routes, p_value=p_value)
        figure = compute_optimal.draw(
            study.fits.pretraining,
            loss.optima,
            allocation,
            loss.regret,
            {"general": 1.0, "additive": 2.0},
            stated,
            0.04,
        )
        return figure.texts[0].get_text()

    assert title(0.001, 0.0).startswith("Optimal epochs outgrow size")
    assert title(0.001, 1.0).startswith("Optimal size outgrows epochs")
    level = -loss.allocation.deciding.difference.value
    assert title(0.5, level).startswith("Runs allow equal rates")
    assert title(0.001, level).startswith("Routes disagree")


def test_loss_vs_error_draws_checkpoints_and_swaps(drawn: Mapping[str, Figure], study: Study) -> None:
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
    none = loss_vs_error.draw(table, study.swaps.iloc[:0], 50_000)
    assert headline(none).startswith("0 pairs")


def test_loss_vs_error_tells_swaps_from_noise(drawn: Mapping[str, Figure], study: Study) -> None:
    (axes,) = drawn["loss_vs_error"].axes
    arrows = [text for text in axes.texts if text.arrow_patch is not None]
    beyond = [bool(difference_z(arrow.xyann[1], arrow.xy[1], 50_000) > INTERVAL) for arrow in arrows]
    assert 0 < sum(beyond) < len(arrows)
    inks = [arrow.arrow_patch.get_edgecolor() for arrow in arrows]
    assert {ink for ink, clear in zip(inks, beyond, strict=True) if clear}.isdisjoint(
        ink for ink, clear in zip(inks, beyond, strict=True) if not clear
    )
    assert f"{sum(beyond)} beyond noise" in headline(drawn["loss_vs_error"])
    certain = loss_vs_error.draw(study.checkpoints, study.swaps, 10**9)
    assert f"{len(arrows)} beyond noise" in headline(certain)


def test_labels_stand_nearest_to_their_own_checkpoint(drawn: Mapping[str, Figure], study: Study) -> None:
    (axes,) = drawn["loss_vs_error"].axes
    points = study.checkpoints[["jft4b_val_loss", "imagenet_top1_error_percent"]].to_numpy(float)
    at = axes.transData.transform(points) * 72 / axes.figure.dpi
    labels = [text for text in axes.texts if text.arrow_patch is None]
    assert len(labels) == len(points)
    for label in labels:
        own = int(np.argmin(np.abs(points - label.xy).sum(axis=1)))
        spot = at[own] + label.xyann
        assert int(np.argmin(np.hypot(*(at - spot).T))) == own
        assert label.get_text() == f"{study.checkpoints.epochs.iloc[own]:g}"


def test_utilisation_draws_every_run_under_both_readings(drawn: Mapping[str, Figure], study: Study) -> None:
    (axes,) = drawn["utilisation"].axes
    table = study.utilisation
    for reading in style.READINGS:
        shown = table if reading == "published" else table[table.published != table.released]
        clouds = [cloud for cloud in axes.collections if cloud.get_gid() == reading]
        found = sorted(tuple(map(float, point)) for cloud in clouds for point in cloud.get_offsets())
        expected = sorted(zip(utilisation.positions(table)[shown.index], 100 * shown[reading], strict=True))
        np.testing.assert_allclose(found, expected)
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        *("F0", "F1", "F3", "F7"),
        *("F3+", "F7+"),
    ]


def test_utilisation_notices_hours_that_do_not_fit(study: Study) -> None:
    table = study.utilisation.assign(hours_half_width=study.utilisation.tpu_v4_core_hours * 0.003)
    table.loc[table.model == "F7", "published"] = [0.33, 0.33, 0.33, 0.33, 0.33, 0.30]
    constant = sum(utilisation._constant(group) for _, group in table.groupby("model"))
    assert constant < len(utilisation.MODELS)
    assert f"of {constant} of the {len(utilisation.MODELS)} models" in headline(utilisation.draw(table))


def test_speed_draws_a_row_a_machine_and_every_ratio(drawn: Mapping[str, Figure]) -> None:
    speeds = load_speeds()
    others = speeds[speeds.implementation != "released"]
    rows = []
    for axes, mode in zip(drawn["speed"].axes, ("train", "forward"), strict=True):
        mine = others[others["mode"] == mode]
        marks = [line for line in axes.lines if line.get_linestyle() == "None"]
        assert sorted(float(line.get_xdata()[0]) for line in marks) == sorted(mine.speedup)
        spans = sorted(tuple(map(float, line.get_xdata())) for line in axes.lines if line.get_linestyle() == "-")
        assert spans == sorted(zip(mine.speedup_low, mine.speedup_high, strict=True))
        rows.append({round(float(line.get_ydata()[0])) for line in marks})
    assert rows == [set(range(speeds.file.nunique()))] * 2


def test_speed_headline_follows_the_ratios() -> None:
    speeds = load_speeds()
    ours = speeds[(speeds.implementation == "ours") & (speeds["mode"] == "train")]
    assert f"{ours.speedup.min():.1f} to {ours.speedup.max():.1f} times" in headline(speed.draw(speeds))
    slower = speeds.assign(speedup=speeds.speedup.where(speeds.implementation != "ours", 0.5), speedup_low=0.4)
    text = headline(speed.draw(slower))
    assert text.startswith("Ours: 0.5 times the released code's speed in training, 0.5 in inference")
    assert "below 1, timm is faster" in text
    alone = speeds.assign(speedup=np.nan)
    assert headline(speed.draw(alone)).startswith("No speeds beside the released code's")
    assert headline(speed.draw(pd.DataFrame(columns=speeds.columns))).startswith("No speeds beside")
