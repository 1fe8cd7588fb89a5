"""Imports run one way: between layers, between the rooms of a package, between modules; and JAX's own stay in kernels.

No command line loads JAX to say how it is used.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("nfnet", "paper", "figures", "notebooks")  # each may import those before it
NOT_SHIPPED = {"tests", "support", "tools", "benchmarks"}
# Notebooks tell about logged results; what trains is for command lines.
TRAINING = {"train", "finetune", "evaluate", "study", "training", "studies", "data", "configs"}
# Each room of a package, and those that it may import beside its own modules and what these may import. Modules that
# lie in no folder are named; every other room is a folder.
ROOMS: Mapping[str, Mapping[str, set[str]]] = {
    "nfnet": {
        "base": set(),
        "kernels": {"base"},
        "models": {"kernels"},
        "cost": {"models"},
        "optim": {"models"},
        "weights": {"models"},
        "data": {"base"},
        "training": {"cost", "optim", "weights", "data"},
        "studies": {"training"},
        "configs": {"models"},
        "loading": {"training"},
        "inference": {"loading"},
        "commands": {"studies", "configs", "inference"},
    },
    "paper": {
        "base": set(),
        "keeping": set(),
        "provenance": set(),
        "results": {"base", "provenance"},
        "family": {"results", "keeping"},
        "fits": {"family"},
        "vits": {"fits"},
        "experiments": {"keeping"},
        "replication": {"fits"},
        "study": {"vits", "replication"},
        "checks": {"study", "experiments"},
        "claims": {"checks"},
        "tables": {"claims"},
        "fit": {"tables"},
        "tamper": {"claims"},
    },
}
NAMED = {
    "nfnet": {
        "base": {"errors", "ranges", "files", "garbage", "interpreter"},
        "loading": {"weights.pretrained"},  # which reads runs too
        "commands": {
            *("train", "finetune", "evaluate", "predict", "features", "convert", "export", "describe", "study", "plot"),
            *("__main__", "command", ""),  # "": what `from nfnet import` gives
        },
    },
    "paper": {
        "base": {"commands", "files", "verdicts", "benchmarks", "noise", ""},
        "results": {"results"},
        "family": {"family"},
        "study": {"study"},
        "claims": {"claims"},
        "fit": {"fit"},
        "tamper": {"tamper"},
    },
}


def imported(source: str | ast.AST, module: str, is_package: bool = False) -> set[str]:
    """Full names of all that a source imports, at any depth, by statement or by `import_module` of a literal.

    Args:
        source: Python text, or its tree.
        module: the full name of its module, which relative imports start from.
        is_package: whether the module is a package's `__init__`.
    """
    found = set()
    for node in ast.walk(ast.parse(source) if isinstance(source, str) else source):
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


def graph(sources: Mapping[str, tuple[str, bool]]) -> dict[str, set[str]]:
    """Which modules of a package each module imports when it runs, be it inside a function.

    Args:
        sources: text of each module by full name, and whether it is a package's `__init__`.
    """
    edges: dict[str, set[str]] = {}
    for module, (source, is_package) in sources.items():
        tree = WithoutTypes().visit(ast.parse(source))
        names = imported(tree, module, is_package)
        found = {next((name for name in prefixes(name) if name in sources), module) for name in names}
        for start in open_ended(tree):
            found |= {name for name in sources if name.rpartition(".")[0] == start}
        edges[module] = found - {module}
    return edges


class WithoutTypes(ast.NodeTransformer):
    """Leaves out what is imported for annotations alone."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        """Drops `if TYPE_CHECKING`."""
        return ast.Pass() if ast.unparse(node.test).endswith("TYPE_CHECKING") else self.generic_visit(node)


def prefixes(name: str) -> Iterator[str]:
    """A dotted name, then without its last part, and so on."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def open_ended(tree: ast.AST) -> Iterator[str]:
    """Packages of which any module may be imported, as by `import_module(f"paper.checks.{name}")`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module"),
                args=[ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]), *_],
            ):
                yield start.removesuffix(".")


def circle(edges: Mapping[str, set[str]]) -> list[str]:
    """Modules that import one another in a circle, in order; empty where there is none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@cache
def graph_of(package: str) -> dict[str, set[str]]:
    """The `graph` of a package of this project."""
    return graph(
        {
            name: (path.read_text(encoding="utf-8"), path.stem == "__init__")
            for layer, name, path in modules()
            if layer == package
        }
    )


