"""``python -m tools.site``: writes the pages, and builds them into build/site with warnings as errors."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from nfnet.errors import UserError
from tools.site.pages import ROOT
from tools.site.shrink import shrink
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
    shutil.rmtree(arguments.out, ignore_errors=True)  # a page that is gone would stay
    doctrees = arguments.out.with_name(f"{arguments.out.name}-doctrees")
    options = [
        "-W",
        "--keep-going",
        "-n",
        "-q",
        "-E",
        "-j",
        str(arguments.jobs),
        "-b",
        "html",
        "-c",
        str(ROOT / "docs"),
    ]
    # A process of its own: Sphinx forks, which must not follow JAX's threads.
    command = [sys.executable, "-m", "sphinx", *options, "-d", str(doctrees), str(source), str(arguments.out)]
    environment = {"JAX_PLATFORMS": "cpu", **os.environ, "NFNET_SITE_STATIC": str(source / "_static")}
    code = subprocess.run(command, env=environment, check=False).returncode
    if code == 0:
        shrink(arguments.out, arguments.jobs)
    return code


if __name__ == "__main__":
    sys.exit(main())
