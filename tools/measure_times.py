"""Measures the times that the README gives for its commands, into docs/timings.json.

    python tools/measure_times.py

Each command of :data:`COMMANDS` runs in a fresh clone of HEAD in a temporary folder: what it needs is installed, it
runs, and it runs again. Packages come from pip's own cache where it has them, so that the network is not what is
measured. It takes long; leave the machine alone meanwhile. Changes that are not committed are not measured, and "dirty"
says that there were some. `make readme` then renews the README's table.

Exit codes: 0 done; 2 a command failed, or the file cannot be written (one sentence on standard error).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nfnet.errors import UserError
from nfnet.files import replacing

__all__ = ["COMMANDS", "Command", "main", "measure", "read", "sentence"]

ROOT = Path(__file__).resolve().parent.parent
TIMINGS = ROOT / "docs" / "timings.json"
VERSIONS = ("jax", "numpy", "scipy", "matplotlib")


class Command(NamedTuple):
    """A target of the Makefile that the README names.

    Attributes:
        target: What make is told.
        install: The target that installs what it needs, and nothing else.
        yields: What it gives, for the README.
    """

    target: str
    install: str
    yields: str


COMMANDS = (
    Command(
        "reproduce",
        ".venv/.analysis",
        "every figure (`build/figures`: PDF, SVG, PNG) and table (`build/tables`: Markdown, LaTeX, CSV), all fits, "
        "and the verdict on every claim",
    ),
    Command("test", ".venv/.dev", "linter, types, the tests, and the notebooks against their stored outputs"),
)
TIMES = ("install_s", "run_s", "again_s")


def _output(*command: str, folder: Path) -> str:
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", "") or str(error)
        raise UserError(f"`{' '.join(command)}` fails ({told.strip().splitlines()[-1]}).") from None


def _seconds(folder: Path, target: str, clock: Callable[[], float]) -> int:
    """Makes a target; returns whole seconds."""
    print(f"make {target}", file=sys.stderr, flush=True)
    # Where make itself runs this, what it hands on would make this one a part of it, with its flags.
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    start = clock()
    run = subprocess.run(
        ["make", target], cwd=folder, env=own, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if run.returncode:
        last = (run.stderr or run.stdout).strip().splitlines()[-1:]
        raise UserError(f"`make {target}` fails in a fresh clone ({''.join(last)}): mend it before it is measured.")
    return round(clock() - start)


def _surroundings(folder: Path) -> dict[str, Any]:
    """Machine and versions, as the interpreter that a clone has installed says them."""
    code = (
        "import importlib.metadata as m, json, platform; from benchmarks.machine import describe; d = describe(); "
        "print(json.dumps({'machine': f\"{d['cores']} cores of {d['cpu']}\", 'versions': "
        "{'python': platform.python_version(), **{name: m.version(name) for name in " + repr(VERSIONS) + "}}}))"
    )
    found: dict[str, Any] = json.loads(_output(str(folder / ".venv" / "bin" / "python"), "-c", code, folder=folder))
    return found


def measure(
    source: Path = ROOT,
    commands: Sequence[Command] = COMMANDS,
    surroundings: Callable[[Path], Mapping[str, Any]] = _surroundings,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Measures commands in fresh clones of the last commit of ``source``.

    Args:
        source: A git checkout.
        commands: What to run.
        surroundings: Returns ``machine`` and ``versions`` of a clone that is installed.
        clock: Seconds since whenever.

    Returns:
        What docs/timings.json holds: machine, versions, commit, whether the checkout had other changes, the time when
        the measurement began, and each command's seconds.

    Raises:
        UserError: If ``source`` is no checkout or a command fails.
    """
    commit = _output("git", "rev-parse", "HEAD", folder=source)
    dirty = bool(_output("git", "status", "--porcelain", folder=source))
    date = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    measured, found = [], {}
    for command in commands:
        with tempfile.TemporaryDirectory() as folder:
            clone = Path(folder) / "clone"
            # No hard links to the objects: the clone is as one from elsewhere is.
            _output("git", "clone", "--quiet", "--no-hardlinks", str(source), str(clone), folder=source)
            _output("git", "checkout", "--quiet", commit, folder=clone)
            steps = (command.install, command.target, command.target)
            times = {name: _seconds(clone, target, clock) for name, target in zip(TIMES, steps, strict=True)}
            measured.append({"command": f"make {command.target}", **times})
            found = dict(surroundings(clone))
    return {**found, "commit": commit, "dirty": dirty, "date": date, "commands": measured}


def read(path: Path = TIMINGS) -> dict[str, Any]:
    """Reads what :func:`measure` wrote.

    Raises:
        UserError: If a field is missing or of another type; the sentence names it.
    """
    kinds: Mapping[str, type | tuple[type, ...]] = {
        "machine": str,
        "versions": dict,
        "commit": (str, type(None)),  # of the first measurements the commit was not recorded
        "dirty": (bool, type(None)),
        "date": str,
        "commands": list,
    }
    anew = "measure it anew with `python tools/measure_times.py`"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path.name} cannot be read ({error}): {anew}.") from None
    for name, kind in kinds.items():
        if not isinstance(record, dict) or not isinstance(record.get(name, ...), kind):
            raise UserError(f"{path.name}: field {name!r} is missing or of another type; {anew}.")
    for one, command in zip(record["commands"], COMMANDS, strict=False):
        if one.get("command") != f"make {command.target}":
            raise UserError(f"{path.name} has {one.get('command')!r} where `make {command.target}` is due; {anew}.")
        for name in TIMES:
            if type(one.get(name)) is not int or one[name] < 0:
                raise UserError(f"{path.name}: {name!r} of `make {command.target}` is no number of seconds; {anew}.")
    if len(record["commands"]) != len(COMMANDS):
        raise UserError(
            f"{path.name} has {len(record['commands'])} commands, but the README names {len(COMMANDS)}; {anew}."
        )
    return record


def sentence(record: Mapping[str, Any]) -> str:
    """Where and when it was measured."""
    versions = record["versions"]
    parts = [record["machine"], f"Python {versions['python']}, JAX {versions['jax']}"]
    if record["commit"]:
        parts.append(f"code {record['commit'][:12]}{'-dirty' if record['dirty'] else ''}")
    return f"Measured on {'; '.join([*parts, record['date']])}."


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Measure the times of the README's commands in fresh clones.")
    parser.add_argument("--out", type=Path, default=TIMINGS, help="file to write (docs/timings.json)")
    arguments = parser.parse_args(argv)
    try:
        record = measure()
        with replacing(arguments.out, "choose another --out") as file:
            file.write((json.dumps(record, indent=1) + "\n").encode())
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
