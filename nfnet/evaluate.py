"""Evaluates a checkpoint on a held-out split.

python -m nfnet.evaluate --config nfnet/configs/digits.py --checkpoint runs/digits
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

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
            f"of {result.examples:,} images at {config.data.evaluation_size} px"
        )
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, or 2 at bad input."""
    return command_line.run(lambda: _evaluate(arguments))


if __name__ == "__main__":
    sys.exit(main())
