"""Files from the Hugging Face Hub and by https into a cache, whole or not at all.

What comes by https is written beside its place, checked against the sizes and digests that are known, and renamed; a
download that was cut off goes on where it stopped. Where no digest was published, the one that the server itself sends
is compared: that finds damage on the way, but vouches for nobody.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import importlib
import io
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nfnet.errors import UserError, printable
from nfnet.files import reason

LARGEST = 4 * 2**30
"""Bytes of the largest file that is downloaded, about twice what the largest network here has."""
_PIECE = 2**20
_TIMEOUT = 30.0  # seconds without a byte
_DIGEST = re.compile("[0-9a-f]{64}")

Open = Callable[[urllib.request.Request], Any]
Advance = Callable[[int], None]


def cache_folder() -> Path:
    """Returns where downloads by https are kept: nfnet-companion in XDG_CACHE_HOME, by default ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if os.path.isabs(root) else Path("~/.cache").expanduser()) / "nfnet-companion" / "weights"


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    opener: Open | None = None,
) -> None:
    """Downloads a file, or the rest of it.

    Args:
        url: Its address.
        path: Where it goes. What has arrived so far lies beside it as NAME.part.
        sha256: What its SHA-256 has to be, in hexadecimal digits, if it is known.
        md5: The same of MD5.
        size: What its size in bytes has to be, if it is known.
        opener: Sends the request and returns the response; by default over https alone, also after redirections.

    Raises:
        UserError: It cannot be reached or written, is too large, or is not the file that was expected. Nothing is at
            `path` then.
    """
    part = path.with_name(f"{path.name}.part")
    by_hand = f"or download it yourself and put it at {printable(path)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part) as file:
            if path.exists():  # another process has downloaded it meanwhile
                return
            told = _receive(url, file, path.name, size, opener or _open)
            expected = {"sha256": sha256, "md5": md5 or (None if sha256 else told)}
            _check(file, {kind: digest for kind, digest in expected.items() if digest}, url)
            os.replace(part, path)
    except _Wrong as error:
        part.unlink(missing_ok=True)
        raise UserError(f"{url} {error}: try again, {by_hand}.") from None
    except (OSError, http.client.HTTPException) as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        raise UserError(
            f"{url} cannot be downloaded to {printable(path)} ({reason(Exception(why))}): check the network and the "
            f"disk and try again, which goes on where it stopped, {by_hand}."
        ) from None


