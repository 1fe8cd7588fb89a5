"""Nothing reads a format that can run code, but for the one module that reads released weights safely."""

import ast
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("nfnet", "paper", "figures", "benchmarks", "tools", "notebooks")
READER = ROOT / "nfnet" / "weights" / "pickles.py"
MODULES = {"pickle", "_pickle", "cPickle", "dill", "shelve", "marshal", "joblib", "cloudpickle"}
FUNCTIONS = {"read_pickle", "to_pickle"}


def unsafe(source: str) -> set[str]:
    """What a source uses of all that can run what it reads, by import or by argument."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names if alias.name.split(".")[0] in MODULES}
            case ast.ImportFrom(module=str(origin), level=0) if origin.split(".")[0] in MODULES:
                found.add(origin)
            case ast.ImportFrom(module=origin, names=names) if origin != "nfnet.weights.pickles":
                found |= {alias.name for alias in names if alias.name in MODULES | FUNCTIONS}
            case ast.Attribute(attr=name) if name in MODULES | FUNCTIONS:
                found.add(name)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ) if name.split(".")[0] in MODULES:
                found.add(name)
            case ast.keyword(arg="allow_pickle", value=value) if not (
                isinstance(value, ast.Constant) and value.value is False
            ):
                found.add("allow_pickle")
    return found


def sources() -> Iterator[tuple[Path, str]]:
    """Every module and notebook with its Python text."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, path.read_text(encoding="utf-8")
        for path in sorted((ROOT / folder).rglob("*.ipynb")):
            cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
            plain = ["\n".join(line for line in cell.splitlines() if line[:1] not in ("%", "!")) for cell in cells]
            yield path, "\n".join(plain)


def test_only_the_reader_of_weights_knows_pickles() -> None:
    found = {path: unsafe(source) for path, source in sources() if path != READER}
    assert len(found) > 50
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, dill as d",
        "def f():\n    import joblib.memory",
        "from marshal import loads",
        "from cloudpickle.cloudpickle import load",
        "from numpy.lib.npyio import pickle",
        "np.load(file, allow_pickle=True)",
        "np.load(file, allow_pickle=trusted)",
        "pd.read_pickle(file)",
        "from pandas import read_pickle",
        "from . import dill",
        "importlib.import_module('shelve')",
        "__import__('_pickle')",
        "np.lib.npyio.pickle.load(file)",
    ],
)
def test_unsafe_sources_are_seen(source: str) -> None:
    assert unsafe(source)


@pytest.mark.parametrize(
    "source", ["from nfnet.weights.pickles import read_pickle", "np.load(file, allow_pickle=False)", "pickle = 1"]
)
def test_safe_sources_are_not(source: str) -> None:
    assert not unsafe(source)
