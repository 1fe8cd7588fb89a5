"""Fine-tunes a trained network: its body is restored, its classifier starts afresh.

    nfnet finetune image_folder --weights dm_nfnet_f0.dm_in1k --data FOLDER
    nfnet finetune digits --weights runs/digits --workdir runs/digits_48px --config.data.image_size=48

`python -m nfnet.finetune` is the same, and `--init` is another name of `--weights`.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfnet.errors import UserError, printable
from nfnet.training import command_line

if TYPE_CHECKING:
    from nfnet.training.config import RunConfig
    from nfnet.training.initial import Initial
    from nfnet.weights.pretrained import Weights

_SOME = {"nfnet": "F0", "vit": "S/16"}
"""A variant of each family, of which a network without a name is told the differences."""


def _finetune(arguments: Sequence[str] | None) -> int:
    parser = command_line.parser("nfnet.finetune", "Fine-tunes a trained network, or resumes a fine-tuning run.")
    command_line.add_weights_arguments(parser, "--init")
    parser.add_argument(
        "--partial", action="store_true", help="accept a checkpoint that does not fill the whole body, or holds more"
    )
    command_line.add_run_arguments(parser)
    options, overrides = command_line.parse(parser, arguments)

    from nfnet.training.config_file import load_config, overridden_settings
    from nfnet.training.environment import start_distributed

    config = load_config(options.config, overrides)
    command_line.use_cache(options)
    start_distributed(options.coordinator, options.processes, options.process_id)

    import jax

    from nfnet.training.initial import adopt
    from nfnet.training.loop import train
    from nfnet.training.state import Params
    from nfnet.training.transfer import transfer

    own = overridden_settings(overrides)
    loaded = _read(options, config, own)
    config = adopt(loaded, config, keep=own)

    def initial(fresh: Params) -> Params:
        params, report = transfer(fresh, loaded.params, partial=options.partial)
        if jax.process_index() == 0:
            print(f"{loaded.description}: {report}", file=sys.stderr)
        return params

    outcome = train(config, Path(options.workdir), initial=initial)
    code = outcome.report()
    if code == 0 and jax.process_index() == 0:
        print(_result(Path(options.workdir)))
        print(f"next: nfnet predict IMAGE --weights {shlex.quote(options.workdir)}", file=sys.stderr)
    return code


def _read(options: argparse.Namespace, config: RunConfig, own: Collection[str]) -> Initial:
    """Reads the weights to start from; `own` are the settings of the command line."""
    from nfnet.training.initial import Initial, chooses_network, read_initial
    from nfnet.training.network import network_shape
    from nfnet.weights.find import locate
    from nfnet.weights.pretrained import read_pretrained

    path = locate(options.init).path
    how = {"best": options.best, "allow_non_finite": options.allow_non_finite}
    if path.is_dir() or not config.model.from_weights:
        return read_initial(path, average=not options.raw, **how)
    network = network_shape(config.model) if chooses_network(own) else None
    weights = read_pretrained(options.init, config=network, **how)
    return Initial(weights.arrays, weights.description, weights.origin, settings_of(weights))


def settings_of(weights: Weights) -> dict[str, dict[str, Any]]:
    """Returns the settings, by group, of a run that goes on with weights made elsewhere: network and images."""
    from nfnet.training.config import ModelConfig
    from nfnet.training.network import network_shape

    family, variant = weights.family, weights.variant or _SOME[weights.family]
    named = network_shape(ModelConfig(family=family, variant=variant))
    fields = {one.name: getattr(weights.config, one.name) for one in dataclasses.fields(named)}
    shape = {name: value for name, value in fields.items() if value != getattr(named, name)}
    images = weights.preprocessing
    trained = weights.found.entry.train_size if weights.found.entry else fields.get("train_resolution")
    data = {
        "image_size": trained or images.size,
        "evaluation_size": images.size,
        "evaluation_margin": images.resized - images.size,
        "mean": images.mean,
        "std": images.std,
    }
    head = {"head": weights.options["head"]} if "head" in weights.options else {}
    return {"model": {"family": family, "variant": variant, "shape": shape, **head}, "data": data}


def _result(workdir: Path) -> str:
    """Returns what a finished run comes to, from its log, in one line."""
    from nfnet.training.run_log import LOG, read_run_log

    log = read_run_log(workdir / LOG)
    if log.held_out_top1 is None or log.held_out_loss is None:
        raise UserError(f"{printable(log.path)} ends without a held-out result: restore it from a copy.")
    return f"held-out top-1 {100 * log.held_out_top1:.2f}%, loss {log.held_out_loss:.4f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, 2 at bad input, 128 + number after a signal."""
    return command_line.run(lambda: _finetune(arguments))


if __name__ == "__main__":
    sys.exit(main())
