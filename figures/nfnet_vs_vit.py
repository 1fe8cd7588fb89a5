"""NFNets and every Vision Transformer of Zhai et al.'s sweep: ImageNet error against TPU-v4 core hours.

Data: ``paper/data/smith2023_figure1.csv``, ``smith2023_figure1_vit.csv``, ``zhai2022_finetune.csv``,
``zhai2022_laws.csv`` and ``alabdulmohsin2023_compute.csv``. Claim: at matched compute the best NFNet has a lower error
than the best Vision Transformer of the whole sweep at nearly every budget, whatever the conversion from TPU-v3 hours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from figures import families, style
from figures.families import Curve
from paper.vits.conversion import Conversion, sweep

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["draw", "from_study"]


@style.companion_style()
def draw(
    nfnets: pd.DataFrame, vits: pd.DataFrame, ratio: Conversion, laws: list[Curve], led: tuple[float, float]
) -> Figure:
    """Draws both families, the whole range above and where NFNets were trained below.

    Args:
        nfnets: Rows of :attr:`paper.vits.advantage.Matched.nfnet_runs`.
        vits: Rows of :meth:`paper.vits.advantage.Matched.vit_runs`.
        ratio: TPU-v4 hours per TPU-v3 hour.
        laws: Fitted and printed laws of the error.
        led: Least and largest share of the budgets at which NFNets lead the sweep, over the conversions.
    """
    figure = Figure(figsize=(7.2, 7.0))
    whole = style.axes_at(figure, 0.6, 4.45, 4.75, 1.75)
    zoom = style.axes_at(figure, 0.6, 0.5, 4.75, 3.4)
    dearest, swept = vits.high.max(), vits[~vits.later]

    style.hours_axis(whole, vits.mid.min() / 1.6, dearest * 1.4, label=False)
    whole.set_xlabel("TPU-v4 core hours", labelpad=1)
    families.error_axis(whole, nfnets.error.min() / 1.06, vits.error.max() * 1.15, [10, 15, 20, 30, 50])
    style.hours_axis(zoom, nfnets.hours.min() / 1.5, dearest * 1.25)
    families.error_axis(zoom, nfnets.error.min() / 1.025, 17.8, [10, 11, 12, 13, 14, 15, 16, 17])
    families.mark_inset(whole, zoom)

    for axes, size in ((whole, 2.6), (zoom, 3.6)):
        low, high = axes.get_xlim()
        families.draw_frontiers(
            axes,
            np.geomspace(low, high, 2000),
            (nfnets.hours[~nfnets.repeated_augmentation], nfnets.error[~nfnets.repeated_augmentation]),
            (swept.mid, swept.error),
            (swept.low, swept.high),
        )
        for law in laws:
            law.draw(axes)
        families.draw_vits(axes, vits, "mid", size=size)
        families.draw_nfnets(axes, nfnets, "hours", size=size + 1)

    families.keys(figure, nfnets, vits, laws, band=True)
    share = f"{led[0]:.0%}" if round(led[0], 2) == round(led[1], 2) else f"{100 * led[0]:.0f} to {led[1]:.0%}"
    style.headline(
        figure,
        f"The best NFNet leads the best of {len(swept)} Vision Transformers at {share} of budgets",
        f"TPU-v3 hours count {ratio.mid:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] TPU-v4 hours: the band and the "
        "horizontal bars. The frame above is enlarged below.",
    )
    return figure


def from_study(study: Study) -> Figure:
    """Both families from the logged results."""
    matched = study.matched
    table = matched.table
    led = table.share_led[table.scenario == matched.scenarios[0].name]
    nfnet, vit = matched.nfnet_law(), matched.vit_law()
    mine = np.geomspace(nfnet.compute.min(), nfnet.compute.max(), 100)
    theirs = np.geomspace(vit.compute.min(), vit.compute.max(), 100)
    hours = sweep(study.results).tpu_v3_core_hours
    everywhere = np.geomspace(hours.min(), hours.max(), 200)
    laws = [
        Curve("NFNets' law", mine, nfnet.predict(mine), style.INK, (0, (4, 2))),
        Curve("ViTs' law", theirs * matched.ratio.mid, vit.predict(theirs), style.HIGHLIGHT, (0, (4, 2))),
        Curve(
            "Zhai et al.'s\nprinted law",
            everywhere * matched.ratio.mid,
            matched.printed_law(everywhere),
            "#0072b2",
            (0, (1, 1.2)),
        ),
    ]
    return draw(matched.nfnet_runs, matched.vit_runs(), matched.ratio, laws, (float(led.min()), float(led.max())))
