"""Writes the files of a release into build/release: ``make release``.

Archives of the data package, the figures, the tables and (where ``make site`` has built it) the site; claims.json with
every claim as it was checked; licence, citation, changes, metadata for Zenodo; and SHA256SUMS of all of these, for
``sha256sum --check``. The same code, data and packages give the same bytes: archives are sorted and bear no time.

Exit codes: 0 done; 2 something is missing, or the tag is not this version's (one sentence on standard error).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import sys
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figures.registry import names
from figures.writing import FORMATS
from nfnet.errors import UserError
from paper.commands import require_writable
from paper.files import write_files

__all__ = ["archive", "check_tag", "contents", "main", "sums", "write", "zenodo"]

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
CITATION = ROOT / "CITATION.cff"
ZENODO = ROOT / ".zenodo.json"
SUMS = "SHA256SUMS"

# The earliest time that a zip file can hold: none of ours.
_TIME = (1980, 1, 1, 0, 0, 0)


def archive(files: Mapping[str, bytes], top: str) -> bytes:
    """A zip file of ``files``, by their path below the folder ``top``; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{top}/{name}", _TIME)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # Unix, whatever writes it
            entry.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(entry, files[name])
    return buffer.getvalue()


def _read(folder: Path, wanted: Sequence[str], command: str) -> dict[str, bytes]:
    """Reads files of a folder.

    Raises:
        UserError: If one is missing; the sentence names the command that makes it.
    """
    found = {}
    for name in wanted:
        try:
            found[name] = (folder / name).read_bytes()
        except OSError as error:
            raise UserError(f"{folder.name}/{name} cannot be read ({error.strerror}): run `{command}`.") from None
    return found


def _data() -> dict[str, bytes]:
    """The data package: its description and every file that this names."""
    from paper.provenance import DATA

    package = json.loads((DATA / "datapackage.json").read_text(encoding="utf-8"))
    return _read(DATA, ["datapackage.json", *(one["path"] for one in package["resources"])], "git checkout paper/data")


def _site(folder: Path) -> dict[str, bytes]:
    """The site's files; none where it is not built."""
    if not (folder / "index.html").is_file():
        return {}
    # Sphinx's own notes on a build begin with a dot.
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in paths
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def project_version() -> str:
    """The version in pyproject.toml."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return version


def check_tag(tag: str) -> None:
    """Checks that a tag, such as ``v0.1.0``, is that of this version; an empty one is not checked.

    Raises:
        UserError: If it is not.
    """
    if tag and tag != f"v{project_version()}":
        raise UserError(f"The tag is {tag}, but pyproject.toml has version {project_version()}: make the two agree.")


def zenodo(citation: Mapping[str, Any]) -> str:
    """The metadata that Zenodo reads from .zenodo.json, made from what CITATION.cff holds: the two cannot differ."""
    paper = citation["preferred-citation"]
    *first, last = (author["family-names"] for author in paper["authors"])
    authors = f"{', '.join(first)} and {last}" if first else last
    record = {
        "title": citation["title"],
        "upload_type": citation["type"],
        "description": (
            f"<p>Every figure, fit and claim of <em>{paper['title']}</em> ({authors}, {paper['year']}) recomputed from "
            "its logged results, which are a data package with sources and uncertainties, and the networks in Haiku."
            f"</p><p>{' '.join(citation['message'].split())}</p>"
        ),
        "creators": [
            {"name": author.get("name") or f"{author['family-names']}, {author['given-names']}"}
            for author in citation["authors"]
        ],
        "version": citation["version"],
        "license": citation["license"].lower(),
        "access_right": "open",
        "keywords": citation["keywords"],
        "related_identifiers": [
            {"identifier": paper["doi"], "relation": "isSupplementTo", "resource_type": "publication-preprint"}
        ],
    }
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def read_citation(path: Path = CITATION) -> dict[str, Any]:
    """Reads CITATION.cff."""
    import yaml  # type: ignore[import-untyped]

    citation: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return citation


def sums(files: Mapping[str, bytes]) -> bytes:
    """The lines that ``sha256sum --check`` reads."""
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)).encode()


def contents(build: Path, tables: Mapping[str, str], claims: str) -> dict[str, bytes]:
    """Every file of the release by name, SHA256SUMS included.

    Args:
        build: Where ``make reproduce`` (and ``make site``) wrote.
        tables: From :func:`paper.tables.compose`.
        claims: From :func:`paper.claims.as_json`.

    Raises:
        UserError: If a file is missing.
    """
    top = f"nfnet-companion-{project_version()}"
    drawn = [f"{name}.{format}" for name in names() for format in FORMATS]
    groups = {
        "data": _data(),
        "figures": _read(build / "figures", drawn, "make reproduce"),
        "tables": {name: text.encode() for name, text in tables.items()},
        "site": _site(build / "site"),
    }
    files = {f"{top}-{name}.zip": archive(group, f"{top}-{name}") for name, group in groups.items() if group}
    files["claims.json"] = claims.encode()
    files |= _read(ROOT, ["CHANGELOG.md", CITATION.name, "LICENSE"], "git checkout")
    # A dot would hide it; Zenodo takes it from the repository, people from here.
    files["zenodo.json"] = zenodo(read_citation()).encode()
    return {**files, SUMS: sums(files)}


def write(files: Mapping[str, bytes], out: Path) -> None:
    """Writes a release, and removes what an earlier one wrote there under other names; other files stay."""
    earlier = set()
    if (out / SUMS).is_file():
        lines = (out / SUMS).read_text(encoding="utf-8")
        earlier = set(re.findall(r"^[0-9a-f]{64}  ([\w.-]+)$", lines, re.MULTILINE))
    write_files({out / name: content for name, content in files.items()})
    for name in earlier - set(files):
        (out / name).unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the files of a release.")
    parser.add_argument("--out", type=Path, default=BUILD / "release", help="folder to write to (build/release)")
    parser.add_argument("--build", type=Path, default=BUILD, help="where `make reproduce` wrote (build)")
    parser.add_argument("--tag", default="", help="refuse to go on if it is not this version's, such as v0.1.0")
    arguments = parser.parse_args(argv)
    from paper import claims, tables
    from paper.keeping.memory import remembering
    from paper.study import Study

    try:
        check_tag(arguments.tag)
        require_writable(arguments.out)
        with remembering(arguments.build / "memory"):
            study = Study.load()
            checked = claims.evaluate(study)
            texts = tables.compose(study, checked)
        files = contents(arguments.build, texts, claims.as_json(checked))
        write(files, arguments.out)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for name, content in files.items():
        print(f"{arguments.out / name}: {len(content):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