class _Wrong(Exception):
    """What was received is not the file, as the end of a sentence."""


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[io.BufferedRandom]:
    """Yields the file of what has arrived, for this process alone: others wait."""
    with part.open("a+b") as file:
        with contextlib.suppress(ImportError):  # not on Windows
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _receive(url: str, file: io.BufferedRandom, name: str, size: int | None, opener: Open) -> str | None:
    """Appends what is missing, and returns the MD5 that the server tells, if any."""
    have = file.seek(0, os.SEEK_END)
    headers = {"User-Agent": "nfnet-companion", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = opener(urllib.request.Request(url, headers=headers))
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:  # all is there, or too much
            total = re.fullmatch(r"bytes \*/([0-9]+)", error.headers.get("Content-Range", ""))
            if total and int(total[1]) == have:
                return _told_md5(error.headers)
            raise _Wrong("has become another file since a part of it was downloaded") from None
        raise
    with response:
        headers = response.headers
        span = re.fullmatch(r"bytes ([0-9]+)-[0-9]+/([0-9]+)", headers.get("Content-Range", ""))
        if have and (response.status != http.HTTPStatus.PARTIAL_CONTENT or not span or int(span[1]) != have):
            file.truncate(0)  # the server sends all of it
            have, span = 0, None
        length = headers.get("Content-Length", "")
        total_bytes = int(span[2]) if span else int(length) if re.fullmatch("[0-9]{1,15}", length) else None
        limit = size or LARGEST
        if (total_bytes or 0) > limit or (size and total_bytes not in (None, size)):
            raise _Wrong(f"has {total_bytes:,} bytes, but {'needs' if size else 'may have at most'} {limit:,}")
        with progress(name, total_bytes or size, have) as advance:
            while piece := response.read(_PIECE):
                have += len(piece)
                if have > limit:
                    raise _Wrong(f"has more than {limit:,} bytes")
                file.write(piece)
                advance(len(piece))
        file.flush()
        if (wanted := total_bytes or size) and have < wanted:
            raise OSError(f"the connection ended after {have:,} of {wanted:,} bytes")
        return _told_md5(headers)


def _told_md5(headers: Any) -> str | None:
    """Returns the MD5 that Google's storage sends with a file, in hexadecimal digits."""
    found = re.search(r"md5=([A-Za-z0-9+/]{22}==)", ",".join(headers.get_all("x-goog-hash") or ()))
    return base64.b64decode(found[1]).hex() if found else None


def _check(file: io.BufferedRandom, expected: dict[str, str], url: str) -> None:
    if not expected:
        print(f"{url}: no digest of this file is known, so that it is not compared with one.", file=sys.stderr)
    for kind, digest in expected.items():
        file.seek(0)
        found = hashlib.file_digest(file, kind).hexdigest()
        if found != digest:
            raise _Wrong(f"has the {kind.upper()} {found}, but {digest} was expected")


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_https(url: str) -> None:
    if not url.lower().startswith("https://"):
        raise _Wrong(f"leads to {printable(url)}, which is not https")


def _open(request: urllib.request.Request) -> Any:
    _check_https(request.full_url)
    return urllib.request.build_opener(_OnlyHttps).open(request, timeout=_TIMEOUT)


@contextlib.contextmanager
def progress(name: str, total: int | None, start: int = 0) -> Iterator[Advance]:
    """Shows on stderr how much has arrived: a bar on a terminal, elsewhere a line for every tenth.

    Args:
        name: What is downloaded.
        total: Its bytes, or None if that is not known.
        start: Bytes that were there before.

    Yields:
        What is to be called with the number of bytes that have come.
    """
    try:
        from rich import progress as bars
        from rich.console import Console
    except ImportError:
        bars = None  # type: ignore[assignment]
    if bars is not None and sys.stderr.isatty():
        columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.DownloadColumn())
        with bars.Progress(*columns, bars.TimeRemainingColumn(), console=Console(stderr=True)) as bar:
            task = bar.add_task(name, total=total, completed=start)
            yield lambda count: bar.advance(task, count)
        return
    step, done = max((total or 2**30) // 10, 1), start
    of = f" of {total / 2**20:.0f}" if total else ""
    print(f"{name}: {done / 2**20:.0f}{of} MiB", file=sys.stderr)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if done // step > (done - count) // step:
            print(f"{name}: {done / 2**20:.0f}{of} MiB", file=sys.stderr)

    yield advance


def hub_file(repo: str, file: str, *, sha256: str | None, offline: bool, address: str) -> Path:
    """Returns a file of the Hugging Face Hub: from its cache, else downloaded by the package huggingface_hub.

    Args:
        repo: The repository, as OWNER/NAME.
        file: Name of the file in it.
        sha256: What its SHA-256 has to be. The Hub itself names large files by theirs, which is compared too.
        offline: Take it from the cache or not at all.
        address: Where a browser finds it, for the message.

    Raises:
        UserError: It is not there and cannot be downloaded, or is damaged.
    """
    if found := cached_hub_file(repo, file):
        return found
    by_hand = f"or download {address} and give the path of that file instead of the name"
    if offline:
        raise UserError(f"{repo} is not in the cache of the Hugging Face Hub, and nothing is downloaded offline: leave "
                        f"HF_HUB_OFFLINE out, {by_hand}.")  # fmt: skip
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError:
        raise UserError(
            f"{repo} is on the Hugging Face Hub, which the package huggingface_hub reads: run `pip install "
            f"huggingface_hub`, {by_hand}."
        ) from None
    try:
        path = Path(hub.hf_hub_download(repo_id=repo, filename=file))
        named = path.resolve().name
        for expected in {sha256, named if _DIGEST.fullmatch(named) else None} - {None}:
            with path.open("rb") as content:
                if (digest := hashlib.file_digest(content, "sha256").hexdigest()) != expected:
                    path.resolve().unlink()
                    raise UserError(
                        f"{file} of {repo} has the SHA-256 {digest}, but {expected} was expected: try again."
                    )
    except UserError:
        raise
    except Exception as error:  # of the package's own kinds, and of those of the packages that it uses
        raise UserError(
            f"{file} of {repo} cannot be downloaded from the Hugging Face Hub ({reason(error)}): check the network, "
            f"{by_hand}."
        ) from error
    return path


def cached_hub_file(repo: str, file: str) -> Path | None:
    """Returns a file that any program has downloaded from the Hub to its cache on this machine, or None."""
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface"
    )
    root = Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub"), f"models--{repo.replace('/', '--')}")
    try:
        commit = (root / "refs" / "main").read_text(encoding="utf-8").strip()
        path = root / "snapshots" / commit / file
        return path if re.fullmatch("[0-9a-f]{40}", commit) and path.is_file() else None
    except (OSError, ValueError):
        return None
