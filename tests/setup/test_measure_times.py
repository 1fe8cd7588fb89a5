"""The command that measures the README's times: what it runs and writes, not how long anything takes."""

from __future__ import annotations

import json
import subprocess
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from nfnet.errors import UserError
from tools.measure_times import COMMANDS, TIMINGS, Command, measure, read, sentence

MAKEFILE = "install run:\n\t@echo $@ $$(cat kept 2>/dev/null) >> kept\nbad:\n\t@echo 'no such thing' >&2; exit 3\n"
SURROUNDINGS = {"machine": "2 cores of a stand-in", "versions": {"python": "3.11.7", "jax": "0.10.2"}}
ROOT = Path(__file__).parents[2]


def git(folder: Path, *arguments: str) -> str:
    """Runs git without the user's settings."""
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    run = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return run.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository of a Makefile."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE, encoding="utf-8")
    git(folder, "init", "--quiet")
    git(folder, "add", "Makefile")
    git(folder, "commit", "--quiet", "-m", "A Makefile")
    return folder


def test_each_command_runs_twice_in_a_clone_of_its_own(checkout: Path) -> None:
    seen: list[str] = []

    def surroundings(clone: Path) -> dict[str, Any]:
        seen.append((clone / "kept").read_text(encoding="utf-8"))
        assert clone != checkout
        return SURROUNDINGS

    commands = (Command("run", "install", "this"), Command("run", "install", "that"))
    ticks = count(0, 5)
    record = measure(checkout, commands, surroundings, clock=lambda: next(ticks))
    assert [text.split("\n")[0] for text in seen] == ["install", "install"]  # nothing is left of the first
    assert all(text.count("\n") == 3 for text in seen)
    assert record["commands"] == [{"command": "make run", "install_s": 5, "run_s": 5, "again_s": 5}] * 2
    assert record["commit"] == git(checkout, "rev-parse", "HEAD")
    assert record["dirty"] is False
    assert not (checkout / "kept").exists()
    assert sentence(record).endswith(f"; code {record['commit'][:12]}; {record['date']}.")


def test_what_is_not_committed_is_told_and_not_measured(checkout: Path) -> None:
    (checkout / "Makefile").write_text("run:\n\texit 1\n", encoding="utf-8")
    record = measure(checkout, (Command("run", "install", ""),), lambda _: SURROUNDINGS)
    assert record["dirty"] is True
    assert "-dirty; " in sentence(record)


def test_a_command_that_fails_is_told_with_its_last_words(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`make bad` fails in a fresh clone \(make: .*bad.*3\)"):
        measure(checkout, (Command("bad", "install", ""),), lambda _: SURROUNDINGS)
    with pytest.raises(UserError, match="`git rev-parse HEAD` fails"):
        measure(tmp_path)


def test_what_it_runs_are_targets_of_the_makefile() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"\n{command.target}: " in text
        assert f"\n{command.install}: " in text


def test_what_is_stored_is_read_and_said() -> None:
    record = read()
    assert record["date"] in sentence(record)
    assert record["machine"] in sentence(record)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("date"), "field 'date' is missing"),
        (lambda record: record.update(dirty="no"), "field 'dirty'"),
        (lambda record: record["commands"].pop(), "has 1 commands"),
        (lambda record: record["commands"].reverse(), "has 'make test' where `make reproduce` is due"),
        (lambda record: record["commands"][0].update(run_s="35"), "'run_s' of `make reproduce`"),
        (lambda record: record["commands"][0].update(run_s=True), "'run_s' of `make reproduce`"),
    ],
)
def test_what_was_typed_wrongly_is_told(change: Any, message: str, tmp_path: Path) -> None:
    record = json.loads(TIMINGS.read_text(encoding="utf-8"))
    change(record)
    path = tmp_path / "timings.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match=f"{message}.*`python tools/measure_times.py`"):
        read(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read"):
        read(path)
