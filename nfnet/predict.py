"""Names what is in images.

``nfnet predict cat.jpg holiday/ 'scans/*.png' --weights dm_nfnet_f0.dm_in1k``
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from nfnet.errors import UserError, printable
from nfnet.inference import arguments as shared
from nfnet.training import command_line

_SOME_FAILED = 1
_BAR = 24


def _predict(arguments: Sequence[str] | None) -> int:
    parser = shared.parser("predict", "Prints the most probable classes of images.")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files, folders (at any depth), or patterns")
    parser.add_argument("--top", type=shared.positive, default=5, help="how many classes (default %(default)s)")
    parser.add_argument("--classes", metavar="FILE", help="a text with the name of one class a line, in logits' order")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    shared.add_preprocessing(parser)
    shared.add_computing(parser)
    options = parser.parse_args(arguments)

    from nfnet.inference.preprocess import batches, find_images

    paths = find_images(options.images)
    command_line.use_cache(options)
    pretrained = shared.load(options)

    from nfnet.inference.class_names import class_names
    from nfnet.inference.classify import largest, make_forward, probabilities

    names = class_names(pretrained, shared.file(options.classes, "--classes"))
    settings = shared.preprocessing(options, pretrained)
    batch = min(options.batch, len(paths))
    forward = make_forward(pretrained, settings, batch, dtype=options.dtype)
    failed = 0
    records: list[dict[str, Any]] = []
    for images in batches(paths, settings, batch):
        found: dict[int, dict[str, Any]] = {place: {"error": error} for place, error in images.errors.items()}
        if images.places:
            shares = probabilities(forward(images.pixels)["logits"])
            for place, row, best in zip(images.places, shares, largest(shares, options.top), strict=True):
                found[place] = {
                    "predictions": [{"class": int(k), "name": names[k], "probability": float(row[k])} for k in best]
                }
        failed += len(images.errors)
        for place in sorted(found):
            record = {"file": str(paths[place]), **found[place]}
            if options.json:
                records.append(record)
            else:
                _show(record)
    if options.json:
        said = {"weights": pretrained.description, "size": settings.size, "images": records}
        print(json.dumps(said))
    if failed == len(paths):
        raise UserError(f"none of the {len(paths)} images could be read.")
    return _SOME_FAILED if failed else 0


def _show(record: dict[str, Any]) -> None:
    """Prints what was found in an image: with bars on a terminal, as plain text elsewhere."""
    if "error" in record:
        print(f"warning: {record['error']}", file=sys.stderr)
        return
    print(printable(record["file"]))
    bars = _bars if sys.stdout.isatty() else lambda share: ""
    for one in record["predictions"]:
        print(f"  {100 * one['probability']:5.1f}%  {bars(one['probability'])}{printable(one['name'])}")


def _bars(share: float) -> str:
    """Returns a bar of eighths of characters, in colour, and a space."""
    eighths = round(share * _BAR * 8)
    bar = "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")
    return f"\x1b[36m{bar:{_BAR}}\x1b[0m  "


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 1 if some images could not be read, or 2 at bad input or if none could."""
    return command_line.run(lambda: _predict(arguments))


if __name__ == "__main__":
    sys.exit(main())
