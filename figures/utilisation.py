"""Hardware utilisation that each run's compute implies (derived).

Data: ``paper/data/smith2023_figure2.csv`` and ``hardware.csv``, with the cost of the models themselves. Claim: the
plotted core hours agree with the architectures, since each model's implied utilisation is the same at every epoch
budget; which width the '+' variants had is open, so that both readings are shown. The plain models stand first, then
the '+' variants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["MODELS", "draw", "from_study", "positions"]

MODELS = tuple(sorted(style.COMPANION, key=lambda model: model.endswith("+")))
"""Models from left to right: the plain ones, then the '+' variants."""

_DODGE = 0.8
"""Width that seaborn shares among the points of one category."""


def positions(runs: pd.DataFrame) -> np.ndarray:
    """Where each run stands on the axis of models: within a model, epoch budgets from left to right."""
    budgets = sorted(runs.epochs.unique())
    step = _DODGE / len(budgets)
    offset = runs.epochs.map(budgets.index) * step - (_DODGE - step) / 2
    return np.asarray(runs.model.map(MODELS.index) + offset, dtype=float)


@style.companion_style()
def draw(runs: pd.DataFrame) -> Figure:
    """Draws the utilisation of each run, with what the rounding of its core hours leaves open.

    Args:
        runs: ``model``, ``epochs``, ``tpu_v4_core_hours``, ``hours_half_width`` (the reading uncertainty in the same
            unit), and ``published`` and ``released``: the share of peak under either reading of the '+' variants.
    """
    figure = Figure(figsize=(6.5, 4.45))
    axes = style.axes_at(figure, 0.65, 0.55, 5.65, 2.85)
    differs = ~np.isclose(runs.published, runs.released)
    ends: list[float] = []
    for reading, look in style.READINGS.items():
        rows = runs if reading == "published" else runs[differs]
        rows = rows.assign(percent=100 * rows[reading])
        # Hours enter in the denominator: more hours, less utilisation.
        relative = rows.hours_half_width / rows.tpu_v4_core_hours
        down, up = rows.percent * relative / (1 + relative), rows.percent * relative / (1 - relative)
        ends += [(rows.percent - down).min(), (rows.percent + up).max()]
        axes.errorbar(
            positions(rows) if reading == "published" else positions(runs)[differs],
            rows.percent,
            yerr=[down, up],
            linestyle="",
            color=look.colour,
            elinewidth=0.8,
            zorder=1,
        )
        before = len(axes.collections)
        sns.stripplot(
            data=rows,
            x="model",
            y="percent",
            order=list(MODELS),
            hue="epochs",
            hue_order=sorted(runs.epochs.unique()),
            palette=[look.colour if look.filled else "white"] * runs.epochs.nunique(),
            dodge=True,
            jitter=False,
            marker=look.marker,
            size=4.2,
            edgecolor=look.colour,
            linewidth=0.9,
            legend=False,
            zorder=3,
            ax=axes,
        )
        for points in axes.collections[before:]:
            points.set_gid(reading)

    budgets = sorted(runs.epochs.unique())
    axes.set(
        ylim=(min(ends) - 0.5, max(ends) + 0.5),
        xlabel=f"Model; within each, {budgets[0]:g} to {budgets[-1]:g} epochs from left to right",
        ylabel="Implied utilisation (% of TPU-v4 peak)",
        xlim=(-0.6, len(MODELS) - 0.4),
    )
    axes.tick_params(axis="x", length=0)
    _groups(axes)
    handles = [
        Line2D([], [], **{**look.line, "linestyle": ""}, markeredgewidth=0.9) for look in style.READINGS.values()
    ]
    handles.append(
        Line2D(
            [],
            [],
            linestyle="",
            marker="|",
            markersize=9,
            color=style.INK,
            label="left open by the rounding of core hours",
        )
    )
    axes.legend(handles=handles, loc="upper left")

    constant = sum(_constant(group) for _, group in runs.groupby("model", sort=False))
    models = runs.model.nunique()
    wider = runs.model.str.endswith("+")
    style.headline(
        figure,
        f"One utilisation per model explains the core hours of {constant} of the {models} models",
        "Whatever the epoch budget, it lies inside what the rounding of the plotted core hours leaves open: "
        f"{_range(runs.published[~wider])} of the theoretical bfloat16 peak for the plain models. The '+' variants "
        f"imply {_range(runs.published[wider])} with the published widths and {_range(runs.released[wider])} with "
        "those of the released code. Which of the two was trained, hours alone do not tell.",
    )
    return figure


def _range(shares: pd.Series) -> str:
    return f"{100 * shares.min():.0f} to {100 * shares.max():.0f}%"


def _groups(axes: Axes) -> None:
    """Names both groups of models and draws the line between them."""
    plain = sum(not model.endswith("+") for model in MODELS)
    axes.axvline(plain - 0.5, color=style.BAND, linewidth=0.8, zorder=0)
    for edge, text, side in ((plain - 0.5, "plain", "right"), (plain - 0.5, "'+', wider", "left")):
        axes.annotate(
            text,
            (edge, 0),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if side == "right" else 5, 5),
            textcoords="offset points",
            ha=side,
            color=style.MUTED,
        )


def _constant(runs: pd.DataFrame) -> bool:
    """Whether one utilisation lies inside the interval of each of ``runs``."""
    relative = runs.hours_half_width / runs.tpu_v4_core_hours
    return bool((runs.published / (1 + relative)).max() <= (runs.published / (1 - relative)).min())


def from_study(study: Study) -> Figure:
    """Implied utilisation from the logged results and the models' cost."""
    runs = study.utilisation
    width = study.results.half_width("smith2023-figure2", "tpu_v4_core_hours", runs.tpu_v4_core_hours)
    return draw(runs.assign(hours_half_width=width))
