"""Evaluates weights on a folder of images, or a checkpoint on the held-out split of a configuration.

nfnet evaluate --weights dm_nfnet_f0.dm_in1k --data imagenet
nfnet evaluate --config digits --weights runs/digits
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from nfnet.files import require_replaceable
from nfnet.inference import arguments as shared
from nfnet.training import command_line


def _evaluate(arguments: Sequence[str] | None) -> int:
    parser = command_line.parser("nfnet.evaluate", "Evaluates a checkpoint on a held-out split.")
    command_line.add_weights_arguments(parser, "--checkpoint")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options, overrides = command_line.parse(parser, arguments)

    import json
    from pathlib import Path

    from nfnet.training.config_file import load_config

    config = load_config(options.config, overrides)
    command_line.use_cache(options)

    from nfnet.training.initial import evaluate_checkpoint, read_initial

    loaded = read_initial(
        Path(options.checkpoint), average=not options.raw, best=options.best, allow_non_finite=options.allow_non_finite
    )
    result = evaluate_checkpoint(loaded, config)
    if options.json:
        record = {
            "checkpoint": loaded.description,
            "loss": result.loss,
            "top1": result.top1,
            "examples": result.examples,
        }
        print(json.dumps(record))
    else:
        print(
            f"{loaded.description}: loss {result.loss:.4f}, top-1 {100 * result.top1:.2f}% "
            f"of {result.examples:,} images at {result.size} px"
        )
    return 0


def _with_config(arguments: Sequence[str]) -> bool:
    """Tells whether a configuration says what to evaluate on: by a flag, or as the first argument."""
    flags = any(one.startswith("--config") or one.partition("=")[0] == "--checkpoint" for one in arguments)
    return flags or (bool(arguments) and not arguments[0].startswith("-"))


def _evaluate_folder(arguments: Sequence[str]) -> int:
    parser = shared.parser(
        "evaluate",
        "Evaluates weights on a folder with one folder of images a class, or with such a folder named val, validation, "
        "valid or test in it. Classes are matched by name, for ImageNet's weights also by WordNet's numbers, or "
        "else by the order of the sorted folders. With a configuration, as in `nfnet evaluate digits --weights RUN`, "
        "it evaluates on that one's held-out split; `nfnet evaluate digits --help` says how.",
    )
    parser.add_argument("--data", required=True, metavar="FOLDER", help="the folder")
    parser.add_argument("--classes", metavar="FILE", help="a text with the class folder of each logit, one a line")
    parser.add_argument("--per-class", metavar="FILE", help="CSV file to write, with a row for each class")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    shared.add_preprocessing(parser)
    shared.add_computing(parser, batch=32)
    options = parser.parse_args(arguments)
    data, classes = shared.file(options.data, "--data"), shared.file(options.classes, "--classes")
    per_class = shared.file(options.per_class, "--per-class")
    assert data is not None
    if per_class is not None:
        require_replaceable(per_class, "choose another --per-class")

    from nfnet.data.folder import held_out_folder, image_folder
    from nfnet.inference.class_names import class_names, label_map

    source = image_folder(held_out_folder(data), classes=None)
    command_line.use_cache(options)
    pretrained = shared.load(options)
    names = class_names(pretrained, classes)
    settings = shared.preprocessing(options, pretrained)
    logits, matched = label_map(source.class_names, pretrained, names, listed=classes is not None)

    import json
    import time

    import numpy as np

    from nfnet.data.source import check_readable
    from nfnet.files import replacing
    from nfnet.inference.classify import largest, make_forward
    from nfnet.inference.preprocess import batches
    from nfnet.inference.score import per_class as table
    from nfnet.inference.score import score, wilson

    batch = min(options.batch, len(source))
    forward = make_forward(pretrained, settings, batch, dtype=options.dtype)
    forward(np.zeros((batch, settings.size, settings.size, 3), np.uint8))  # compiles
    best, places = [], list[int]()
    start = time.perf_counter()
    for images in batches([source.root / name for name in source.files], settings, batch):
        for error in images.errors.values():
            print(f"warning: {error}", file=sys.stderr)
        if images.places:
            best.append(largest(forward(images.pixels)["logits"], 5))
            places += images.places
    seconds = time.perf_counter() - start
    check_readable(len(source) - len(places), len(source), source.name, remedy="restore or remove them")
    found = score(np.asarray(logits)[source.labels[places]], np.concatenate(best))
    total = len(places)
    rates = {"top1": int(found.top1.sum()), "top5": int(found.top5.sum())}
    entry = pretrained.entry
    expected = entry.top1 / 100 if entry is not None and entry.top1 is not None else None
    if per_class is not None:
        with replacing(per_class, "choose another --per-class") as file:
            file.write(table(found, names).encode())
    if options.json:
        intervals = {f"{key}_interval": wilson(right, total) for key, right in rates.items()}
        shares = {key: right / total for key, right in rates.items()}
        record = {"weights": pretrained.description, "images": total, "size": settings.size, **shares, **intervals}
        record |= {"expected_top1": expected, "classes_by": matched, "images_per_s": total / seconds}
        print(json.dumps(record))
        return 0
    print(f"{pretrained.description}: {total:,} images of {source.name} at {settings.size} px, classes by {matched}")
    for key, right in rates.items():
        low, high = wilson(right, total)
        said = f"top-{key[3:]} {100 * right / total:.2f}% (95% interval {100 * low:.2f} to {100 * high:.2f}%)"
        print(said + (f", published {100 * expected:.2f}%" if key == "top1" and expected is not None else ""))
    print(f"{total / seconds:.1f} images/s")
    return 0


def _main(arguments: Sequence[str]) -> int:
    if arguments in (["--help"], ["-h"]):  # of both ways
        with contextlib.suppress(SystemExit):
            _evaluate_folder(arguments)
        print("\nWith a configuration:\n")
        return _evaluate(arguments)
    return _evaluate(arguments) if _with_config(arguments) else _evaluate_folder(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, or 2 at bad input."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    return command_line.run(lambda: _main(given))


if __name__ == "__main__":
    sys.exit(main())
