"""Prepares and checks what `python -m benchmarks.gpu` needs on a machine without network.

    python tools/device_bundle.py build/device --released CHECKOUT
    python tools/device_bundle.py build/device --check

The machine has Python, JAX for its accelerator and NumPy; the folder brings the wheels that it lacks, of the versions
and hashes in requirements/dev.lock, and the released code. On the machine, in the project's root:

    . build/device/setup.sh
    python3 -m benchmarks.gpu --released build/device/released --timm-python "$(command -v python3)"
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nfnet.errors import UserError, exit_on_user_error

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "dev.lock"
PACKAGES = ("dm-haiku", "jmp", "grain", "array-record", "portpicker", "ml-collections")
RELEASED = ("nfnet.py", "base.py")
LARGEST = 64 * 2**20
"""Bytes that the folder may hold."""

_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_24_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
_SETUP = """\
# Source this in the project's root: it installs the wheels beside those of the machine and puts them on the path.
here="$(dirname "${BASH_SOURCE[0]}")"
python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target /tmp/nfnet-wheels "$here"/wheels/*.whl
export PYTHONPATH="/tmp/nfnet-wheels:$PWD" PYTHONUNBUFFERED=1
"""


def pins(lock: str, packages: Sequence[str]) -> dict[str, str]:
    """Returns the lines of a lock file that pin each package, with its hashes.

    Raises:
        UserError: If one is not pinned.
    """
    blocks = {block.partition("==")[0]: block for block in re.split(r"\n(?=\S)", lock) if "==" in block}
    for name in packages:
        if name not in blocks:
            raise UserError(f"{LOCK.name} does not pin {name}: run `make lock`, or leave it out of --packages.")
    return {name: re.sub(r"\n\s*#.*", "", blocks[name]) for name in packages}


def check(folder: Path, packages: Sequence[str]) -> int:
    """Checks a folder and returns its bytes.

    Raises:
        UserError: If a wheel or file is missing, a wheel has another hash than the lock's, or all is too large.
    """
    pinned = pins(LOCK.read_text(encoding="utf-8"), packages)
    wheels = {path.name.partition("-")[0].replace("_", "-").lower(): path for path in folder.glob("wheels/*.whl")}
    for name, lines in pinned.items():
        if name not in wheels:
            raise UserError(f"{folder / 'wheels'} holds no wheel of {name}: prepare the folder anew.")
        digest = hashlib.sha256(wheels[name].read_bytes()).hexdigest()
        if f"sha256:{digest}" not in lines:
            raise UserError(f"{wheels[name]} is not the file that {LOCK.name} pins: prepare the folder anew.")
    for name in RELEASED:
        if not (folder / "released" / "nfnets" / name).is_file():
            raise UserError(f"{folder / 'released'} holds no nfnets/{name}: prepare the folder with --released.")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > LARGEST:
        raise UserError(f"{folder} holds {size:,} bytes, more than {LARGEST:,}: leave packages out by --packages.")
    return size


def prepare(folder: Path, released: Path, packages: Sequence[str], python: str) -> None:
    """Downloads the wheels and copies the released code into a folder, which is replaced.

    Raises:
        UserError: If the released code is not there, or a wheel cannot be had.
    """
    if not all((released / "nfnets" / name).is_file() for name in RELEASED):
        raise UserError(f"--released {released} holds no nfnets/{RELEASED[0]}: pass the folder above nfnets/.")
    if folder.exists() and not (folder / "setup.sh").is_file():
        raise UserError(f"{folder} exists and is no such folder: pass another one.")
    lines = pins(LOCK.read_text(encoding="utf-8"), packages)
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / "made"
        (made / "released" / "nfnets").mkdir(parents=True)
        requirements = Path(temporary) / "requirements.txt"
        requirements.write_text("\n".join(lines.values()) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
        command += [f"--platform={name}" for name in _PLATFORMS]
        done = subprocess.run(
            [*command, "-r", str(requirements), "-d", str(made / "wheels")], capture_output=True, text=True, check=False
        )
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise UserError(f"The wheels cannot be had ({errors[0][:200] if errors else 'pip failed'}).")
        for name in RELEASED:
            shutil.copy(released / "nfnets" / name, made / "released" / "nfnets" / name)
        (made / "setup.sh").write_text(_SETUP, encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; bad input is one sentence and exit code 2."""
    line = argparse.ArgumentParser(description="Prepare and check what benchmarks.gpu needs without network.")
    line.add_argument("folder", type=Path, help="to make or check, such as build/device, which git ignores")
    line.add_argument("--released", type=Path, metavar="FOLDER", help="checkout that holds the released nfnets/")
    line.add_argument("--packages", default=",".join(PACKAGES), help="that the machine lacks (%(default)s)")
    line.add_argument("--python", default="3.12", help="version of the machine's Python (%(default)s)")
    line.add_argument("--check", action="store_true", help="only check")
    options = line.parse_args(arguments)
    with exit_on_user_error():
        packages = options.packages.split(",")
        if not options.check:
            if options.released is None:
                raise UserError("--released is missing: pass a checkout of the released code, or --check.")
            prepare(options.folder, options.released, packages, options.python)
        print(f"{options.folder}: {check(options.folder, packages) / 2**20:.1f} MiB, as pinned")


if __name__ == "__main__":
    main()
