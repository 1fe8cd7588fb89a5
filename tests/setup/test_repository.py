"""The files around the code: licence, citation, workflow, and what must not be in the repository."""

import hashlib
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from tools.address import repository

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
}
WORKFLOW = WORKFLOWS["test"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")

# A home directory or a scratch directory of some machine; a web address's path does not count.
MACHINE_PATH = re.compile(rb"(?<![\w.:/+-])(?:/(?:home|root|Users|work|scratch)/|[A-Z]:\\Users\\)[\w.-]")
LIMIT = 3_000_000  # bytes


def tracked() -> list[Path]:
    """Every file of the repository that git tracks and that is there."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def test_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_bytes()
    # The text as the Apache Software Foundation publishes it.
    assert hashlib.sha256(text).hexdigest() == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert PROJECT["license"] == "Apache-2.0"


def test_citation_names_companion_and_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert PROJECT["name"] in citation["title"]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["message"]
    assert citation["authors"] == [{"name": "The nfnet-companion authors"}]

    paper = citation["preferred-citation"]
    names = [f"{author['given-names']} {author['family-names']}" for author in paper["authors"]]
    assert paper["title"] == "ConvNets Match Vision Transformers at Scale"
    assert names == ["Samuel L. Smith", "Andrew Brock", "Leonard Berrada", "Soham De"]
    assert paper["year"] == 2023
    assert "2310.16764" in paper["journal"]
    assert paper["url"] == PROJECT["urls"]["Paper"]
    assert paper["doi"].endswith("2310.16764")


def test_citation_has_the_address_that_the_project_has() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation.get("repository-code", "") == repository()


def test_changes_begin_with_what_is_not_released() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert titles[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)", title) for title in titles[1:])


def test_workflow_covers_supported_pythons() -> None:
    pythons = WORKFLOW["jobs"]["python"]["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: 3."
    assert pythons == ["3.11", "3.12", "3.13"]
    assert [f"3.{c.removeprefix(prefix)}" for c in PROJECT["classifiers"] if c.startswith(prefix)] == pythons


def test_workflow_covers_oldest_and_newest_jax() -> None:
    rows = {row["jax"]: row["requirement"] for row in WORKFLOW["jobs"]["jax"]["strategy"]["matrix"]["include"]}
    (jax,) = (r for line in PROJECT["dependencies"] if (r := Requirement(line)).name == "jax")
    (lower,) = jax.specifier
    pins = [Requirement(text) for text in rows["oldest"].split()]
    assert {pin.name for pin in pins} == {"jax", "jaxlib"}
    for pin in pins:
        (version,) = pin.specifier
        assert (lower.operator, Version(lower.version)) == (">=", Version(version.version))
    assert rows["newest"] == "--upgrade jax jaxlib"


def test_workflow_runs_what_a_clone_runs_with_read_access() -> None:
    # The site's installation would bring back the pinned JAX.
    for name, command in (("python", ".ci/run"), ("jax", "make test")):
        assert command in [step.get("run") for step in WORKFLOW["jobs"][name]["steps"]]
    assert WORKFLOW["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_may_write_only_where_they_say_and_name_versions(name: str) -> None:
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {"contents": "read"}
    wider = {job: found["permissions"] for job, found in workflow["jobs"].items() if "permissions" in found}
    allowed: dict[str, dict[str, dict[str, str]]] = {
        "pages": {"deploy": {"pages": "write", "id-token": "write"}},
        "release": {"release": {"contents": "write"}},
    }
    assert wider == allowed.get(name, {})
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]) for step in steps if "uses" in step)
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())


def test_workflows_make_what_the_makefile_has() -> None:
    steps = [step for workflow in WORKFLOWS.values() for job in workflow["jobs"].values() for step in job["steps"]]
    made = {target for step in steps for target in re.findall(r"^make ([\w./-]+)", step.get("run", ""), re.MULTILINE)}
    assert {"reproduce", "release", "site"} <= made
    assert made <= set(re.findall(r"^([\w./-]+):", MAKEFILE, re.MULTILINE))


def test_a_tag_releases_what_is_checked_and_built() -> None:
    # YAML reads the key `on` as true.
    assert WORKFLOWS["release"][True] == {"push": {"tags": ["v*"]}}
    runs = [step["run"] for step in WORKFLOWS["release"]["jobs"]["release"]["steps"] if "run" in step]
    assert runs[:3] == [".ci/run", "make site", 'make release TAG="$GITHUB_REF_NAME"']
    assert "build/release/*" in runs[3]


def test_issues_have_forms_for_a_claim_a_number_and_a_bug() -> None:
    forms = {path.stem: path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")}
    assert set(forms) == {"config", "claim", "number", "bug"}
    for name in sorted(set(forms) - {"config"}):
        form = yaml.safe_load(forms[name].read_text(encoding="utf-8"))
        assert form["name"]
        assert form["description"]
        assert len({part["id"] for part in form["body"]}) == len(form["body"])
        for part in form["body"]:
            assert part["type"] in {"input", "textarea", "dropdown"}
            assert part["attributes"]["label"]
            assert ("options" in part["attributes"]) is (part["type"] == "dropdown")


def test_hooks_before_a_commit_are_the_makefiles_linters_and_need_no_network() -> None:
    (source,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert source["repo"] == "local"
    (recipe,) = re.findall(r"^lint: .*\n((?:\t.+\n)+)", MAKEFILE, re.MULTILINE)
    linters = [line.strip().removeprefix("$(PY) -m ") for line in recipe.splitlines()]
    hooks = [hook["entry"].removeprefix(".venv/bin/python -m ") for hook in source["hooks"]]
    assert [hook.removesuffix(" --force-exclude") for hook in hooks] == [
        line.removesuffix(" --num-workers $(JOBS)") for line in linters
    ]
    assert all(hook["language"] == "system" for hook in source["hooks"])


def test_the_container_has_the_oldest_python_and_what_the_tests_need() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    build = (ROOT / ".devcontainer" / container["build"]["dockerfile"]).read_text(encoding="utf-8")
    (version,) = re.findall(r"^FROM python:(3\.\d+)", build, re.MULTILINE)
    assert f">={version}" == PROJECT["requires-python"]
    assert container["postCreateCommand"] == "make .venv/.dev"


def test_ci_calls_make_test(tmp_path: Path) -> None:
    record = tmp_path / "record"
    (tmp_path / "make").write_text(f'#!/bin/sh\necho "$PWD: $*" > "{record}"\nexit 3\n', encoding="utf-8")
    (tmp_path / "make").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CI": "true"}
    run = subprocess.run([ROOT / ".ci" / "run"], cwd=tmp_path, env=environment, check=False, timeout=30)
    assert run.returncode == 3
    assert record.read_text(encoding="utf-8") == f"{ROOT}: test\n"


def test_no_tracked_file_names_a_machine() -> None:
    wrong = {
        str(path.relative_to(ROOT)): found.group().decode("latin-1")
        for path in tracked()
        if (found := MACHINE_PATH.search(path.read_bytes()))
    }
    assert not wrong


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("open('/" + "home/ada/runs.csv')", True),
        ('"C:' + '\\Users\\ada"', True),
        ("see /" + "Users/ada", True),
        ("https://paper.example/home/ada", False),
        ("build/home/ada", False),
    ],
)
def test_machine_paths_are_seen(text: str, found: bool) -> None:
    assert bool(MACHINE_PATH.search(text.encode())) is found


def test_no_tracked_file_is_large() -> None:
    assert not {str(path.relative_to(ROOT)) for path in tracked() if path.stat().st_size > LIMIT}
