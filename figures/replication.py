"""Our own small runs beside the paper's findings: loss, learning rates and fine-tuning of NFNets and ViTs.

Data: the logs in ``paper/replication/runs``; what was asked and predicted: ``paper/replication/design.md``. Each run is
the better of its two learning rates. Compute is counted in FLOPs and in core hours (``paper/replication/speeds.csv``).
Claims: those of origin ``replication``, which ask the paper's questions of networks and data that anyone has. While
runs are missing, the figure shows those that have ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from figures import style
from paper.replication.findings import matched
from paper.replication.logs import Replication

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["draw", "from_study"]

_COLUMNS = {"FLOPs": ("flops", "Pre-training compute (FLOPs)"), "core seconds": ("core_hours", "Compute (core hours)")}


@style.companion_style()
def draw(replication: Replication, centres: Mapping[str, float]) -> Figure:
    """Draws the runs that have ended.

    Args:
        replication: The runs.
        centres: First guess of the learning rate of each family.
    """
    figure = Figure(figsize=(7.2, 6.75))
    panels = [style.axes_at(figure, left, bottom, 2.75, 2.2) for bottom in (3.75, 0.75) for left in (0.65, 4.2)]
    tuned = {family: replication.tuned(family) for family in centres}
    every = pd.concat(tuned.values())
    for axes, (column, label) in zip(panels[:2], _COLUMNS.values(), strict=True):
        _losses(axes, every, column, label)
    _rates(panels[2], tuned, centres)
    _fine_tuned(panels[3], replication, every)
    shown = [model for model in style.OWN if model in set(every.model)]
    handles = [Line2D([], [], **style.OWN[model].line, markersize=4.5) for model in shown]
    figure.legend(handles=handles, loc="lower center", ncols=max(1, len(handles)), frameon=False, fontsize=8)
    style.headline(figure, *_message(replication))
    return figure


def _message(replication: Replication) -> tuple[str, str]:
    progress = replication.progress
    ended, planned = int(progress.ended.sum()), int(progress.planned.sum())
    shares = {axis: float((matched(replication, axis).difference < 0).mean()) for axis in replication.axes}
    told = " and ".join(f"{share:.0%} by {axis}" for axis, share in shares.items() if np.isfinite(share))
    lead = f"Of the budgets that both families reach, NFNets have the lower loss at {told}. " if told else ""
    by_stage = progress.groupby("stage", sort=False)[["ended", "planned"]].sum().itertuples()
    counts = ", ".join(f"{row.Index} {row.ended} of {row.planned}" for row in by_stage)
    if ended < planned:
        return (
            f"Our own runs so far: {ended} of {planned} have ended",
            f"{lead}Nothing is decided before all have: {counts}.",
        )
    share = min(shares.values())
    return f"On Tiny-ImageNet NFNets have the lower loss at {share:.0%} of budgets", f"{lead}All {planned} runs ended."


def _losses(axes: Axes, runs: pd.DataFrame, column: str, label: str) -> None:
    """Held-out loss against compute, a curve a model."""
    for model, look in style.OWN.items():
        rows = runs[(runs.model == model) & np.isfinite(runs.loss)].sort_values(column)
        axes.plot(rows[column], rows.loss, **look.line, markersize=4.5, linewidth=1.0)
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="Held-out loss (nats)")
    if len(runs):
        decades = np.log10([runs[column].min() * 0.8, runs[column].max() * 1.25])
        axes.set_xlim(10.0 ** np.floor(decades[0]), 10.0 ** np.ceil(decades[1]))
    low, high = axes.get_ylim()
    ticks = [tick for tick in MaxNLocator(nbins=6, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= tick <= high]
    style.number_axis(axes, "y", ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())


def _rates(axes: Axes, tuned: Mapping[str, pd.DataFrame], centres: Mapping[str, float]) -> None:
    """Best learning rate in steps of the grid below the first guess, against epochs."""
    for family, runs in tuned.items():
        models = list(dict.fromkeys(runs.model))
        for place, model in enumerate(models):
            rows = runs[runs.model == model].sort_values("epochs")
            steps = np.log2(rows.learning_rate / centres[family])
            shift = 0.06 * (place - (len(models) - 1) / 2)  # lines that coincide stay visible
            axes.plot(rows.epochs, steps + shift, **style.OWN[model].line, markersize=4.5, linewidth=1.0)
    axes.set(xlabel="Budget (epochs)", ylabel="Best learning rate (doublings of\nthe first guess; lines set apart)")
    style.number_axis(axes, "x", [0.25, 0.5, 1, 2, 4, 8], ["¼", "½", "1", "2", "4", "8"], base=2)
    axes.set_xlim(0.21, 9.5)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _fine_tuned(axes: Axes, replication: Replication, tuned: pd.DataFrame) -> None:
    """Error after fine-tuning against the compute of pre-training."""
    runs = pd.concat([replication.of("fine-tuning", family) for family in ("nfnets", "vits")])
    runs = runs[runs.variant == "plain"].merge(tuned[["model", "epochs", "flops"]], on=["model", "epochs"])
    for model, look in style.OWN.items():
        rows = runs[runs.model == model].sort_values("flops_y")
        error = 100 * (1 - rows.top1)
        axes.plot(rows.flops_y, error, **look.line, markersize=4.5, linewidth=1.0)
    axes.set(xlabel="Pre-training compute (FLOPs)", ylabel="CIFAR-10 error after\nfine-tuning (%)")
    if runs.empty:
        axes.text(0.5, 0.5, "no run has ended yet", transform=axes.transAxes, ha="center", color=style.MUTED)
        axes.set(xticks=[], yticks=[])
    else:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())


def from_study(study: Study) -> Figure:
    """Our own runs, as far as their logs are committed."""
    from nfnet.studies.sweep import load_study
    from paper.replication.plan import CPU

    return draw(study.replication, {name: load_study(path).learning_rates.centre for name, path in CPU.studies.items()})
