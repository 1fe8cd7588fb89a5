"""The command `nfnet`: a table of commands, each a module that is imported when it is called.

    nfnet describe F0
    nfnet train digits --workdir runs/digits

`python -m nfnet NAME` is the same, and so is `python -m nfnet.NAME`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nfnet.errors import UserError, printable, unknown_name
from nfnet.garbage import leave_garbage
from nfnet.training import command_line


class Command(NamedTuple):
    """A command: the module whose `main` takes its arguments, and one line that says what it does."""

    module: str
    summary: str


COMMANDS: Mapping[str, Command] = {
    "train": Command("nfnet.train", "train a network from scratch, or resume a run"),
    "finetune": Command("nfnet.finetune", "fine-tune a trained network, on a folder of your own for instance"),
    "evaluate": Command("nfnet.evaluate", "evaluate weights on held-out images"),
    "predict": Command("nfnet.predict", "name what is in images"),
    "features": Command("nfnet.features", "write the features of images to a file"),
    "convert": Command("nfnet.convert", "convert weights from elsewhere to safetensors, and back to timm's names"),
    "export": Command("nfnet.export", "export a network to StableHLO or ONNX"),
    "describe": Command("nfnet.describe", "print what a network is made of and what it costs"),
    "study": Command("nfnet.study", "run a study: models, epoch budgets, learning rates"),
    "plot": Command("nfnet.plot", "draw the losses of runs and studies"),
}


def usage() -> str:
    """Returns the text of `nfnet --help`."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        (
            "usage: nfnet COMMAND [ARGUMENTS]",
            "",
            *(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()),
            "",
            "nfnet COMMAND --help says how a command is used; nfnet --version prints the version.",
        )
    )


def _command(arguments: Sequence[str]) -> int:
    name, *rest = arguments
    if name not in COMMANDS:
        if name.startswith("-"):
            raise UserError(f"{printable(name)} comes before a command: write it behind one, as in nfnet train --help.")
        raise unknown_name("command", printable(name), COMMANDS)
    code = importlib.import_module(COMMANDS[name].module).main(rest)
    return code or 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code; 2 at bad input, such as a command that there is not."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] in (["--version"], ["-V"]):
        import nfnet

        print(f"nfnet-companion {nfnet.__version__}")
        return 0
    if not given or given[0] in ("--help", "-h", "help"):
        print(usage(), file=sys.stdout if given else sys.stderr)
        return 0 if given else command_line.BAD_INPUT
    return command_line.run(lambda: _command(given))


def script() -> int:
    """What the console script `nfnet` calls."""
    if sys.argv[1:2] == ["describe"]:
        leave_garbage()
    return main()
