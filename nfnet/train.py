"""Trains a network from scratch, or resumes a run.

python -m nfnet.train --config nfnet/configs/digits.py --workdir runs/digits
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nfnet.training import command_line


def _train(arguments: Sequence[str] | None) -> int:
    parser = command_line.parser("nfnet.train", "Trains a network from scratch, or resumes a run.")
    command_line.add_run_arguments(parser)
    options, overrides = command_line.parse(parser, arguments)

    # JAX and its friends take seconds to import: not before the arguments are known to be right.
    from pathlib import Path

    from nfnet.training.config_file import load_config
    from nfnet.training.environment import start_distributed

    config = load_config(options.config, overrides)
    command_line.use_cache(options)
    start_distributed(options.coordinator, options.processes, options.process_id)

    from nfnet.training.loop import train

    return train(config, Path(options.workdir)).report()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, 2 at bad input, 128 + number after a signal."""
    return command_line.run(lambda: _train(arguments))


if __name__ == "__main__":
    sys.exit(main())