def room_of(name: str) -> str:
    """The room of a module, by its full name.

    Raises:
        LookupError: a module that ROOMS and NAMED do not place.
    """
    package, _, rest = name.partition(".")
    first = rest.partition(".")[0]
    rooms = [room for room, names in NAMED[package].items() if first in names or rest in names]
    rooms += [first] if first in ROOMS[package] and not rooms else []
    if not rooms:
        raise LookupError(f"{name} lies in no room of {package}: add it to the table")
    return rooms[0]


def within_reach(package: str, room: str) -> set[str]:
    """A room and all that it may import."""
    return {room}.union(*(within_reach(package, below) for below in ROOMS[package][room]))


def internals(source: str, module: str) -> set[str]:
    """What a source uses of JAX's parts for new primitives and their rules, but for jaxprs' types in `nfnet.cost`."""
    found = {
        name
        for name in imported(source, module)
        if name.startswith(("jax.interpreters", "jax.extend", "jax._src")) or name.endswith(".SymbolicZero")
    }
    if module.startswith("nfnet.cost."):
        found = {name for name in found if not name.startswith("jax.extend.core") or name.endswith(".Primitive")}
    attributes = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    return found | attributes & {"Primitive", "SymbolicZero", "interpreters", "_src"}


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


@pytest.mark.parametrize("package", ROOMS)
def test_modules_import_in_no_circle(package: str) -> None:
    assert circle(graph_of(package)) == []


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_import_one_way(package: str) -> None:
    wrong = {
        module: sorted(name for name in names if room_of(name) not in within_reach(package, room_of(module)))
        for module, names in graph_of(package).items()
    }
    assert not {module: names for module, names in wrong.items() if names}


def test_new_primitives_are_made_in_kernels_alone() -> None:
    wrong = {
        name: found
        for _, name, path in modules()
        if not name.startswith("nfnet.kernels.") and (found := internals(path.read_text(encoding="utf-8"), name))
    }
    assert not wrong


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from jax.interpreters import ad", "nfnet.models.layers"),
        ("import jax.interpreters.mlir", "nfnet.models.layers"),
        ("import jax\njax.interpreters.ad.primitive_jvps", "nfnet.models.layers"),
        ("def f():\n    from jax.extend.core import Primitive", "nfnet.training.step"),
        ("from jax.extend.core import Primitive", "nfnet.cost.counter"),
        ("from jax.extend import core\ncore.Primitive('p')", "nfnet.cost.counter"),
        ("from jax.custom_derivatives import SymbolicZero", "paper.family"),
    ],
)
def test_new_primitives_are_seen(source: str, module: str) -> None:
    assert internals(source, module)


def test_types_of_jaxprs_are_for_counting() -> None:
    source = "from jax.extend import core\ndef f(jaxpr: core.Jaxpr): ...\nfrom jax.extend.core import Literal"
    assert not internals(source, "nfnet.cost.counter")
    assert internals(source, "nfnet.models.layers")


@pytest.mark.parametrize(
    "b",
    [
        "import p.a",
        "from p import a",
        "from .a import x",
        "def f():\n    from p.a import x",
        "from importlib import import_module\nimport_module('p.a')",
        "import importlib\ndef f(n):\n    importlib.import_module(f'p.{n}')",
    ],
)
def test_a_circle_is_seen(b: str) -> None:
    found = circle(graph({"p": ("", True), "p.a": ("from p.b import y", False), "p.b": (b, False)}))
    assert set(found) == {"p.a", "p.b"}


def test_no_circle_is_seen_where_types_alone_are_imported() -> None:
    types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import x"
    assert circle(graph({"p": ("", True), "p.a": ("from p.b import y", False), "p.b": (types, False)})) == []


@pytest.mark.parametrize(
    ("module", "other", "expected"),
    [
        ("nfnet.models.vit", "nfnet.kernels.conv", True),
        ("nfnet.models.vit", "nfnet.errors", True),
        ("nfnet.kernels.conv", "nfnet.models.vit", False),
        ("nfnet.data.pipeline", "nfnet.models.vit", False),
        ("nfnet.optim.sgd", "nfnet.training.step", False),
        ("nfnet.models.vit", "nfnet", False),
        ("paper.fits.laws", "paper.keeping.memory", True),
        ("paper.results", "paper.fits.laws", False),
        ("paper.checks.vits", "paper.claims", False),
    ],
)
def test_arrows_between_rooms(module: str, other: str, expected: bool) -> None:
    assert (room_of(other) in within_reach(module.partition(".")[0], room_of(module))) is expected


def test_every_room_is_told_of() -> None:
    with pytest.raises(LookupError, match=r"paper\.new lies in no room"):
        room_of("paper.new")


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
