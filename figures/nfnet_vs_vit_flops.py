"""NFNets and every Vision Transformer of Zhai et al.'s sweep: ImageNet error against training FLOPs.

Data: ``paper/data/smith2023_figure1.csv``, ``zhai2022_finetune.csv``, ``zhai2022_models.csv`` and
``alabdulmohsin2023_table1.csv``, with the cost of the NFNets computed from the models. Claim: at every budget of FLOPs,
an axis that needs no conversion between devices, the best NFNet has a lower error than the best Vision Transformer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from figures import families, style
from figures.families import Curve
from paper.vits.advantage import FittedAdvantage

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["draw", "from_study"]


@style.companion_style()
def draw(
    nfnets: pd.DataFrame, vits: pd.DataFrame, laws: list[Curve], led: tuple[float, float], fitted: FittedAdvantage
) -> Figure:
    """Draws both families, the whole range above and where NFNets were trained below.

    Args:
        nfnets: Rows of :attr:`paper.vits.advantage.Matched.nfnet_runs`.
        vits: Rows of :meth:`paper.vits.advantage.Matched.vit_runs`.
        laws: Fitted laws of the error.
        led: Share of the budgets at which NFNets lead the sweep: on FLOPs of pre-training, and with fine-tuning.
        fitted: Difference of the fitted laws.
    """
    figure = Figure(figsize=(7.2, 7.0))
    whole = style.axes_at(figure, 0.6, 4.45, 4.75, 1.75)
    zoom = style.axes_at(figure, 0.6, 0.5, 4.75, 3.4)
    dearest, swept = vits.flops.max(), vits[~vits.later]
    plain = nfnets[~nfnets.repeated_augmentation]

    style.flops_axis(whole, vits.flops.min() / 1.6, dearest * 1.6, label=False)
    whole.set_xlabel("FLOPs", labelpad=1)
    families.error_axis(whole, nfnets.error.min() / 1.06, vits.error.max() * 1.15, [10, 15, 20, 30, 50])
    style.flops_axis(zoom, nfnets.flops.min() / 1.6, dearest * 1.6)
    families.error_axis(zoom, nfnets.error.min() / 1.025, 17.8, [10, 11, 12, 13, 14, 15, 16, 17])
    families.mark_inset(whole, zoom)
    for axes, size in ((whole, 2.6), (zoom, 3.6)):
        budgets = np.geomspace(*axes.get_xlim(), 2000)
        families.draw_frontiers(axes, budgets, (plain.flops, plain.error), (swept.flops, swept.error))
        for law in laws:
            law.draw(axes)
        families.draw_vits(axes, vits, "flops", size=size)
        families.draw_nfnets(axes, nfnets, "flops", size=size + 1)

    families.keys(figure, nfnets, vits, laws, band=False)
    apart = fitted.low > 0
    where = (
        "at every budget"
        if apart.all()
        else f"up to {_text(fitted.budgets[apart].max())} FLOPs"
        if apart.any() and not apart[-1]
        else "at no or few budgets"
    )
    style.headline(
        figure,
        f"By training FLOPs the best NFNet leads at {led[0]:.0%} of budgets, with no conversion",
        f"With the FLOPs of fine-tuning: {led[1]:.0%}. The fitted laws differ by more than their uncertainty {where}. "
        "The frame above is enlarged below.",
    )
    return figure


def _text(flops: float) -> str:
    """A number of FLOPs as mathtext."""
    mantissa, exponent = f"{flops:.1e}".split("e")
    return f"${mantissa}\\times 10^{{{int(exponent)}}}$"


def from_study(study: Study) -> Figure:
    """Both families from the logged results."""
    matched = study.matched
    table = matched.table.set_index("scenario").share_led
    laws = []
    for name, law, family in (
        ("NFNets' law", matched.nfnet_law("flops"), "nfnet"),
        ("ViTs' law", matched.vit_law("flops"), "vit"),
    ):
        at = np.geomspace(law.compute.min(), law.compute.max(), 100)
        laws.append(Curve(name, at, law.predict(at), style.FAMILIES[family].colour, (0, (4, 2))))
    led = (float(table["sweep, by FLOPs"]), float(table["sweep, FLOPs with fine-tuning"]))
    return draw(matched.nfnet_runs, matched.vit_runs(), laws, led, matched.fitted_flops)
