"""Imports run one way: notebooks, figures, paper, nfnet. No command line loads JAX to say how it is used."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("nfnet", "paper", "figures", "notebooks")  # each may import those before it
NOT_SHIPPED = {"tests", "support", "tools", "benchmarks"}
# Notebooks tell about logged results; what trains is for command lines.
TRAINING = {"train", "finetune", "evaluate", "study", "training", "data", "configs"}


def imported(source: str, module: str, is_package: bool = False) -> set[str]:
    """Full names of all that a source imports, at any depth, by statement or by `import_module` of a literal.

    Args:
        source: Python text.
        module: the full name of its module, which relative imports start from.
        is_package: whether the module is a package's `__init__`.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=origin, names=names, level=level):
                if level:
                    parts = module.split(".")
                    parts = parts[: len(parts) - level + is_package]
                    origin = ".".join([*parts, *([origin] if origin else [])])
                found |= {f"{origin}.{alias.name}" for alias in names}
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                found.add(name)
    return found


def forbidden(names: set[str], layer: str) -> set[str]:
    """Those of the imported names that a layer must not know."""
    above = set(LAYERS[LAYERS.index(layer) + 1 :]) | NOT_SHIPPED
    found = {name for name in names if name.split(".")[0] in above | {"notebooks"}}
    if layer == "notebooks":
        found |= {name for name in names if set(name.split(".")[1:2]) & TRAINING and name.startswith("nfnet.")}
    return found


def modules() -> Iterator[tuple[str, str, Path]]:
    """Layer, full name and path of every module of the packages."""
    for layer in LAYERS[:-1]:
        for path in sorted((ROOT / layer).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield layer, ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def code(notebook: Path) -> str:
    """A notebook's code cells as one source, without IPython's own commands."""
    cells = [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    lines = [line for cell in cells for line in cell.splitlines()]
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


def test_packages_import_downwards() -> None:
    wrong = {
        str(path.relative_to(ROOT)): sorted(found)
        for layer, name, path in modules()
        if (found := forbidden(imported(path.read_text(encoding="utf-8"), name, path.stem == "__init__"), layer))
    }
    assert not wrong


def test_notebooks_import_no_training() -> None:
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    wrong = {path.name: forbidden(imported(code(path), "__main__"), "notebooks") for path in notebooks}
    assert not {name: found for name, found in wrong.items() if found}


@pytest.mark.parametrize(
    ("source", "module", "layer"),
    [
        ("import paper", "nfnet.models.nfnet", "nfnet"),
        ("from paper.results import load", "nfnet.models.nfnet", "nfnet"),
        ("def f():\n    import figures.figure1", "paper.tables", "paper"),
        ("from importlib import import_module\nimport_module('figures')", "paper.tables", "paper"),
        ("import importlib\nimportlib.import_module('figures')", "paper.tables", "paper"),
        ("from support import golden", "nfnet.models.nfnet", "nfnet"),
        ("import nfnet.train", "__main__", "notebooks"),
        ("from nfnet import study", "__main__", "notebooks"),
        ("from nfnet.training.loop import run", "__main__", "notebooks"),
    ],
)
def test_wrong_imports_are_seen(source: str, module: str, layer: str) -> None:
    assert forbidden(imported(source, module), layer)


@pytest.mark.parametrize(
    ("source", "module", "layer"),
    [
        ("from . import layers\nfrom .data import digits\nimport jax", "nfnet.models.nfnet", "nfnet"),
        ("import nfnet\nfrom paper.results import load", "paper.claims", "paper"),
        ("from nfnet import VARIANTS\nfrom paper import results\nimport figures", "__main__", "notebooks"),
    ],
)
def test_right_imports_pass(source: str, module: str, layer: str) -> None:
    assert not forbidden(imported(source, module), layer)


def test_relative_imports_are_resolved() -> None:
    assert imported("from . import a\nfrom .b import c\nfrom .. import d", "p.q.r") == {
        "p.q.a",
        "p.q.b.c",
        "p.d",
    }
    assert imported("from . import a", "p.q", is_package=True) == {"p.q.a"}


def is_command(name: str, source: str) -> bool:
    """Whether `python -m` runs a module: a package's `__main__`, or one with a main block."""
    blocks = (node.test for node in ast.parse(source).body if isinstance(node, ast.If))
    return name.endswith(".__main__") or any("__name__" in ast.unparse(test) for test in blocks)


def help_imports_jax(name: str, root: Path) -> bool:
    """Runs `python -m NAME --help` and says whether JAX was imported for it."""
    script = (
        "import runpy, sys\n"
        "name = sys.argv[1]\n"
        "sys.argv = [name, '--help']\n"
        "try:\n"
        "    runpy.run_module(name, run_name='__main__', alter_sys=True)\n"
        "except SystemExit as exit:\n"
        "    assert not exit.code, exit.code\n"
        "print('\\n', 'jax' in sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, name],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert "usage" in run.stdout.lower(), f"python -m {name} --help prints no usage"
    return run.stdout.split()[-1] == "True"


def test_help_comes_without_jax() -> None:
    commands = [
        name.removesuffix(".__main__")
        for _, name, path in modules()
        if is_command(name, path.read_text(encoding="utf-8"))
    ]
    assert not [name for name in commands if help_imports_jax(name, ROOT)]


@pytest.mark.parametrize(("place", "expected"), [("top", True), ("main", False)])
def test_early_import_of_jax_is_seen(tmp_path: Path, place: str, expected: bool) -> None:
    (tmp_path / "jax.py").write_text("", encoding="utf-8")
    (tmp_path / "command.py").write_text(
        "import argparse\n"
        + ("import jax\n" if place == "top" else "")
        + "def main():\n    argparse.ArgumentParser().parse_args()\n    import jax\n"
        + "if __name__ == '__main__':\n    main()\n",
        encoding="utf-8",
    )
    assert is_command("command", (tmp_path / "command.py").read_text(encoding="utf-8"))
    assert help_imports_jax("command", tmp_path) is expected
