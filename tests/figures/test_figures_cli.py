"""``python -m figures`` and ``python -m figures.reproduce``: what they write, say and return."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure

import paper.benchmarks
from figures import __main__ as cli
from figures import registry, reproduce, style, writing
from nfnet.errors import UserError
from paper.keeping import memory
from paper.keeping.encoding import encode
from paper.keeping.memory import remembering
from paper.provenance import DATA
from paper.study import Study


@pytest.fixture
def loaded(study: Study, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Saves the fits: commands get the study that is already there."""
    monkeypatch.setattr(writing, "study_of", lambda data: study)
    return study


@pytest.fixture
def altered(tmp_path: Path) -> Path:
    """A data package with one loss changed."""
    folder = tmp_path / "data"
    shutil.copytree(DATA, folder)
    path = folder / "smith2023_figure2.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("F0,1,1600,2.830", "F0,1,1600,nan"), encoding="utf-8")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.exists() else {}


def test_registry_and_modules_agree() -> None:
    for name in registry.names():
        module = __import__(f"figures.{name}", fromlist=["draw"])
        assert callable(module.draw)
        assert callable(module.from_study)
        assert any(data in module.__doc__ for data in (".csv", ".json", "Data: none;"))
        assert "Claim" in (module.__doc__ or "")


