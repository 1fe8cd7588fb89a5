"""Label, colour, marker and line of every model and fit, and how figures are styled and written.

A figure is a bare ``matplotlib.figure.Figure`` that no pyplot state refers to. Bytes depend on the data and on the
version of matplotlib alone: dates are left out, identifiers are salted with a constant, the font is the DejaVu Sans
that ships with matplotlib, and a user's matplotlibrc plays no part.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, NullFormatter, NullLocator

from nfnet.errors import unknown_name
from paper.files import write_files

__all__ = [
    "BAND",
    "COMPANION",
    "FAMILIES",
    "FIGURE1",
    "FIGURE2",
    "FIGURE3",
    "HIGHLIGHT",
    "INK",
    "INPUTS",
    "MUTED",
    "PARTS",
    "READINGS",
    "ROUTES",
    "TRAINED",
    "UNITS",
    "VITS",
    "VIT_BAND",
    "Look",
    "axes_at",
    "companion_style",
    "flops_axis",
    "headline",
    "hours_axis",
    "number_axis",
    "paper_axes",
    "paper_style",
    "parameters_text",
    "render",
    "save",
    "thousands",
]


@dataclass(frozen=True)
class Look:
    """How one series is drawn.

    Attributes:
        label: Its name in legends.
        colour: Its colour.
        marker: Its marker; empty for a line alone.
        linestyle: Its line; empty for markers alone.
        filled: Whether its marker is filled.
    """

    label: str
    colour: str
    marker: str = "o"
    linestyle: str = "-"
    filled: bool = True

    @property
    def line(self) -> dict[str, Any]:
        """Keyword arguments for ``Axes.plot``."""
        return {
            "label": self.label,
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.linestyle,
            "markerfacecolor": self.colour if self.filled else "white",
        }


# The paper's own figures: matplotlib's default colour cycle in the order of each figure's legend.

_CYCLE = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22")


def _in_cycle(*series: tuple[str, str, str]) -> dict[str, Look]:
    """Looks of ``(label, marker, linestyle)``, coloured in order."""
    return {
        label: Look(label, colour, marker, linestyle)
        for (label, marker, linestyle), colour in zip(series, _CYCLE, strict=False)
    }


FIGURE1: Mapping[str, Look] = _in_cycle(
    *((model, "o", "-") for model in ("F1", "F3", "F3+", "F7", "F7+")),
    ("F7+ with RA", "o", ""),
    *((model, "*", "") for model in ("ViT-g/14", "ViT-G/14", "SoViT-400m/14")),
)
FIGURE2: Mapping[str, Look] = _in_cycle(*((model, "o", "-") for model in ("F0", "F1", "F3", "F3+", "F7", "F7+")))
FIGURE3: Mapping[str, Look] = _in_cycle(("F0", "o", "-"), ("F3", "o", "-"), ("F7+", "o", "--"))

# Our figures: darker is larger, in steps of lightness that survive a greyscale print, and a marker for each model.

COMPANION: Mapping[str, Look] = {
    look.label: look
    for look in (
        Look("F0", "#9ad93c", "o"),
        Look("F1", "#4ac16d", "s"),
        Look("F3", "#1f998a", "^"),
        Look("F3+", "#2b748e", "P"),
        Look("F7", "#3d4a89", "v"),
        Look("F7+", "#440154", "X"),
    )
}
OWN: Mapping[str, Look] = {
    look.label: look
    for look in (
        replace(COMPANION["F0"], label="S0"),
        replace(COMPANION["F1"], label="S1"),
        replace(COMPANION["F3"], label="S3"),
        replace(COMPANION["F3+"], label="S1+"),
        replace(COMPANION["F7+"], label="S1++"),
        Look("V0", "#f0a860", "o", "--", filled=False),
        Look("V1", "#d55e00", "s", "--", filled=False),
        Look("V5", "#7f3300", "D", "--", filled=False),
    )
}
"""Our own small runs: NFNets as above, Vision Transformers dashed and hollow."""
INK = "#1a1a1a"
MUTED = "#6b6b6b"
BAND = "#d0d0d0"
HIGHLIGHT = "#d55e00"
ROUTES: Mapping[str, Look] = {
    "frontier": Look("frontier (staircase)", "#4d4d4d", "o", "", filled=False),
    "envelope": Look("envelope of the curves", "#8c8c8c", "^", "", filled=False),
    "profiles": Look("iso-compute profiles", "#7fbfe0", "s", "-", filled=False),
    "surface": Look("additive surface", HIGHLIGHT, "D", "--", filled=False),
    "general": Look("general surface", INK, "v", "-"),
}
FAMILIES: Mapping[str, Look] = {
    "nfnet": Look("NFNets", INK, "", "-"),
    "vit": Look("Vision Transformers", HIGHLIGHT, "", "-"),
}
VIT_BAND = "#f6d5bd"

# Vision Transformers: hollow and brown beside the filled NFNets; darker is wider, and a marker for each patch size.
_VIT_SIZES = {
    "s": "#e3c8a0",
    "Ti": "#d9ae74",
    "S": "#c98f45",
    "B": "#a8692a",
    "L": "#6f3f14",
    "So": "#55300f",
    "g": "#3d2209",
    "G": "#241405",
}
_VIT_PATCHES = {"32": "s", "28": "D", "16": "o", "14": "*"}


def _vit_look(model: str) -> Look:
    size, _, patch = model.removeprefix("ViT-").partition("/")
    size = "So" if size.startswith("So") else size
    marker = "H" if size == "So" else _VIT_PATCHES[patch]  # of another shape than ViT-g/14 with the same patches
    return Look(model, _VIT_SIZES[size], marker, "", filled=False)


VITS: Mapping[str, Look] = {
    model: _vit_look(model)
    for model in (
        *(f"ViT-{name}" for name in ("s/28", "s/16", "S/32", "Ti/16", "B/32", "S/16", "B/28", "B/16", "L/16", "g/14")),
        "ViT-G/14",
        "SoViT-400m/14",
    )
}
INPUTS: Mapping[str, Look] = {
    "uniform": Look("uniform in space", INK, "o", "-"),
    "photograph": Look("spectrum of photographs", "#3b7d8c", "s", "-"),
    "noise": Look("white noise", "#8fbfa6", "^", "-", filled=False),
}
PARTS: Mapping[str, str] = {
    "stem": "#1a1a1a",
    "stage 1": "#f0e6c8",
    "stage 2": "#a6cbb4",
    "stage 3": "#4a90a4",
    "stage 4": "#2b4f7c",
    "head": "#d4d4d4",
}
UNITS: Mapping[str, Look] = {
    "stem": Look("stem", "#0b3c5d", "o"),
    "shortcut": Look("shortcuts", "#3b7d8c", "s"),
    "head": Look("final convolution", "#7fb0a0", "^"),
    "branch": Look("residual branches", "#b9b9b9", "."),
    "skip": Look("skip gains", HIGHLIGHT, "D", filled=False),
}
TRAINED: Mapping[bool, Look] = {
    False: Look("without SAM", INK, "o"),
    True: Look("with SAM (sharpness-aware minimisation)", HIGHLIGHT, "D", filled=False),
}
READINGS: Mapping[str, Look] = {
    "published": Look("published widths", INK, "o", ""),
    "released": Look("'+' with the widths of the released code", HIGHLIGHT, "s", "", filled=False),
}

_FONT = {"font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans"}
_WRITING = {
    "pdf.fonttype": 42,
    "pdf.compression": 6,
    "svg.fonttype": "path",
    "svg.hashsalt": "nfnet-companion",
    "savefig.dpi": "figure",
    "savefig.bbox": None,
    "savefig.facecolor": "white",
}
_METADATA: Mapping[str, Mapping[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


@contextmanager
def _settings(**settings: Any) -> Iterator[None]:
    """Matplotlib's defaults with ``settings``, whatever was set before."""
    with matplotlib.style.context(["default", _FONT | settings]):
        yield


