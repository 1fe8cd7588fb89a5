"""The command `nfnet`: its table, its version, and where it finds configurations and studies."""

import importlib.util
import io
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nfnet
from nfnet import UserError, command
from nfnet.command import COMMANDS, main
from nfnet.training import command_line
from nfnet.training.config_file import CONFIGS, find_provided, load_config, provided_names

ROOT = Path(__file__).parents[2]
STUDIES = CONFIGS / "studies"


def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_name_that_the_terminal_cannot_write_is_spelt_out(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert command_line.run(lambda: print("gr\xfcn") or 0) == 0
    sys.stdout.flush()
    assert written.getvalue().split() == [b"gr\\xfcn"]


def test_every_command_is_a_module_and_every_module_with_a_main_a_command():
    modules = {one.module for one in COMMANDS.values()}
    assert not [name for name in modules if importlib.util.find_spec(name) is None]
    commands = [path for path in (ROOT / "nfnet").glob("*.py") if "\nif __name__ ==" in path.read_text()]
    assert {f"nfnet.{path.stem}" for path in commands if path.stem != "__main__"} == modules


def test_help_lists_every_command_and_loads_nothing(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, one in COMMANDS.items():
        assert f"  {name:8}  {one.summary}" in lines
    done = run("-X", "importtime", "-m", "nfnet", "--help")
    assert done.returncode == 0
    assert not {"jax", "numpy", "PIL"} & {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


def test_nothing_is_no_command(capsys):
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: nfnet COMMAND")


@pytest.mark.parametrize(("given", "meant"), [("trian", "train"), ("Predict", "predict"), ("finetuning", "finetune")])
def test_an_unknown_command_leads_to_the_nearest(given, meant, capsys):
    assert main([given]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: unknown command '{given}'")
    assert said.err.endswith(f"the nearest is '{meant}'.\n")


def test_an_option_before_the_command_is_told(capsys):
    assert main(["--workdir", "x", "train"]) == 2
    assert "--workdir comes before a command" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version_is_that_of_the_package(option, capsys):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert nfnet.__version__ == project["version"]
    assert main([option]) == 0
    assert capsys.readouterr().out == f"{project['name']} {project['version']}\n"


def test_version_without_an_installation(tmp_path):
    code = "import nfnet; print(nfnet.__version__)"
    (tmp_path / "nfnet").symlink_to(ROOT / "nfnet")
    done = run("-S", "-c", code, PYTHONPATH=str(tmp_path))  # -S: no site-packages
    assert done.stdout == "unknown\n"


def test_the_console_script_is_the_command():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"nfnet": "nfnet.command:script"}
    assert callable(command.script)


def test_a_command_gets_its_arguments_and_gives_its_code(capsys):
    assert main(["plot", "none", "--out", "x.gif"]) == 2
    assert "unknown format of --out 'gif'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as raised:
        main(["train", "--help"])
    assert raised.value.code == 0
    assert capsys.readouterr().out.startswith("usage: nfnet train")


def test_missing_packages_are_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "needs_more.py").write_text("import package_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(command, "COMMANDS", {"more": command.Command("needs_more", "")})
    assert main(["more"]) == 2
    said = capsys.readouterr().err
    assert "package_that_is_not_there is not installed: run `pip install" in said
    assert said.count("\n") == 1


def test_configurations_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()  # what lies here has no say
    assert {"digits", "image_folder", "jft_pretrain"} <= set(provided_names())
    assert load_config("digits") == load_config(str(ROOT / "nfnet/configs/digits.py"))
    assert load_config("jft_pretrain:F3").model.variant == "F3"
    assert load_config("nfnet/configs/digits.py") == load_config("digits")
    assert provided_names(STUDIES) == ["digits", "jft_pretrain"]
    assert find_provided("digits", "the study", STUDIES) == STUDIES / "digits.toml"
    (tmp_path / "mine.py").write_text("from ml_collections import ConfigDict\ndef get_config(): return ConfigDict()")
    assert load_config("mine.py").model.variant == "F0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digitz", "unknown configuration 'digitz'.*the nearest is 'digits'"),
        ("nothing.py", r"Missing configuration nothing\.py: the ones provided are .*digits"),
        ("nfnet/configs/none.py", "Missing configuration"),
        ("nfnet/configs/../train.py", "Missing configuration"),
        ("gs://bucket/digits.py", "gs:// is not read"),
    ],
)
def test_a_configuration_that_is_missing_is_told(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        load_config(text)


def test_a_study_that_is_missing_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "digitz", "--status"]) == 2
    assert "unknown study 'digitz'" in capsys.readouterr().err
    assert main(["study", "digits", "--status"]) == 0
    assert "pending" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_wheel_holds_configurations_and_data_files():
    """What hatch puts into a wheel, without building one."""
    from hatchling.builders.wheel import WheelBuilder

    files = {one.distribution_path for one in WheelBuilder(str(ROOT)).recurse_included_files()}
    wanted = [*CONFIGS.glob("*.py"), *STUDIES.glob("*.toml"), *(ROOT / "nfnet").rglob("*.toml")]
    assert {str(path.relative_to(ROOT)) for path in wanted} <= files
