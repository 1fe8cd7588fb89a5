"""What an evaluated image costs: ImageNet error against operations of a forward pass, for both families.

Data: ``paper/data/smith2023_figure1.csv``, ``smith2023_figure1_vit.csv``, ``zhai2022_finetune.csv``,
``zhai2022_models.csv`` and ``alabdulmohsin2023_table1.csv``, with the cost of the NFNets computed from the models.
Claim: between the cheapest and the dearest NFNet neither family leads at nearly every cost of inference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from figures import families, style
from paper.vits.advantage import Advantage

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["draw", "from_study"]

_NFNET_NAMES = {"F1": (-6.0, -6.0), "F3": (-6.0, -6.0), "F3+": (-5.0, -7.0), "F7": (6.0, 6.0), "F7+": (-6.0, 0.0)}
_VIT_NAMES = {
    ("ViT-B/16", 384): (-6.0, -6.0),
    ("ViT-L/16", 384): (0.0, 9.0),
    ("ViT-g/14", 518): (8.0, 0.0),
    ("ViT-G/14", 518): (0.0, -11.0),
    ("SoViT-400m/14", 224): (-5.0, -9.0),
    ("SoViT-400m/14", 384): (8.0, 6.0),
    ("SoViT-400m/14", 518): (5.0, 8.0),
}


@style.companion_style()
def draw(table: pd.DataFrame, found: Advantage) -> Figure:
    """Draws both families around the NFNets' costs, with the whole range as an inset.

    Args:
        table: Of :func:`paper.vits.inference.evaluated`.
        found: Both families within each cost, the later results included.
    """
    nfnets, vits = (table[table.family == family] for family in ("nfnet", "vit"))
    vits = vits[~vits.later | ~vits.duplicated(["model", "resolution", "error"])]
    figure = Figure(figsize=(7.2, 5.75))
    main = style.axes_at(figure, 0.6, 1.0, 6.4, 3.8)
    style.number_axis(main, "x", [100, 200, 500, 1000, 2000, 5000], ["100", "200", "500", "1000", "2000", "5000"])
    main.set_xlim(nfnets.gflops.min() / 1.9, vits.gflops.max() * 1.5)
    main.set_xlabel("Operations of a forward pass at the resolution of evaluation (GFLOPs an image)")
    families.error_axis(main, min(nfnets.error.min(), vits.error.min()) / 1.045, 13.9, [10, 11, 12, 13])
    inset = families.inset_at(figure, main, 4.25, 3.1, 2.6, 1.6)
    style.number_axis(inset, "x", [1, 10, 100, 1000, 10000], ["1", "10", "100", "1000", "10000"])
    inset.set_xlim(vits.gflops.min() / 1.6, vits.gflops.max() * 1.8)
    families.error_axis(inset, nfnets.error.min() / 1.08, vits.error.max() * 1.15, [10, 20, 30], label=False)
    families.draw_both(main, inset, (nfnets, "gflops"), (vits, "gflops"), vits, found.images, (4.5, 5.0))
    families.name_nfnets(main, nfnets, "gflops", _NFNET_NAMES)
    families.name_vits(main, vits, "gflops", _VIT_NAMES)
    families.key(figure, [], (0.15, 0.12), band=False, within="at that cost")
    behind = float((found.points < 0).mean())
    style.headline(
        figure,
        f"At equal cost of inference NFNets lead at {found.share_led:.0%} of costs and ViTs at {behind:.0%}",
        f"From the cheapest to the dearest NFNet, {found.budgets[0]:,.0f} to {found.budgets[-1]:,.0f} GFLOPs an image, "
        f"whatever they cost to train. Beyond the noise of the test set: NFNets {found.share_beyond:.0%}, Vision "
        f"Transformers {found.share_behind:.0%}. Below, there are only Vision Transformers. NFNets at "
        f"{nfnets.resolution.iloc[0]} px. Hollow X: repeated augmentation. Inset: the whole range.",
    )
    return figure


def from_study(study: Study) -> Figure:
    """Both families from the logged results."""
    return draw(study.matched.inference, study.matched.inference_advantage(later=True))
