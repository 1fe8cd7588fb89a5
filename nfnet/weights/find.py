"""From what a user calls weights to a file or folder on this machine: a NAME of the zoo, a FILE or a RUN's folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nfnet.errors import UserError, printable
from nfnet.files import local_path
from nfnet.weights.download import cache_folder, download, hub_file
from nfnet.weights.zoo import Entry, find_entry, unknown_weights

_YES = ("1", "on", "yes", "true")


@dataclass(frozen=True)
class Found:
    """Where weights lie.

    Attributes:
        path: A file, or the folder of a run or of one of its checkpoints.
        entry: The zoo's entry, if they were called by its name.
    """

    path: Path
    entry: Entry | None = None


def locate(weights: str | os.PathLike[str], *, offline: bool = False) -> Found:
    """Finds weights, and downloads them if they are called by a name and are not on this machine yet.

    Args:
        weights: A name in `nfnet.weights.zoo.ENTRIES`, which comes first (write ./NAME for a file of that name), the
            path of a file, or the folder of a run. A folder that holds a model.safetensors, as a copy of a repository
            of the Hugging Face Hub does, stands for that file.
        offline: Take only what is on this machine already. HF_HUB_OFFLINE=1 in the environment means the same.

    Raises:
        UserError: There are no such weights, or they cannot be downloaded.
    """
    text = os.fspath(weights)
    offline = offline or os.environ.get("HF_HUB_OFFLINE", "").lower() in _YES
    if entry := find_entry(text):
        return Found(_fetch(entry, offline), entry)
    path = local_path(text, "the weights")
    try:
        if text and path.is_dir():
            inside = path / "model.safetensors"
            return Found(inside if inside.is_file() else path)
        if text and path.exists():
            return Found(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{printable(path)} cannot be read ({error}): check the path and its permissions.") from None
    raise unknown_weights(text)


def _fetch(entry: Entry, offline: bool) -> Path:
    if entry.repo is not None:
        return hub_file(entry.repo, entry.file, sha256=entry.sha256, offline=offline, address=entry.address)
    path = cache_folder() / entry.file
    if entry.url is None or path.is_file():
        return path
    if offline:
        raise UserError(
            f"{entry.name} is not on this machine, and nothing is downloaded offline: put {entry.address} at "
            f"{printable(path)}."
        )
    download(entry.url, path, sha256=entry.sha256, md5=entry.md5, size=entry.bytes)
    return path
