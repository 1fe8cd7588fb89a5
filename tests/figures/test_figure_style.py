"""Looks in one place, readable without colour; files that depend on the data alone."""

import io
import os
import struct
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from figures import compute_optimal, registry, style, writing
from nfnet.errors import UserError
from paper.results import MODELS
from paper.study import Study


def lightness(colour: str) -> float:
    """CIE L* of a colour."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    return 116 * float(np.cbrt(luminance)) - 16 if luminance > 0.008856 else 903.3 * luminance


def test_our_palette_survives_greyscale() -> None:
    assert tuple(style.COMPANION) == MODELS
    steps = -np.diff([lightness(look.colour) for look in style.COMPANION.values()])
    assert steps.min() > 8  # darker with every model
    assert lightness(style.COMPANION["F0"].colour) < 82  # still seen on white
    assert len({look.marker for look in style.COMPANION.values()}) == len(MODELS)


def test_vision_transformers_are_told_apart_from_nfnets_and_from_each_other() -> None:
    assert len({(look.colour, look.marker) for look in style.VITS.values()}) == len(style.VITS)
    assert not any(look.filled for look in style.VITS.values())
    assert all(look.filled for look in style.COMPANION.values())
    widths = ("ViT-s/16", "ViT-Ti/16", "ViT-S/16", "ViT-B/16", "ViT-L/16", "ViT-g/14", "ViT-G/14")
    steps = -np.diff([lightness(style.VITS[model].colour) for model in widths])
    assert steps.min() > 7  # darker with every width
    patches = [{look.marker for name, look in style.VITS.items() if name.endswith(f"/{p}")} for p in (32, 28, 16)]
    assert all(len(markers) == 1 for markers in patches)
    assert len(set().union(*patches)) == len(patches)


@pytest.mark.parametrize("looks", [style.READINGS, style.FAMILIES])
def test_few_inks_survive_greyscale(looks: dict[str, style.Look]) -> None:
    values = sorted(lightness(look.colour) for look in looks.values())
    assert np.diff(values).min() > 15


def test_routes_have_marks_of_their_own() -> None:
    assert len({look.marker for look in style.ROUTES.values()}) == len(style.ROUTES)
    shown = sorted(lightness(style.ROUTES[name].colour) for name in compute_optimal.SHOWN)
    assert np.diff(shown).min() > 15


def test_parts_and_inputs_of_a_network_survive_greyscale() -> None:
    neighbours = [lightness(colour) for colour in style.PARTS.values()]
    assert min(abs(a - b) for a, b in pairwise(neighbours)) > 10
    for looks in (style.INPUTS, style.UNITS):
        values = sorted(lightness(look.colour) for look in looks.values())
        assert np.diff(values).min() > 5
        assert len({look.marker for look in looks.values()}) == len(looks)


def test_paper_figures_share_no_colour_within_a_figure() -> None:
    for looks in (style.FIGURE1, style.FIGURE2, style.FIGURE3):
        assert len({look.colour for look in looks.values()}) == len(looks)


@pytest.mark.parametrize("name", registry.names())
def test_second_run_gives_the_same_bytes(drawn: dict[str, Figure], study: Study, name: str) -> None:
    """As SVG, which holds every path and every place; that formats add nothing of their own is the next test's."""
    assert style.render(drawn[name], "svg") == style.render(registry.draw(name, study), "svg")


@pytest.mark.parametrize("format", writing.FORMATS)
def test_every_format_gives_the_same_bytes_again(drawn: dict[str, Figure], study: Study, format: str) -> None:
    name = "loss_vs_error"  # lines, clouds, arrows, transparency and text
    assert style.render(drawn[name], format) == style.render(registry.draw(name, study), format)


def test_settings_of_the_user_play_no_part(drawn: dict[str, Figure], study: Study) -> None:
    before = dict(mpl.rcParams)
    plain = style.render(drawn["figure1"], "svg")
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 30, "svg.fonttype": "none", "savefig.bbox": "tight"}):
        assert style.render(registry.draw("figure1", study), "svg") == plain
    assert dict(mpl.rcParams) == before


def test_files_hold_no_date_and_no_program(drawn: dict[str, Figure]) -> None:
    figure = drawn["figure3"]
    pdf, svg, png = (style.render(figure, format) for format in writing.FORMATS)
    assert pdf.startswith(b"%PDF")
    assert b"Date" not in pdf
    assert b"Matplotlib" not in pdf
    assert b"<dc:date>" not in svg
    chunks, at = [], 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        chunks.append(png[at + 4 : at + 8])
        at += size + 12
    assert set(chunks) <= {b"IHDR", b"pHYs", b"IDAT", b"IEND"}


def test_font_is_the_one_that_ships_with_matplotlib() -> None:
    with style.paper_style():
        path = Path(font_manager.findfont("DejaVu Sans"))
        assert mpl.rcParams["font.family"] == ["DejaVu Sans"]
    assert path.is_relative_to(Path(mpl.get_data_path()))


def test_nothing_stays_open_in_pyplot(drawn: dict[str, Figure]) -> None:
    import matplotlib.pyplot as plt

    assert all(isinstance(drawn[name], Figure) for name in registry.names())
    assert plt.get_fignums() == []


def test_save_replaces_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "made" / "a.png"
    assert style.save(Figure(figsize=(1, 1)), path) == path
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
    good = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "a.png")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match="No space left on device"):
        style.save(Figure(figsize=(2, 2)), path)
    assert path.read_bytes() == good
    assert list(path.parent.iterdir()) == [path]


def test_save_names_known_formats(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown format 'pgn': known are pdf, svg, png; the nearest is 'png'\."):
        style.save(Figure(figsize=(1, 1)), tmp_path / "a.pgn")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("hours", "text"), [(400, "400"), (5000, "5k"), (107_000, "107k"), (4144.03, "4.14k")])
def test_thousands(hours: float, text: str) -> None:
    assert style.thousands(hours) == text


def test_number_axis_labels_its_ticks_alone() -> None:
    axes = style.axes_at(Figure(figsize=(4, 4)), 1, 1, 2, 2)
    style.number_axis(axes, "y", [1, 2], ["one", "two"])
    axes.set_ylim(0.5, 4)
    axes.get_figure().savefig(io.BytesIO(), format="png")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]
    assert axes.get_position().bounds == (0.25, 0.25, 0.5, 0.5)