@contextmanager
def paper_style() -> Iterator[None]:
    """Settings of the paper's figures: at 100 dpi a 588 px frame holds 3.5 px lines and markers of 8 to 10 px."""
    sizes = {"axes.labelsize": 12, "legend.fontsize": 10.5, "xtick.labelsize": 11, "ytick.labelsize": 11}
    with _settings(**{"figure.dpi": 200, "lines.linewidth": 2.5, "lines.markersize": 6, "font.size": 11}, **sizes):
        yield


@contextmanager
def companion_style() -> Iterator[None]:
    """Settings of our figures: for a page's full width, open frames, small type."""
    sizes = {"axes.labelsize": 9, "legend.fontsize": 8, "xtick.labelsize": 8, "ytick.labelsize": 8}
    frame = {"axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7}
    inks = dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), INK)
    legend = {"legend.frameon": False, "legend.handletextpad": 0.5, "legend.labelspacing": 0.35}
    with _settings(
        **{"figure.dpi": 200, "lines.linewidth": 1.4, "lines.markersize": 4.5, "font.size": 8},
        **sizes,
        **frame,
        **inks,
        **legend,
    ):
        yield


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Adds axes whose frame is placed in inches, so that no layout engine has to draw the figure first."""
    full_width, full_height = figure.get_size_inches()
    return figure.add_axes((left / full_width, bottom / full_height, width / full_width, height / full_height))


def paper_axes(*, right: float = 0.15) -> tuple[Figure, Axes]:
    """A figure with the frame of the paper's plots (588 : 381), and ``right`` inches beside it."""
    left, bottom, width, height, top = 0.85, 0.65, 5.88, 3.81, 0.15
    figure = Figure(figsize=(left + width + right, bottom + height + top))
    return figure, axes_at(figure, left, bottom, width, height)


