"""The lock files pin what pyproject.toml asks for, wherever they are installed, and name no place."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, BUILD = PYPROJECT["project"], PYPROJECT["build-system"]["requires"]

PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[0-9][0-9a-z.+]*)(?: ; (?P<marker>[^\\]+?))? \\")
HASH = re.compile(r" {4}--hash=sha256:(?P<hash>[0-9a-f]{64})(?P<more> \\)?")
ORIGIN = re.compile(r" {4}#( via|  )( (-r |-c )?[\w.-]+(/[\w.-]+)?( \(pyproject\.toml\))?)?")

LINUX = {
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
    "platform_machine": "x86_64",
}
MACOS = {
    "sys_platform": "darwin",
    "platform_system": "Darwin",
    "os_name": "posix",
    "platform_machine": "arm64",
}
PLATFORMS = [
    {
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        **system,
    }
    for python in ("3.11.0", "3.12.0", "3.13.0")
    for system in (LINUX, MACOS)
]


@dataclass(frozen=True)
class Pin:
    """One pinned release, the marker under which it is installed, and its archives' hashes."""

    name: str
    version: Version
    marker: Marker | None
    hashes: frozenset[str]


def read_lock(text: str) -> list[Pin]:
    """Reads a lock file; a line that is neither a pin, its hash nor its origin is a ValueError."""
    pins, hashes, expect_hash = [], [], False
    for line in text.splitlines():
        if expect_hash:
            if not (match := HASH.fullmatch(line)):
                raise ValueError(f"a hash is missing before: {line}")
            hashes[-1].append(match["hash"])
            expect_hash = bool(match["more"])
        elif match := PIN.fullmatch(line):
            pins.append((match["name"], Version(match["version"]), match["marker"]))
            hashes.append([])
            expect_hash = True
        elif not ORIGIN.fullmatch(line):
            raise ValueError(f"not a pin, a hash or an origin: {line}")
    if expect_hash:
        raise ValueError("a hash is missing at the end")
    return [
        Pin(name, version, Marker(marker) if marker else None, frozenset(values))
        for (name, version, marker), values in zip(pins, hashes, strict=True)
    ]


def installed(pins: list[Pin], platform: dict[str, str]) -> dict[str, Version]:
    """What the pins install on a platform; a name that is pinned twice there is a ValueError."""
    chosen = {}
    for pin in pins:
        if pin.marker is None or pin.marker.evaluate(platform):
            if pin.name in chosen:
                raise ValueError(f"{pin.name} is pinned twice")
            chosen[pin.name] = pin.version
    return chosen


def requirements(*extras: str) -> list[Requirement]:
    """The project's requirements with the named extras, an extra that names another one resolved."""
    found = [Requirement(line) for line in PROJECT["dependencies"]]
    for extra in extras:
        for line in PROJECT["optional-dependencies"][extra]:
            requirement = Requirement(line)
            own = canonicalize_name(requirement.name) == PROJECT["name"]
            found += requirements(*requirement.extras) if own else [requirement]
    return found


def build_requirements() -> list[Requirement]:
    """What building the package needs; locked, as it is built without isolation."""
    lines = (ROOT / "requirements" / "build.in").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines + BUILD if not line.startswith("#")]


def lock(name: str) -> list[Pin]:
    """Reads one of the project's lock files."""
    return read_lock((ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "extras"), [("analysis", ()), ("dev", ("dev",))])
def test_pins_satisfy_every_requirement(name: str, extras: tuple[str, ...]) -> None:
    wanted = requirements(*extras) + build_requirements()
    for platform in PLATFORMS:
        pinned = installed(lock(name), platform)
        for requirement in wanted:
            if requirement.marker is None or requirement.marker.evaluate(platform):
                version = pinned.get(canonicalize_name(requirement.name))
                assert version is not None, f"{requirement} is not in {name}.lock for {platform}"
                assert version in requirement.specifier, f"{name}.lock has {version} for {requirement}"


def test_dev_extra_covers_every_extra() -> None:
    names = {requirement.name for requirement in requirements("dev")}
    for extra in set(PROJECT["optional-dependencies"]) - {"site"}:  # an install of its own, with site.lock
        assert {requirement.name for requirement in requirements(extra)} <= names


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: f"{p['python_version']}-{p['sys_platform']}")
def test_analysis_pins_are_among_dev_pins(platform: dict[str, str]) -> None:
    analysis, dev = installed(lock("analysis"), platform), installed(lock("dev"), platform)
    assert analysis.items() <= dev.items()


def test_same_release_has_same_hashes_in_both_locks() -> None:
    dev = {(pin.name, pin.version): pin.hashes for pin in lock("dev")}
    for pin in lock("analysis"):
        assert pin.hashes == dev[pin.name, pin.version]


@pytest.mark.parametrize("name", ["analysis", "dev"])
def test_no_other_framework(name: str) -> None:
    heavy = {"torch", "torchvision", "timm", "tensorflow", "tensorflow-cpu", "tensorflow-datasets", "flax"}
    assert not heavy & {pin.name for pin in lock(name)}


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://packages.example/simple",
        "--find-links wheels",
        "jax==0.10.2",  # without a hash
        "jax>=0.10.2 \\",
        "jax @ https://packages.example/jax.whl \\",
        "    # via -r /srv/build.in",
        "    # via https://packages.example",
        "-e .",
    ],
)
def test_reader_refuses_places_and_loose_pins(line: str) -> None:
    good = "absl-py==2.1 \\\n    --hash=sha256:" + 64 * "0" + "\n    # via\n    #   dm-haiku\n"
    assert [pin.name for pin in read_lock(good)] == ["absl-py"]
    with pytest.raises(ValueError, match=r"hash|pin"):
        read_lock(good + line + "\n")


def test_reader_refuses_a_pin_without_hash() -> None:
    with pytest.raises(ValueError, match="a hash is missing"):
        read_lock("absl-py==2.1 \\\njax==0.10.2 \\\n")
