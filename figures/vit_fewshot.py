"""Few-shot error of every Vision Transformer of Zhai et al.'s sweep against compute, for context.

Data: ``paper/data/zhai2022_fewshot.csv`` and ``zhai2022_laws.csv``. Claim: none about NFNets, whose few-shot accuracy
nobody published; the sweep's frontier follows the printed law, and small data sets hold models back from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import families, style
from paper.vits.conversion import HOURS_A_DAY

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["draw", "from_study"]


@style.companion_style()
def draw(runs: pd.DataFrame, days: Float[np.ndarray, " m"], law: Float[np.ndarray, " m"]) -> Figure:
    """Draws few-shot error against compute, a panel a data set.

    Args:
        runs: ``model``, ``pretrain_dataset``, ``pretrain_dataset_images``, ``imagenet_10shot_percent`` (accuracy) and
            ``tpu_v3_core_days_figure2`` of each run.
        days: TPU-v3 core days at which the printed law is drawn.
        law: The printed law's error there, in percent.
    """
    figure = Figure(figsize=(7.2, 5.6))
    runs = runs.assign(error=100 - runs.imagenet_10shot_percent)
    sizes = runs.groupby("pretrain_dataset").pretrain_dataset_images.first().sort_values()
    low, high = runs.tpu_v3_core_days_figure2.min() / 2, runs.tpu_v3_core_days_figure2.max() * 2
    for place, dataset in enumerate(sizes.index):
        row, column = divmod(place, 2)
        axes = style.axes_at(figure, 0.6 + 2.45 * column, 2.75 - 2.25 * row, 2.3, 1.85)
        axes.plot(days, law, color=style.INK, linewidth=1.0, linestyle="--", zorder=2)
        others = runs[runs.pretrain_dataset != dataset]
        axes.plot(
            others.tpu_v3_core_days_figure2,
            others.error,
            linestyle="",
            marker=".",
            markersize=2,
            color=style.BAND,
            zorder=1,
        )
        for model, look in style.VITS.items():
            mine = runs[(runs.pretrain_dataset == dataset) & (runs.model == model)]
            axes.plot(
                mine.tpu_v3_core_days_figure2,
                mine.error,
                linestyle="",
                color=look.colour,
                marker=look.marker,
                markersize=5.5 if look.marker == "*" else 3.4,
                markerfacecolor="white",
                markeredgewidth=0.7,
                zorder=3,
            )
        axes.set_xscale("log")
        axes.set(xlim=(low, high))
        ticks = [15, 20, 30, 40, 60, 80]
        style.number_axis(axes, "y", ticks, [f"{tick}" for tick in ticks])
        axes.set(ylim=(runs.error.min() / 1.12, runs.error.max() * 1.12))
        axes.set_title(f"Pre-trained on {dataset}", fontsize=8, loc="left", pad=3)
        if column == 0:
            axes.set_ylabel("10-shot error (%)")
        else:
            axes.tick_params(labelleft=False)
        if row == 1:
            axes.set_xlabel("Compute (TPU-v3 core days)")
        else:
            axes.tick_params(labelbottom=False)
    _keys(figure, [model for model in style.VITS if model in set(runs.model)])

    everywhere = runs.groupby("model").pretrain_dataset.nunique() == len(sizes)
    largest = [model for model in style.VITS if everywhere.get(model, False)][-1]
    reached = runs[runs.model == largest].groupby("pretrain_dataset").error.min()
    first, last = sizes.index[0], sizes.index[-1]
    best = runs.sort_values("error").iloc[0]
    style.headline(
        figure,
        f"{largest} reaches a few-shot error of {reached[first]:.0f}% on {first}, of {reached[last]:.0f}% on {last}",
        f"ImageNet with ten images a class, {len(runs)} Vision Transformers of Zhai et al.; the lowest error is "
        f"{best.error:.1f}% ({best.model}). For NFNets no few-shot accuracy was published: context only.",
    )
    return figure


def _keys(figure: Figure, models: list[str]) -> None:
    width, height = figure.get_size_inches()
    handles = families.model_handles(models)
    handles.append(Line2D([], [], color=style.INK, linewidth=1.0, linestyle="--", label="printed law"))
    handles.append(Line2D([], [], color=style.BAND, marker=".", linestyle="", label="other data sets"))
    figure.legend(
        handles=handles,
        title="Zhai et al. 2022",
        loc="upper left",
        bbox_to_anchor=(5.55 / width, 4.6 / height),
        borderaxespad=0,
        borderpad=0,
        alignment="left",
    )


def from_study(study: Study) -> Figure:
    """Few-shot error from the logged results."""
    runs = study.results.vit_fewshot
    days = np.geomspace(runs.tpu_v3_core_days_figure2.min(), runs.tpu_v3_core_days_figure2.max(), 200)
    return draw(runs, days, study.matched.printed_law(days * HOURS_A_DAY, "10-shot"))
