"""How far apart both families are at matched compute: by single runs and by fitted frontiers.

Data: ``paper/data/smith2023_figure1.csv``, ``smith2023_figure1_vit.csv``, ``zhai2022_finetune.csv`` and
``alabdulmohsin2023_table1.csv``. Claim: the lead of the NFNets shrinks as compute grows; at the largest budgets it lies
within the noise of the test set and the uncertainty of the fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from figures import style
from figures.families import CONVERSION, NOISE
from paper.noise import INTERVAL, difference_error
from paper.vits.advantage import CONVERSIONS, Advantage
from paper.vits.frontiers import FittedAdvantage

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["Panel", "draw", "from_study"]


@dataclass(frozen=True)
class Panel:
    """One choice of Vision Transformers against compute.

    Attributes:
        title: Which.
        advantages: By conversion, over the same budgets.
        fitted: Difference of the fitted frontiers, where it is drawn.
    """

    title: str
    advantages: Mapping[str, Advantage]
    fitted: FittedAdvantage | None = None


@style.companion_style()
def draw(panels: Sequence[Panel], fitted: FittedAdvantage, dearest: float) -> Figure:
    """Draws the advantage against compute.

    Args:
        panels: Two choices of Vision Transformers.
        fitted: Difference of the fitted frontiers, for the headline.
        dearest: TPU-v4 core hours of the dearest NFNet.
    """
    figure = Figure(figsize=(7.2, 4.7))
    ends = [value for panel in panels for found in panel.advantages.values() for value in found.points]
    bottom, top = min(np.nanmin(ends), -0.5) - 0.1, np.nanmax(ends) + 0.2
    for place, panel in enumerate(panels):
        axes = style.axes_at(figure, 0.6 + place * 3.4, 0.95, 3.1, 2.6)
        _advantage(axes, panel, dearest)
        axes.set(ylim=(bottom, top))
        axes.set_title(panel.title, fontsize=8.5, loc="left", pad=4)
        if place == 0:
            axes.set_ylabel("NFNets' lead (% points of error)")
        else:
            axes.tick_params(labelleft=False)
    _key(figure)
    first, last = (f"{fitted.points[i]:.2f} [{fitted.low[i]:.2f}, {fitted.high[i]:.2f}]" for i in (0, -1))
    style.headline(
        figure,
        f"The NFNets' fitted lead falls from {first} to {last} points",
        f"From the cheapest to the dearest NFNet, at {style.thousands(fitted.budgets[0])} and "
        f"{style.thousands(fitted.budgets[-1])} TPU-v4 core hours, with 95% intervals. Grey: differences that the test "
        f"set cannot tell from none. Right: later results at their reported hours. Beyond "
        f"{style.thousands(dearest)} no NFNet was trained; the best stays that of {style.thousands(dearest)}.",
    )
    return figure


def _advantage(axes: Axes, panel: Panel, dearest: float) -> None:
    """Steps with the range of conversions, test-set noise about zero, and the fitted difference."""
    low, mid, high = (panel.advantages[conversion] for conversion in CONVERSIONS)
    noise = INTERVAL * difference_error(mid.nfnet, mid.nfnet, mid.images)
    axes.fill_between(mid.budgets, -noise, noise, color=NOISE, linewidth=0, zorder=0.5, gid="noise")
    ends = np.fmin(low.points, high.points), np.fmax(low.points, high.points)
    axes.fill_between(mid.budgets, *ends, **CONVERSION, zorder=1)
    axes.plot(mid.budgets, mid.points, color=style.HIGHLIGHT, linewidth=1.2, zorder=2)
    if panel.fitted is not None:
        fitted = panel.fitted
        axes.plot(fitted.budgets, fitted.points, color=style.INK, linewidth=1.2, linestyle="--", zorder=3)
        for end in (fitted.low, fitted.high):
            axes.plot(fitted.budgets, end, color=style.INK, linewidth=0.8, linestyle=":", zorder=3)
    axes.axhline(0, color=style.INK, linewidth=0.8, zorder=2.5)
    style.hours_axis(axes, mid.budgets.min() / 1.1, mid.budgets.max() * 1.1, label=False)
    axes.set_xlabel("Budget (TPU-v4 core hours)")
    if mid.budgets.max() > dearest:
        axes.axvline(dearest, color=style.MUTED, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)


def _key(figure: Figure) -> None:
    """The key of the curves below them."""
    width, height = figure.get_size_inches()
    figure.legend(
        handles=[
            Line2D([], [], color=style.HIGHLIGHT, linewidth=1.2, label="best in budget"),
            Patch(**CONVERSION, label="range of conversion"),
            Line2D([], [], color=style.INK, linewidth=1.2, linestyle="--", label="fitted frontiers"),
            Line2D([], [], color=style.INK, linewidth=0.8, linestyle=":", label="95%, runs and conversion"),
            Patch(color=NOISE, linewidth=0, label="not told by the test set (95%)"),
            Line2D([], [], color=style.MUTED, linewidth=0.8, linestyle=(0, (3, 2)), label="dearest NFNet"),
        ],
        loc="lower left",
        bbox_to_anchor=(0.6 / width, 0.1 / height),
        ncols=3,
        borderaxespad=0,
        borderpad=0,
        columnspacing=1.4,
    )


def from_study(study: Study) -> Figure:
    """The advantage from the logged results."""
    matched = study.matched
    by_name = {scenario.name: scenario for scenario in matched.scenarios}
    hours, vits = matched.nfnet_runs.hours, matched.vit_runs()
    panels = []
    for title, name, end, fitted in (
        ("Zhai et al.'s sweep", "sweep", hours.max(), matched.fitted),
        ("and the later results", "with later results, reported hours", vits.high.max(), None),
    ):
        budgets = np.geomspace(hours.min(), end, 1500)
        found = {conversion: matched.advantage(by_name[name], conversion, budgets) for conversion in CONVERSIONS}
        panels.append(Panel(title, found, fitted))
    return draw(panels, matched.fitted, float(hours.max()))
