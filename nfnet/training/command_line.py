"""What the command lines share: arguments, one-sentence errors, exit codes."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nfnet.errors import UserError, printable
from nfnet.files import local_path
from nfnet.interpreter import check_docstrings, spell_out

BAD_INPUT = 2
NO_CACHE = "--no-compilation-cache"


class _Parser(argparse.ArgumentParser):
    """Adds all settings to the help, which argparse itself would run together into one paragraph."""

    def format_help(self) -> str:
        from nfnet.training.config import settings_help

        return f"{super().format_help()}\n{settings_help()}\n"


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """Makes a parser with the arguments of every command.

    Args:
        program: the command as a module, e.g. "nfnet.train".
        description: what it does.
    """
    result = _Parser(
        prog=program.replace(".", " "),
        description=description,
        epilog="Any setting of the configuration can be overridden: --config.GROUP.KEY=VALUE.",
        allow_abbrev=False,
    )
    said = "name of a provided configuration, e.g. digits, or a Python file; an argument for it may follow a colon"
    result.add_argument("named", nargs="?", metavar="CONFIG", help=said)
    result.add_argument("--config", help="the same; give one of both")
    result.add_argument("--data", metavar="FOLDER", help="folder of the data set: short for --config.data.path=FOLDER")
    add_cache_argument(result)
    return result


def add_cache_argument(result: argparse.ArgumentParser) -> None:
    """Adds the switch of the compilation cache, which `nfnet.training.compilation_cache` describes."""
    result.add_argument(NO_CACHE, action="store_true", help="compile anew, and keep no compiled programs")


def add_weights_arguments(result: argparse.ArgumentParser, name: str) -> None:
    """Adds the arguments of commands that read parameters.

    `--weights`, which may also be called `name`, says where they are, the others which.
    """
    said = "name of published weights, a run's --workdir, one of its checkpoints, or a file of weights"
    result.add_argument("--weights", name, dest=name.lstrip("-"), metavar="NAME|FILE|RUN", required=True, help=said)
    result.add_argument("--raw", action="store_true", help="take the parameters rather than their moving average")
    result.add_argument(
        "--best",
        action="store_true",
        help="take a run's best checkpoint, which was selected on the held-out split, rather than its last",
    )
    result.add_argument("--allow-non-finite", action="store_true", help="also take weights that are NaN or infinite")


def add_run_arguments(result: argparse.ArgumentParser) -> None:
    """Adds the arguments of commands that train."""
    result.add_argument(
        "--workdir",
        help="folder for checkpoints and the run log; resumed if used (default: runs/ and the name of the --data "
        "folder, or of the configuration)",
    )
    result.add_argument(
        "--coordinator", help="several hosts: HOST:PORT of the first one, or `auto` on TPU pods and Slurm"
    )
    result.add_argument("--processes", type=int, help="several hosts: how many")
    result.add_argument("--process-id", type=int, help="several hosts: which one this is, from 0")


def parse(result: argparse.ArgumentParser, arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Parses a command line into its arguments and the overrides of the configuration.

    Exits with code 2 at an argument that is neither.

    Raises:
        UserError: Python runs without docstrings, a folder is none of this machine, or one thing is said twice.
    """
    given, overrides = list[str](), list[str]()
    values = iter(sys.argv[1:] if arguments is None else arguments)
    for argument in values:
        if argument.startswith("--config."):
            overrides.append(argument if "=" in argument else f"{argument}={next(values, '')}")
        else:
            given.append(argument)
    options, others = result.parse_known_args(given)
    check_docstrings()
    for argument in others:
        result.error(f"unknown argument {argument!r}: overrides look like --config.training.epochs=2")
    if options.config and options.named:
        raise UserError(f"Two configurations are given, {options.named} and --config {options.config}: leave one out.")
    options.config = options.config or options.named
    if not options.config:
        result.error("a configuration is missing: name one, as in digits, or give a file with --config")
    if options.data is not None:
        if any(override.startswith("--config.data.path=") for override in overrides):
            raise UserError("Both --data and --config.data.path are given, which are the same: leave one out.")
        overrides.append(f"--config.data.path={options.data}")
    if "workdir" in options and not options.workdir:
        options.workdir = str(_default_workdir(options))
    for name in ("workdir", "init", "checkpoint"):
        if name in options:
            setattr(options, name, str(local_path(getattr(options, name), f"--{name}")))
    return options, overrides


def _default_workdir(options: argparse.Namespace) -> Path:
    if options.data:
        return Path("runs", local_path(options.data, "--data").resolve().name or "data")
    return Path("runs", Path(options.config.partition(":")[0]).stem)


def use_cache(options: argparse.Namespace) -> None:
    """Turns the compilation cache on unless the command line says no."""
    if not options.no_compilation_cache:
        from nfnet.training import compilation_cache

        compilation_cache.enable()


def run(main: Callable[[], int]) -> int:
    """Runs a command; bad input or output becomes one sentence on stderr and exit code 2.

    A Ctrl-C that nothing waited for becomes exit code 130.
    """
    spell_out()
    try:
        return main()
    except UserError as error:
        said = str(error)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "nfnet":
            raise
        said = f"the package {package} is not installed: run `pip install -e '.[train]'` or `make .venv/.dev`."
    except BrokenPipeError:
        return 1
    except OSError as error:
        name = "a file" if error.filename is None else printable(error.filename)
        said = f"{name}: {error.strerror or error}: check the path, its disk and its permissions."
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    print(f"error: {said}", file=sys.stderr)
    return BAD_INPUT
