"""The figure of own runs shows their laws and routes, beside the tables of `paper.fit`."""

from dataclasses import replace

import numpy as np
import pytest
from support.simulated import grid_of

from figures import fit
from figures.writing import FORMATS
from paper.fits.analysis import Analysis
from paper.fits.own import Own


def own_of(*truth, noise=0.003):
    runs = grid_of(*truth, noise=noise)
    return Own("runs.csv", {"loss": Analysis(runs, 100, 0, 0, 2e4)}, (), {})


@pytest.fixture(scope="module")
def own():
    return own_of(1.6, 1.0, 0.7, 0.6, 0.4, 0.45)


def test_the_figure_holds_runs_laws_and_routes(own):
    figure = fit.draw(own)
    frontier, routes = figure.axes
    analysis = own.analyses["loss"]
    lines = {line.get_label(): line for line in frontier.get_lines()}
    grid = lines["power law"].get_xdata()
    np.testing.assert_allclose(lines["power law"].get_ydata(), analysis.law.predict(grid))
    np.testing.assert_allclose(lines["with an irreducible term"].get_ydata(), analysis.saturating.predict(grid))
    drawn = np.concatenate([lines[f"run {where} the frontier"].get_xdata() for where in ("on", "off")])
    assert sorted(drawn) == sorted(analysis.runs.compute)
    marks = [line.get_xdata()[0] for line in routes.get_lines() if line.get_marker() == "o"]
    assert marks == [route.difference.value for route in analysis.allocation.routes.values()]


def test_the_title_is_the_better_laws():
    flat = own_of(3.0, 1.0, 0.5, 1.0, 0.5, 1.0, noise=1e-4)
    analysis = flat.analyses["loss"]
    power = replace(analysis.runs, value=3 * analysis.runs.compute**-0.05)
    falling = replace(flat, analyses={"loss": replace(analysis, runs=power)})
    titles = [fit._message("loss", own.analyses["loss"])[0] for own in (falling, flat)]
    exponent = falling.analyses["loss"].law.exponent.value
    assert titles[0] == f"The loss goes as compute to the power of −{exponent:.3f}"
    assert titles[1] == "The loss levels off: no single power of compute fits the frontier"


def test_the_command_writes_figure_and_tables_and_refuses_in_a_sentence(tmp_path, capsys):
    path, out = tmp_path / "runs.csv", tmp_path / "out"
    path.write_text("compute,loss\n" + "".join(f"{10.0**i},{3 * 10 ** (-0.1 * i)}\n" for i in range(6)))
    units = ["--compute-unit", r"$\frac{a$", "--loss-unit", r"$\frac{a$"]  # of which Matplotlib would make formulas
    assert fit.main([str(path), "--resamples", "100", "--out", str(out), *units]) == 0
    assert {f"fit.{kind}" for kind in FORMATS} | {"fits.md"} <= {file.name for file in out.iterdir()}
    before = {file: file.read_bytes() for file in out.iterdir()}
    path.write_text("compute,loss\n1,1\n")
    assert fit.main([str(path), "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert {file: file.read_bytes() for file in out.iterdir()} == before