def test_writes_what_was_asked_for(
    loaded: Study, drawn: dict[str, Figure], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "figures"
    assert cli.main(["figure2", "figure3", "figure2", "--format", "svg, PNG", "--out", str(out)]) == 0
    assert sorted(files(out)) == ["figure2.png", "figure2.svg", "figure3.png", "figure3.svg"]
    assert files(out)["figure2.svg"] == style.render(drawn["figure2"], "svg")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{out}/{name}" for name in ("figure2.svg", "figure2.png", "figure3.svg", "figure3.png")]


def test_default_is_every_figure_in_every_format(monkeypatch: pytest.MonkeyPatch, loaded: Study) -> None:
    asked = []
    monkeypatch.setattr(
        writing, "write", lambda study, names, out, formats, report: asked.append((names, out, formats))
    )
    assert cli.main([]) == 0
    assert asked == [(registry.names(), Path("build/figures"), ("pdf", "svg", "png"))]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["figur2"], "unknown figure 'figur2': known are figure1, figure2"),
        (["scalinglaw"], "the nearest is 'scaling_law'."),
        (["figure1", "zzz"], f", {registry.names()[-1]}; the nearest is "),
        (["--format", "pdg"], "unknown format 'pdg': known are pdf, svg, png; the nearest is 'png'."),
        (["--format", ","], "--format names no format; known are pdf, svg, png."),
    ],
)
def test_unknown_names_and_formats(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures"
    assert cli.main([*arguments, "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not out.exists()


@pytest.mark.parametrize("command", [cli.main, reproduce.main])
def test_bad_data_leaves_existing_files_alone(
    command: object, altered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "build"
    out.mkdir()
    (out / "figure2.svg").write_text("earlier")
    assert callable(command)
    assert command(["--data", str(altered), "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert "smith2023_figure2.csv" in captured.err
    assert captured.err.count("\n") == 1
    assert files(out) == {"figure2.svg": b"earlier"}


def test_a_figure_is_replaced_whole_or_not_at_all(
    loaded: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for format in writing.FORMATS:
        (tmp_path / f"figure3.{format}").write_text("earlier")
    render = style.render

    def stop_at_png(figure: Figure, format: str) -> bytes:
        if format == "png":
            raise KeyboardInterrupt
        return render(figure, format)

    monkeypatch.setattr(style, "render", stop_at_png)
    assert cli.main(["figure3", "--out", str(tmp_path)]) == 130
    assert set(files(tmp_path).values()) == {b"earlier"}


@pytest.mark.parametrize(
    ("command", "inside"),
    [(cli.main, "."), (reproduce.main, "."), (reproduce.main, "figures"), (reproduce.main, "tables")],
)
def test_out_that_cannot_be_written_is_told_before_the_work(
    command: Callable[[list[str]], int],
    inside: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(writing, "study_of", lambda data: pytest.fail("loads data first"))
    out = tmp_path / "out"
    (out / inside).parent.mkdir(exist_ok=True)
    (out / inside).write_text("a file")
    assert command(["--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert "cannot be written" in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert (out / inside).read_text() == "a file"


def test_memory_that_others_can_write_is_told(
    loaded: Study, stand_ins: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory").chmod(0o777)
    assert reproduce.main(["--out", str(tmp_path)]) == 0
    assert f"{tmp_path / 'memory'} is not used" in capsys.readouterr().err
    assert list((tmp_path / "memory").iterdir()) == []


def test_no_name_of_a_file_is_read_from_memory(loaded: Study, tmp_path: Path) -> None:
    """What is remembered may have been put there by others, and says nothing of where to write."""
    with remembering(tmp_path / "memory"):
        writing.write(loaded, ["figure3"], tmp_path / "out", ["svg"], report=lambda _: None, inputs=b"these")
        (kept,) = (path for path in (tmp_path / "memory").rglob("*") if path.is_file())
        planted = encode({"../../elsewhere": b"planted"})
        kept.write_bytes(memory._seal(b"these", planted) + planted)
        paths = writing.write(loaded, ["figure3"], tmp_path / "out", ["svg"], report=lambda _: None, inputs=b"these")
    assert paths == [tmp_path / "out" / "figure3.svg"]
    assert paths[0].read_bytes().startswith(b"<?xml")


def test_help_loads_nothing_heavy() -> None:
    script = """
import sys
from figures import __main__, reproduce
for command in (__main__.main, reproduce.main):
    try:
        command(["--help"])
    except SystemExit as stop:
        assert stop.code == 0
print(sorted({"numpy", "pandas", "matplotlib", "seaborn", "scipy", "jax", "haiku"} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"
    for name in registry.names():
        assert name in run.stdout


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(drawn: dict[str, Figure], tmp_path: Path) -> None:
    """Bytes depend on no clock, no hash seed, no order of imports."""
    command = [sys.executable, "-W", "error", "-m", "figures", "loss_vs_error", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    for format in writing.FORMATS:
        assert (tmp_path / f"loss_vs_error.{format}").read_bytes() == style.render(drawn["loss_vs_error"], format)


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Tables and claims that say what they are told to; their own tests are elsewhere."""
    state = SimpleNamespace(disagreeing=[], figures=[], checks=["pretraining.a", "pretraining.b"], drawn=lambda: None)

    def write_all(texts: dict[str, str], directory: Path) -> list[Path]:
        directory.mkdir(parents=True)
        (directory / "runs.md").write_text(texts["runs.md"])
        return [directory / "runs.md"]

    tables = SimpleNamespace(compose=lambda study, checked: {"runs.md": "runs"}, write_all=write_all)
    claims = SimpleNamespace(
        load_claims=lambda: [SimpleNamespace(check=check) for check in state.checks],
        evaluate=lambda study, claims: list(claims),
        format_summary=lambda checked: f"{len(checked)} claims checked",
        disagreements=lambda checked: state.disagreeing,
    )

    def write(study: Study, names: tuple[str, ...], directory: Path, report: object, inputs: bytes) -> list[Path]:
        state.figures += names
        state.drawn()
        return [directory / f"{name}.pdf" for name in names]

    for name, module in (("tables", tables), ("claims", claims)):
        monkeypatch.setitem(sys.modules, f"paper.{name}", module)
        monkeypatch.setattr(paper, name, module, raising=False)
    monkeypatch.setattr(writing, "write", write)
    return state


def test_reproduce_writes_everything_and_says_where(
    loaded: Study, stand_ins: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce.main(["--out", str(tmp_path)]) == 0
    assert sorted(stand_ins.figures) == sorted(registry.names())
    assert (tmp_path / "tables" / "runs.md").exists()
    said = capsys.readouterr().out
    assert "2 claims checked" in said
    where = said.splitlines()[-3:]
    assert where[0].startswith(f"{tmp_path / 'figures'}: {len(registry.names())} files")
    assert where[1].startswith(f"{tmp_path / 'tables'}: 1 files")
    assert where[2].startswith("python -m paper.claims: ")


class Helper(Executor):
    """Measures and draws at once, but holds its third figure back until ``enough`` is set."""

    def __init__(self, measured: Exception | None = None) -> None:
        self.measured = measured
        self.enough = threading.Event()
        self.drew: list[str] = []

    def submit(self, function: Callable[..., object], /, *args: object, **kwargs: object) -> Future[object]:
        future: Future[object] = Future()
        if function is reproduce._measure and self.measured:
            future.set_exception(self.measured)
        elif function is reproduce._draw:
            assert len(self.drew) < 2 or self.enough.wait(30)
            self.drew.append(str(args[0]))
            future.set_result([Path(f"{args[0]}.pdf")])
        else:
            future.set_result(None)
        return future


def test_reproduce_draws_what_a_helper_has_not_begun(
    loaded: Study,
    stand_ins: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    helper = Helper()
    stand_ins.drawn = lambda: len(stand_ins.figures) == len(registry.names()) - 3 and helper.enough.set()
    monkeypatch.setattr(reproduce, "_helpers", lambda count: nullcontext(helper))
    assert reproduce.main(["--out", str(tmp_path), "--jobs", "2"]) == 0
    assert helper.drew == list(registry.names()[:3])
    assert stand_ins.figures == list(registry.names()[:2:-1])
    said = capsys.readouterr().out
    assert {f"{name}.pdf" for name in helper.drew} <= set(said.splitlines())
    assert f"{tmp_path / 'figures'}: {len(registry.names())} files" in said


def test_checks_of_measurements_wait_for_them(
    loaded: Study, stand_ins: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = Helper(measured=UserError("nothing was measured."))
    helper.enough.set()
    monkeypatch.setattr(reproduce, "_helpers", lambda count: nullcontext(helper))
    assert reproduce.main(["--out", str(tmp_path), "--jobs", "2"]) == 0
    stand_ins.checks.append("architecture.clipping_stabilises")
    assert reproduce.main(["--out", str(tmp_path / "again"), "--jobs", "2"]) == 2


def test_a_helper_draws_the_same_bytes_and_tells_errors(tmp_path: Path) -> None:
    with reproduce._helpers(1) as helpers:
        paths = helpers.submit(reproduce._draw, "figure2", tmp_path, None, b"").result()
        assert paths == [tmp_path / "figures" / f"figure2.{format}" for format in writing.FORMATS]
        with pytest.raises(UserError, match="figure9"):
            helpers.submit(reproduce._draw, "figure9", tmp_path, None, b"").result()
    figure = registry.draw("figure2", Study.load(resamples=2))
    assert [path.read_bytes() for path in paths] == [style.render(figure, format) for format in writing.FORMATS]


def test_a_helper_that_is_killed_is_told_in_a_sentence() -> None:
    with pytest.raises(UserError, match="ended from outside"), reproduce._helpers(1) as helpers:
        helpers.submit(os._exit, 1).result()


def test_a_figure_is_drawn_once_for_the_same_inputs(
    loaded: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    draw = registry.draw

    def counted(name: str, study: Study) -> Figure:
        drawn.append(name)
        return draw(name, study)

    monkeypatch.setattr(registry, "draw", counted)

    def files_of(inputs: bytes | None) -> dict[str, bytes]:
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        paths = writing.write(loaded, ["figure3"], out, report=lambda _: None, inputs=inputs)
        assert paths == [out / f"figure3.{format}" for format in writing.FORMATS]
        return files(out)

    with remembering(tmp_path / "memory"):
        assert not writing.is_drawn("figure3", b"these")
        first = files_of(b"these")
        assert writing.is_drawn("figure3", b"these")
        assert not writing.is_drawn("figure3", b"others")
        assert files_of(b"these") == first
        assert len(drawn) == 1
        assert files_of(b"others") == first
        assert files_of(None) == first
        assert len(drawn) == 3


@pytest.mark.parametrize(
    "changed", ["figures/style.py", "data/datapackage.json", "data/smith2023_figure2.csv", "results/model.json"]
)
def test_what_a_figure_is_made_from_is_all_in_its_inputs(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source, target in (
        (Path(writing.__file__).parent, "figures"),
        (DATA, "data"),
        (paper.benchmarks.RESULTS, "results"),
    ):
        shutil.copytree(source, tmp_path / target)
    same = writing.inputs_of(None)
    monkeypatch.setattr(writing, "__file__", str(tmp_path / "figures" / "writing.py"))
    monkeypatch.setattr(paper.benchmarks, "RESULTS", tmp_path / "results")
    (tmp_path / "data" / "beside").mkdir()
    (tmp_path / "data" / "beside" / "figures.csv").write_text("nothing of the package")
    assert writing.inputs_of(tmp_path / "data") == same
    with (tmp_path / changed).open("a") as file:
        file.write("\n")
    assert writing.inputs_of(tmp_path / "data") != same


def test_reproduce_starts_no_process_when_all_is_drawn(
    loaded: Study, stand_ins: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def counted(count: int) -> nullcontext[None]:
        counts.append(count)
        return nullcontext()

    monkeypatch.setattr(reproduce, "_helpers", counted)
    monkeypatch.setattr(writing, "is_drawn", lambda name, inputs: True)
    assert reproduce.main(["--out", str(tmp_path), "--jobs", "2"]) == 0
    assert counts == [0]


def test_reproduce_fails_when_a_verdict_differs(
    loaded: Study, stand_ins: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_ins.disagreeing = ["second"]
    assert reproduce.main(["--out", str(tmp_path)]) == 1
    assert "1 of 2 claims have another verdict than the recorded one" in capsys.readouterr().err


def test_reproduce_tells_errors_in_a_sentence(
    loaded: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stand_ins: SimpleNamespace,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise UserError("build: cannot be written (Read-only file system); choose another --out.")

    monkeypatch.setattr(writing, "write", fail)
    assert reproduce.main(["--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "build: cannot be written (Read-only file system); choose another --out.\n"
    assert json.dumps(sorted(files(tmp_path))) == "[]"
