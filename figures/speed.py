"""How many times as fast as the released code ours and timm are, a row a machine.

Data: ``benchmarks/results/model*.json``, which ``python -m benchmarks.model`` writes. Claims: none; the speed is this
code's, not the paper's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style
from paper.benchmarks import COMMAND, load_speeds

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["draw", "from_study"]

BASE, OURS = "released", "ours"

_MODES = {"train": ("training step", "training"), "forward": ("forward pass", "inference")}
_TICKS = (0.25, 0.5, 1, 2, 4, 8, 16)


@style.companion_style()
def draw(speeds: pd.DataFrame) -> Figure:
    """Draws medians of the speed-up over the released code with their range, a panel a mode.

    Args:
        speeds: Of :func:`paper.benchmarks.load_speeds`; may be empty. Files in which the released code was not
            measured are left out, since there is nothing to compare with.
    """
    shown = speeds[speeds.speedup.notna() & (speeds.implementation != BASE)]
    files = shown.drop_duplicates("file").sort_values(["cpu", "network", "allocator"], kind="stable")
    width, tall = 7.2, 0.62 * max(len(files), 1)
    height = tall + 1.75
    figure = Figure(figsize=(width, height))
    if len(files):
        for left, mode in zip((1.75, 4.6), _MODES, strict=True):
            axes = style.axes_at(figure, left, 0.5, 2.45, tall)
            _panel(axes, shown[shown["mode"] == mode], files.file.tolist())
            axes.set_xlabel(f"Speed-up of a {_MODES[mode][0]} (times)")
            lowest, highest = shown.speedup_low.min() / 1.15, shown.speedup_high.max() * 1.15
            ticks = [tick for tick in _TICKS if lowest <= tick <= highest]
            style.number_axis(axes, "x", ticks, [f"{tick:g}" for tick in ticks])
            axes.set_xlim(lowest, highest)
        figure.axes[0].set_yticks(range(len(files)), [_row_name(row) for _, row in files.iterrows()])
        figure.axes[1].set_yticks(range(len(files)), [""] * len(files))
        handles = [
            Line2D([], [], **{**_look(name).line, "linestyle": ""}) for name in dict.fromkeys(shown.implementation)
        ]
        handles.append(Line2D([], [], color=style.MUTED, linewidth=0.9, linestyle=":", label="the released code"))
        figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(1.75 / width, (tall + 0.62) / height),
            ncols=len(handles),
            borderaxespad=0,
        )
    style.headline(figure, *_words(shown))
    return figure


def _panel(axes: Axes, speeds: pd.DataFrame, files: list[str]) -> None:
    """One mode: a row a file, an implementation a mark, slightly apart."""
    names = list(dict.fromkeys(speeds.implementation))
    axes.axvline(1, color=style.MUTED, linewidth=0.9, linestyle=":", zorder=1)
    columns = ("file", "implementation", "speedup", "speedup_low", "speedup_high")
    for file, name, middle, low, high in zip(*(speeds[column] for column in columns), strict=True):
        look = _look(name)
        y = files.index(file) + 0.22 * (names.index(name) - (len(names) - 1) / 2)
        axes.plot([low, high], [y, y], color=look.colour, linewidth=1, zorder=2)
        axes.plot([middle], [y], **{**look.line, "linestyle": ""}, zorder=3)
    axes.set_ylim(len(files) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def _look(implementation: str) -> style.Look:
    known = {
        OURS: style.Look(OURS, style.HIGHLIGHT, "o"),
        "timm eager": style.Look("timm eager", style.MUTED, "s", filled=False),
        "timm compile": style.Look("timm compiled", style.INK, "^", filled=False),
    }
    return known.get(implementation, style.Look(implementation, style.INK, "x"))


def _row_name(row: pd.Series) -> str:
    pages = ", large pages" if row.allocator == "hugepages" else ""
    return f"{row.cpu}{pages}\n{row.network}, {row.resolution} px"


def _words(shown: pd.DataFrame) -> tuple[str, str]:
    """The headline: ours against the released code, and against the faster of timm's two where it was measured."""
    ours = shown[shown.implementation == OURS]
    if ours.empty:
        return "No speeds beside the released code's have been recorded", f"To measure: {COMMAND}."
    against = {mode: _span(ours[ours["mode"] == mode].speedup) for mode in _MODES if (ours["mode"] == mode).any()}
    (mode, span), *others = against.items()
    title = f"Ours: {span} times the released code's speed in {_MODES[mode][1]}"
    title += "".join(f", {span} in {_MODES[mode][1]}" for mode, span in others)
    keys = ["file", "mode"]
    timm = shown[shown.implementation.str.startswith("timm")].groupby(keys).speedup.max()
    ratio = (ours.set_index(keys).speedup / timm).dropna()
    words = [
        f"{_span(of_mode)} in {_MODES[mode][1]}"
        for mode in _MODES
        if len(of_mode := ratio[ratio.index.get_level_values("mode") == mode])
    ]
    beside = f"Ours, in times the faster of timm's two: {', '.join(words)} (below 1, timm is faster). " if words else ""
    return title, f"{beside}Medians with their range, {' and '.join(shown.dtype.unique())}."


def _span(values: pd.Series) -> str:
    low, high = f"{values.min():.1f}", f"{values.max():.1f}"
    return low if low == high else f"{low} to {high}"


def from_study(study: Study) -> Figure:
    """What the recorded benchmarks measured; the logged results play no part."""
    return draw(load_speeds())
