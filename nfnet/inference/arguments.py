"""Arguments that the commands of inference share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfnet.errors import UserError, printable
from nfnet.files import local_path, require_replaceable

if TYPE_CHECKING:
    from nfnet.weights.pretrained import Pretrained
    from nfnet.weights.zoo import Preprocessing


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """Makes the parser of `nfnet NAME`, with the arguments that choose weights."""
    result = argparse.ArgumentParser(prog=f"nfnet {name}", description=description, allow_abbrev=False)
    said = "name of published weights (docs/models.md), a file of weights, or the folder of a run"
    result.add_argument("--weights", metavar="NAME|FILE|RUN", required=True, help=said)
    result.add_argument("--offline", action="store_true", help="download nothing: take what was downloaded before")
    result.add_argument("--raw", action="store_true", help="of a run, the parameters rather than their moving average")
    result.add_argument("--best", action="store_true", help="of a run, its best checkpoint rather than its last")
    return result


def add_preprocessing(result: argparse.ArgumentParser) -> None:
    """Adds what of the published preprocessing can be chosen otherwise."""
    group = result.add_argument_group("preprocessing", "By default that of the weights' published evaluation.")
    group.add_argument("--size", type=positive, metavar="PX", help="height and width that the network sees")
    group.add_argument("--resize", type=positive, metavar="PX", help="side before --size is cut from the centre")
    group.add_argument(
        "--crop", choices=("squash", "center"), help="resize to a square, or the shorter side, keeping the aspect ratio"
    )
    group.add_argument("--interpolation", choices=("bicubic", "bilinear"), help="filter of the resizing")
    for name, said in (("mean", "subtracted from colours in [0, 1]"), ("std", "what the difference is divided by")):
        group.add_argument(f"--{name}", type=float, nargs=3, metavar=("R", "G", "B"), help=said)


def add_computing(result: argparse.ArgumentParser, batch: int = 8) -> None:
    """Adds how images are computed."""
    result.add_argument("--batch", type=positive, default=batch, help="images at once (default %(default)s)")
    result.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="type of activations (default %(default)s)"
    )
    result.add_argument("--no-compilation-cache", action="store_true", help="compile anew, and keep nothing compiled")


def positive(text: str) -> int:
    """Parses a whole number above zero."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def load(options: argparse.Namespace) -> Pretrained:
    """Loads the weights, with the network that they were trained in."""
    from nfnet.weights.pretrained import load_pretrained

    return load_pretrained(options.weights, offline=options.offline, average=not options.raw, best=options.best)


def preprocessing(options: argparse.Namespace, pretrained: Pretrained) -> Preprocessing:
    """Returns the published preprocessing with what the command line asks for instead.

    Raises:
        UserError: If it is out of range, or the network does not take images of that size.
    """
    from nfnet.inference.preprocess import MOST_PIXELS, adjust
    from nfnet.models.nfnet import NFNetConfig

    given: dict[str, Any] = {name: getattr(options, name) for name in ("size", "resize", "crop", "interpolation")}
    colours = {name: tuple(value) for name in ("mean", "std") if (value := getattr(options, name)) is not None}
    settings = adjust(pretrained.preprocessing, **given, **colours)
    if settings.resized**2 > MOST_PIXELS:
        told = "" if options.size or options.resize else ", as the weights tell"
        raise UserError(
            f"images would be resized to {settings.resized} px{told}, more than the {math.isqrt(MOST_PIXELS)} that are "
            "computed: give a smaller --size."
        )
    config = pretrained.config
    if not isinstance(config, NFNetConfig):
        config.grid(settings.size, settings.size)
        if settings.size != config.resolution:
            raise UserError(
                f"--size is {settings.size}, but the weights have positions for {config.resolution} px: leave it out."
            )
    elif settings.size < config.smallest_image:
        raise UserError(
            f"--size is {settings.size}, too small for this network: give at least {config.smallest_image}."
        )
    return settings


def output(text: str, flag: str, suffixes: Sequence[str]) -> Path:
    """Returns the path of a file to write, whose suffix says in what format.

    Raises:
        UserError: If it has none of the suffixes, or cannot be written, which is told before the work is done.
    """
    path = local_path(text, flag)
    if path.suffix not in suffixes:
        raise UserError(f"{flag} is {printable(path)}, but must end with {' or '.join(suffixes)}.")
    require_replaceable(path, f"choose another {flag}")
    return path


def file(text: str | None, flag: str) -> Path | None:
    """Returns the path of an argument that may be missing."""
    return None if text is None else local_path(text, flag)
