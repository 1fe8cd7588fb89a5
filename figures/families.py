"""What the figures of both families share: runs in few clear marks, frontiers, laws with bands, test-set noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from figures import style
from figures.style import Look
from paper.noise import INTERVAL, difference_error
from paper.vits.advantage import best_within

__all__ = [
    "CONVERSION",
    "GROUPS",
    "LATER",
    "NFNET_NAMES",
    "NOISE",
    "VIT_NAMES",
    "Curve",
    "draw_both",
    "draw_frontier",
    "draw_laws",
    "draw_nfnets",
    "draw_noise",
    "draw_vits",
    "error_axis",
    "group_of",
    "inset_at",
    "key",
    "name_nfnets",
    "name_vits",
    "once",
    "share_text",
]

GROUPS: Mapping[str, Look] = {
    look.label: look
    for look in (
        Look("s, Ti, S", "#c98f45", ".", "", filled=False),
        Look("B", "#b06a1e", "o", "", filled=False),
        Look("L", "#7f4310", "s", "", filled=False),
        Look("g, G", "#4a2508", "D", "", filled=False),
    )
}
"""Vision Transformers of Zhai et al. by width."""

LATER = Look("later ViTs", style.HIGHLIGHT, "*", "")
"""Results of later work."""

NOISE = "#e4e4e4"
CONVERSION: Mapping[str, Any] = {
    "facecolor": style.VIT_BAND,
    "edgecolor": style.HIGHLIGHT,
    "hatch": "//////",
    "hatch_linewidth": 0.4,
    "linewidth": 0,
}
"""The band of a conversion's interval, hatched so that it differs from noise without colour."""
NFNET_NAMES = {"F1": (-6.0, 0.0), "F3": (-5.0, -6.0), "F3+": (-5.0, -6.0), "F7": (-5.0, -6.0), "F7+": (-5.0, -7.0)}
"""Where NFNets are named beside their cheapest run in the figures against training compute, in points from it."""
VIT_NAMES = {
    ("ViT-B/16", 384): (6.0, 0.0),
    ("ViT-L/16", 384): (6.0, 0.0),
    ("ViT-g/14", 518): (-3.0, -28.0),
    ("SoViT-400m/14", 224): (7.0, 0.0),
    ("SoViT-400m/14", 384): (7.0, 2.0),
    ("SoViT-400m/14", 518): (7.0, 0.0),
    ("ViT-G/14", 518): (0.0, -10.0),
}
"""Where models are named in the figures against training compute: points from the run to its name."""
LEADER = 18.0  # points from which a label is joined to its run


def group_of(model: str) -> str:
    """Which of :data:`GROUPS` a model of Zhai et al. belongs to."""
    size = model.removeprefix("ViT-").partition("/")[0]
    return {"B": "B", "L": "L", "g": "g, G", "G": "g, G"}.get(size, "s, Ti, S")


@dataclass(frozen=True)
class Curve:
    """A fitted or printed law as it is drawn.

    Attributes:
        label: Its name in the key.
        compute: Compute at which it is drawn.
        error: Its error there, in percent.
        colour: Its colour.
        low: Lower end of its 95% interval; empty where it has none.
        high: Upper end.
        linestyle: Its line.
    """

    label: str
    compute: Float[np.ndarray, " m"]
    error: Float[np.ndarray, " m"]
    colour: str
    low: Float[np.ndarray, " k"]
    high: Float[np.ndarray, " k"]
    linestyle: Any = (0, (4, 2))

    @property
    def handle(self) -> Line2D:
        """The law's key."""
        return Line2D([], [], color=self.colour, linestyle=self.linestyle, linewidth=1.1, label=self.label)


def _inside(axes: Axes, x: pd.Series, y: pd.Series) -> pd.Series:
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    return x.between(left, right) & y.between(bottom, top)


def once(runs: pd.DataFrame) -> pd.DataFrame:
    """The sweep, and of the later results those of other work at their stated hours: every run once.

    Args:
        runs: Rows of :meth:`paper.vits.advantage.Matched.vit_runs`.
    """
    printed = set(zip(runs.model[~runs.later], runs.error[~runs.later], strict=True))
    known = pd.Series([run in printed for run in zip(runs.model, runs.error, strict=True)], index=runs.index)
    return runs[~runs.later | ((runs.accounting == "stated") & ~known)]


