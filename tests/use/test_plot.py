"""`nfnet plot`: the lines drawn are the logged ones, files are written whole, and mistakes are one sentence."""

import math
from pathlib import Path

import pytest

from nfnet.command import main
from nfnet.plot import SCALES, draw, find_logs, labels_of, save
from nfnet.training.run_log import Header, Metrics, RunLogWriter, read_run_log

HEADER = Header({}, "code", {}, "cpu", 1, 1, 0, 10, 10, 50, 40)
LINES = [
    Metrics(10, 100, 2.0, 3.6, 1e6, train_loss=2.0),
    Metrics(20, 200, 4.0, 7.2, 2e6, train_loss=1.5, held_out_loss=1.75),
    Metrics(30, 300, 6.0, 10.8, 3e6, train_loss=math.nan),
    Metrics(40, 400, 8.0, 14.4, 4e6, held_out_loss=1.25),
]


def write_run(folder: Path, lines=LINES) -> Path:
    folder.mkdir(parents=True)
    with RunLogWriter(folder / "log.jsonl", HEADER) as log:
        for line in lines:
            log.metrics(line)
    return folder


def test_any_name_is_drawn_as_it_is(tmp_path):
    """Not as a formula, which may be a damaged one; nor left out, as Matplotlib does with a leading underscore."""
    log = read_run_log(write_run(tmp_path / "run") / "log.jsonl")
    figure = draw({r"$\frac{a$": log, "_begun": log})
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [r"\$\frac{a\$", " _begun"]
    save(figure, tmp_path / "names.png")


def test_long_names_do_not_stand_for_one_another(tmp_path):
    long = [tmp_path / ("x" * 100 + middle + "y" * 100) / "log.jsonl" for middle in "aab"]
    first, again, other = labels_of(long)
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("against", "places"),
    [
        ("steps", [10, 20, 30]),
        ("images", [100, 200, 300]),
        ("epochs", [2.0, 4.0, 6.0]),
        ("core-hours", [0.001, 0.002, 0.003]),
        ("flops", [1e6, 2e6, 3e6]),
    ],
)
def test_lines_are_those_of_the_log(tmp_path, against, places):
    log = read_run_log(write_run(tmp_path / "run") / "log.jsonl")
    figure = draw({"run": log}, against)
    training, held_out = figure.axes
    (line,) = training.lines
    assert line.get_xdata() == pytest.approx(places)
    assert line.get_ydata() == pytest.approx([2.0, 1.5, math.nan], nan_ok=True)
    (line,) = held_out.lines
    assert list(line.get_ydata()) == [1.75, 1.25]
    assert line.get_markevery() == [1]
    assert training.get_xlabel() == held_out.get_xlabel() == SCALES[against].label
    assert (training.get_ylabel(), held_out.get_ylabel()) == ("training loss", "held-out loss")


def test_every_scale_is_tested():
    assert set(SCALES) == {"steps", "images", "epochs", "core-hours", "flops"}


def test_runs_are_named_by_what_they_differ_in(tmp_path):
    study = tmp_path / "study"
    runs = [write_run(study / model / f"lr_{rate}") for model in ("F0", "F3") for rate in (0.4, 0.8)]
    logs = find_logs(str(study))
    assert logs == [run / "log.jsonl" for run in runs]
    assert labels_of(logs) == ["F0/lr_0.4", "F0/lr_0.8", "F3/lr_0.4", "F3/lr_0.8"]
    assert labels_of(logs[2:]) == ["lr_0.4", "lr_0.8"]
    assert labels_of(find_logs(str(runs[0]))) == ["lr_0.4"]
    assert find_logs(str(runs[0] / "log.jsonl")) == logs[:1]
    figure = draw({name: read_run_log(log) for name, log in zip(labels_of(logs), logs, strict=True)}, logarithmic=True)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == labels_of(logs)
    assert {axes.get_xscale() for axes in figure.axes} == {axes.get_yscale() for axes in figure.axes} == {"log"}
    assert len({line.get_color() for line in figure.axes[0].lines}) == 4


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_logs_give_the_same_file(tmp_path, suffix, capsys):
    run = write_run(tmp_path / "run")
    files = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for file in files:
        assert main(["plot", str(run), "--out", str(file)]) == 0
        assert capsys.readouterr().out == f"{file}\n"
    first, second = (file.read_bytes() for file in files)
    assert first == second
    assert first.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix])


def test_a_study_is_drawn_by_its_name_or_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = write_run(tmp_path / "runs/digits_study/small/epochs_2/lr_0.8")
    assert find_logs("digits") == [Path("runs/digits_study/small/epochs_2/lr_0.8/log.jsonl")]
    assert find_logs("digits")[0].samefile(run / "log.jsonl")


def test_mistakes_are_one_sentence_and_leave_the_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run, out = write_run(tmp_path / "run"), tmp_path / "out.png"
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "young", [])
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/log.jsonl").write_text((run / "log.jsonl").read_text()[:-20])
    out.write_text("before")
    for arguments, message in (
        ([str(run)], "No window can be opened here: write a file with --out"),
        ([str(run), "--out", "x.gif"], "unknown format of --out 'gif'"),
        ([str(run), "--out", "none/x.png"], "cannot be written"),
        (["empty", "--out", "none/x.png"], "cannot be written"),  # before anything is read
        (["empty", "--out", str(out)], "empty holds no run log (log.jsonl)"),
        (["young", "--out", str(out)], "hold no loss yet"),
        (["damaged", "--out", str(out)], "damaged/log.jsonl"),
        (["nothing", "--out", str(out)], "unknown study 'nothing'"),
        (["nothing/here", "--out", str(out)], "Missing study nothing/here"),
    ):
        assert main(["plot", *arguments]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.startswith("error: ")
        assert said.count("\n") == 1
    assert out.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged", "empty", "out.png", "run", "young"]


def test_a_window_is_opened_where_there_is_one(tmp_path, monkeypatch):
    from matplotlib import pyplot

    from nfnet import plot

    shown = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(pyplot.gcf()))
    monkeypatch.setattr(plot, "_window", lambda: pyplot.figure)
    assert main(["plot", str(write_run(tmp_path / "run"))]) == 0
    (figure,) = shown
    assert len(figure.axes) == 2
    pyplot.close(figure)
