r"""Fine-tunes a trained network: its body is restored, its classifier starts afresh.

python -m nfnet.finetune --config nfnet/configs/digits.py --init runs/digits --workdir runs/digits_48px \
    --config.data.image_size=48
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nfnet.training import command_line


def _finetune(arguments: Sequence[str] | None) -> int:
    parser = command_line.parser("nfnet.finetune", "Fine-tunes a trained network, or resumes a fine-tuning run.")
    command_line.add_weights_arguments(parser, "--init")
    parser.add_argument(
        "--partial", action="store_true", help="accept a checkpoint that does not fill the whole body, or holds more"
    )
    command_line.add_run_arguments(parser)
    options, overrides = command_line.parse(parser, arguments)

    from pathlib import Path

    from nfnet.training.config_file import load_config
    from nfnet.training.environment import start_distributed

    config = load_config(options.config, overrides)
    command_line.use_cache(options)
    start_distributed(options.coordinator, options.processes, options.process_id)

    import jax

    from nfnet.training.initial import adopt, read_initial
    from nfnet.training.loop import train
    from nfnet.training.state import Params
    from nfnet.training.transfer import transfer

    loaded = read_initial(
        Path(options.init), average=not options.raw, best=options.best, allow_non_finite=options.allow_non_finite
    )

    config = adopt(loaded, config)

    def initial(fresh: Params) -> Params:
        params, report = transfer(fresh, loaded.params, partial=options.partial)
        if jax.process_index() == 0:
            print(f"{loaded.description}: {report}", file=sys.stderr)
        return params

    return train(config, Path(options.workdir), initial=initial).report()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, 2 at bad input, 128 + number after a signal."""
    return command_line.run(lambda: _finetune(arguments))


if __name__ == "__main__":
    sys.exit(main())
