"""environment.yml asks conda for what pyproject.toml asks pip for, neither more nor less."""

import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from rattler import MatchSpec
from rattler.exceptions import InvalidMatchSpecError

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))

# conda-forge splits the first two; the second half of each brings Qt and statsmodels, which nothing here uses.
CONDA_NAMES = {"matplotlib": "matplotlib-base", "seaborn": "seaborn-base"} | {
    "flatbuffers": "python-flatbuffers",
    "huggingface-hub": "huggingface_hub",
}
# conda-forge builds grain for Linux alone, its ml-collections is older than the range, and it has no axe-core-python.
FROM_PIP = {"grain", "ml-collections", "axe-core-python"}


def conda_ranges() -> dict[str, SpecifierSet]:
    """Name to range of each conda spec, as conda itself reads them."""
    specs = [MatchSpec(text, strict=True) for text in ENVIRONMENT["dependencies"] if isinstance(text, str)]
    assert all(spec.build is spec.channel is spec.build_number is None for spec in specs)
    return {spec.name.normalized: SpecifierSet(spec.version or "") for spec in specs}


def pip_lines() -> list[str]:
    """The lines that pip installs after conda."""
    (section,) = (entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict))
    return section


def project_ranges() -> dict[str, SpecifierSet]:
    """Name to range of each requirement of the project, extras included."""
    lines = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    found = [Requirement(line) for line in lines]
    assert all(requirement.marker is None for requirement in found)
    return {canonicalize_name(r.name): r.specifier for r in found if r.name != PROJECT["name"]}


def test_conda_and_pip_ask_for_the_same() -> None:
    wanted = {
        CONDA_NAMES.get(name, name): versions for name, versions in project_ranges().items() if name not in FROM_PIP
    }
    wanted |= {"python": SpecifierSet(PROJECT["requires-python"]), "pip": SpecifierSet("")}
    assert conda_ranges() == wanted


def test_pip_section_holds_the_rest_and_the_project() -> None:
    *others, project = pip_lines()
    assert project == "--editable ."
    found = [Requirement(line) for line in others]
    wanted = project_ranges()
    assert {r.name: r.specifier for r in found} == {name: wanted[name] for name in FROM_PIP}


def test_name_and_channels() -> None:
    assert ENVIRONMENT["name"] == PROJECT["name"]
    assert ENVIRONMENT["channels"] == ["conda-forge", "nodefaults"]


@pytest.mark.parametrize("text", ["numpy=>2.0", "numpy >==2", "num py >=2 x y"])
def test_conda_specs_are_checked_by_conda_rules(text: str) -> None:
    with pytest.raises(InvalidMatchSpecError):
        MatchSpec(text, strict=True)