def headline(figure: Figure, title: str, subtitle: str) -> None:
    """Writes the message above the axes: ``title`` in bold, ``subtitle`` wrapped to the figure's width below it."""
    width, height = figure.get_size_inches()
    margin = 0.12
    # Half an em is a little more than a character of running text takes.
    characters = int((width - 2 * margin) * 72 / (8 * 0.5))
    text = textwrap.fill(subtitle, characters)
    x = margin / width
    figure.text(x, 1 - margin / height, title, fontsize=10.5, fontweight="bold", va="top", gid="title")
    figure.text(x, 1 - 0.37 / height, text, fontsize=8, color=MUTED, va="top", linespacing=1.35, gid="subtitle")


def thousands(hours: float) -> str:
    """Core hours with their unit's prefix, as the paper prints them: ``400``, ``5k``, ``107k``."""
    return f"{hours / 1000:.3g}k" if hours >= 1000 else f"{hours:.3g}"


def parameters_text(parameters: float) -> str:
    """A number of parameters in millions."""
    return f"{parameters / 1e6:.0f}M"


def hours_axis(axes: Axes, low: float, high: float, *, label: bool = True) -> None:
    """A logarithmic axis of compute from ``low`` to ``high`` TPU-v4 core hours."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: thousands(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if label:
        axes.set_xlabel("Pre-training compute (TPU-v4 core hours)")


def flops_axis(axes: Axes, low: float, high: float, *, label: bool = True) -> None:
    """A logarithmic axis of compute from ``low`` to ``high`` FLOPs."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_minor_formatter(NullFormatter())
    if label:
        axes.set_xlabel("Pre-training compute (FLOPs, forward and backward)")


def number_axis(
    axes: Axes, which: Literal["x", "y"], ticks: Sequence[float], labels: Sequence[str], base: float = 10
) -> None:
    """A logarithmic axis (``x`` or ``y``) that is labelled at ``ticks`` alone."""
    getattr(axes, f"set_{which}scale")("log", base=base)
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_major_formatter(FixedFormatter(list(labels)))
    axis.set_minor_locator(NullLocator())


def render(figure: Figure, format: str) -> bytes:
    """The bytes of a file of ``figure`` in ``format``; the same for the same figure.

    Raises:
        UserError: If the format is none of ``figures.writing.FORMATS``.
    """
    if format not in _METADATA:
        raise unknown_name("format", format, _METADATA)
    buffer = io.BytesIO()
    with _settings(**_WRITING):
        figure.savefig(buffer, format=format, metadata=dict(_METADATA[format]))
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> Path:
    """Writes ``figure`` to ``path``, whose suffix names the format; an existing file is replaced in one step.

    Raises:
        UserError: If the folder cannot be made or written to.
    """
    write_files({path: render(figure, path.suffix.removeprefix("."))})
    return path
