"""NFNets and every Vision Transformer of Zhai et al.'s sweep: ImageNet error against training FLOPs.

Data: ``paper/data/smith2023_figure1.csv``, ``zhai2022_finetune.csv``, ``zhai2022_models.csv`` and
``alabdulmohsin2023_table1.csv``, with the cost of the NFNets computed from the models. Claim: at every budget of FLOPs,
an axis that needs no conversion between devices, the best NFNet has a lower error than the best Vision Transformer of
the sweep, and at most budgets by more than the test set's noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from figures import families, style
from figures.families import Curve

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["draw", "from_study"]

_VIT_NAMES = {("SoViT-400m/14", 518): (7.0, -2.0)}


@style.companion_style()
def draw(
    nfnets: pd.DataFrame, vits: pd.DataFrame, laws: list[Curve], led: pd.DataFrame, tuned: pd.DataFrame, images: int
) -> Figure:
    """Draws both families where NFNets were trained, with the whole range as an inset.

    Args:
        nfnets: Rows of :attr:`paper.vits.advantage.Matched.nfnet_runs`.
        vits: Rows of :meth:`paper.vits.advantage.Matched.vit_runs`, each later result once.
        laws: Fitted laws of the error.
        led: ``share_led`` and ``share_beyond`` of the budgets against the sweep, on FLOPs of pre-training.
        tuned: The same with the FLOPs of fine-tuning.
        images: Images of the test set.
    """
    figure = Figure(figsize=(7.2, 6.1))
    main = style.axes_at(figure, 0.6, 1.1, 6.4, 4.2)
    dearest, swept = vits.flops.max(), vits[~vits.later]
    style.flops_axis(main, nfnets.flops.min() / 1.7, dearest * 1.5)
    families.error_axis(main, min(nfnets.error.min(), vits.error.min()) / 1.045, 17.05, [10, 11, 12, 13, 14, 15, 16])
    inset = families.inset_at(figure, main, 4.95, 3.55, 2.0, 1.6)
    style.flops_axis(inset, vits.flops.min() / 1.6, dearest * 1.6, label=False)
    families.error_axis(inset, nfnets.error.min() / 1.08, vits.error.max() * 1.15, [10, 20, 50], label=False)

    families.draw_both(main, inset, (nfnets, "flops"), (vits, "flops"), swept, images)
    families.draw_laws(main, laws)
    families.name_nfnets(main, nfnets, "flops", families.NFNET_NAMES)
    families.name_vits(main, vits, "flops", families.VIT_NAMES | _VIT_NAMES)
    families.key(figure, laws, (0.15, 0.1), band=False)
    style.headline(
        figure,
        f"By FLOPs NFNets lead at {families.share_text(led.share_led)} of budgets, beyond the test set's "
        f"noise at {families.share_text(led.share_beyond)}",
        f"Best NFNet against the best of {len(swept)} Vision Transformers of Zhai et al. within a budget; no hours are "
        f"converted. With the FLOPs of fine-tuning {families.share_text(tuned.share_led)} and "
        f"{families.share_text(tuned.share_beyond)}. Dotted: 95% of a fitted law. Hollow X: repeated "
        "augmentation. Inset: the whole range.",
    )
    return figure


def from_study(study: Study) -> Figure:
    """Both families from the logged results."""
    matched = study.matched
    table = matched.table
    laws = []
    for name, law, family in (
        ("NFNets' law", matched.nfnet_law("flops"), "nfnet"),
        ("ViTs' law", matched.vit_law("flops"), "vit"),
    ):
        at = np.geomspace(law.compute.min(), law.compute.max(), 100)
        laws.append(Curve(name, at, law.predict(at), style.FAMILIES[family].colour, *law.band(at)))
    return draw(
        matched.nfnet_runs,
        families.once(matched.vit_runs()),
        laws,
        table[table.scenario == "sweep, by FLOPs"],
        table[table.scenario == "sweep, FLOPs with fine-tuning"],
        matched.images,
    )
