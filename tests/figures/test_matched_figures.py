"""Figures of both families: every run is drawn where the tables say, and the headline follows the data."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import nfnet_vs_vit, nfnet_vs_vit_flops, style, vit_advantage, vit_fewshot
from paper.study import Study
from paper.vits.advantage import CONVERSIONS, best_within
from paper.vits.conversion import sweep


def title(figure: Figure) -> str:
    return figure.texts[0].get_text()


def subtitle(figure: Figure) -> str:
    return figure.texts[1].get_text().replace("\n", " ")


def markers(axes: Axes) -> list[tuple[float, float]]:
    """Data of everything that has markers, but the caps of error bars."""
    lines = [line for line in axes.lines if line.get_marker() not in ("None", "|", None)]
    return sorted((float(x), float(y)) for line in lines for x, y in line.get_xydata())


def frontier(axes: Axes, family: str) -> np.ndarray:
    (line,) = (line for line in axes.lines if line.get_gid() == family)
    return np.asarray(line.get_xydata())


AXES = {"nfnet_vs_vit": ("hours", "mid"), "nfnet_vs_vit_flops": ("flops", "flops")}


@pytest.mark.parametrize("name", AXES)
def test_every_run_is_drawn_at_its_compute_and_error(drawn: dict[str, Figure], study: Study, name: str) -> None:
    whole, zoom = drawn[name].axes
    mine, theirs = AXES[name]
    nfnets, vits = study.matched.nfnet_runs, study.matched.vit_runs()
    expected = sorted([*zip(nfnets[mine], nfnets.error, strict=True), *zip(vits[theirs], vits.error, strict=True)])
    np.testing.assert_allclose(markers(whole), expected)
    assert len(expected) == 26 + 260 + 5
    shown = [point for point in expected if point[0] >= zoom.get_xlim()[0] and point[1] <= zoom.get_ylim()[1]]
    np.testing.assert_allclose(markers(zoom), shown)
    assert min(nfnets[mine]) > zoom.get_xlim()[0]


@pytest.mark.parametrize("name", AXES)
def test_frontiers_are_the_best_within_each_budget(drawn: dict[str, Figure], study: Study, name: str) -> None:
    mine, theirs = AXES[name]
    nfnets, vits = study.matched.nfnet_runs, study.matched.vit_runs()
    nfnets, vits = nfnets[~nfnets.repeated_augmentation], vits[~vits.later]
    for axes in drawn[name].axes:
        for family, at, error in (("nfnet", nfnets[mine], nfnets.error), ("vit", vits[theirs], vits.error)):
            budgets, best = frontier(axes, family).T
            np.testing.assert_allclose(best, best_within(budgets, at.to_numpy(float), error.to_numpy(float)))
            assert budgets[-1] == at.max()
            assert best[-1] == error.min()


def test_band_and_bars_are_the_conversion(drawn: dict[str, Figure], study: Study) -> None:
    zoom = drawn["nfnet_vs_vit"].axes[1]
    vits = study.matched.vit_runs()
    later = vits[vits.later]
    bars = sorted(
        tuple(bar.lines[2][0].get_segments()[n][:, 0])
        for bar in zoom.containers
        for n in range(len(bar.lines[0].get_xdata()))
    )
    np.testing.assert_allclose(bars, sorted(zip(later.low, later.high, strict=True)))
    swept = sweep(study.results)
    corners = zoom.collections[0].get_paths()[0].vertices
    for share in (0.2, 0.5, 0.8):
        low, high = np.log(zoom.get_xlim())
        budgets = corners[:, 0]
        budget = budgets[np.abs(np.log(budgets) - (low + share * (high - low))).argmin()]
        ends = corners[budgets == budget, 1]
        error = swept.imagenet_top1_error_percent.to_numpy(float)
        expected = [best_within(np.array([budget]), swept[end].to_numpy(float), error)[0] for end in ("high", "low")]
        assert (ends.max(), ends.min()) == pytest.approx(tuple(expected))


def test_laws_are_the_fitted_and_the_printed_ones(drawn: dict[str, Figure], study: Study) -> None:
    matched = study.matched
    for axes in drawn["nfnet_vs_vit"].axes:
        nfnet, vit, printed = (line for line in axes.lines if line.get_linestyle() == "--" or line.is_dashed())
        np.testing.assert_allclose(nfnet.get_ydata(), matched.nfnet_law().predict(nfnet.get_xdata()))
        np.testing.assert_allclose(vit.get_ydata(), matched.vit_law().predict(vit.get_xdata() / matched.ratio.mid))
        np.testing.assert_allclose(printed.get_ydata(), matched.printed_law(printed.get_xdata() / matched.ratio.mid))
    for axes in drawn["nfnet_vs_vit_flops"].axes:
        nfnet, vit = (line for line in axes.lines if line.is_dashed())
        np.testing.assert_allclose(nfnet.get_ydata(), matched.nfnet_law("flops").predict(nfnet.get_xdata()))
        np.testing.assert_allclose(vit.get_ydata(), matched.vit_law("flops").predict(vit.get_xdata()))


def test_headlines_say_who_leads_and_how_hours_were_converted(drawn: dict[str, Figure], study: Study) -> None:
    table = study.matched.table.set_index("scenario").share_led
    led = table["Zhai et al.'s sweep"]
    assert f"{100 * led.min():.0f} to {led.max():.0%} of budgets" in title(drawn["nfnet_vs_vit"])
    assert "best of 260" in title(drawn["nfnet_vs_vit"])
    ratio = study.matched.ratio
    assert f"{ratio.mid:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]" in subtitle(drawn["nfnet_vs_vit"])
    assert f"{table['sweep, by FLOPs']:.0%} of budgets" in title(drawn["nfnet_vs_vit_flops"])
    runs = study.matched.nfnet_runs, study.matched.vit_runs()
    assert "at 97% of budgets" in title(nfnet_vs_vit.draw(*runs, ratio, [], (0.97, 0.97)))
    fitted = study.matched.fitted_flops
    apart = replace(fitted, low=np.ones_like(fitted.low))
    assert "at every budget" in subtitle(nfnet_vs_vit_flops.draw(*runs, [], (1.0, 1.0), apart))
    never = replace(fitted, low=-np.ones_like(fitted.low))
    assert "at no or few budgets" in subtitle(nfnet_vs_vit_flops.draw(*runs, [], (1.0, 1.0), never))


def test_advantage_draws_steps_fits_and_where_vits_lead(drawn: dict[str, Figure], study: Study) -> None:
    matched = study.matched
    panels = drawn["vit_advantage"].axes[:4]
    by_name = {scenario.name: scenario for scenario in matched.scenarios}
    for upper, rug, name in ((*panels[:2], "Zhai et al.'s sweep"), (*panels[2:], "with later points")):
        scenario = by_name[name]
        steps = next(line for line in upper.lines if line.get_color() == style.HIGHLIGHT)
        budgets = np.asarray(steps.get_xdata(), float)
        np.testing.assert_allclose(steps.get_ydata(), matched.advantage(scenario, "mid", budgets).points)
        for row, conversion in enumerate(CONVERSIONS):
            bars = [line.get_xdata() for line in rug.lines if line.get_ydata()[0] == row]
            inside = np.zeros(len(budgets), bool)
            for start, end in bars:
                inside |= (budgets > start) & (budgets < end)
            np.testing.assert_array_equal(inside, matched.advantage(scenario, conversion, budgets).points < 0)
    dashed, low, high = (line for line in panels[0].lines if line.get_linestyle() in ("--", ":"))
    for line, name in ((dashed, "points"), (low, "low"), (high, "high")):
        np.testing.assert_allclose(line.get_ydata(), getattr(matched.fitted, name))


def test_advantage_summarises_every_choice(drawn: dict[str, Figure], study: Study) -> None:
    share, least = drawn["vit_advantage"].axes[4:]
    rows = vit_advantage.scenario_rows(study.matched.table)
    table = study.matched.table
    np.testing.assert_allclose(sorted(x for x, _ in markers(share)), sorted(100 * rows.share_led))
    np.testing.assert_allclose(sorted(x for x, _ in markers(least)), sorted(rows.least))
    left_out = table[table.scenario.str.startswith("NFNets without")]
    worst = rows[rows.label == "sweep without one NFNet, worst case"].set_index("conversion")
    for conversion, group in left_out.groupby("conversion"):
        assert worst.share_led[conversion] == group.share_led.min()
        assert worst.least[conversion] == group.least.min()
    assert {text.get_text() for text in share.get_yticklabels()} == set(rows.label)
    floor = np.floor(1000 * table.share_led.min()) / 10
    assert f"{floor:g}% or more" in title(drawn["vit_advantage"])
    assert "ViT-G/14 has the lowest error of all" in subtitle(drawn["vit_advantage"])


def test_advantage_headline_follows_the_data(study: Study) -> None:
    matched = study.matched
    budgets = np.geomspace(700, 100_000, 50)
    found = {conversion: matched.advantage(matched.scenarios[0], conversion, budgets) for conversion in CONVERSIONS}
    panels = [vit_advantage.Panel("a", found), vit_advantage.Panel("b", found)]
    rows = pd.DataFrame(
        {"label": ["x", "y"], "conversion": ["mid", "mid"], "share_led": [0.5, 1.0], "least": [-2.0, 1.0]}
    )
    figure = vit_advantage.draw(panels, rows, 107_000, "F7+")
    assert title(figure) == "NFNets lead at 50% or more of their budgets under every choice tested"
    assert "Least for: x." in subtitle(figure)
    assert "by 2.00 points or less" in subtitle(figure)


def test_fewshot_draws_each_run_in_its_data_sets_panel(drawn: dict[str, Figure], study: Study) -> None:
    runs = study.results.vit_fewshot
    runs = runs.assign(error=100 - runs.imagenet_10shot_percent)
    total = 0
    for axes in drawn["vit_fewshot"].axes:
        dataset = axes.get_title(loc="left").removeprefix("Pre-trained on ")
        mine = runs[runs.pretrain_dataset == dataset]
        lines = [line for line in axes.lines if line.get_marker() not in ("None", ".")]
        found = sorted((float(x), float(y)) for line in lines for x, y in line.get_xydata())
        np.testing.assert_allclose(found, sorted(zip(mine.tpu_v3_core_days_figure2, mine.error, strict=True)))
        total += len(found)
        law = next(line for line in axes.lines if line.get_linestyle() == "--")
        np.testing.assert_allclose(law.get_ydata(), study.matched.printed_law(law.get_xdata() * 24, "10-shot"))
    assert total == 262
    best = runs[runs.model == "ViT-L/16"].groupby("pretrain_dataset").error.min()
    expected = (
        f"ViT-L/16 reaches a few-shot error of {best['JFT-30M']:.0f}% on JFT-30M, of {best['JFT-3B']:.0f}% on JFT-3B"
    )
    assert title(drawn["vit_fewshot"]) == expected
    altered = study.results.vit_fewshot.assign(imagenet_10shot_percent=50.0)
    assert "of 50% on JFT-30M, of 50% on JFT-3B" in title(
        vit_fewshot.draw(altered, np.array([0.1, 1e5]), np.array([90.0, 10.0]))
    )
