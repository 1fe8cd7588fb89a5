"""Executes notebooks and stores their outputs, so that the same notebook gives the same file everywhere.

``python tools/store_notebooks.py [NOTEBOOK ...]`` (default: all of notebooks/). Every notebook runs from its
first cell in a fresh kernel of this interpreter, without the user's IPython profile or Matplotlib settings.
A notebook that fails, warns, or shows a path or an address of this machine is reported and left as it was.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nfnet.errors import UserError
from nfnet.files import replacing

ROOT = Path(__file__).resolve().parent.parent

# Neither the version of Python nor an editor's marks belong to what a notebook says.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# What nbval would take as leave not to check a cell.
UNCHECKED = re.compile(r"NBVAL_(IGNORE_OUTPUT|SKIP|RAISES_EXCEPTION)|PYTEST_VALIDATE_IGNORE_OUTPUT")
# A cell so tagged shows its result alone: Jupyter Book goes by the tag, JupyterLab by the cell's metadata.
HIDDEN = "hide-input"
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")


class NotebookError(Exception):
    """A notebook that cannot be stored; the message is one sentence that names notebook and cell."""


def _metadata(cell: dict[str, Any]) -> dict[str, Any]:
    """The metadata of a cell: its tags, and what follows from them."""
    tags = cell["metadata"].get("tags", [])
    return ({"tags": list(tags)} if tags else {}) | ({"jupyter": {"source_hidden": True}} if HIDDEN in tags else {})


def _texts(output: dict[str, Any]) -> Iterator[str]:
    """The parts of one output that a reader sees as text."""
    yield output.get("text", "")
    yield from (value for mime, value in output.get("data", {}).items() if mime.startswith("text/"))


def problems(notebook: dict[str, Any]) -> list[str]:
    """Says what keeps a notebook from being one that was stored by this module.

    Args:
        notebook: a notebook in nbformat 4, with its outputs.

    Returns:
        One clause a problem, with the number of the code cell from 1; empty if all is well.
    """
    machine = [str(path) + os.sep for path in (ROOT, Path.home(), tempfile.gettempdir())]
    found = []
    if notebook["metadata"] != METADATA:
        found.append("its metadata are an editor's")
    code_cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code_cells, start=1):
        tags = " ".join(cell["metadata"].get("tags", [])).replace("-", "_").upper()
        texts = [text for output in cell["outputs"] for text in _texts(output)]
        if cell["execution_count"] != number:
            found.append(f"code cell {number} was not executed in order")
        if UNCHECKED.search(cell["source"]) or UNCHECKED.search(tags):
            found.append(f"code cell {number} asks not to be checked")
        if cell["source"].rstrip().endswith(";"):
            found.append(f"code cell {number} ends with a semicolon, which hides a result here but not in nbval")
        if cell["metadata"] != _metadata(cell):
            found.append(f"code cell {number} has metadata of an editor or of one execution")
        if any(output["output_type"] == "error" for output in cell["outputs"]):
            found.append(f"code cell {number} raised an error")
        if any(output.get("name") == "stderr" for output in cell["outputs"]):
            found.append(f"code cell {number} warns")
        if any(path in text for path in machine for text in texts):
            found.append(f"code cell {number} shows a path of this machine")
        if any(ADDRESS.search(text) for text in texts):
            found.append(f"code cell {number} shows a memory address")
    return found


def execute(path: Path) -> str:
    """Executes one notebook.

    Args:
        path: the notebook, which is not changed.

    Returns:
        The text of the notebook with its new outputs.

    Raises:
        NotebookError: if the file is no notebook, a cell fails, or the outputs are not fit to be stored.
    """
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    from figures.notebook import STATIC

    try:
        notebook = nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise NotebookError(f"{path} cannot be read as a notebook: {str(error).splitlines()[0]}") from error
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(_metadata(cell))

    with tempfile.TemporaryDirectory() as profile:
        environment = {k: v for k, v in os.environ.items() if k not in ("MPLBACKEND", "PYTHONSTARTUP")}
        environment |= {"IPYTHONDIR": profile, "MATPLOTLIBRC": os.devnull, STATIC: "1"}
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            resources={"metadata": {"path": str(path.parent)}},
            extra_arguments=["--log-level=ERROR"],
            timeout=600,
            record_timing=False,
            coalesce_streams=True,
        )
        # Without directories to look in there is one kernel: this interpreter's own.
        client.create_kernel_manager().kernel_spec_manager = KernelSpecManager(kernel_dirs=[])
        try:
            client.execute(env=environment)
        except CellExecutionError as error:
            raise NotebookError(f"{path} fails: {error.ename}: {error.evalue}\n{error.traceback}") from error
        except (CellTimeoutError, DeadKernelError) as error:
            raise NotebookError(f"{path} does not finish: {error}") from error

    notebook.metadata = nbformat.from_dict(METADATA)
    if found := problems(notebook):
        raise NotebookError(f"{path} is not stored: {'; '.join(found)}.")
    return str(nbformat.writes(notebook, version=4)) + "\n"


def store(path: Path) -> bool:
    """Executes a notebook and replaces its file, whole or not at all; returns whether the file changed.

    Raises:
        NotebookError: If it fails or its outputs cannot be stored.
        UserError: If the file cannot be written.
    """
    text = execute(path)
    if text == path.read_text(encoding="utf-8"):
        return False
    with replacing(path) as file:
        file.write(text.encode())
    return True


def main(arguments: list[str] | None = None) -> int:
    """Stores the named notebooks; returns the exit code."""
    parser = argparse.ArgumentParser(description="Execute notebooks and store their outputs.")
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="default: notebooks/*")
    paths = parser.parse_args(arguments).notebooks or sorted((ROOT / "notebooks").glob("*.ipynb"))
    if not paths:
        print("There is no notebook in notebooks/.", file=sys.stderr)
        return 2
    failures = 0
    for path in paths:
        try:
            print(f"{path.name}: {'stored' if store(path) else 'unchanged'}", flush=True)
        except (NotebookError, UserError) as error:
            print(error, file=sys.stderr)
            failures += 1
    return 2 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
