"""``python -m tools.site``: writes the pages, and builds them into build/site with warnings as errors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from nfnet.errors import UserError
from tools.site.pages import ROOT
from tools.site.sources import write_sources


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, Sphinx's exit code, or 2 where the figures have not been made."""
    parser = argparse.ArgumentParser(prog="python -m tools.site", description="Build the site.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="folder of the site")
    parser.add_argument("--made", type=Path, default=ROOT / "build", help="folder that `make reproduce` wrote into")
    parser.add_argument("--jobs", type=int, default=2, help="processes that read and write pages")
    arguments = parser.parse_args(argv)
    source = arguments.out.with_name(f"{arguments.out.name}-source")
    try:
        write_sources(source, arguments.made)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    from sphinx.cmd.build import build_main

    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # autodoc imports the networks; it needs no accelerator
    return build_main(
        ["-W", "--keep-going", "-n", "-q", "-E", "-j", str(arguments.jobs), "-c", str(ROOT / "docs"), "-b", "html"]
        + ["-d", str(arguments.out.with_name(f"{arguments.out.name}-doctrees")), str(source), str(arguments.out)]
    )


if __name__ == "__main__":
    sys.exit(main())
