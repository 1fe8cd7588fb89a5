"""ImageNet top-1 accuracy of F0 to F6 against the latency of a training step, as Brock et al. 2021 report them.

Data: ``paper/data/brock2021_table3.csv``. Claim: accuracy grows with latency along the family.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style
from paper.family import imagenet_variants

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["draw", "from_study"]

_DEVICES = {"tpu_v3_train_ms": "TPU-v3", "v100_train_ms": "V100"}
_TICKS = (50, 100, 200, 500, 1000, 2000)


@style.companion_style()
def draw(runs: pd.DataFrame) -> Figure:
    """Draws accuracy against latency, one panel a device.

    Args:
        runs: ``variant``, ``sam``, ``imagenet_top1_percent``, ``tpu_v3_train_ms`` and ``v100_train_ms``, which may be
            missing.
    """
    width, height = 6.5, 3.9
    figure = Figure(figsize=(width, height))
    latencies = runs[list(_DEVICES)]
    xlim = (float(latencies.min().min()) / 1.3, float(latencies.max().max()) * 1.6)
    for left, (column, device) in zip((0.65, 3.7), _DEVICES.items(), strict=True):
        axes = style.axes_at(figure, left, 0.55, 2.65, 2.45)
        known = runs[runs[column].notna()]
        plain = known[~known.sam]
        axes.plot(plain[column], plain.imagenet_top1_percent, color=style.INK, linewidth=1, zorder=2)
        for sam, look in style.TRAINED.items():
            rows = known[known.sam == sam]
            axes.plot(rows[column], rows.imagenet_top1_percent, **{**look.line, "linestyle": ""}, zorder=3)
        for variant, sam, x, y in zip(
            known.variant, known.sam, known[column], known.imagenet_top1_percent, strict=True
        ):
            axes.annotate(
                variant,
                (x, y),
                xytext=(-5, 3) if sam else (5, -9),
                textcoords="offset points",
                ha="right" if sam else "left",
                fontsize=7.5,
                color=style.MUTED,
            )
        ticks = [tick for tick in _TICKS if xlim[0] <= tick <= xlim[1]]
        style.number_axis(axes, "x", ticks, [str(tick) for tick in ticks])
        margin = 0.35
        accuracy = runs.imagenet_top1_percent
        axes.set(
            xlim=xlim, ylim=(accuracy.min() - margin, accuracy.max() + margin), xlabel=f"Training step, {device} (ms)"
        )
    first, second = figure.axes
    first.set_ylabel("ImageNet top-1 accuracy (%)")
    second.tick_params(axis="y", labelleft=False)
    handles = [Line2D([], [], **{**look.line, "linestyle": ""}) for look in style.TRAINED.values()]
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.65 / width, 3.08 / height), ncols=2, borderaxespad=0
    )
    plain = runs[~runs.sam]
    first_step, last_step = plain.iloc[0], plain.iloc[-1]
    slower = last_step.tpu_v3_train_ms / first_step.tpu_v3_train_ms
    gain = last_step.imagenet_top1_percent - first_step.imagenet_top1_percent
    monotone = plain.sort_values("tpu_v3_train_ms").imagenet_top1_percent.is_monotonic_increasing
    style.headline(
        figure,
        f"{first_step.variant} to {last_step.variant}: {gain:.1f} points of accuracy for training steps {slower:.0f} "
        "times as long"
        if monotone
        else "Not every slower NFNet is more accurate",
        "Trained on ImageNet alone; models on the line without SAM. The ratio is that of times on TPU-v3.",
    )
    return figure


def from_study(study: Study) -> Figure:
    """Table 3 of Brock et al. 2021."""
    return draw(imagenet_variants(study.results.nfnet_imagenet))
