"""Evaluates a checkpoint on a held-out split.

python -m nfnet.evaluate --config nfnet/configs/digits.py --checkpoint runs/digits
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nfnet.training import command_line


def _evaluate(arguments: Sequence[str] | None) -> int:
    parser = command_line.parser("nfnet.evaluate", "Evaluates a checkpoint on a held-out split.")
    parser.add_argument(
        "--checkpoint",
        required=True,
        help="a run's --workdir, one of its checkpoints, or a released NFNet's file",
    )
    parser.add_argument(
        "--raw", action="store_true", help="evaluate the last parameters rather than their moving average"
    )
    parser.add_argument(
        "--allow-non-finite", action="store_true", help="also take weights of a file that are NaN or infinite"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options, overrides = command_line.parse(parser, arguments)

    import json
    from pathlib import Path

    from nfnet.training.config import load_config

    config = load_config(options.config, overrides)
    command_line.use_cache(options)

    from nfnet.training.initial import evaluate_checkpoint, read_initial

    loaded = read_initial(Path(options.checkpoint), average=not options.raw, allow_non_finite=options.allow_non_finite)
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
