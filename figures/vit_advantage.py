"""Who leads at matched compute, by how much, and under which choices of runs and conversion.

Data: ``paper/data/smith2023_figure1.csv``, ``smith2023_figure1_vit.csv``, ``zhai2022_finetune.csv`` and
``alabdulmohsin2023_table1.csv``. Claim: NFNets lead the whole sweep of Vision Transformers at nearly every budget; with
the later, better tuned models the answer at the largest budgets hangs on the conversion of hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from figures import style
from paper.vits.advantage import CONVERSIONS, Advantage, FittedAdvantage

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["Panel", "draw", "from_study", "scenario_rows"]

_LOOKS = {
    "low": ("<", "white", "low: favours Vision Transformers"),
    "mid": ("o", style.INK, "mid"),
    "high": (">", "white", "high: favours NFNets"),
    "": ("D", style.HIGHLIGHT, "by FLOPs, no conversion"),
}


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


def scenario_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of :attr:`paper.vits.advantage.Matched.table`, those that leave a model out joined to the worst of them.

    Returns:
        ``label``, ``conversion``, ``share_led`` and ``least``.
    """
    label = table.scenario.str.replace(r"^sweep without .*", "sweep without one ViT, worst case", regex=True)
    label = label.str.replace(r"^NFNets without .*", "sweep without one NFNet, worst case", regex=True)
    rows = table.assign(label=label).groupby(["label", "conversion"], sort=False)[["share_led", "least"]].min()
    return rows.reset_index()


@style.companion_style()
def draw(panels: Sequence[Panel], rows: pd.DataFrame, dearest: float, best: str) -> Figure:
    """Draws the advantage against compute over its summary under every choice.

    Args:
        panels: Two choices of Vision Transformers.
        rows: Of :func:`scenario_rows`.
        dearest: TPU-v4 core hours of the dearest NFNet.
        best: Model with the lowest error of both families.
    """
    figure = Figure(figsize=(7.2, 7.6))
    ends = [value for panel in panels for found in panel.advantages.values() for value in found.points]
    bottom, top = np.nanmin(ends) - 0.2, np.nanmax(ends) + 0.2
    for place, panel in enumerate(panels):
        left = 0.65 + place * 3.45
        upper = style.axes_at(figure, left, 4.65, 3.0, 1.75)
        rug = style.axes_at(figure, left, 4.07, 3.0, 0.36)
        _advantage(upper, panel, dearest)
        _where_vits_lead(rug, panel, dearest)
        upper.set(ylim=(bottom, top))
        upper.set_title(panel.title, fontsize=8.5, loc="left", pad=4)
        if place == 0:
            upper.set_ylabel("NFNets' advantage (% points)")
            rug.set_ylabel("ViT\nleads", rotation=0, ha="right", va="center", fontsize=7.5, labelpad=2)
        else:
            upper.tick_params(labelleft=False)
    labels = list(dict.fromkeys(rows.label))
    share = style.axes_at(figure, 2.65, 0.5, 2.0, 2.75)
    least = style.axes_at(figure, 4.95, 0.5, 2.0, 2.75)
    _dots(share, rows, 100 * rows.share_led, labels)
    _dots(least, rows, rows.least, labels)
    share.set_yticks(range(len(labels)), labels, fontsize=7.5)
    share.set_xlabel("Budgets at which they lead (%)")
    least.set_xlabel("Least advantage (% points)")
    least.tick_params(labelleft=False)
    least.axvline(0, color=style.MUTED, linewidth=0.8, zorder=1)
    _keys(figure)

    worst = rows.sort_values("share_led").iloc[0]
    share_led = f"{np.floor(1000 * worst.share_led) / 10:g}%"
    style.headline(
        figure,
        f"NFNets lead at {share_led} or more of their budgets under every choice tested",
        f"Least for: {worst.label}. Where a Vision Transformer is ahead, it is by {max(0.0, -rows.least.min()):.2f} "
        f"points or less, up to the dearest NFNet's {style.thousands(dearest)} TPU-v4 core hours. Grey: no NFNet was "
        f"trained there; {best} has the lowest error of all.",
    )
    return figure


