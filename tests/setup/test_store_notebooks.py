"""Notebooks are stored as `make notebooks` stores them, and nbval is not told to look away."""

import re
import runpy
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import v4

from tools import store_notebooks
from tools.store_notebooks import METADATA, NotebookError, execute, main, problems, store

ROOT = Path(__file__).parents[2]


def write(path: Path, *sources: str) -> Path:
    """Writes a notebook that was never executed, with an editor's metadata."""
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# A question"), *map(v4.new_code_cell, sources)])
    notebook.metadata["kernelspec"] = {"display_name": "my env", "name": "my-env", "language": "python"}
    notebook.cells[1].metadata["execution"] = {"iopub.status.busy": "2023-10-25T12:00:00Z"}
    nbformat.write(notebook, path)
    return path


def executed(source: str = "1 + 1", **output: Any) -> nbformat.NotebookNode:
    """A notebook of one cell as it is after execution; its output is a stream where not said otherwise."""
    result = v4.new_output(**(output or {"output_type": "stream", "text": "2\n"}))
    cell = v4.new_code_cell(source, execution_count=1, outputs=[result])
    return v4.new_notebook(cells=[cell], metadata=METADATA)


def test_stored_notebooks_are_canonical() -> None:
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        assert not problems(notebook), path.name
        assert path.read_text(encoding="utf-8") == nbformat.writes(notebook) + "\n", path.name


def test_storing_is_repeatable_and_hermetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is this interpreter's, whatever kernels, start-up files and styles the user has."""
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text('{"argv": ["false"], "display_name": "Python 3", "language": "python"}')
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("print('from the profile')")
    (tmp_path / "style").mkdir()
    (tmp_path / "style" / "matplotlibrc").write_text("lines.linewidth: 9")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path / "style" / "matplotlibrc"))

    path = write(
        tmp_path / "question.ipynb",
        "import matplotlib.pyplot as plt\nplt.rcParams['lines.linewidth']",
        "import os\nprint(sorted(name for name in os.listdir() if name.endswith('.ipynb')))",
        "figure, _ = plt.subplots()",
    )
    assert store(path)
    notebook = nbformat.read(path, as_version=4)
    first, second, third = (cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.outputs[0].data["text/plain"] == "1.5"
    assert second.outputs[0].text == "['question.ipynb']\n"
    assert "image/png" in third.outputs[0].data
    assert not problems(notebook)

    assert not store(path)
    assert path.read_text(encoding="utf-8") == nbformat.writes(notebook) + "\n"
    assert [file.name for file in tmp_path.iterdir() if "question" in file.name] == [path.name]


def test_failing_notebook_is_left_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "wrong.ipynb", "1 + 1", "1 / 0")
    before = path.read_bytes()
    assert main([str(path)]) == 2
    assert "wrong.ipynb fails: ZeroDivisionError: division by zero" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "{", '{"nbformat": 4, "nbformat_minor": 5, "cells": [{}]}'])
def test_foreign_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "foreign.ipynb"
    path.write_text(text)
    with pytest.raises(NotebookError, match=r"foreign\.ipynb cannot be read as a notebook"):
        execute(path)


def test_missing_notebooks_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "absent.ipynb")]) == 2
    assert "absent.ipynb" in capsys.readouterr().err
    monkeypatch.setattr(store_notebooks, "ROOT", tmp_path)
    assert main([]) == 2
    assert "no notebook" in capsys.readouterr().err


def test_executed_notebook_has_no_problem() -> None:
    assert not problems(executed())


def test_a_hidden_source_follows_from_its_tag(tmp_path: Path) -> None:
    path = write(tmp_path / "answer.ipynb", "6 * 7")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].metadata["tags"] = ["hide-input"]
    nbformat.write(notebook, path)
    assert store(path)
    stored = nbformat.read(path, as_version=4)
    assert stored.cells[1].metadata == {"tags": ["hide-input"], "jupyter": {"source_hidden": True}}
    assert not problems(stored)
    del stored.cells[1].metadata["tags"]
    assert problems(stored) == ["code cell 1 has metadata of an editor or of one execution"]


def test_knobs_keep_still_where_notebooks_are_stored_and_compared(tmp_path: Path) -> None:
    source = "from figures.notebook import knob\nknob(lambda size=2: 3 * size, size=(1, 2))"
    path = write(tmp_path / "knob.ipynb", source)
    assert store(path)
    (output,) = nbformat.read(path, as_version=4).cells[1].outputs
    assert output.data == {"text/plain": "6"}
    surroundings = runpy.run_path(str(ROOT / "notebooks" / "conftest.py"))
    assert surroundings["os"].environ[surroundings["STATIC"]] == "1"


@pytest.mark.parametrize(
    ("notebook", "problem"),
    [
        (executed("# NBVAL_IGNORE_OUTPUT\n1 + 1"), "asks not to be checked"),
        (executed("1 + 1;"), "ends with a semicolon"),
        (executed("# NBVAL_SKIP\n1 + 1"), "asks not to be checked"),
        (executed(output_type="stream", name="stderr", text="!"), "warns"),
        (executed(output_type="stream", text=str(ROOT / "paper")), "shows a path"),
        (executed(output_type="stream", text=str(Path.home() / "data")), "shows a path"),
        (executed(output_type="stream", text="<object object at 0x7f3b2c1d4e50>"), "memory address"),
        (
            executed(output_type="display_data", data={"text/html": "<p>0x7f3b2c1d4e50</p>"}),
            "address",
        ),
    ],
)
def test_unfit_outputs_are_seen(notebook: nbformat.NotebookNode, problem: str) -> None:
    (found,) = problems(notebook)
    assert re.match(r"code cell 1 .*" + problem, found)


@pytest.mark.parametrize("tag", ["nbval-skip", "nbval-ignore-output", "nbval-raises-exception"])
def test_unchecked_tags_are_seen(tag: str) -> None:
    notebook = executed()
    notebook.cells[0].metadata["tags"] = [tag]
    assert problems(notebook) == ["code cell 1 asks not to be checked"]


def test_marks_of_editors_and_executions_are_seen() -> None:
    notebook = executed()
    notebook.cells[0].execution_count = None
    notebook.cells[0].metadata["execution"] = {}
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
    assert len(problems(notebook)) == 3
