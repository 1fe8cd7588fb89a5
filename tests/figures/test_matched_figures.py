"""Figures of both families: every run is drawn where the tables say, and the headline follows the data."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from figures import families, inference_cost, nfnet_vs_vit, style, vit_advantage, vit_sensitivity
from paper.noise import INTERVAL, difference_error
from paper.study import Study
from paper.vits.advantage import CONVERSIONS, best_within


def title(figure: Figure) -> str:
    return figure.texts[0].get_text()


def subtitle(figure: Figure) -> str:
    return figure.texts[1].get_text().replace("\n", " ")


def markers(axes: Axes) -> list[tuple[float, float]]:
    """Data of everything that has markers."""
    lines = [line for line in axes.lines if line.get_marker() not in ("None", None)]
    return sorted((float(x), float(y)) for line in lines for x, y in line.get_xydata())


def frontier(axes: Axes, family: str) -> np.ndarray:
    (line,) = (line for line in axes.lines if line.get_gid() == family)
    return np.asarray(line.get_xydata())


AXES = {"nfnet_vs_vit": ("hours", "mid"), "nfnet_vs_vit_flops": ("flops", "flops")}


@pytest.mark.parametrize("name", AXES)
def test_every_run_is_drawn_at_its_compute_and_error(drawn: Mapping[str, Figure], study: Study, name: str) -> None:
    main, inset = drawn[name].axes
    mine, theirs = AXES[name]
    nfnets, vits = study.matched.nfnet_runs, families.once(study.matched.vit_runs())
    expected = sorted([*zip(nfnets[mine], nfnets.error, strict=True), *zip(vits[theirs], vits.error, strict=True)])
    np.testing.assert_allclose(markers(inset), expected)
    assert len(expected) == 26 + 261 + 4  # ViT-G/14 is drawn once, as one of the sweep
    shown = [point for point in expected if point[0] >= main.get_xlim()[0] and point[1] <= main.get_ylim()[1]]
    np.testing.assert_allclose(markers(main), shown)
    assert min(nfnets[mine]) > main.get_xlim()[0]
    assert main.get_ylim()[0] < min(error for _, error in expected)
    assert main.get_position().width > 2 * inset.get_position().width


@pytest.mark.parametrize("name", [*AXES, "inference_cost"])
def test_nothing_is_covered(drawn: Mapping[str, Figure], name: str) -> None:
    """No name lies on a run, nor the inset."""
    main, inset = drawn[name].axes
    canvas = FigureCanvasAgg(drawn[name])
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [Text.get_window_extent(text, renderer) for text in main.texts]  # without lines to the runs
    boxes.append(inset.get_tightbbox(renderer))
    runs = [main.transData.transform(point) for point in markers(main)]
    for box in boxes:
        assert not any(box.contains(*run) for run in runs)


@pytest.mark.parametrize("name", AXES)
def test_frontiers_are_the_best_within_each_budget(drawn: Mapping[str, Figure], study: Study, name: str) -> None:
    mine, theirs = AXES[name]
    nfnets, vits = study.matched.nfnet_runs, study.matched.vit_runs()
    nfnets, vits = nfnets[~nfnets.repeated_augmentation], vits[~vits.later]
    for axes in drawn[name].axes:
        for family, at, error in (("nfnet", nfnets[mine], nfnets.error), ("vit", vits[theirs], vits.error)):
            budgets, best = frontier(axes, family).T
            np.testing.assert_allclose(best, best_within(budgets, at.to_numpy(float), error.to_numpy(float)))
            assert budgets[-1] == at.max()
            assert best[-1] == error.min()


@pytest.mark.parametrize("name", AXES)
def test_noise_is_that_of_a_difference_from_the_best_nfnet(
    drawn: Mapping[str, Figure], study: Study, name: str
) -> None:
    nfnets = study.matched.nfnet_runs[~study.matched.nfnet_runs.repeated_augmentation]
    (band,) = (cloud for cloud in drawn[name].axes[0].collections if cloud.get_gid() == "noise")
    corners = band.get_paths()[0].vertices
    budget = nfnets[AXES[name][0]].max()
    ends = corners[np.isclose(corners[:, 0], budget), 1]
    width = INTERVAL * float(difference_error(9.75, 9.75, 50_000))
    assert (ends.min(), ends.max()) == (pytest.approx(9.75 - width), pytest.approx(9.75 + width))


def test_band_and_bars_are_those_of_their_accounting(drawn: Mapping[str, Figure], study: Study) -> None:
    main = drawn["nfnet_vs_vit"].axes[0]
    vits = study.matched.vit_runs()
    later = families.once(vits)[lambda runs: runs.later]
    bars = sorted(tuple(segment[:, 0]) for bar in main.containers for segment in bar.lines[2][0].get_segments())
    np.testing.assert_allclose(bars, sorted(zip(later.low, later.high, strict=True)))
    assert set(later.accounting) == {"stated"}
    swept = vits[~vits.later]
    band = next(cloud for cloud in main.collections if cloud.get_hatch())
    corners = band.get_paths()[0].vertices
    for share in (0.2, 0.5, 0.8):
        low, high = np.log(main.get_xlim())
        budgets = corners[:, 0]
        budget = budgets[np.abs(np.log(budgets) - (low + share * (high - low))).argmin()]
        ends = corners[budgets == budget, 1]
        error = swept.error.to_numpy(float)
        expected = [best_within(np.array([budget]), swept[end].to_numpy(float), error)[0] for end in ("high", "low")]
        assert (ends.max(), ends.min()) == pytest.approx(tuple(expected))


def test_laws_are_the_fitted_and_the_printed_ones_with_their_intervals(
    drawn: Mapping[str, Figure], study: Study
) -> None:
    matched = study.matched
    mid = matched.ratio.mid
    nfnet, low, high, vit, vit_low, vit_high, printed = (
        line for line in drawn["nfnet_vs_vit"].axes[0].lines if line.is_dashed()
    )
    np.testing.assert_allclose(nfnet.get_ydata(), matched.nfnet_law().predict(nfnet.get_xdata()))
    np.testing.assert_allclose([low.get_ydata(), high.get_ydata()], matched.nfnet_law().band(nfnet.get_xdata()))
    at = vit.get_xdata() / mid
    np.testing.assert_allclose(vit.get_ydata(), matched.vit_law().predict(at))
    np.testing.assert_allclose([vit_low.get_ydata(), vit_high.get_ydata()], matched.vit_law().band(at))
    np.testing.assert_allclose(printed.get_ydata(), matched.printed_law(printed.get_xdata() / mid))
    nfnet, _, _, vit, _, _ = (line for line in drawn["nfnet_vs_vit_flops"].axes[0].lines if line.is_dashed())
    np.testing.assert_allclose(nfnet.get_ydata(), matched.nfnet_law("flops").predict(nfnet.get_xdata()))
    np.testing.assert_allclose(vit.get_ydata(), matched.vit_law("flops").predict(vit.get_xdata()))


def test_headlines_say_who_leads_and_what_is_beyond_noise(drawn: Mapping[str, Figure], study: Study) -> None:
    matched = study.matched
    table = matched.table.set_index("scenario")
    led = table.loc["sweep"]
    expected = " to ".join(f"{int(100 * share + 1e-9)}" for share in (led.share_led.min(), led.share_led.max()))
    assert f"NFNets lead at {expected}% of budgets" in title(drawn["nfnet_vs_vit"])
    beyond = [int(100 * share + 1e-9) for share in (led.share_beyond.min(), led.share_beyond.max())]
    assert f"noise at {beyond[0]} to {beyond[1]}%" in title(drawn["nfnet_vs_vit"])
    assert "best of 261" in subtitle(drawn["nfnet_vs_vit"])
    ratio = matched.ratio
    assert f"{ratio.mid:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]" in subtitle(drawn["nfnet_vs_vit"])
    assert f"lead at {table.share_led['sweep, by FLOPs']:.0%} of budgets" in title(drawn["nfnet_vs_vit_flops"])
    other = matched.table[:1].assign(share_led=0.979, share_beyond=0.5)
    figure = nfnet_vs_vit.draw(matched.nfnet_runs, families.once(matched.vit_runs()), ratio, [], other, 50_000)
    assert "NFNets lead at 97% of budgets, beyond the test set's noise at 50%" in title(figure)


def test_advantage_draws_steps_fits_and_noise(drawn: Mapping[str, Figure], study: Study) -> None:
    matched = study.matched
    panels = drawn["vit_advantage"].axes
    by_name = {scenario.name: scenario for scenario in matched.scenarios}
    for axes, name in zip(panels, ("sweep", "with later results, reported hours"), strict=True):
        steps = next(line for line in axes.lines if line.get_color() == style.HIGHLIGHT)
        budgets = np.asarray(steps.get_xdata(), float)
        found = matched.advantage(by_name[name], "mid", budgets)
        np.testing.assert_allclose(steps.get_ydata(), found.points)
        ends = [matched.advantage(by_name[name], end, budgets).points for end in CONVERSIONS]
        assert axes.get_ylim()[0] < np.nanmin(ends)  # nothing is cut off
        assert axes.get_ylim()[1] > np.nanmax(ends)
        (band,) = (cloud for cloud in axes.collections if cloud.get_gid() == "noise")
        assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(
            INTERVAL * float(difference_error(13.9, 13.9, 50_000))
        )
    dashed, low, high = (line for line in panels[0].lines if line.get_linestyle() in ("--", ":"))
    for line, name in ((dashed, "points"), (low, "low"), (high, "high")):
        np.testing.assert_allclose(line.get_ydata(), getattr(matched.fitted, name))


def test_advantage_headline_follows_the_fit(drawn: Mapping[str, Figure], study: Study) -> None:
    fitted = study.matched.fitted
    assert f"from {fitted.points[0]:.2f} [{fitted.low[0]:.2f}" in title(drawn["vit_advantage"])
    assert f"to {fitted.points[-1]:.2f} [{fitted.low[-1]:.2f}" in title(drawn["vit_advantage"])
    found = {conversion: study.matched.advantage(study.matched.scenarios[0], conversion) for conversion in CONVERSIONS}
    panels = [vit_advantage.Panel("a", found), vit_advantage.Panel("b", found)]
    other = replace(fitted, points=fitted.points + 1, low=fitted.low + 1, high=fitted.high + 1)
    assert f"from {fitted.points[0] + 1:.2f} [" in title(vit_advantage.draw(panels, other, 107_000))


def test_sensitivity_draws_every_branch_on_axes_from_zero(drawn: Mapping[str, Figure], study: Study) -> None:
    share, dearest = drawn["vit_sensitivity"].axes
    tree = study.matched.sensitivity
    np.testing.assert_allclose(sorted(x for x, _ in markers(share)), sorted(100 * tree.share_apart))
    np.testing.assert_allclose(sorted(x for x, _ in markers(dearest)), sorted(tree.points))
    assert share.get_xlim() == (0, 100)
    bars = sorted(tuple(segment[:, 0]) for bar in dearest.containers for segment in bar.lines[2][0].get_segments())
    np.testing.assert_allclose(bars, sorted(zip(tree.low, tree.high, strict=True)))
    left, right = dearest.get_xlim()
    assert left < tree.low.min()
    assert right > tree.high.max()
    rows = [y for _, y in markers(share)]
    assert len(set(rows)) == len(tree)
    assert f"at the dearest in {int((tree.low > 0).sum())} of {len(tree)} choices" in title(drawn["vit_sensitivity"])
    none = vit_sensitivity.draw(tree.assign(low=-1.0, share_apart=0.25))
    assert title(none).startswith("Fitted frontiers differ at 25 to 25% of budgets, at the dearest in 0 of")


def test_inference_draws_each_model_and_says_who_leads(drawn: Mapping[str, Figure], study: Study) -> None:
    main, inset = drawn["inference_cost"].axes
    matched = study.matched
    table = matched.inference
    once = table[~(table.later & (table.model == "ViT-G/14"))]
    np.testing.assert_allclose(markers(inset), sorted(zip(once.gflops, once.error, strict=True)))
    found = matched.inference_advantage(later=True)
    behind = float((found.points < 0).mean())
    assert title(drawn["inference_cost"]) == (
        f"At equal cost of inference NFNets lead at {found.share_led:.0%} of costs and ViTs at {behind:.0%}"
    )
    for family, runs in once[~once.repeated_augmentation].groupby("family"):
        costs, best = frontier(main, str(family)).T
        np.testing.assert_allclose(best, best_within(costs, runs.gflops.to_numpy(), runs.error.to_numpy()))
    worse = replace(found, vit=found.vit + 9)
    assert "NFNets lead at 100% of costs and ViTs at 0%" in title(inference_cost.draw(table, worse))


def test_groups_are_told_apart_without_colour() -> None:
    looks = [*families.GROUPS.values(), families.LATER]
    assert len({look.marker for look in looks}) == len(looks)
    darkness = [sum(np.array(to_rgb(look.colour)) * (0.299, 0.587, 0.114)) for look in families.GROUPS.values()]
    assert (np.diff(darkness) < -0.05).all()
    for model in style.VITS:
        if model.startswith("ViT-"):
            assert families.group_of(model) in families.GROUPS
    assert families.group_of("ViT-G/14") == families.group_of("ViT-g/14")