def draw_vits(axes: Axes, runs: pd.DataFrame, column: str, *, size: float = 4.0) -> None:
    """Draws Vision Transformers against ``column`` by group; later results filled, with the interval of their hours.

    Args:
        axes: With limits set; runs outside are left out.
        runs: ``model``, ``later``, ``error`` and ``column``; ``low`` and ``high`` where ``column`` is ``mid``.
        column: What they are drawn against.
        size: Size of the markers, in points.
    """
    shown = runs[_inside(axes, runs[column], runs.error)]
    groups = shown.model.map(group_of)
    for name, look in GROUPS.items():
        rows = shown[~shown.later & (groups == name)]
        kind: dict[str, Any] = {"marker": look.marker, "color": look.colour, "markerfacecolor": "white"}
        axes.plot(rows[column], rows.error, linestyle="", markersize=size, markeredgewidth=0.8, zorder=3, **kind)
    later = shown[shown.later]
    if column == "mid" and len(later):
        bars = [later[column] - later.low, later.high - later[column]]
        axes.errorbar(later[column], later.error, xerr=bars, linestyle="", color=LATER.colour, elinewidth=0.9, zorder=5)
    axes.plot(
        later[column],
        later.error,
        linestyle="",
        marker=LATER.marker,
        color=LATER.colour,
        markeredgecolor="white",
        markeredgewidth=0.4,
        markersize=2.1 * size,
        zorder=6,
    )


def draw_nfnets(axes: Axes, runs: pd.DataFrame, column: str, *, size: float = 4.5) -> None:
    """Draws NFNets against ``column``, each model joined by a thin line; those with repeated augmentation hollow."""
    for model, look in style.COMPANION.items():
        for repeated in (False, True):
            rows = runs[(runs.model == model) & (runs.repeated_augmentation == repeated)].sort_values(column)
            if rows.empty:
                continue
            axes.plot(
                rows[column],
                rows.error,
                linestyle="-" if len(rows) > 1 else "",
                linewidth=0.5,
                marker=look.marker,
                color=look.colour,
                markersize=size,
                markerfacecolor="white" if repeated else look.colour,
                markeredgewidth=0.8,
                zorder=7,
            )


def draw_both(
    main: Axes,
    inset: Axes,
    nfnets: tuple[pd.DataFrame, str],
    vits: tuple[pd.DataFrame, str],
    compared: pd.DataFrame,
    images: int,
    size: tuple[float, float] = (4.0, 4.5),
) -> None:
    """Draws the runs and frontiers of both families into a figure and its inset, and in the figure what noise hides.

    Args:
        main: Axes of the figure, with limits set.
        inset: Axes of the inset, likewise.
        nfnets: NFNets, and the column that they are drawn against.
        vits: Vision Transformers, and theirs; ``mid`` is drawn with the range from ``low`` to ``high``.
        compared: Those whose frontier is drawn.
        images: Images of the test set.
        size: Of the marks in ``main``, in points: Vision Transformers and NFNets. They are half as large in the inset.
    """
    (mine, x), (theirs, their_x) = nfnets, vits
    plain = mine[~mine.repeated_augmentation]
    ends = (compared.low, compared.high) if their_x == "mid" else None
    for axes, share in ((main, 1.0), (inset, 0.5)):
        budgets = np.geomspace(*axes.get_xlim(), 2000)
        draw_frontier(axes, budgets, "vit", compared[their_x], compared.error, ends)
        draw_frontier(axes, budgets, "nfnet", plain[x], plain.error)
        draw_vits(axes, theirs, their_x, size=share * size[0])
        draw_nfnets(axes, mine, x, size=share * size[1])
    draw_noise(main, np.geomspace(*main.get_xlim(), 2000), plain[x], plain.error, images)


def name_nfnets(axes: Axes, runs: pd.DataFrame, column: str, offsets: Mapping[str, tuple[float, float]]) -> None:
    """Writes the name of each NFNet beside its cheapest run, ``offsets`` points away."""
    for model, (x, y) in offsets.items():
        rows = runs[(runs.model == model) & ~runs.repeated_augmentation].sort_values(column)
        if not rows.empty:
            _label(axes, model, (rows[column].iloc[0], rows.error.iloc[0]), (x, y), style.COMPANION[model].colour)


def _label(axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], colour: str) -> None:
    far = np.hypot(*offset) > LEADER
    axes.annotate(
        text,
        at,
        xytext=offset,
        textcoords="offset points",
        fontsize=7,
        color=colour,
        ha="left" if offset[0] > 0 else "right" if offset[0] < 0 else "center",
        va="center",
        zorder=8,
        path_effects=[withStroke(linewidth=2, foreground="white")],
        arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3} if far else None,
    )


def name_vits(
    axes: Axes, runs: pd.DataFrame, column: str, offsets: Mapping[tuple[str, int], tuple[float, float]]
) -> None:
    """Writes beside the best run of a model at a resolution its name, and the resolution where several were published.

    Args:
        axes: With limits set.
        runs: As of :func:`draw_vits`; later results go before the sweep's.
        column: What they are drawn against.
        offsets: Points from the run to its name, by model and resolution.
    """
    for (model, resolution), offset in offsets.items():
        own = runs[(runs.model == model) & (runs.later == runs.later[runs.model == model].any())]
        rows = own[own.resolution == resolution].sort_values("error").head(1)
        several = len(set(own.resolution)) > 1
        name = model.removeprefix("ViT-").partition("-400m")[0]
        for x, y in zip(rows[column], rows.error, strict=True):
            colour = LATER.colour if rows.later.iloc[0] else GROUPS[group_of(model)].colour
            _label(axes, f"{name}, {resolution} px" if several else name, (x, y), offset, colour)


