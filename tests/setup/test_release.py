"""A release: what it holds, that it is the same each time, and what stops it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from figures.registry import names
from figures.writing import FORMATS
from nfnet.errors import UserError
from paper.provenance import DATA
from tools.release import SUMS, ZENODO, archive, contents, main, project_version, read_citation, write, zenodo

TABLES = {"runs.md": "| a |\n", "runs.csv": "a\n"}
TOP = f"nfnet-companion-{project_version()}"


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """What `make reproduce` leaves, with other pictures."""
    folder = tmp_path / "build"
    (folder / "figures").mkdir(parents=True)
    for name in names():
        for format in FORMATS:
            (folder / "figures" / f"{name}.{format}").write_bytes(f"{name} {format}".encode())
    (folder / "figures" / "of_another_time.png").write_bytes(b"old")
    return folder


def inside(content: bytes) -> dict[str, bytes]:
    """The files of an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        assert found.testzip() is None
        return {name: found.read(name) for name in found.namelist()}


def test_it_holds_data_figures_tables_claims_and_checksums(build: Path) -> None:
    files = contents(build, TABLES, "[]\n")
    assert set(files) == {
        *(f"{TOP}-{name}.zip" for name in ("data", "figures", "tables")),
        *("claims.json", "CHANGELOG.md", "CITATION.cff", "LICENSE", "zenodo.json", SUMS),
    }
    data = inside(files[f"{TOP}-data.zip"])
    assert data == {f"{TOP}-data/{path.name}": path.read_bytes() for path in DATA.iterdir() if path.is_file()}
    figures = inside(files[f"{TOP}-figures.zip"])
    assert len(figures) == len(names()) * len(FORMATS)
    assert figures[f"{TOP}-figures/figure1.pdf"] == b"figure1 pdf"
    assert inside(files[f"{TOP}-tables.zip"]) == {f"{TOP}-tables/{name}": TABLES[name].encode() for name in TABLES}


def test_the_site_comes_along_where_it_is_built(build: Path) -> None:
    (build / "site" / ".doctrees").mkdir(parents=True)
    (build / "site" / ".doctrees" / "index.doctree").write_bytes(b"not for readers")
    assert f"{TOP}-site.zip" not in contents(build, TABLES, "[]\n")
    (build / "site" / "claims").mkdir()
    (build / "site" / "index.html").write_bytes(b"first")
    (build / "site" / "claims" / "index.html").write_bytes(b"second")
    found = inside(contents(build, TABLES, "[]\n")[f"{TOP}-site.zip"])
    assert found == {f"{TOP}-site/claims/index.html": b"second", f"{TOP}-site/index.html": b"first"}


def test_a_second_run_gives_the_same_bytes(build: Path) -> None:
    first = contents(build, TABLES, "[]\n")
    for path in (build / "figures").iterdir():
        os.utime(path, (0, 10**9))
    assert contents(build, dict(reversed(TABLES.items())), "[]\n") == first
    assert archive({"b": b"1", "a": b"2"}, "x") == archive({"a": b"2", "b": b"1"}, "x")


def test_checksums_are_those_that_sha256sum_checks(build: Path, tmp_path: Path) -> None:
    files = contents(build, TABLES, "[]\n")
    out = tmp_path / "release"
    write(files, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == files
    check = ["sha256sum", "--check", "--strict", "--quiet", SUMS]
    assert subprocess.run(check, cwd=out, check=False).returncode == 0
    (out / "claims.json").write_text("{}", encoding="utf-8")
    assert subprocess.run(check, cwd=out, check=False, capture_output=True).returncode == 1


def test_what_an_earlier_release_wrote_goes_and_other_files_stay(tmp_path: Path) -> None:
    write({"old.zip": b"1", SUMS: b"0" * 64 + b"  old.zip\n"}, tmp_path)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    write({"new.zip": b"2", SUMS: b"0" * 64 + b"  new.zip\n"}, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([SUMS, "new.zip", "notes.txt"])


def test_what_is_missing_is_told_with_what_makes_it(build: Path) -> None:
    (build / "figures" / "figure2.svg").unlink()
    with pytest.raises(UserError, match=r"figures/figure2\.svg cannot be read .*: run `make reproduce`\."):
        contents(build, TABLES, "[]\n")


def test_another_versions_tag_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tag", "v99.0.0", "--out", str(tmp_path / "release")]) == 2
    assert f"pyproject.toml has version {project_version()}" in capsys.readouterr().err
    assert not (tmp_path / "release").exists()


def test_zenodo_reads_what_the_citation_says() -> None:
    citation = read_citation()
    assert ZENODO.read_text(encoding="utf-8") == zenodo(citation), "run `make readme`"
    record = json.loads(zenodo(citation))
    assert record["title"] == citation["title"]
    assert record["version"] == citation["version"] == project_version()
    assert record["creators"] == [{"name": "The nfnet-companion authors"}]
    assert record["license"] == "apache-2.0"
    assert "(Smith, Brock, Berrada and De, 2023)" in record["description"]
    (paper,) = record["related_identifiers"]
    assert paper["identifier"] == citation["preferred-citation"]["doi"]
    person = {**citation, "authors": [{"family-names": "Lovelace", "given-names": "Ada"}]}
    assert json.loads(zenodo(person))["creators"] == [{"name": "Lovelace, Ada"}]
