"""NFNets and every Vision Transformer of Zhai et al.'s sweep: ImageNet error against TPU-v4 core hours.

Data: ``paper/data/smith2023_figure1.csv``, ``smith2023_figure1_vit.csv``, ``zhai2022_finetune.csv``,
``zhai2022_laws.csv`` and ``alabdulmohsin2023_table1.csv``. Claim: at nearly every budget the best NFNet has a lower
error than the best Vision Transformer of the whole sweep, and at most budgets by more than the test set's noise.
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
    nfnets: pd.DataFrame, vits: pd.DataFrame, ratio: Conversion, laws: list[Curve], led: pd.DataFrame, images: int
) -> Figure:
    """Draws both families where NFNets were trained, with the whole range as an inset.

    Args:
        nfnets: Rows of :attr:`paper.vits.advantage.Matched.nfnet_runs`.
        vits: Rows of :meth:`paper.vits.advantage.Matched.vit_runs`, each later result in one accounting.
        ratio: TPU-v4 hours per TPU-v3 hour of the sweep.
        laws: Fitted and printed laws of the error.
        led: ``share_led`` and ``share_beyond`` of the budgets against the sweep, by conversion.
        images: Images of the test set.
    """
    figure = Figure(figsize=(7.2, 6.3))
    main = style.axes_at(figure, 0.6, 1.15, 6.4, 4.2)
    dearest, swept = vits.high.max(), vits[~vits.later]
    style.hours_axis(main, nfnets.hours.min() / 1.5, dearest * 1.25)
    families.error_axis(main, min(nfnets.error.min(), vits.error.min()) / 1.045, 17.05, [10, 11, 12, 13, 14, 15, 16])
    inset = families.inset_at(figure, main, 4.95, 3.6, 2.0, 1.6)
    style.hours_axis(inset, vits.mid.min() / 1.6, dearest * 1.6, label=False)
    families.error_axis(inset, nfnets.error.min() / 1.08, vits.error.max() * 1.15, [10, 20, 50], label=False)

    families.draw_both(main, inset, (nfnets, "hours"), (vits, "mid"), swept, images)
    families.draw_laws(main, laws)
    families.name_nfnets(main, nfnets, "hours", families.NFNET_NAMES)
    families.name_vits(main, vits, "mid", families.VIT_NAMES)
    families.key(figure, laws, (0.15, 0.1), band=True)
    style.headline(
        figure,
        f"NFNets lead at {families.share_text(led.share_led)} of budgets, beyond the test "
        f"set's noise at {families.share_text(led.share_beyond)}",
        f"Best NFNet against the best of {len(swept)} Vision Transformers of Zhai et al. within a budget. Their TPU-v3 "
        f"hours count {ratio.mid:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] TPU-v4 hours, the later results as Smith et "
        "al. state. Dotted: 95% of a fitted law. Hollow X: repeated augmentation. Inset: the whole range.",
    )
    return figure


def from_study(study: Study) -> Figure:
    """Both families from the logged results."""
    matched = study.matched
    table = matched.table
    nfnet, vit, mid = matched.nfnet_law(), matched.vit_law(), matched.ratio.mid
    mine = np.geomspace(nfnet.compute.min(), nfnet.compute.max(), 100)
    theirs = np.geomspace(vit.compute.min(), vit.compute.max(), 100)
    hours = sweep(study.results).tpu_v3_core_hours
    everywhere = np.geomspace(vit.compute.min(), hours.max(), 200)
    none = np.empty(0)
    laws = [
        Curve("NFNets' law", mine, nfnet.predict(mine), style.INK, *nfnet.band(mine)),
        Curve("ViTs' law", theirs * mid, vit.predict(theirs), style.HIGHLIGHT, *vit.band(theirs)),
        Curve(
            "Zhai et al.'s printed law", everywhere * mid, matched.printed_law(everywhere), "#0072b2", none, none, "-."
        ),
    ]
    led = table[table.scenario == matched.scenarios[0].name]
    return draw(matched.nfnet_runs, families.once(matched.vit_runs()), matched.ratio, laws, led, matched.images)
