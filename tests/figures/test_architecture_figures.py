"""Figures of the architecture: what is drawn is what was counted, measured or logged, and headlines follow it."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch

from figures import accuracy_latency, agc_at_work, family_cost, signal_propagation, style
from paper.experiments.clipping import CLIPPING, EPS, LEARNING_RATE, clipping
from paper.experiments.propagation import propagation, transitions
from paper.family import family_parts, imagenet_variants
from paper.study import Study


def title(figure: Figure) -> str:
    return figure.texts[0].get_text()


def subtitle(figure: Figure) -> str:
    return figure.texts[1].get_text().replace("\n", " ")


def test_cost_stacks_every_part_of_every_variant(drawn: dict[str, Figure]) -> None:
    parts = family_parts(224)
    heights = family_cost.places(parts)
    assert len(heights) == len(set(heights.values())) == 24
    totals = parts.groupby(["variant", "plus_width"])[["parameters", "macs"]].sum()
    for axes, (quantity, unit) in zip(drawn["family_cost"].axes, (("parameters", 1e6), ("macs", 1e9)), strict=True):
        bars = [part for part in axes.containers if isinstance(part, BarContainer)]
        assert [bar.get_label() for bar in bars] == list(style.PARTS) == parts.part.unique().tolist()
        ends = dict.fromkeys(heights, 0.0)
        for bar in bars:
            rows = parts[parts.part == bar.get_label()]
            for patch, variant, plus_width, count in zip(
                bar, rows.variant, rows.plus_width, rows[quantity], strict=True
            ):
                value = 100 * count / totals.loc[(variant, plus_width), quantity]
                assert patch.get_x() == pytest.approx(ends[variant, plus_width])
                assert patch.get_width() == pytest.approx(value)
                assert patch.get_y() + patch.get_height() / 2 == pytest.approx(heights[variant, plus_width])
                ends[variant, plus_width] += value
        shown = {text.xy[1]: text.get_text() for text in axes.texts if text.get_text()[0].isdigit()}
        assert len(shown) == 24
        assert list(ends.values()) == pytest.approx([100] * 24)
        for (variant, plus_width), height in heights.items():
            total = totals.loc[(variant, plus_width), quantity] / unit
            assert float(shown[height]) == pytest.approx(total, abs=0.51 if quantity == "parameters" else 0.051)
    names = [label.get_text() for label in drawn["family_cost"].axes[0].get_yticklabels()]
    assert names == [variant for variant, _ in heights]


def test_cost_headline_follows_the_parts() -> None:
    parts = family_parts(224)
    share = parts[parts.part == "stage 3"].set_index(["variant", "plus_width"]).macs
    share = 100 * share / parts.groupby(["variant", "plus_width"]).macs.sum()
    figure = family_cost.draw(parts, 224)
    assert title(figure).startswith("Stage 3 takes")
    assert f"{share.min():.0f} to {share.max():.0f}% of the multiply-adds" in title(figure)
    assert "more than half of either in every variant" in subtitle(figure)
    assert "differ in stage 1 alone" in subtitle(figure)
    even = parts.assign(macs=1)
    even.loc[even.variant.eq("F0+") & even.part.eq("stage 2") & even.plus_width.eq("released"), "macs"] = 2
    assert "not more than half" in subtitle(family_cost.draw(even, 224))
    assert "differ in stage 2 alone" in subtitle(family_cost.draw(even, 224))


def test_signal_is_the_measured_one_beside_the_expected(drawn: dict[str, Figure]) -> None:
    signal = propagation()
    one = signal[signal.inputs == "noise"]
    panels = drawn["signal_propagation"].axes
    for axes, measure in zip(panels, ("variance", "square_mean", "branch_variance"), strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        for inputs, look in style.INPUTS.items():
            rows = signal[(signal.inputs == inputs) & signal[measure].notna()]
            assert len(rows) >= len(one) - 1
            np.testing.assert_array_equal(lines[look.label].get_xdata(), rows.block)
            np.testing.assert_array_equal(lines[look.label].get_ydata(), rows[measure])
        shaded = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert [patch.get_x() + 0.5 for patch in shaded] == one.block[one.transition].tolist()
    (steps,) = (patch for patch in panels[0].patches if isinstance(patch, StepPatch))
    np.testing.assert_array_equal(steps.get_data().values, one.expected)
    assert not any(isinstance(artist, PolyCollection) for artist in panels[0].collections)


def test_signal_headline_follows_the_measurement(drawn: dict[str, Figure]) -> None:
    signal = propagation()
    smooth = signal[(signal.inputs == "uniform") & (signal.stage > 0)]  # of blocks, not of what goes in
    ratio = smooth.variance / smooth.expected
    assert f"{ratio.min():.2f} to {ratio.max():.2f} times" in subtitle(drawn["signal_propagation"])
    ends = {inputs: 100 * (rows.variance / rows.expected).iloc[-1] for inputs, rows in signal.groupby("inputs")}
    assert f"ends at {ends['uniform']:.0f}%" in title(drawn["signal_propagation"])
    assert f"at {ends['noise']:.0f}% on noise" in title(drawn["signal_propagation"])
    assert f"ends at {ends['photograph']:.0f}% on the spectrum" in subtitle(drawn["signal_propagation"])
    lost = signal.assign(variance=0.3 * signal.expected)
    assert "ends at 30%" in title(signal_propagation.draw(lost, transitions(lost)))


def test_agc_draws_every_clippable_unit(drawn: dict[str, Figure]) -> None:
    units = clipping().units
    units = units[~units.exempt]
    for axes, step in zip(drawn["agc_at_work"].axes, (units.step.min(), units.step.max()), strict=False):
        mine = units[units.step == step]
        acting = mine[mine.gradient > agc_at_work.GRADIENT_FLOOR]
        assert len(acting) > 100
        markers = [line for line in axes.lines if line.get_linestyle() == "None"]
        found = sorted(tuple(point) for line in markers for point in line.get_xydata())
        strip = axes.get_yticks()[0]
        assert axes.yaxis.get_major_formatter()(strip, 0) == "none"
        assert [point for point in found if point[1] != strip] == sorted(
            zip(np.maximum(acting.norm, EPS), acting.gradient, strict=True)
        )
        assert strip < acting.gradient.min() / 10
        silent = next(line for line in markers if line.get_label() == style.UNITS["branch"].label).get_ydata()
        assert (silent == strip).sum() == len(mine) - len(acting)  # none but residual branches
        (line,) = (line for line in axes.lines if line.get_linestyle() == "-")
        np.testing.assert_allclose(line.get_ydata(), CLIPPING * np.maximum(line.get_xdata(), EPS))
        assert f"Step {step}: {100 * units[units.step == step].clipped.mean():.0f}%" in axes.get_title(loc="left")
        gains = next(line for line in markers if line.get_label() == style.UNITS["skip"].label)
        assert len(gains.get_xdata()) == (mine.parameter == "skip_gain").sum() > 0


def test_agc_headline_and_losses_follow_the_training(drawn: dict[str, Figure]) -> None:
    result = clipping()
    axes = drawn["agc_at_work"].axes[2]
    solid, dashed = axes.lines
    np.testing.assert_array_equal(solid.get_ydata(), result.losses.with_clipping)
    assert max(dashed.get_ydata()) == axes.get_ylim()[1]  # up to where it leaves
    leaves = result.losses.step[result.losses.without > 2 * result.losses.with_clipping[0]].min()
    expected = f"At a learning rate of {LEARNING_RATE:g} training diverges from step {leaves} without clipping"
    assert title(drawn["agc_at_work"]).startswith(expected)
    calm = replace(result, losses=result.losses.assign(without=result.losses.with_clipping))
    figure = agc_at_work.draw(calm.units, calm.losses, CLIPPING, EPS, 0.1)
    assert title(figure) == "At a learning rate of 0.1 training is stable with clipping and without"
    np.testing.assert_array_equal(figure.axes[2].lines[1].get_ydata(), result.losses.with_clipping)


def test_every_unit_belongs_to_a_part() -> None:
    units = clipping().units
    part = agc_at_work.part_of(units)
    assert set(part) == set(style.UNITS)
    assert (part[units.parameter == "skip_gain"] == "skip").all()
    assert set(units.module[part == "head"]) == {"NFNet/~/final_conv", "NFNet/~/linear"}
    assert all("squeeze_excite" in m or "/conv" in m for m in units.module[part == "branch"])


def test_accuracy_draws_every_row_of_the_table(drawn: dict[str, Figure], study: Study) -> None:
    runs = study.results.nfnet_imagenet
    for axes, column in zip(drawn["accuracy_latency"].axes, ("tpu_v3_train_ms", "v100_train_ms"), strict=True):
        known = runs[runs[column].notna()]
        markers = [line for line in axes.lines if line.get_linestyle() == "None"]
        found = sorted(tuple(point) for line in markers for point in line.get_xydata())
        assert found == sorted(zip(known[column], known.imagenet_top1_percent, strict=True))
        hollow = next(line for line in markers if line.get_markerfacecolor() == "white")
        assert len(hollow.get_xdata()) == known.model.str.contains("SAM").sum()
        names = known.model.str.removeprefix("NFNet-").str.removesuffix(" + SAM")
        assert [text.get_text() for text in axes.texts] == names.tolist()


def test_accuracy_headline_follows_the_table(study: Study) -> None:
    runs = imagenet_variants(study.results.nfnet_imagenet)
    figure = accuracy_latency.draw(runs)
    assert title(figure) == "F0 to F5: 2.4 points of accuracy for training steps 19 times as long"
    runs.loc[2, "imagenet_top1_percent"] = 84.0
    assert title(accuracy_latency.draw(runs)).startswith("Not every slower")