def _advantage(axes: Axes, panel: Panel, dearest: float) -> None:
    """Steps with the range of conversions, and the fitted difference."""
    low, mid, high = (panel.advantages[conversion] for conversion in CONVERSIONS)
    axes.fill_between(mid.budgets, low.points, high.points, color=style.VIT_BAND, linewidth=0, zorder=1)
    axes.plot(mid.budgets, mid.points, color=style.HIGHLIGHT, linewidth=1.2, zorder=2)
    if panel.fitted is not None:
        fitted = panel.fitted
        axes.plot(fitted.budgets, fitted.points, color=style.INK, linewidth=1.2, linestyle="--", zorder=3)
        for end in (fitted.low, fitted.high):
            axes.plot(fitted.budgets, end, color=style.INK, linewidth=0.8, linestyle=":", zorder=3)
    axes.axhline(0, color=style.INK, linewidth=0.8, zorder=2.5)
    _shared(axes, mid.budgets, dearest, label=False)
    axes.tick_params(labelbottom=False)


def _where_vits_lead(axes: Axes, panel: Panel, dearest: float) -> None:
    """A row a conversion with a bar wherever a Vision Transformer is ahead."""
    for row, conversion in enumerate(CONVERSIONS):
        found = panel.advantages[conversion]
        step = np.sqrt(found.budgets[1] / found.budgets[0])
        for start, end in found.vit_leads:
            axes.plot(
                [start / step, end * step],
                [row, row],
                color=style.HIGHLIGHT,
                linewidth=3,
                solid_capstyle="butt",
                zorder=3,
            )
    _shared(axes, panel.advantages["mid"].budgets, dearest, label=True)
    axes.set(yticks=range(len(CONVERSIONS)), yticklabels=CONVERSIONS, ylim=(len(CONVERSIONS) - 0.4, -0.6))
    axes.tick_params(axis="y", length=0, labelsize=6, pad=2)


def _shared(axes: Axes, budgets: np.ndarray, dearest: float, *, label: bool) -> None:
    style.hours_axis(axes, budgets.min() / 1.1, budgets.max(), label=label)
    if label:
        axes.set_xlabel("Budget (TPU-v4 core hours)")
    if budgets.max() > dearest:
        axes.axvspan(dearest, budgets.max(), color="#ececec", linewidth=0, zorder=0)


def _dots(axes: Axes, rows: pd.DataFrame, values: pd.Series, labels: Sequence[str]) -> None:
    """A row a choice, from the top; conversions one below another, so that none hides another."""
    offset = {"low": -0.29, "mid": 0.0, "high": 0.29, "": 0.0}
    places = rows.label.map(list(labels).index) + rows.conversion.map(offset)
    for conversion, (marker, face, _) in _LOOKS.items():
        mine = rows.conversion == conversion
        kind: dict[str, Any] = {"color": style.HIGHLIGHT if conversion == "" else style.INK, "markerfacecolor": face}
        axes.plot(
            values[mine],
            places[mine],
            linestyle="",
            marker=marker,
            markersize=3.2,
            markeredgewidth=0.7,
            zorder=3,
            **kind,
        )
    for row in range(len(labels)):
        axes.axhline(row, color=style.BAND, linewidth=0.4, zorder=0)
    span = values.max() - values.min()
    axes.set(ylim=(len(labels) - 0.4, -0.6), xlim=(values.min() - 0.06 * span, values.max() + 0.06 * span))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _keys(figure: Figure) -> None:
    """The key of the curves above them, and that of the dots above them."""
    width, height = figure.get_size_inches()
    curves = [
        Line2D([], [], color=style.HIGHLIGHT, linewidth=1.2, label="best in budget"),
        Patch(color=style.VIT_BAND, linewidth=0, label="range of conversion"),
        Line2D([], [], color=style.INK, linewidth=1.2, linestyle="--", label="fitted frontiers"),
        Line2D([], [], color=style.INK, linewidth=0.8, linestyle=":", label="95%, runs and conversion"),
    ]
    dots = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=marker,
            markersize=4,
            color=style.INK if conversion else style.HIGHLIGHT,
            markerfacecolor=face,
            label=label,
        )
        for conversion, (marker, face, label) in _LOOKS.items()
    ]
    for handles, y in ((curves, 6.7), (dots, 3.32)):
        figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.12 / width, y / height),
            ncols=4,
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
        ("Zhai et al.'s sweep", "Zhai et al.'s sweep", hours.max(), matched.fitted),
        ("and the later Vision Transformers", "with later points", vits.high.max(), None),
    ):
        budgets = np.geomspace(hours.min(), end, 1500)
        found = {conversion: matched.advantage(by_name[name], conversion, budgets) for conversion in CONVERSIONS}
        panels.append(Panel(title, found, fitted))
    everything = pd.concat([matched.nfnet_runs, vits], ignore_index=True).sort_values("error")
    return draw(panels, scenario_rows(matched.table), float(hours.max()), str(everything.model.iloc[0]))
