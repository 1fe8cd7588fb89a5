"""What is installed: `nfnet` from a wheel; a clone's folder, with `paper` and `figures` in it, when it is editable."""

from __future__ import annotations

import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, bytes]]:
    """Builds a wheel, as pip does through hatchling, and returns its files."""

    def built(version: str) -> dict[str, bytes]:
        folder = tmp_path_factory.mktemp(version)
        (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=[version])
        with zipfile.ZipFile(wheel) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    return built


def test_a_wheel_holds_nfnet_alone(build: Callable[[str], dict[str, bytes]]) -> None:
    tops = {name.split("/")[0] for name in build("standard")}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"nfnet"}


def test_a_wheel_says_where_the_analysis_is(build: Callable[[str], dict[str, bytes]]) -> None:
    files = build("standard")
    (metadata,) = (text.decode() for name, text in files.items() if name.endswith(".dist-info/METADATA"))
    assert "A wheel holds `nfnet` alone" in metadata


def test_an_editable_install_has_the_clone_on_the_path(build: Callable[[str], dict[str, bytes]]) -> None:
    paths = [text.decode().split() for name, text in build("editable").items() if name.endswith(".pth")]
    assert paths == [[str(ROOT)]]
    for package in ("nfnet", "paper", "figures"):
        assert (ROOT / package / "__init__.py").is_file()


def test_nothing_of_a_wheel_needs_what_it_lacks() -> None:
    """`tests/setup/test_imports.py` holds the arrows; here, that the commands a wheel installs are nfnet's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert all(target.startswith("nfnet.") for target in project["scripts"].values())
