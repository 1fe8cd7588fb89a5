"""Seconds of a training step and of a forward pass: ours, the released code, timm.

Data: ``benchmarks/results/model*.json``, which ``python -m benchmarks.model`` writes. Claims: none; the speed is this
code's, not the paper's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from figures import style
from paper.benchmarks import COMMAND, load_speeds

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["draw", "from_study"]

_MODES = {"train": "Training step", "forward": "Forward pass"}


@style.companion_style()
def draw(speeds: pd.DataFrame) -> Figure:
    """Draws a row of panels for each file, one panel a mode: medians as dots, with their range.

    Args:
        speeds: Of :func:`paper.benchmarks.load_speeds`; may be empty.
    """
    files = list(dict.fromkeys(speeds.file))
    width, height = 6.5, 0.95 + 1.75 * max(len(files), 1)
    figure = Figure(figsize=(width, height))
    for row, file in enumerate(files):
        of_file = speeds[speeds.file == file]
        names = list(dict.fromkeys(of_file.implementation))
        measured = [mode for mode in _MODES if (of_file["mode"] == mode).any()]
        for left, (mode, title) in zip((1.0, 4.0), _MODES.items(), strict=True):
            if mode not in measured:
                continue
            shown = of_file[of_file["mode"] == mode]
            axes = style.axes_at(figure, left, height - 0.95 - 1.75 * row - 1.05, 2.3, 1.05)
            for one in shown.itertuples():
                colour = style.HIGHLIGHT if one.implementation == "ours" else style.INK
                place = names.index(str(one.implementation))
                axes.plot([one.seconds_low, one.seconds_high], [place, place], color=colour, linewidth=1)
                axes.plot([one.seconds], [place], "o", color=colour)
            axes.set_yticks(range(len(names)), names if mode == measured[0] else [""] * len(names))
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.set_xlim(0, float(shown.seconds_high.max()) * 1.1)
            axes.locator_params(axis="x", nbins=4)
            first = of_file.iloc[0]
            how = [first.cpu] * (len(set(speeds.cpu)) > 1) + ["large pages"] * (first.allocator == "hugepages")
            below = f"\n{', '.join(how)}" if how else ""
            axes.set_xlabel(f"{title}, {first.network} at {first.resolution} px{below} (s)")
    ours = speeds[(speeds.implementation == "ours") & speeds.speedup.notna() & (speeds.allocator == "default")]
    words = [
        f"{network}, {_MODES[str(mode)].lower()} {' and '.join(f'{one:.1f}' for one in of_one.speedup)}"
        for (network, mode), of_one in ours.groupby(["network", "mode"], sort=False)
    ]
    style.headline(
        figure,
        "Speed side by side" if files else "No speeds have been recorded",
        "Times the released code's speed: " + "; ".join(words) + "." if words else f"To measure: {COMMAND}.",
    )
    return figure


def from_study(study: Study) -> Figure:
    """What the recorded benchmarks measured; the logged results play no part."""
    return draw(load_speeds())