def draw_frontier(
    axes: Axes,
    budgets: Float[np.ndarray, " b"],
    family: str,
    compute: pd.Series,
    error: pd.Series,
    ends: tuple[pd.Series, pd.Series] | None = None,
) -> None:
    """Draws the best error of a family within each budget, up to its dearest run.

    Args:
        axes: To draw on.
        budgets: Compute at which the steps are evaluated.
        family: ``nfnet`` or ``vit``.
        compute: Compute of the family's runs.
        error: Their errors.
        ends: Least and largest compute of the runs, between whose frontiers a band is drawn.
    """
    at, values = compute.to_numpy(float), error.to_numpy(float)
    if ends is not None:
        low, high = (best_within(budgets, end.to_numpy(float), values) for end in ends)
        shown = budgets <= ends[1].max()
        axes.fill_between(budgets[shown], low[shown], high[shown], **CONVERSION, zorder=1.5)
    steps = np.union1d(budgets, at)  # runs between two budgets would blunt the steps
    steps = steps[(steps >= budgets[0]) & (steps <= at.max())]
    axes.plot(
        steps,
        best_within(steps, at, values),
        color=style.FAMILIES[family].colour,
        linewidth=1.3,
        zorder=2.2,
        gid=family,
    )


def draw_noise(axes: Axes, budgets: Float[np.ndarray, " b"], compute: pd.Series, error: pd.Series, images: int) -> None:
    """Shades what the test set cannot tell from the best NFNet within each budget, at 95%."""
    at = compute.to_numpy(float)
    steps = np.union1d(budgets, at)
    best = best_within(steps, at, error.to_numpy(float))
    width = INTERVAL * difference_error(best, best, images)
    axes.fill_between(steps, best - width, best + width, color=NOISE, linewidth=0, zorder=0.5, gid="noise")


def draw_laws(axes: Axes, laws: Sequence[Curve]) -> None:
    """Draws laws, and their intervals as dotted lines of the same colour."""
    for law in laws:
        axes.plot(law.compute, law.error, color=law.colour, linestyle=law.linestyle, linewidth=1.1, zorder=2.5)
        for end in (law.low, law.high):
            if len(end):
                axes.plot(law.compute, end, color=law.colour, linestyle=(0, (1, 1.5)), linewidth=0.9, zorder=2.4)


def error_axis(axes: Axes, low: float, high: float, ticks: Sequence[float], *, label: bool = True) -> None:
    """A logarithmic axis of top-1 error in percent."""
    style.number_axis(axes, "y", ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylim(low, high)
    if label:
        axes.set_ylabel("ImageNet top-1 error (%)")


def inset_at(figure: Figure, main: Axes, left: float, bottom: float, width: float, height: float) -> Axes:
    """Adds small axes, placed in inches, whose frame marks what ``main`` shows once their limits are set."""
    inset = style.axes_at(figure, left, bottom, width, height)
    inset.tick_params(labelsize=6.5, length=2, pad=1.5)
    (x, right), (y, top) = main.get_xlim(), main.get_ylim()
    frame = Rectangle((x, y), right - x, top - y, fill=False, edgecolor=style.INK, linewidth=0.7, zorder=9, gid="shown")
    inset.add_patch(frame)
    return inset


def key(
    figure: Figure,
    laws: Sequence[Curve],
    at: tuple[float, float],
    *,
    band: bool,
    within: str = "in budget",
    columns: int = 4,
) -> None:
    """The key of groups, lines and bands, its lower left corner ``at`` inches; ``within`` says what limits the best."""
    width, height = figure.get_size_inches()

    def mark(look: Look, label: str, face: str, size: float) -> Line2D:
        kind: dict[str, Any] = {"marker": look.marker, "color": look.colour, "markerfacecolor": face}
        return Line2D([], [], linestyle="", markersize=size, markeredgewidth=0.8, label=label, **kind)

    handles: list[Any] = [
        *(mark(look, f"ViT-{name}", "white", 4.5) for name, look in GROUPS.items()),
        mark(LATER, LATER.label, LATER.colour, 8),
        *(
            Line2D([], [], color=look.colour, linewidth=1.3, label=f"best {name} {within}")
            for look, name in zip(style.FAMILIES.values(), ("NFNet", "ViT"), strict=True)
        ),
        *(law.handle for law in laws),
    ]
    if band:
        handles.append(Patch(**CONVERSION, label="range of conversion"))
    handles.append(Patch(color=NOISE, linewidth=0, label="not told by the test set (95%)"))
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(at[0] / width, at[1] / height),
        ncols=columns,
        borderaxespad=0,
        borderpad=0,
        columnspacing=1.3,
    )


def share_text(shares: pd.Series) -> str:
    """The least and the largest share in whole percent, rounded down so that none is overstated."""
    first, last = (int(np.floor(100 * share + 1e-9)) for share in (shares.min(), shares.max()))
    return f"{first}%" if first == last else f"{first} to {last}%"
