"""Decodes the images of the replication once, at the side that networks see.

    python -m paper.replication.prepare FOLDER --out runs/replication/data

FOLDER holds tiny-imagenet-200 (the archive, unpacked: ``train/CLASS/images/*.JPEG``) and cifar10 (the binary version,
or train/ and test/ with a folder of images a class). Tiny-ImageNet is brought to 32 px, each pixel the mean of four,
and CIFAR-10 to the 48 px of fine-tuning.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nfnet.errors import UserError
from nfnet.files import local_path
from paper.commands import require_writable, run

PRETRAINING_SIDE = 32
FINETUNING_SIDE = 48


def prepare(folder: Path, out: Path) -> None:
    """Writes `tiny_imagenet` and `cifar10` below `out`, as the data source "arrays" reads them.

    Raises:
        UserError: a data set is missing or damaged.
    """
    from nfnet.data.arrays import write_arrays
    from nfnet.data.sources import open_source

    tiny = open_source("image_folder", str(folder / "tiny-imagenet-200"), "train")
    write_arrays(out / "tiny_imagenet", "train", tiny, PRETRAINING_SIDE)
    cifar10 = folder / "cifar10"
    kind = "image_folder" if (cifar10 / "train").is_dir() else "cifar10"
    for split in ("train", "test"):
        write_arrays(out / "cifar10", split, open_source(kind, str(cifar10), split), FINETUNING_SIDE)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 on bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m paper.replication.prepare", description="Decode the images of the replication once."
    )
    parser.add_argument("folder", help="holds tiny-imagenet-200 and cifar10")
    parser.add_argument("--out", default="runs/replication/data", help="where to write (default: %(default)s)")
    arguments = parser.parse_args(argv)
    try:
        out = local_path(arguments.out, "--out")
        require_writable(out, "--out")
        prepare(local_path(arguments.folder, "FOLDER"), out)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
