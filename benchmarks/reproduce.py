"""What `make reproduce` takes cold and warm, the fits alone, each notebook, and the start of each command line.

    python -m benchmarks.reproduce

Everything runs in a copy of the tree that holds no bytecode, caches or results, with this interpreter; the packages
installed beside it keep theirs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.driver import ROOT
from benchmarks.machine import describe
from benchmarks.report import RESULTS, emit, parser, positive, run, say
from benchmarks.timing import summary
from nfnet.errors import UserError

__all__ = ["copy_tree", "main", "timed"]

REPRODUCE = ("-m", "figures.reproduce", "--jobs", "2")
STARTS = {
    "python -m figures --help": ("-m", "figures", "--help"),
    "python -m nfnet.describe F0": ("-m", "nfnet.describe", "F0"),
    "python -m paper.claims --help": ("-m", "paper.claims", "--help"),
}
_EXECUTE = (
    "import nbformat, nbclient, sys; "
    "nbclient.NotebookClient(nbformat.read(sys.argv[1], 4), resources={'metadata': {'path': 'notebooks'}}).execute()"
)


def copy_tree(source: Path, target: Path) -> None:
    """Copies the files that git knows of or would add, as they are now.

    Raises:
        UserError: If `source` is no checkout.
    """
    command = ["git", "-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise UserError(f"{source} is no git checkout: run the benchmark in one.") from None
    for name in filter(None, listing.split("\0")):
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


def timed(arguments: Sequence[str], folder: Path, env: Mapping[str, str]) -> tuple[float, str]:
    """Runs this interpreter and returns seconds and output.

    Raises:
        UserError: If it fails.
    """
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=dict(env), capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"`python {' '.join(arguments)[:80]}` ended with code {done.returncode} ({last}).")
    return seconds, done.stdout


def _environment(folder: Path) -> dict[str, str]:
    caches = {"XDG_CACHE_HOME": "cache", "MPLCONFIGDIR": "matplotlib", "IPYTHONDIR": "ipython"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "PYTHON", "MPL"))}
    return {
        **kept,
        **{name: str(folder / part) for name, part in caches.items()},
        "PYTHONPATH": str(folder / "tree"),  # before the packages, of which the checkout itself is one
        "JAX_PLATFORMS": "cpu",
    }


def _main(arguments: Sequence[str] | None) -> int:
    line = parser("reproduce", "Measure `make reproduce` cold and warm, fits, notebooks and command lines.")
    line.add_argument("--rounds", type=positive, default=3, help="repeats of what is warm (%(default)s)")
    options = line.parse_args(arguments)
    results: list[dict[str, Any]] = []

    def keep(what: str, seconds: Sequence[float]) -> None:
        say(f"{what}: {', '.join(f'{one:.2f}' for one in seconds)} s")
        results.append({"what": what, "seconds": summary(seconds), "runs": list(seconds)})

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree = folder / "tree"
        copy_tree(ROOT, tree)
        env = _environment(folder)
        keep("reproduce, cold", [timed(REPRODUCE, tree, env)[0]])
        keep("reproduce, warm", [timed(REPRODUCE, tree, env)[0] for _ in range(options.rounds)])
        parts = [json.loads(timed(("-m", "benchmarks.fits"), tree, env)[1]) for _ in range(options.rounds)]
        for part in parts[0]:
            keep(f"paper.study, {part}", [one[part] for one in parts])
        for notebook in sorted((tree / "notebooks").glob("*.ipynb")):
            keep(notebook.name, [timed(("-c", _EXECUTE, str(notebook)), tree, env)[0]])
        for what, command in STARTS.items():
            timed(command, tree, env)
            keep(what, [timed(command, tree, env)[0] for _ in range(options.rounds)])
    record = {
        "benchmark": "reproduce",
        "machine": describe() | {"device_kind": "cpu"},
        "settings": {"rounds": options.rounds},
        "results": results,
    }
    rows = [[one["what"], *one["seconds"].values(), len(one["runs"])] for one in results]
    emit(options.out or RESULTS / "reproduce.json", record, ("what", "median s", "min s", "max s", "runs"), rows)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 at bad input."""
    return run(lambda: _main(arguments))


if __name__ == "__main__":
    sys.exit(main())
