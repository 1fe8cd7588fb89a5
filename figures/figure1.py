"""The paper's Figure 1: ImageNet top-1 error after fine-tuning against pre-training compute.

Data: ``paper/data/smith2023_figure1.csv`` and ``smith2023_figure1_vit.csv``. Claim: the error falls consistently with
compute, and the largest NFNets reach that of Vision Transformers of comparable compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from figures import style

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["X_LIMITS", "Y_LIMITS", "draw", "from_study"]

X_LIMITS = (581, 334_000)
Y_LIMITS = (9.30, 14.29)
"""The frame as the paper draws it."""


@style.paper_style()
def draw(finetuning: pd.DataFrame, vits: pd.DataFrame) -> Figure:
    """Draws Figure 1.

    Args:
        finetuning: ``model``, ``epochs``, ``tpu_v4_core_hours``, ``imagenet_top1_error_percent`` and
            ``repeated_augmentation`` of each NFNet.
        vits: ``model``, ``tpu_v4_core_hours_plotted`` and ``imagenet_top1_error_percent_plotted``.
    """
    figure, axes = style.paper_axes(right=1.85)
    series = finetuning.model.where(~finetuning.repeated_augmentation, finetuning.model + " with RA")
    runs = pd.concat(
        [
            pd.DataFrame(
                {
                    "series": series,
                    "hours": finetuning.tpu_v4_core_hours,
                    "error": finetuning.imagenet_top1_error_percent,
                }
            ).sort_values("hours", kind="stable"),
            pd.DataFrame(
                {
                    "series": vits.model,
                    "hours": vits.tpu_v4_core_hours_plotted,
                    "error": vits.imagenet_top1_error_percent_plotted,
                }
            ),
        ]
    )
    for name, look in style.FIGURE1.items():
        curve = runs[runs.series == name]
        size = 11 if look.marker == "*" else 6
        axes.plot(curve.hours, curve.error, **look.line, markersize=size)
    axes.set_xscale("log")
    ticks = range(10, 15)
    style.number_axis(axes, "y", ticks, [f"{tick}" for tick in ticks])
    axes.set(xlim=X_LIMITS, ylim=Y_LIMITS, xlabel="TPU-v4 core hours", ylabel="ImageNet top-1 error (%)")
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), borderaxespad=0)
    return figure


def from_study(study: Study) -> Figure:
    """Figure 1 from the logged results."""
    return draw(study.results.finetuning, study.results.vits)
